"""The outbox: events on the instance's disk between being recorded and being acknowledged.

Each writing process has a folder of its own, named by its epoch, so that writers need no common lock. In it are
segments named by the sequence number of their first event; a segment is a series of frames (`heliograph.frames`).
A frame's body is one or more events as JSON lines, each holding its sequence number; its header is empty, or a
`Note`. Bodies and notes of one frame are written together or not at all.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from heliograph.event import UNDECLARED, Epoch, new_epoch
from heliograph.frames import (
    Frame,
    encode_body,
    encode_frame,
    read_bodies,
    read_frames,
    sync_folder,
    write_atomically,
    write_fully,
)
from heliograph.wire import Counts, VerdictCounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SEGMENT_BYTES: Final = 8 << 20
RECORDER_SERIES: Final = "recorder"
HELD_SERIES: Final = "held:"
"""With an event's name behind it: events that no plan has declared yet; see `heliograph.instance.held`."""
HELD_FOLDER: Final = "held"
"""Below the outbox, where they have a bound of their own, and an older agent does not find them."""
_LOCK: Final = "writer.lock"
_SERIES: Final = "series"
_SUFFIX: Final = ".segment"
_NOTHING: Final = msgspec.Raw()
_FRAMES_AT_ONCE: Final = 2_000
_encoder: Final = msgspec.json.Encoder()
_encode: Final = _encoder.encode


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a frame says beside its events."""

    checkpoint: msgspec.Raw = _NOTHING
    """Where a source stands once this frame's events are taken: its own JSON; empty when it says nothing."""
    dropped: VerdictCounts | None = None
    """All that this epoch's writer has dropped so far, before a sequence number was given."""
    left_out: Counts | None = None
    """Properties that it has left out so far as the plan did not declare them, by event."""
    recorded: Counts | None = None
    """Events of this epoch that its owner counts as recorded up to here, by name: those whose number has changed since
    the note before; or, where it is `whole`, all."""
    whole: bool = False


MOST_NAMES_TOLD: Final = 1_000
"""Names that a writer tells apart in its notes; how many there are is up to a product."""


def tell_apart(recorded: Counts) -> Counts:
    """Return counts as a note tells them: past `MOST_NAMES_TOLD`, later names are one, `UNDECLARED`."""
    if len(recorded) <= MOST_NAMES_TOLD:
        return recorded
    names = list(recorded)
    rest = sum(recorded[name] for name in names[MOST_NAMES_TOLD:])
    return {name: recorded[name] for name in names[:MOST_NAMES_TOLD]} | {UNDECLARED: rest}


class OutboxFullError(Exception):
    """The outbox has reached its bound on disk."""


def outbox_bytes(folder: Path) -> int:
    """Return the bytes that all segments under `folder` take."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118 - called every second
            except FileNotFoundError:  # acknowledged meanwhile
                continue
    return total


class EpochWriter:
    """Appends the events of one process. Not thread-safe: its owner holds a lock."""

    def __init__(
        self,
        outbox: Path,
        series: str = RECORDER_SERIES,
        *,
        maximum_bytes: int,
        segment_bytes: int = SEGMENT_BYTES,
        epoch: Epoch | None = None,
    ) -> None:
        """Make the epoch's folder.

        Args:
            outbox: The folder of the outbox; made when it is missing.
            series: Whose events these are: the recorder's, or a source's name.
            maximum_bytes: Bound of the whole outbox.
            segment_bytes: Size at which a new segment begins.
            epoch: The epoch; a new one when None.

        Raises:
            OSError: The folder cannot be made.
        """
        self.epoch: Final = new_epoch() if epoch is None else epoch
        self.last = 0
        """The sequence number of the last event appended; 0 before the first."""
        self.folder: Final = outbox / f"{self.epoch:020d}"
        self._outbox = outbox
        self._maximum_bytes = maximum_bytes
        self._segment_bytes = segment_bytes
        self._segment = -1
        self._first = 0
        self._offset = 0
        self._room = 0
        self._told: Counts = {}
        self._told_in = -1
        outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folder gets its name only once it is locked, so that no reader takes it for a finished epoch.
        making = outbox / f".{self.epoch:020d}"
        making.mkdir(mode=0o700)
        self._lock = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Whose events these are must outlive a power cut: a source's epoch says where reading its table stands.
        write_atomically(making / _SERIES, series.encode())
        making.rename(self.folder)
        sync_folder(outbox)
        self.measure()

    def measure(self) -> None:
        """Look again how much room the bound leaves: other writers fill it, and the agent empties it."""
        self._room = self._maximum_bytes - outbox_bytes(self._outbox)

    @property
    def room(self) -> int:
        """How many bytes the bound leaves, by the last look."""
        return self._room

    def measured(self, taken: int, *, room: int) -> None:
        """Be told how much the outbox takes, by one who looked without holding the owner's lock.

        Args:
            taken: Bytes.
            room: What `room` was before the look: what was written since may not be among `taken`.
        """
        self._room = self._maximum_bytes - taken - (room - self._room)

    @property
    def place(self) -> tuple[int, int]:
        """Where the next frame will be: as long as it is the same, nothing was written."""
        return self._first, self._offset

    def append(
        self, events: Sequence[Mapping[str, Any]], *, checkpoint: bytes | None = None, recorded: Counts | None = None
    ) -> None:
        """Append events, and where their source stands after them, as one frame; `recorded` as in `note_dropped`.

        Each event is written as a JSON line with ``name`` and ``sequence`` first. On return the frame is with the
        operating system: it survives the end of this process. `sync` makes it survive the end of the machine.

        Raises:
            OutboxFullError: There is no room; nothing was written.
            OSError: The operating system refused; nothing counts as written.
            TypeError, ValueError, RecursionError: An event is not JSON; nothing was written.
        """
        sequence = self.last
        lines = []
        for event in events:
            sequence += 1
            lines.append(_encoder.encode({"name": event["name"], "sequence": sequence, **event}))
        header = b""
        if checkpoint is not None:
            self._make_ready()
            news, whole = self._news(recorded)
            header = _encoder.encode(Note(checkpoint=msgspec.Raw(checkpoint), recorded=news, whole=whole))
        self._append(encode_frame(header, b"\n".join(lines)), sequence)
        if checkpoint is not None:
            self._keep_told(recorded)

    def append_recorded(self, event: dict[str, Any]) -> None:
        """As `append`, one event that begins with ``name`` and ``sequence``; it gets its number in its place."""
        event["sequence"] = sequence = self.last + 1
        self._append(encode_body(_encode(event)), sequence)

    def _append(self, frame: bytes, sequence: int) -> None:
        """Write a frame whose last event has this number."""
        if len(frame) > self._room:
            # What is full of delivered events can only be deleted once it is not the newest segment any more.
            self._end_segment()
            raise OutboxFullError
        self._write(frame)
        self.last = sequence

    def note_dropped(
        self, dropped: VerdictCounts, left_out: Counts | None = None, recorded: Counts | None = None
    ) -> None:
        """Write down what was dropped or left out so far; it may pass the bound: it is small, and must not be lost.

        Args:
            dropped: By this epoch's owner, before any number.
            left_out: Properties.
            recorded: What its owner counts as recorded in this epoch up to here, by name: readers compare it with
                what they find. The first note of a segment tells all of it, the others what is new.
        """
        self._make_ready()
        news, whole = self._news(recorded)
        note = Note(dropped=dropped or None, left_out=left_out or None, recorded=news, whole=whole)
        self._write(encode_frame(_encoder.encode(note), b""))
        self._keep_told(recorded)

    def _news(self, recorded: Counts | None) -> tuple[Counts | None, bool]:
        if recorded is None:
            return None, False
        if self._told_in != self._first:
            return recorded, True
        return {name: count for name, count in recorded.items() if count != self._told.get(name)} or None, False

    def _keep_told(self, recorded: Counts | None) -> None:
        if recorded is not None:
            self._told, self._told_in = dict(recorded), self._first

    def _make_ready(self) -> None:
        """Begin the first segment, or the next one if this one is full."""
        if self._segment < 0:
            self._begin_segment()
        elif self._offset >= self._segment_bytes:
            self._end_segment()

    def _write(self, frame: bytes) -> None:
        self._make_ready()
        written = os.pwrite(self._segment, frame, self._offset)
        if written != len(frame):
            write_fully(self._segment, frame[written:], self._offset + written)
        self._offset += len(frame)
        self._room -= len(frame)

    def _end_segment(self) -> None:
        """Go on in a new segment, if this one has an event: segments are named by their first."""
        if self._segment >= 0 and self.last >= self._first:
            self._begin_segment()

    def _begin_segment(self) -> None:
        # Once the new file is there, a reader may take the old one for finished: nothing may be written to it any more.
        if self._segment >= 0:
            os.fdatasync(self._segment)
        path = self.folder / f"{self.last + 1:020d}{_SUFFIX}"
        old, self._segment = self._segment, os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._first = self.last + 1
        self._offset = 0
        if old >= 0:
            os.close(old)
        sync_folder(self.folder)

    def duplicate_descriptor(self) -> int | None:
        """Return a descriptor of the current segment of the caller's own, to force to disk outside the lock."""
        return None if self._segment < 0 else os.dup(self._segment)

    def close(self) -> None:
        """Force everything to disk and end the epoch."""
        if self._segment >= 0:
            os.fdatasync(self._segment)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files without a word, as a forked child must with its parent's epoch."""
        for descriptor in (self._segment, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._segment = self._lock = -1


class Position(NamedTuple):
    """How far an epoch was read."""

    segment: int
    """The first sequence number of the segment, which is its name."""
    offset: int
    """Bytes into the segment: where the next frame begins, or the frame that was read in part."""
    sequence: int
    """The last sequence number before this place."""


START: Final = Position(0, 0, 0)


class _Sequence(msgspec.Struct):
    sequence: int


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
    """Events as JSON lines, joined: to split some thousands and join them again is slow."""
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
        """The events one by one."""
        return self.body.split(b"\n") if self.events else []


class _Reading:
    """A chunk while it is being read: up to the sequence number `last`."""

    def __init__(self, position: Position, last: int) -> None:
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
            bodies, end = read_bodies(data, offset, min(self._last - self._sequence, _FRAMES_AT_ONCE))
            block = b"\n".join(bodies)
            count = block.count(b"\n") + 1
            if not bodies or self._sequence + count > self._last:
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
                first = msgspec.json.decode(lines[0], type=_Sequence).sequence
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


class EpochReader:
    """Reads one epoch's folder, in order, while its writer may still append."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.epoch: Final = Epoch(int(folder.name))
        self.series: Final = (folder / _SERIES).read_text()

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
        return sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}"))

    def is_closed(self) -> bool:
        """Tell whether the writer has ended: by itself or killed, the system has let go of its lock."""
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def read(self, position: Position, limit: int, *, last: int | None = None) -> Chunk:
        """Read on from `position`: at most `limit` events, or exactly up to the number `last`.

        What is returned is on disk: it is forced there first, as a sequence number that was sent must not be given
        again after a power cut.
        """
        chunk = _Reading(position, position.sequence + limit if last is None else last)
        for segment, end in pairwise([*self.segments(), None]):
            if segment is None or (end is not None and end <= position.segment):
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
        descriptor = os.open(self.folder / f"{segment:020d}{_SUFFIX}", os.O_RDONLY)
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
            (self.folder / f"{segment:020d}{_SUFFIX}").unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all segments of a closed epoch, and keep its place."""
        for segment in self.segments():
            (self.folder / f"{segment:020d}{_SUFFIX}").unlink()

    def remove(self) -> None:
        """Delete the epoch."""
        shutil.rmtree(self.folder)


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


def latest_checkpoint(outbox: Path, series: str) -> bytes | None:
    """Return where a source stood when it last appended events; None when it never did."""
    for reader in reversed(read_epochs(outbox)):
        if reader.series == series and (checkpoint := reader.last_checkpoint()) is not None:
            return checkpoint
    return None
