"""The loops over the events of users as machine code, for questions about many events.

Nobody needs them: without Numba (the extra `fast`), and of few events, the engine's own windows tell the same.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.insights import user_loops, way_loops
from heliograph.insights.user_loops import Kept, Known, Rows
from heliograph.insights.way_loops import Ways
from heliograph.machine_code import MachineCode, array, compiled, let_be_called, record, types

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
    return MachineCode(lambda: _compile(order), hindered=_warn).ready().loops()


def _warn() -> None:
    why = sys.exc_info()[1]
    warnings.warn(f"Loops cannot be compiled, so that funnels take longer: {why}", RuntimeWarning, stacklevel=2)


def _compile(order: str) -> UserLoops:
    kinds = types()
    whole, numbers, integers, flags = kinds.int64, array(kinds.int32), array(kinds.int64), array(kinds.boolean)
    rows = record(
        Rows,
        array(kinds.int32, readonly=True),
        array(kinds.uint64, 2, readonly=True),
        numbers,
        array(whole, readonly=True),
    )
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
