"""Each user's events as lists of whole numbers, to be gone through by numpy where the engine is this process.

DuckDB takes several times as long to put all events of all users in order as to gather them by user, and does so anew
for each window that builds on another. Lists come to a function in Python for some two thousand users at once: so many
that calls cost nothing, and so few that they fit into a cache. Until then a number takes some 16 bytes of memory, which
DuckDB keeps beside what it may spill to disk. Spark's events stay on its machines: there, windows do the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Numbers: TypeAlias = npt.NDArray[np.int64]
    Flags: TypeAlias = npt.NDArray[np.bool_]

INTEGERS: Final = dt.Array(dt.int64)
"""The type of a list."""
_IN_PROCESS: Final = ("duckdb",)
_KEY_BITS: Final = 63


def is_in_process(table: ibis.Table) -> bool:
    """Tell whether the engine of a table is this process, so that its lists are near."""
    return table.get_backend().name in _IN_PROCESS


@ibis.udf.agg.builtin(name="list", signature=((dt.int64,), INTEGERS))  # type: ignore[untyped-decorator]  # Ibis's, which has no types
def listed(number: int) -> list[int]:  # type: ignore[empty-body]  # the engine has it
    """Return the numbers of all rows, in any order, but in the same one for all lists of a group."""


@ibis.udf.scalar.builtin(name="epoch_us", signature=((dt.Timestamp(scale=6),), dt.int64))  # type: ignore[untyped-decorator]  # likewise
def microseconds(time: object) -> int:  # type: ignore[empty-body]  # likewise
    """Return a naive UTC time as microseconds since 1970."""


class InOrder(NamedTuple):
    """The numbers of some users' lists, those of each user from the smallest on, one user behind the other."""

    numbers: Numbers
    users: Numbers
    """Whose each number is: 0, 1, ..."""
    first: Numbers
    """Where the numbers of each user begin."""


def in_order(lists: pa.ChunkedArray, *, key_bits: int = _KEY_BITS) -> InOrder:
    """Return what lists hold, each in its order.

    Args:
        lists: Of a user each, none of them empty.
        key_bits: How large a number may be that tells user and place in one; a test may want it smaller.
    """
    numbers = flat(lists)
    lengths = pc.list_value_length(lists).to_numpy()
    users = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    least = numbers.min()
    bits = int(numbers.max() - least).bit_length()
    if bits + len(lengths).bit_length() > key_bits:
        return InOrder(numbers[np.lexsort((numbers, users))], users, first)
    keys = (users << bits) | (numbers - least)
    keys.sort()
    return InOrder((keys & ((1 << bits) - 1)) + least, users, first)


def flat(lists: pa.ChunkedArray) -> Numbers:
    """Return the numbers of all lists, one behind the other."""
    numbers: Numbers = pc.list_flatten(lists).to_numpy()
    return numbers
