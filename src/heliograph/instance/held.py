"""Events set aside: no plan has declared them yet, and one may, so that they can still be delivered then.

Each name has epochs of its own, in a folder of their own below the outbox. So the numbers of one name can be delivered
while another waits, and what waits never takes the room of what is declared.
"""

from __future__ import annotations

import contextlib
import time as clock
from typing import TYPE_CHECKING, Any, Final

from heliograph.instance.declared import UndeclaredError
from heliograph.instance.outbox import HELD_FOLDER, HELD_SERIES, EpochWriter, OutboxFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_NAMES: Final = 20
"""Names that one process sets aside at a time: a product that makes names up does not fill a folder with epochs."""
PART: Final = 32
"""All that is set aside takes at most this part of the outbox's bound."""
EPOCH_SECONDS: Final = 86_400.0
"""A new epoch begins after this time, as an epoch is given up as a whole, once it is too old."""


class HeldEvents:
    """The epochs of one process. Not thread-safe: its owner holds a lock.

    Args:
        outbox: The folder of the outbox.
        maximum_bytes: Bound of the whole outbox.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(self, outbox: Path, *, maximum_bytes: int, ticks: Callable[[], float] = clock.monotonic) -> None:
        self._folder = outbox / HELD_FOLDER
        self._maximum_bytes = maximum_bytes // PART
        self._ticks = ticks
        self._writers: dict[str, tuple[EpochWriter, float]] = {}
        self._unsynced: set[str] = set()
        self._noted: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self.recorded: Final[dict[str, int]] = {}
        """Events set aside since this began, by name."""

    def append(self, name: str, event: list[Any]) -> None:
        """Append an event of a name.

        Raises:
            UndeclaredError: There is no room, or there are too many names; nothing was written.
            OSError: The operating system refused; nothing counts as written.
            TypeError, ValueError, RecursionError: The event is not JSON; nothing was written.
        """
        found = self._writers.get(name)
        if found is None:
            if len(self._writers) >= MOST_NAMES:
                raise UndeclaredError
            writer = EpochWriter(
                self._folder,
                HELD_SERIES + name,
                maximum_bytes=self._maximum_bytes,
                segment_bytes=max(self._maximum_bytes // 8, 4096),
            )
            found = self._writers[name] = (writer, self._ticks())
            self._before[name] = self.recorded.get(name, 0)
        try:
            found[0].append_recorded(event)
        except OutboxFullError:
            raise UndeclaredError from None
        self._unsynced.add(name)
        self.recorded[name] = self.recorded.get(name, 0) + 1

    def tidy(self, holds: Callable[[str], bool]) -> None:
        """Look how much room there is, and end the epochs of names that are not set aside any more, or that are old."""
        for name, (writer, began) in list(self._writers.items()):
            self._note(name, writer)
            if holds(name) and self._ticks() - began < EPOCH_SECONDS:
                writer.measure()
            else:
                del self._writers[name]
                self._unsynced.discard(name)
                _close(writer)

    def _note(self, name: str, writer: EpochWriter) -> None:
        """Write down how many were set aside, for readers to compare with what they find."""
        count = self.recorded.get(name, 0)
        if self._noted.get(name) != count:
            with contextlib.suppress(OSError):  # the next time it may work; at the end, the lines tell
                writer.note_dropped({}, recorded={name: count - self._before[name]})
                self._noted[name] = count

    def descriptors(self) -> Iterator[int]:
        """Yield a descriptor, of the caller's own, of each file that has to be forced to disk since the last time."""
        while self._unsynced:
            descriptor = self._writers[self._unsynced.pop()][0].duplicate_descriptor()
            if descriptor is not None:
                yield descriptor

    def close(self) -> None:
        """Force everything to disk, and end all epochs."""
        for name, (writer, _) in self._writers.items():
            self._note(name, writer)
            _close(writer)
        self._writers.clear()
        self._unsynced.clear()

    def abandon(self) -> None:
        """Let go of the files without a word, as a forked child must."""
        for writer, _ in self._writers.values():
            writer.abandon()
        self._writers.clear()
        self._unsynced.clear()


def _close(writer: EpochWriter) -> None:
    try:
        writer.close()
    except OSError:
        writer.abandon()
