"""Which ids of a growing table have been read, which are missing, and when a missing one may be given up.

Pure functions on a `Cursor`; `heliograph.instance.event_logs` says why they are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from heliograph.instance.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Range: TypeAlias = tuple[int, int]
"""First and last id, both included."""
Ranges: TypeAlias = tuple[Range, ...]
"""Ascending, and apart from each other."""

LOWEST: Final = -(1 << 63)
"""The least number of a PostgreSQL ``bigint``: no id is at or below it."""
MAXIMUM_RANGES: Final = 20_000
"""Missing ranges that are kept in mind; with more, reading on waits until some are given up."""
MAXIMUM_GROUPS: Final = 64
_PREPARED: Final = "-1/"
"""How PostgreSQL names a prepared transaction without a session: its virtual transactions have a session's number."""


class Holes(msgspec.Struct, frozen=True):
    """Ids that were not visible when a higher one was read."""

    ranges: Ranges
    writers: tuple[str, ...]
    """Transactions, in alphabetical order, that may still bring these ids: those that ran when they were missed."""
    since: int
    """When they were missed, or when the last of these writers was seen to have ended: microseconds since 1970."""


class Cursor(msgspec.Struct, frozen=True):
    """How far a table has been read."""

    high: int = LOWEST
    """Each id at or below it has been read, is in a hole, or is given up."""
    holes: tuple[Holes, ...] = ()
    """Ascending."""

    @property
    def ranges(self) -> Ranges:
        """All missing ranges."""
        return tuple(missing for holes in self.holes for missing in holes.ranges)

    @property
    def room(self) -> int:
        """How many more missing ranges may be noticed."""
        return MAXIMUM_RANGES - sum(len(holes.ranges) for holes in self.holes)


def find_gaps(high: int, ids: Sequence[int]) -> list[Range]:
    """Return the ranges that are missing between `high` and the ascending `ids` above it."""
    if not ids or ids[-1] - high == len(ids):
        return []
    gaps = []
    for number in ids:
        if number != high + 1:
            gaps.append((high + 1, number - 1))
        high = number
    return gaps


def count_within(high: int, ids: Sequence[int], room: int) -> int:
    """Return how many of the ascending `ids` can be taken without noticing more than `room` missing ranges."""
    gaps = find_gaps(high, ids)
    if len(gaps) <= room:
        return len(ids)
    _, before = gaps[room]
    return ids.index(before + 1)


def notice(holes: tuple[Holes, ...], gaps: Sequence[Range], writers: Iterable[str], now: int) -> tuple[Holes, ...]:
    """Return `holes` and, after them, what a statement has newly missed.

    Args:
        holes: What was missing before, all of it below `gaps`.
        gaps: What the statement missed.
        writers: The transactions that ran at some moment after that statement's snapshot.
        now: Microseconds since 1970.
    """
    if not gaps:
        return holes
    ranges = tuple(gaps)
    if len(holes) >= MAXIMUM_GROUPS:
        # Of the last group's writers, those that are not among the new ones have ended: its next look tells.
        holes, ranges = holes[:-1], holes[-1].ranges + ranges
    return (*holes, Holes(ranges, tuple(sorted(writers)), now))


def fill(holes: Holes, ids: Sequence[int]) -> Holes | None:
    """Return `holes` without those of the ascending `ids` that lie in them; None when nothing is left."""
    left = []
    place = 0
    for start, last in holes.ranges:
        first = start
        while place < len(ids) and ids[place] <= last:
            if ids[place] >= first:
                if ids[place] > first:
                    left.append((first, ids[place] - 1))
                first = ids[place] + 1
            place += 1
        if first <= last:
            left.append((first, last))
    return replace(holes, ranges=tuple(left)) if left else None


def settle(holes: Holes, running: frozenset[str], now: int, linger: int) -> Holes | None:
    """Return what is still to be waited for once `holes` were looked up and not found; None when nothing is.

    Args:
        holes: What a look did not find.
        running: The transactions that ran at some moment before that look's snapshot, and after `holes` were noticed.
        now: Microseconds since 1970.
        linger: For how many microseconds holes are kept after their last writer has ended.
    """
    writers = set(holes.writers)
    left = writers & running
    if any(not writer.startswith(_PREPARED) for writer in writers - running):
        # A writer that is gone has ended, or was prepared: then it goes on under another name, which is not known.
        left.update(name for name in running if name.startswith(_PREPARED))
    if left:
        return replace(holes, writers=tuple(sorted(left)))
    if writers or now < holes.since:  # the last writer has just ended; or the clock was set back
        return replace(holes, writers=(), since=now)
    return None if now - holes.since >= linger else holes


class _EncodedHoles(msgspec.Struct, frozen=True):
    steps: tuple[int, ...]
    """In turn: ids from the end of the range before (or from `LOWEST`) to the first missing one, and the length."""
    writers: tuple[str, ...]
    since: int


class _EncodedCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    high: int
    holes: tuple[_EncodedHoles, ...]


def encode_cursor(cursor: Cursor) -> bytes:
    """Return `cursor` as JSON. Ranges are written as differences, as there may be thousands."""
    encoded = []
    for holes in cursor.holes:
        before = LOWEST
        steps = []
        for first, last in holes.ranges:
            steps += [first - before, last - first + 1]
            before = last
        encoded.append(_EncodedHoles(tuple(steps), holes.writers, holes.since))
    return msgspec.json.encode(_EncodedCursor(1, cursor.high, tuple(encoded)))


def decode_cursor(encoded: bytes | bytearray | memoryview | msgspec.Raw) -> Cursor:
    """Return the cursor that `encode_cursor` encoded.

    Raises:
        SourceError: It is none, or of another version.
    """
    try:
        cursor = msgspec.json.decode(encoded, type=_EncodedCursor)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(
            f"where reading stood cannot be read: {error}; was it written by a newer version? Install that one again"
        ) from None
    groups = []
    for holes in cursor.holes:
        before = LOWEST
        ranges = []
        for step, length in zip(holes.steps[::2], holes.steps[1::2], strict=False):
            ranges.append((before + step, before + step + length - 1))
            before += step + length - 1
        groups.append(Holes(tuple(ranges), holes.writers, holes.since))
    return Cursor(cursor.high, tuple(groups))
