"""Reading the next events of an epoch while the present ones are built and on their way.

Both are mostly done in libraries that let other threads run, and the way is mostly waiting.

What is read ahead is what the outbox and the plan say, and nothing more: who has said no to what, whose events they are
and whether anything may leave is looked up when a batch is built of it. Whoever takes it says what has to be the same.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from heliograph.instance.many_frames import join_plain
from heliograph.instance.quick_frames import quick_join

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from heliograph.instance.batch import BatchBuilder, Recorded
    from heliograph.instance.outbox_reading import Chunk, EpochReader, Position


class Events(NamedTuple):
    """A chunk of an epoch, and what it holds by a plan."""

    chunk: Chunk
    recorded: Recorded


class Place(NamedTuple):
    """What is read, and by what."""

    epoch: int
    position: Position
    limit: int
    """At most so many events."""
    builder: BatchBuilder
    """The one that will build the batch."""
    latest: datetime
    """The latest time that an event may have."""


def read_events(reader: EpochReader, place: Place, *, last: int | None = None) -> Events:
    """Read events as `EpochReader.read` and `BatchBuilder.read` do.

    Raises:
        OSError: The outbox cannot be read.
    """
    loops = place.builder.code.loops()
    join = join_plain if loops is None else quick_join(loops.join_bodies)
    chunk = reader.read(place.position, place.limit, last=last, join=join)
    return Events(chunk, place.builder.read(chunk.body, latest=place.latest))


class ReadAhead:
    """Holds at most one chunk, which a thread of its own reads."""

    def __init__(self) -> None:
        self._place: Place | None = None
        self._thread: threading.Thread | None = None
        self._events: list[Events] = []

    @property
    def epoch(self) -> int | None:
        """Whose chunk it is; None while it holds none."""
        return None if self._place is None else self._place.epoch

    def forget(self) -> None:
        """Hold nothing any more."""
        self._place, self._thread, self._events = None, None, []

    def begin(self, reader: EpochReader, place: Place) -> None:
        """Begin to read; what was read before and not taken is forgotten."""
        events: list[Events] = []

        def read() -> None:
            try:
                events.append(read_events(reader, place))
            except Exception:  # noqa: BLE001 - whoever needs these events reads them, and is told what is wrong
                events.clear()

        self._place, self._events = place, events
        self._thread = threading.Thread(target=read, name="heliograph-read-ahead", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads
            self.forget()

    def take(self, matches: Callable[[Place], bool]) -> Events | None:
        """Return what was read ahead if its place `matches`, and forget it.

        Less than was asked for is not returned: meanwhile there may be more.
        """
        place, thread, events = self._place, self._thread, self._events
        self.forget()
        if place is None or thread is None or not matches(place):
            return None
        thread.join()
        return events[0] if events and events[0].chunk.numbers >= place.limit else None
