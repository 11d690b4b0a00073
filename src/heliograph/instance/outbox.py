"""The outbox: events on the instance's disk between being recorded and being acknowledged.

Each writing process has a folder of its own, named by its epoch, so that writers need no common lock. In it are
segments named by the sequence number of their first event; a segment is a series of frames (`heliograph.frames`).
A frame's body is one or more events as JSON lines, each holding its sequence number: an array of a recorder
(`heliograph.instance.compact_lines`), an object of a source. Its header is empty, or a `Note`. Bodies and notes of one
frame are written together or not at all.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from heliograph.event import UNDECLARED, Epoch, new_epoch
from heliograph.frames import (
    PLAIN_AFTER,
    PLAIN_PREFIX,
    PREFIX_BYTES,
    encode_body,
    encode_frame,
    make_folder,
    sync_folder,
    write_atomically,
    write_fully,
)
from heliograph.instance.compact_lines import SEQUENCE, plain_event
from heliograph.instance.recorded import LONGEST_WORD, check_words
from heliograph.wire import Counts, VerdictCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SEGMENT_BYTES: Final = 8 << 20
RECORDER_SERIES: Final = "recorder"
HELD_SERIES: Final = "held:"
"""With an event's name behind it: events that no plan has declared yet; see `heliograph.instance.held`."""
HELD_FOLDER: Final = "held"
"""Below the outbox, where they have a bound of their own, and an older agent does not find them."""
LOCK: Final = "writer.lock"
SERIES: Final = "series"
SUFFIX: Final = ".segment"
REMOVED: Final = ".removed-"
_NOTHING: Final = msgspec.Raw()
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
        self.failed = False
        """Whether the disk has refused to keep what was written: nothing may be written behind it."""
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
        make_folder(outbox)
        # The folder gets its name only once it is locked, so that no reader takes it for a finished epoch.
        making = outbox / f".{self.epoch:020d}"
        making.mkdir(mode=0o700)
        self._lock = os.open(making / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Whose events these are must outlive a power cut: a source's epoch says where reading its table stands.
        write_atomically(making / SERIES, series.encode())
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

    def append_recorded(self, event: list[Any]) -> None:
        """As `append`, one event as a compact line; it gets its number in its place.

        Raises:
            ValueError: A text is longer than can be recorded; and as `append` does. Nothing was written.
        """
        event[SEQUENCE] = sequence = self.last + 1
        line = _encode(event)
        length, offset = len(line), self._offset
        if length > LONGEST_WORD:
            check_words(event)
        # As `encode_body` does.
        frame = PLAIN_PREFIX.pack(crc32(line, crc32(PLAIN_AFTER.pack(0, length))), 0, length) + line
        size = length + PREFIX_BYTES
        if size > self._room or self._segment < 0 or offset >= self._segment_bytes:
            self._append(frame, sequence)
            return
        # As `_write` does, in one piece: this is all that happens for nearly every event.
        written = os.pwrite(self._segment, frame, offset)
        if written != size:
            write_fully(self._segment, frame[written:], offset + written)
        self._offset = offset + size
        self._room -= size
        self.last = sequence

    def append_plain(self, event: list[Any]) -> None:
        """As `append_recorded`, as a plain line: for an agent of which it is not known that it reads compact ones."""
        event[SEQUENCE] = sequence = self.last + 1
        line = _encode(plain_event(event))
        if len(line) > LONGEST_WORD:
            check_words(event)
        self._append(encode_body(line), sequence)

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
            try:
                os.fdatasync(self._segment)
            except OSError:
                self.failed = True
                raise
        path = self.folder / f"{self.last + 1:020d}{SUFFIX}"
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
