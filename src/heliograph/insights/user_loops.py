"""Loops over the events of users: who is who, and what each did.

They are written so that Numba can compile them (`heliograph.machine_code`), and Python runs them as well. A user's id
is 32 letters (`heliograph.event.RANDOM_ID_PATTERN`), which are four machine words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ids: TypeAlias = npt.NDArray[np.uint64]
    Numbers: TypeAlias = npt.NDArray[np.int32]
    Integers: TypeAlias = npt.NDArray[np.int64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

ID_WORDS: Final = 4
ID_LETTERS: Final = 8 * ID_WORDS
_HALF: Final = np.uint64(32)
_SPREAD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


class Known(NamedTuple):
    """The users who have numbers, from 0 on, and room for more."""

    slots: Numbers
    """By a hash of the id, the user's number; or that of another one; -1 if there is none. A power of two of them."""
    units: Numbers
    """The number of what each belongs to, such as an account."""
    ids: Ids
    """Of shape (users, `ID_WORDS`)."""


class Kept(NamedTuple):
    """Room for moments as they come, and for the numbers of their users."""

    numbers: Numbers
    moments: Integers


class Rows(NamedTuple):
    """Events as Arrow has them."""

    starts: Numbers
    """Where each user's id begins, and where the last one's ends."""
    ids: Ids
    """A user's for each event, which only is one if it begins there."""
    units: Numbers
    """The number of what that user belongs to."""
    moments: Integers
    """When and which step each was, as `heliograph.insights.way_loops.STEP_BITS` says."""


def slot_of(ids: Ids, row: int, slots: int) -> int:
    """Return where to look for a user first, by the id."""
    mixed = (ids[row, 0] + ids[row, 2] + (ids[row, 1] + ids[row, 3]) * _SPREAD) * _MIX
    mixed = (mixed ^ (mixed >> _HALF)) * _SPREAD
    return np.int64(mixed >> _HALF) & np.int64(slots - 1)  # type: ignore[return-value]  # as Numba has it


def place(known: Known, count: int) -> None:
    """Fill in the slots of so many users, which are all empty."""
    for user in range(count):
        slot = slot_of(known.ids, user, len(known.slots))
        while known.slots[slot] >= 0:
            slot = (slot + 1) & (len(known.slots) - 1)
        known.slots[slot] = user


def keep(
    rows: Rows, known: Known, count: int, reached: Integers, enough: int, kept: Kept, so_far: int
) -> tuple[int, int]:
    """Keep the moments of users of whom there is more to know.

    Args:
        rows: The events.
        known: Has room for the user of each, and more slots than that; is added to.
        count: How many users are known.
        reached: How far each of these came.
        enough: Of whom came as far, nothing more is kept.
        kept: Has room for all of the events; is added to.
        so_far: How many it has.

    Returns:
        How many users are known, and how many moments are kept. The first is -1, if an id is not such as users have, or
        belongs to several units: then there is another way to the same answer.
    """
    for row in range(len(rows.moments)):
        if rows.starts[row + 1] - rows.starts[row] != ID_LETTERS:
            return -1, so_far
        first, second, third, fourth = rows.ids[row, 0], rows.ids[row, 1], rows.ids[row, 2], rows.ids[row, 3]
        slot = slot_of(rows.ids, row, len(known.slots))
        user = known.slots[slot]
        while user >= 0:
            is_first_half = known.ids[user, 0] == first and known.ids[user, 1] == second
            if is_first_half and known.ids[user, 2] == third and known.ids[user, 3] == fourth:
                break
            slot = (slot + 1) & (len(known.slots) - 1)
            user = known.slots[slot]
        if user < 0:
            user = known.slots[slot] = count
            known.units[user] = rows.units[row]
            for word in range(ID_WORDS):
                known.ids[user, word] = rows.ids[row, word]
            count += 1
        if known.units[user] != rows.units[row]:
            return -1, so_far
        if reached[user] < enough:
            kept.numbers[so_far], kept.moments[so_far] = user, rows.moments[row]
            so_far += 1
    return count, so_far


def gather(kept: Kept, free: Integers, gathered: Integers) -> None:
    """Bring moments to those of the same user.

    Args:
        kept: The moments.
        free: Of each user, where there is room for the next one; is moved on.
        gathered: Where they are brought.
    """
    for row in range(len(kept.numbers)):
        user = kept.numbers[row]
        gathered[free[user]] = kept.moments[row]
        free[user] += 1
