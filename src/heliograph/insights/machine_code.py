"""The loops over the events of users as machine code, for questions about many events.

Nobody needs them: without Numba (the extra `fast`), and of few events, the engine's own windows tell the same.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from heliograph.insights import user_loops, way_loops
from heliograph.insights.user_loops import Kept, Known, Rows
from heliograph.insights.way_loops import Ways
from heliograph.machine_code import array, compiled, let_be_called, record, types

if TYPE_CHECKING:
    from collections.abc import Callable


class UserLoops(NamedTuple):
    """Those of `heliograph.insights.user_loops`, and one of `heliograph.insights.way_loops`."""

    place: Callable[..., None]
    keep: Callable[..., tuple[int, int]]
    gather: Callable[..., None]
    go: Callable[..., None]
    """The one for its order."""


_GO: Final = {"ordered": way_loops.go_ordered, "exact": way_loops.go_exact, "any": way_loops.go_any}


def plain_loops(order: str) -> UserLoops:
    """Return the loops as Python runs them, a hundred times slower."""
    return UserLoops(user_loops.place, user_loops.keep, user_loops.gather, _GO[order])


@cache
def compiled_loops(order: str) -> UserLoops | None:
    """Return the loops compiled, in one process once; None where that cannot be done."""
    if find_spec("numba") is None:
        return None
    try:
        return _compile(order)
    except Exception as error:  # noqa: BLE001 - whatever hinders it, there is another way to the same answer
        warnings.warn(f"Loops cannot be compiled, so that funnels take longer: {error}", RuntimeWarning, stacklevel=2)
        return None


def _compile(order: str) -> UserLoops:
    kinds = types()

    def read(kind: Any, dimensions: int = 1) -> Any:
        return kinds.Array(kind, dimensions, "C", readonly=True)

    whole, numbers, integers, flags = kinds.int64, array(kinds.int32), array(kinds.int64), array(kinds.boolean)
    rows = record(Rows, read(kinds.int32), read(kinds.uint64, 2), numbers, read(whole))
    known = record(Known, numbers, numbers, array(kinds.uint64, 2))
    ways = record(Ways, integers, integers, integers, flags, flags, integers, array(whole, 2))
    kept = record(Kept, numbers, integers)
    let_be_called(user_loops, as_parts=True, makes_arrays=False)
    let_be_called(way_loops, as_parts=True)
    return UserLoops(
        place=compiled(user_loops.place, kinds.void(known, whole), makes_arrays=False),
        keep=compiled(
            user_loops.keep,
            kinds.UniTuple(whole, 2)(rows, known, whole, integers, whole, kept, whole),
            makes_arrays=False,
        ),
        gather=compiled(user_loops.gather, kinds.void(kept, integers, integers), makes_arrays=False),
        go=compiled(_GO[order], kinds.void(integers, integers, whole, ways)),
    )
