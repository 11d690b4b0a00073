"""The outbox: what was appended is read once and in order, wherever reading stops and starts."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.event import Epoch, Verdict
from heliograph.frames import read_frames
from heliograph.instance.outbox import EpochWriter, OutboxFullError, outbox_bytes
from heliograph.instance.outbox_reading import (
    START,
    EpochReader,
    Position,
    latest_checkpoint,
    read_epochs,
    sweep_removed,
)

ROOM = 1 << 20


def events(count: int) -> list[dict[str, Any]]:
    return [{"name": "Opened", "time": "2026-10-01T00:00:00Z"} for _ in range(count)]


def append_until_full(writer: EpochWriter) -> None:
    with contextlib.suppress(OutboxFullError):
        while True:
            writer.append(events(1))


def read_all(reader: EpochReader, limit: int, position: Position = START) -> list[int]:
    numbers: list[int] = []
    while True:
        chunk = reader.read(position, limit)
        if chunk.end == position:
            return numbers
        found = [json.loads(line)["sequence"] for line in chunk.lines]
        assert found == list(range(chunk.first, chunk.last + 1))
        assert len(found) <= limit
        numbers += found
        position = chunk.end


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12), limit=st.integers(1, 60))
def test_every_event_is_read_once_and_in_order_at_any_chunk_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    outbox = tmp_path_factory.mktemp("outbox")
    writer = EpochWriter(outbox, maximum_bytes=ROOM, segment_bytes=2_000)
    for size in sizes:
        writer.append(events(size))
    [reader] = read_epochs(outbox)
    assert read_all(reader, limit) == list(range(1, sum(sizes) + 1))
    assert not reader.is_closed()
    writer.close()
    assert reader.is_closed()


@settings(deadline=None)
@given(data=st.data(), sizes=st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=1, max_size=30))
def test_of_a_damaged_segment_exactly_the_whole_frames_before_the_damage_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sizes: list[int]
) -> None:
    outbox = tmp_path_factory.mktemp("outbox")
    writer = EpochWriter(outbox, maximum_bytes=ROOM)
    for size in sizes:
        writer.append(events(size))
        if data.draw(st.integers(0, 5)) == 0:
            writer.note_dropped({"Opened": {Verdict.OUTBOX_FULL: 1}})
    writer.close()
    [segment] = outbox.glob("*/*.segment")
    written = bytearray(segment.read_bytes())
    for _ in range(data.draw(st.integers(0, 2))):
        written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    del written[data.draw(st.just(len(written)) | st.integers(0, len(written))) :]
    segment.write_bytes(written)
    whole = [line for frame in read_frames(bytes(written)) for line in frame.body.split(b"\n") if frame.body]
    [reader] = read_epochs(outbox)
    assert read_all(reader, data.draw(st.integers(1, 80))) == list(range(1, len(whole) + 1))


def test_reading_to_a_given_number_repeats_the_same_range_exactly(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=ROOM, segment_bytes=1_000)
    writer.append(events(25))
    [reader] = read_epochs(tmp_path)
    chunk = reader.read(START, 10)
    writer.append(events(5))
    assert reader.read(START, 1_000, last=chunk.last) == chunk
    writer.close()


def test_a_released_position_deletes_only_segments_that_are_wholly_read(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=ROOM, segment_bytes=500)
    for _ in range(30):
        writer.append(events(1))
    [reader] = read_epochs(tmp_path)
    chunk = reader.read(START, 17)
    before = len(reader.segments())
    reader.release(chunk.end)
    assert len(reader.segments()) < before
    assert read_all(reader, 7, chunk.end) == list(range(18, 31))
    writer.close()


def test_past_its_bound_the_outbox_takes_nothing_and_keeps_what_it_has(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=2_000)
    taken = 0
    while outbox_bytes(tmp_path) < 1_900:
        writer.append(events(1))
        taken += 1
    with pytest.raises(OutboxFullError):
        writer.append(events(2))
    assert outbox_bytes(tmp_path) <= 2_000
    assert writer.last == taken
    [reader] = read_epochs(tmp_path)
    assert read_all(reader, 100) == list(range(1, taken + 1))
    writer.close()


def test_what_is_delivered_makes_room_again_though_the_writer_lives(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=2_000)
    position, read = START, 0
    for _ in range(3):
        append_until_full(writer)
        [reader] = read_epochs(tmp_path)
        chunk = reader.read(position, 1_000)
        read += len(chunk.lines)
        position = chunk.end
        reader.release(position)
        writer.measure()
    assert read == writer.last > 50
    writer.close()


def test_notes_of_drops_pass_the_bound_and_never_write_over_a_segment(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=2_000, segment_bytes=500)
    writer.append(events(1))
    other = EpochWriter(tmp_path, maximum_bytes=1 << 20, epoch=Epoch(writer.epoch + 1))
    other.append(events(2_000))
    writer.measure()
    for count in range(1, 101):
        writer.note_dropped({"Opened": {Verdict.OUTBOX_FULL: count}})
    reader = read_epochs(tmp_path)[0]
    chunk = reader.read(START, 10)
    assert chunk.dropped == {"Opened": {Verdict.OUTBOX_FULL: 100}}
    other.folder.joinpath("00000000000000000001.segment").unlink()
    writer.measure()
    writer._maximum_bytes = ROOM
    writer.measure()
    writer.append(events(1))
    assert len(reader.read(chunk.end, 10).lines) == 1
    writer.close()
    other.close()


def test_a_sources_checkpoint_outlives_the_release_of_all_that_was_delivered(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, "table", maximum_bytes=ROOM, segment_bytes=100)
    writer.append(events(4), checkpoint=b'{"at":4}')
    # As a writer that was killed between making a segment and writing its first frame leaves it.
    (writer.folder / f"{5:020d}.segment").touch()
    writer.close()
    [reader] = read_epochs(tmp_path)
    reader.release(reader.read(START, 100).end)
    assert latest_checkpoint(tmp_path, "table") == b'{"at":4}'


def test_an_epoch_gets_its_name_once_all_in_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a source's epoch that does not say whose it is would mean to read the table anew."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, any(path.name.isdigit() for path in tmp_path.iterdir())))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    EpochWriter(tmp_path, "table", maximum_bytes=ROOM).close()
    assert any("series" in name and not is_named for name, is_named in synced)


def test_a_torn_last_frame_is_not_read_and_the_rest_is(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=ROOM)
    writer.append(events(3))
    writer.append(events(2))
    writer.close()
    [reader] = read_epochs(tmp_path)
    [segment] = reader.folder.glob("*.segment")
    os.truncate(segment, segment.stat().st_size - 1)
    assert read_all(reader, 100) == [1, 2, 3]


def test_a_hole_that_the_disk_left_is_counted_by_the_range_and_has_no_lines(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=ROOM, segment_bytes=300)
    for _ in range(12):
        writer.append(events(1))
    writer.close()
    [reader] = read_epochs(tmp_path)
    segments = reader.segments()
    first = reader.folder / f"{segments[0]:020d}.segment"
    os.truncate(first, first.stat().st_size // 2)
    chunk = reader.read(START, 100)
    lost = segments[1] - 1 - len([line for line in chunk.lines if json.loads(line)["sequence"] < segments[1]])
    assert lost > 0
    assert (chunk.first, chunk.last, len(chunk.lines)) == (1, 12, 12 - lost)


def test_what_was_passed_is_not_read_again_when_the_disk_loses_the_segment_reached(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=ROOM, segment_bytes=100)
    for _ in range(6):
        writer.append(events(1))
    [reader] = read_epochs(tmp_path)
    reached = reader.read(START, 6).end
    (reader.folder / f"{reached.segment:020d}.segment").unlink()
    assert reader.segments()
    assert reader.read(reached, 6).end == reached
    writer.close()


def test_a_source_finds_its_latest_checkpoint_again(tmp_path: Path) -> None:
    for value in (b"1", b"2"):  # epochs of one millisecond are in any order
        writer = EpochWriter(tmp_path, "table", maximum_bytes=ROOM, segment_bytes=400, epoch=Epoch(int(value)))
        writer.append(events(4), checkpoint=b'{"at":%s}' % value)
        writer.append([], checkpoint=b'{"at":%s5}' % value)
        writer.append(events(3))
        writer.close()
    EpochWriter(tmp_path, "table", maximum_bytes=ROOM, epoch=Epoch(3)).close()
    assert latest_checkpoint(tmp_path, "table") == b'{"at":25}'
    assert latest_checkpoint(tmp_path, "other") is None


def test_the_writers_own_drops_are_read_with_the_events(tmp_path: Path) -> None:
    writer = EpochWriter(tmp_path, maximum_bytes=ROOM)
    writer.append(events(1))
    writer.note_dropped({"Opened": {Verdict.OUTBOX_FULL: 3}})
    writer.close()
    [reader] = read_epochs(tmp_path)
    chunk = reader.read(START, 1)
    assert chunk.dropped == {"Opened": {Verdict.OUTBOX_FULL: 3}} or reader.read(chunk.end, 1).dropped


def test_a_removal_that_breaks_off_anywhere_leaves_nothing_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    really = os.unlink
    for files in range(3):
        writer = EpochWriter(tmp_path, maximum_bytes=ROOM)
        writer.append(events(1))
        writer.close()
        left = files

        def unlink(path: Any, **fields: Any) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            really(path, **fields)

        [reader] = read_epochs(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", unlink)
            with pytest.raises(Killed):
                reader.remove()
        assert read_epochs(tmp_path) == []
    sweep_removed(tmp_path)
    assert list(tmp_path.iterdir()) == []
