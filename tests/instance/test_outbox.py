"""The outbox: what was appended is read once and in order, wherever reading stops and starts."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.event import Verdict
from heliograph.instance.outbox import (
    START,
    EpochReader,
    EpochWriter,
    OutboxFullError,
    Position,
    latest_checkpoint,
    outbox_bytes,
    read_epochs,
)

if TYPE_CHECKING:
    from pathlib import Path

ROOM = 1 << 20


def events(count: int) -> list[dict[str, Any]]:
    return [{"name": "Opened", "time": "2026-10-01T00:00:00Z"} for _ in range(count)]


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


def test_a_source_finds_its_latest_checkpoint_again(tmp_path: Path) -> None:
    for value in (b"1", b"2"):
        writer = EpochWriter(tmp_path, "table", maximum_bytes=ROOM, segment_bytes=400)
        writer.append(events(4), checkpoint=b'{"at":%s}' % value)
        writer.append([], checkpoint=b'{"at":%s5}' % value)
        writer.append(events(3))
        writer.close()
    EpochWriter(tmp_path, "table", maximum_bytes=ROOM).close()
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
