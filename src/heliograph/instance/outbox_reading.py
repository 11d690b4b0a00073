"""Reading the outbox: each epoch's events in order, while its writer may still append."""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.event import Epoch
from heliograph.frames import Frame, read_frames, sync_folder
from heliograph.instance.compact_lines import first_sequence, plain_line
from heliograph.instance.many_frames import join_plain
from heliograph.instance.outbox import (
    HELD_FOLDER,
    HELD_SERIES,
    LOCK,
    RECORDER_SERIES,
    REMOVED,
    SERIES,
    SUFFIX,
    Note,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from heliograph.instance.many_frames import Join
    from heliograph.wire import Counts, VerdictCounts

LOST_SERIES: Final = "?"
"""Nobody's: such an epoch is delivered, and kept, as it may say where a source stands."""


class Position(NamedTuple):
    """How far an epoch was read."""

    segment: int
    """The first sequence number of the segment, which is its name."""
    offset: int
    """Bytes into the segment: where the next frame begins, or the frame that was read in part."""
    sequence: int
    """The last sequence number before this place."""


START: Final = Position(0, 0, 0)


class Said(NamedTuple):
    """A writer's word on what it recorded."""

    counts: Counts
    """By name, since the epoch began; of a word that is not `whole`, only what is new in it."""
    whole: bool
    at: int
    """The last number before it."""
    lines: int
    """How many of the chunk's lines are before it."""


class Chunk(NamedTuple):
    """Events read from an epoch, in order."""

    first: int
    last: int
    """Both included; ``last < first`` when there is none."""
    body: bytes
    """Events as JSON lines, joined, as their writer wrote them: to split some thousands and join them again is slow."""
    events: int
    """How many lines; fewer than the range when the disk lost some."""
    end: Position
    dropped: VerdictCounts | None
    """The writer's own drops so far, when the chunk holds a newer word on them."""
    left_out: Counts | None = None
    """Properties that the writer has left out so far, likewise."""
    said: Said | None = None
    """What the writer counts as recorded: its last word in the chunk, and what those before it told."""

    @property
    def numbers(self) -> int:
        """How many sequence numbers the range has."""
        return self.last - self.first + 1

    @property
    def lines(self) -> list[bytes]:
        """The events one by one, as plain lines."""
        return [*map(plain_line, self.body.split(b"\n"))] if self.events else []


class _Reading:
    """A chunk while it is being read: up to the sequence number `last`."""

    def __init__(self, position: Position, last: int, join: Join) -> None:
        self._join = join
        self._segment, self._offset, self._sequence = position
        self.count = 0
        self._blocks: list[bytes] = []
        self.dropped: VerdictCounts | None = None
        self.left_out: Counts | None = None
        self.said: Said | None = None
        self._last = last
        self._in_part = True

    @property
    def end(self) -> Position:
        """How far it has come."""
        return Position(self._segment, self._offset, self._sequence)

    @property
    def body(self) -> bytes:
        """All lines that were taken, joined."""
        return b"\n".join(self._blocks)

    def _keep(self, block: bytes, count: int) -> None:
        self._blocks.append(block)
        self.count += count
        self._sequence += count

    def begin_segment(self, segment: int) -> bool:
        """Go on to a segment; tell whether there is more to read."""
        if self._sequence >= self._last:
            return False
        if segment > self._segment:
            # Should its first number leave a gap, then the disk has lost the end of the segment before it.
            self._segment, self._offset, self._sequence = segment, 0, max(self._sequence, segment - 1)
        return True

    def take_all(self, data: mmap.mmap, offset: int) -> None:
        """Take what is still wanted of a segment's frames from `offset` on."""
        while True:
            offset = self._take_plain(data, offset)
            frame = next(read_frames(data, offset), None)
            if frame is None or not self._take(frame):
                return
            offset = frame.end

    def _take_plain(self, data: mmap.mmap, offset: int) -> int:
        """Take frames that hold nothing but events, as nearly all do, many at once; return the offset behind them."""
        while not self._in_part and self._sequence < self._last:
            block, count, end = self._join(data, offset, self._last - self._sequence)
            if not count:
                break
            self._keep(block, count)
            self._offset = offset = end
        return offset

    def _take(self, frame: Frame) -> bool:
        """Take a frame, or the part of it that is still wanted; tell whether to go on."""
        if frame.body:
            if self._sequence >= self._last:
                return False
            lines = frame.body.split(b"\n")
            if self._in_part:
                # The first frame may have been read in part: its events say which numbers they have.
                first = first_sequence(lines[0])
                lines = lines[self._sequence - first + 1 :]
                self._in_part = False
            wanted = lines[: self._last - self._sequence]
            if wanted:
                self._keep(b"\n".join(wanted), len(wanted))
            if len(wanted) < len(lines):
                return False
        if frame.header:
            note = msgspec.json.decode(frame.header, type=Note)
            self.dropped = note.dropped or self.dropped
            self.left_out = note.left_out or self.left_out
            if note.recorded is not None:
                self._hear(note.recorded, whole=note.whole)
        self._offset = frame.end
        return True

    def _hear(self, counts: Counts, *, whole: bool) -> None:
        if self.said is not None and not whole:
            counts, whole = self.said.counts | counts, self.said.whole
        self.said = Said(counts, whole, self._sequence, self.count)


def _series_of(folder: Path) -> str:
    try:
        return (folder / SERIES).read_text()
    except FileNotFoundError:  # a disk that had said it was there lost it: the events are read all the same
        return LOST_SERIES


class EpochReader:
    """Reads one epoch's folder, in order, while its writer may still append."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.epoch: Final = Epoch(int(folder.name))
        self.series: Final = _series_of(folder)

    @property
    def held_name(self) -> str | None:
        """Whose events are set aside here; None where nothing is."""
        return self.series.removeprefix(HELD_SERIES) if self.series.startswith(HELD_SERIES) else None

    @property
    def is_recorders(self) -> bool:
        """Whether it has events that a recorder recorded, and no source's."""
        return self.series == RECORDER_SERIES or self.held_name is not None

    def segments(self) -> list[int]:
        """Return the first sequence numbers of the segments, ascending."""
        return sorted(int(path.stem) for path in self.folder.glob(f"*{SUFFIX}"))

    def is_closed(self) -> bool:
        """Tell whether the writer has ended: by itself or killed, the system has let go of its lock."""
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def read(self, position: Position, limit: int, *, last: int | None = None, join: Join = join_plain) -> Chunk:
        """Read on from `position`: at most `limit` events, or exactly up to the number `last`.

        What is returned is on disk: it is forced there first, as a sequence number that was sent must not be given
        again after a power cut.
        """
        chunk = _Reading(position, position.sequence + limit if last is None else last, join)
        for segment in self.segments():
            if segment < position.segment:  # passed, even if a broken disk holds nothing after it any more
                continue
            if not chunk.begin_segment(segment):
                break
            with self._mapped(segment) as data:
                if data is not None:
                    chunk.take_all(data, position.offset if segment == position.segment else 0)
        return Chunk(
            first=position.sequence + 1,
            last=chunk.end.sequence,
            body=chunk.body,
            events=chunk.count,
            end=chunk.end,
            dropped=chunk.dropped,
            left_out=chunk.left_out,
            said=chunk.said,
        )

    @contextmanager
    def _mapped(self, segment: int) -> Iterator[mmap.mmap | None]:
        """Give a segment's bytes, which are on disk; None where it has none."""
        descriptor = os.open(self.folder / f"{segment:020d}{SUFFIX}", os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size == 0:
                yield None
                return
            with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
                os.fdatasync(descriptor)
                yield data
        finally:
            os.close(descriptor)

    def last_checkpoint(self) -> bytes | None:
        """Return the latest checkpoint that the epoch holds."""
        found = self._find_checkpoint()
        return None if found is None else found[1]

    def _find_checkpoint(self) -> tuple[int, bytes] | None:
        """Return the segment of the latest checkpoint, and the checkpoint."""
        for segment in reversed(self.segments()):
            found: bytes | None = None
            with self._mapped(segment) as data:
                for frame in [] if data is None else read_frames(data):
                    if frame.header:
                        checkpoint = msgspec.json.decode(frame.header, type=Note).checkpoint
                        found = bytes(checkpoint) or found
            if found is not None:
                return segment, found
        return None

    def release(self, position: Position) -> None:
        """Delete the segments that lie wholly before `position`.

        The newest stays, as it may still grow; and so does a source's latest checkpoint, which may lie before it.
        """
        done = [segment for segment in self.segments()[:-1] if segment < position.segment]
        if done and not self.is_recorders:
            found = self._find_checkpoint()
            done = [segment for segment in done if found is not None and segment < found[0]]
        for segment in done:
            (self.folder / f"{segment:020d}{SUFFIX}").unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all segments of a closed epoch, and keep its place."""
        for segment in self.segments():
            (self.folder / f"{segment:020d}{SUFFIX}").unlink()

    def remove(self) -> None:
        """Delete the epoch: it is out of the way before the first of its files goes, whatever breaks off meanwhile."""
        removed = self.folder.with_name(f"{REMOVED}{self.folder.name}")
        self.folder.rename(removed)
        sync_folder(removed.parent)
        shutil.rmtree(removed)


def read_epochs(outbox: Path, known: Sequence[EpochReader] = ()) -> list[EpochReader]:
    """Return a reader for each epoch of the outbox, those of events set aside too, the oldest first.

    Args:
        outbox: The folder of the outbox.
        known: Readers of an earlier look, which are taken again: whose events an epoch has never changes.
    """
    readers = {(reader.folder.parent, reader.folder.name): reader for reader in known}
    found: list[tuple[str, Path]] = []
    for folder in (outbox, outbox / HELD_FOLDER):
        if folder.is_dir():
            found += [(name, folder) for name in os.listdir(folder) if name.isdigit()]  # noqa: PTH208 - once a second
    found.sort()
    return [readers.get((folder, name)) or EpochReader(folder / name) for name, folder in found]


def sweep_removed(outbox: Path) -> None:
    """Delete what is left of epochs whose removal broke off."""
    for folder in (outbox, outbox / HELD_FOLDER):
        for removed in folder.glob(f"{REMOVED}*"):
            shutil.rmtree(removed, ignore_errors=True)


def latest_checkpoint(outbox: Path, series: str) -> bytes | None:
    """Return where a source stood when it last appended events; None when it never did."""
    for reader in reversed(read_epochs(outbox)):
        if reader.series == series and (checkpoint := reader.last_checkpoint()) is not None:
            return checkpoint
    return None
