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
    from collections.abc import Iterator

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
    """Return the numbers of all rows, in any order."""


@ibis.udf.scalar.builtin(name="epoch_us", signature=((dt.Timestamp(scale=6),), dt.int64))  # type: ignore[untyped-decorator]  # likewise
def microseconds(time: object) -> int:  # type: ignore[empty-body]  # likewise
    """Return a naive UTC time as microseconds since 1970."""


@ibis.udf.scalar.builtin(name="list_position", signature=((dt.Array(dt.string), dt.string), dt.int64))  # type: ignore[untyped-decorator]  # likewise
def list_position(words: list[str], word: str) -> int:  # type: ignore[empty-body]  # likewise
    """Return where a word stands in a list, from 1 on; null, if it does not. Ibis asks for it to be given a name."""


def moments(time: ibis.Value, kind: ibis.Value, *, bits: int) -> ibis.Value:
    """Return the list of the times of all rows, each with what it is, a number of so many bits."""
    return listed((microseconds(time) << bits) | kind)


class InOrder(NamedTuple):
    """The moments of some users, those of each user from the first on, by kind where times are the same.

    One user's stand behind the other's, and further from them than `apart`, as does the first from 0: who looks for
    what is near need not ask whose it is, and 0 is too early for anything.
    """

    times: Numbers
    """Microseconds since a beginning of each user's own."""
    kinds: Numbers
    first: Numbers
    """Where the moments of each user begin."""
    begun: Numbers
    """Microseconds from 1970 to the beginning of each user."""


def in_order(lists: pa.ChunkedArray, *, bits: int, apart: int, key_bits: int = _KEY_BITS) -> Iterator[InOrder]:
    """Give what lists of `moments` hold: of so many at once as one number can tell apart, which mostly are all.

    Args:
        lists: Of a user each, none of them empty.
        bits: As for `moments`.
        apart: Microseconds.
        key_bits: How large a number may be that tells user and moment; a test may want it smaller.
    """
    least, most = (limit.as_py() >> bits for limit in pc.min_max(pc.list_flatten(lists)).values())
    room = (most - least + apart + 1).bit_length()
    at_once = 1 << max(key_bits - room - bits, 0)
    for start in range(0, len(lists), at_once):
        some = lists.slice(start, at_once)
        lengths = pc.list_value_length(some).to_numpy()
        begun = least - (np.arange(len(lengths)) << room) - (apart + 1)
        keys = np.repeat(-begun << bits, lengths)
        keys += pc.list_flatten(some).to_numpy()
        # They come in a few runs that are in order, as files are: a stable sort merges them, in a fifth of the time.
        keys.sort(kind="stable")
        kinds = keys & ((1 << bits) - 1)
        keys >>= bits
        yield InOrder(keys, kinds, np.cumsum(lengths) - lengths, begun)
