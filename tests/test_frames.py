"""Frames: what was written whole is read back, and nothing after the first damage is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from heliograph import frames as frames_module
from heliograph.frames import encode_frame, make_folder, read_frames, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

contents = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)).filter(any), max_size=8)


@given(contents, st.integers(0, 5))
def test_frames_are_read_back_as_written(frames: list[tuple[bytes, bytes]], generation: int) -> None:
    data = b"".join(encode_frame(header, body, generation=generation) for header, body in frames)
    assert [(frame.header, frame.body) for frame in read_frames(data, generation=generation)] == frames


@given(contents, st.data())
def test_a_torn_end_costs_only_the_torn_frame(frames: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    pieces = [encode_frame(*frame) for frame in frames]
    written = b"".join(pieces)
    cut = data.draw(st.integers(0, len(written)))
    whole = 0
    while whole < len(pieces) and sum(map(len, pieces[: whole + 1])) <= cut:
        whole += 1
    torn = written[:cut] + bytes(len(written) - cut)  # what a crash leaves of preallocated space
    for found in (list(read_frames(written[:cut])), list(read_frames(torn))):
        got = [(frame.header, frame.body) for frame in found]
        assert got[:whole] == frames[:whole]
        # Zeros may happen to be what was cut off: then the frame is whole after all.
        assert all(frame in frames for frame in got)


@given(contents.filter(bool), st.data())
def test_a_changed_byte_ends_the_file_there(frames: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    pieces = [encode_frame(*frame) for frame in frames]
    written = bytearray(b"".join(pieces))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    damaged = next(index for index in range(len(pieces)) if at < sum(map(len, pieces[: index + 1])))
    assert [(frame.header, frame.body) for frame in read_frames(bytes(written))] == frames[:damaged]


def test_frames_of_an_older_generation_in_a_recycled_file_are_not_read() -> None:
    new = encode_frame(b"new", b"", generation=2)
    old = encode_frame(b"old", b"", generation=1)
    assert [frame.header for frame in read_frames(new + old, generation=2)] == [b"new"]


def test_replacing_a_file_leaves_no_other_behind(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_made_is_forced_into_the_one_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(frames_module, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert set(synced) == {tmp_path, tmp_path / "a"}
    synced.clear()
    make_folder(tmp_path / "a" / "b")  # whoever made it may have been killed before it was there for good
    assert synced == [tmp_path / "a"]
