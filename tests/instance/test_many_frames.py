"""Many frames at once: what is found is what is found one by one."""

from __future__ import annotations

from itertools import accumulate, takewhile

from hypothesis import given
from hypothesis import strategies as st

from heliograph.frames import encode_frame, read_frames
from heliograph.instance.machine_code import compiled_loops
from heliograph.instance.many_frames import read_bodies
from heliograph.instance.quick_frames import quick_join

lines = st.builds(
    bytes.__add__, st.sampled_from([b"[", b"{", b'["{[']), st.text("az[{\n", max_size=300).map(str.encode)
)
bodies = lines | lines | st.binary(min_size=1, max_size=30)
plain = st.tuples(st.just(b""), bodies)
any_frame = st.tuples(st.binary(max_size=6), bodies | st.just(b"")).filter(any)


frames = st.lists(st.tuples(plain | plain | any_frame, st.sampled_from([0, 0, 0, 1])), max_size=12)


def as_torn(data: st.DataObject) -> tuple[bytes, int]:
    """Return what a disk may hold, and where to begin."""
    written = bytearray(
        b"".join(encode_frame(*frame, generation=generation) for frame, generation in data.draw(frames))
    )
    if written:
        for _ in range(data.draw(st.integers(0, 2))):
            written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
        del written[data.draw(st.integers(0, len(written)) | st.just(len(written))) :]
    written += bytes(data.draw(st.sampled_from([0, 0, 7, 40])))  # space that was made in advance
    begins = [0, *(frame.end for frame in read_frames(bytes(written)))]
    return bytes(written), data.draw(st.sampled_from(begins) | st.integers(0, len(written)))


def bodies_of(written: bytes, offset: int) -> list[bytes]:
    ones = takewhile(lambda frame: frame.body and not frame.header, read_frames(written, offset))
    return [frame.body for frame in ones]


@given(st.data())
def test_many_bodies_at_once_are_those_that_are_read_one_by_one(data: st.DataObject) -> None:
    written, offset = as_torn(data)
    most = data.draw(st.integers(0, 14))
    expected = bodies_of(written, offset)[:most]
    found, end = read_bodies(written, offset, most)
    assert found == expected[: len(found)]
    assert end == offset + sum(len(encode_frame(b"", body)) for body in found)
    sure = [*takewhile(lambda body: body[0] in b"[{" and 0 not in body, expected)]
    assert len(found) >= len(sure)


@given(st.data())
def test_what_is_compiled_joins_the_lines_that_are_read_one_by_one(data: st.DataObject) -> None:
    written, offset = as_torn(data)
    most = data.draw(st.integers(0, 14))
    sure = [*takewhile(lambda body: body[0] in b"[{", bodies_of(written, offset))]
    counts = [*accumulate(body.count(b"\n") + 1 for body in sure)]
    expected = sure[: sum(count <= most for count in counts)]
    block, count, end = quick_join(compiled_loops().join_bodies)(written, offset, most)
    assert block == b"\n".join(expected)
    assert count == (block.count(b"\n") + 1 if expected else 0)
    assert end == offset + sum(len(encode_frame(b"", body)) for body in expected)


def test_a_frame_with_another_digit_is_not_joined_nor_is_what_is_behind_it() -> None:
    body = [b"[11]", b"[12]", b"[13]"]
    written = b"".join(encode_frame(b"", each) for each in body).replace(b"[12]", b"[19]")
    found = quick_join(compiled_loops().join_bodies)(written, 0, len(body))
    assert found == (body[0], 1, len(encode_frame(b"", body[0])))


def test_more_than_is_looked_at_at_once_is_found_in_turns() -> None:
    body = [b"[%d,%s]" % (number, b"x" * (number % 700)) for number in range(2_000)]
    data = b"".join(encode_frame(b"", each) for each in body)
    found, offset = [], 0
    while offset < len(data):
        part, offset = read_bodies(data, offset, 10_000)
        assert 0 < len(part) < len(body)
        found += part
    assert found == body
