"""How far users come on the steps of a funnel: one pass over the events of some users, by numpy.

What is carried from an event to those behind it is a time, the latest there is. Users stand further apart than a
funnel's window, so that what is carried over to the next user is too early for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pyarrow as pa

from heliograph.insights import listing
from heliograph.insights.listing import INTEGERS, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    import numpy.typing as npt

    from heliograph.insights.listing import Flags, Numbers

    Steps: TypeAlias = npt.NDArray[np.int8]

_STEP_BITS: Final = 4
_LAST: Final = (1 << _STEP_BITS) - 1


def moments(events: ibis.Table) -> ibis.Value:
    """Return the list of the times and steps of all events, as `ways` takes it.

    Args:
        events: With `time`, and `step`: its number; 0 for none.
    """
    # A later step comes first, so that no step precedes one that it does not strictly precede.
    return listing.moments(events.time, _LAST - events.step, bits=_STEP_BITS)


def ways(order: str, moments: ibis.Value, window: int) -> Any:
    """Return the way of each user.

    Args:
        order: ``ordered``, ``exact`` or ``any``.
        moments: Of a user each.
        window: Microseconds from the first step within which all others count.

    Returns:
        `reached` (the last step to which the user came; 0 for none), `begun` (the time at which a way last began; null
        for none), `steps` (the largest number of a step that was done at all), `tied` (whether it matters which of two
        events at the same time came first: then the others say nothing).
    """
    return _WAYS[order](moments, window)


def _carried(times: Numbers, where: Flags) -> Numbers:
    """Return for each event the latest time of those so far, itself included, where something holds; 0 for none."""
    carried: Numbers = times * where
    return np.maximum.accumulate(carried, out=carried)


def _ordered(times: Numbers, steps: Steps, window: int) -> Iterator[Flags]:
    found = steps == 1
    yield found
    begun = times
    for step in range(2, steps.max() + 1):
        begun = _carried(begun, found)
        found = (steps == step) & (times - begun <= window)
        yield found


def _exact(times: Numbers, steps: Steps, window: int) -> Iterator[Flags]:
    found = steps == 1
    yield found
    for step in range(2, steps.max() + 1):
        goes_on = np.zeros_like(found)
        goes_on[1:] = found[:-1] & (steps[1:] == step)
        goes_on[step - 1 :] &= times[step - 1 :] - times[: 1 - step] <= window
        found = goes_on
        yield found


def _any(times: Numbers, steps: Steps, window: int) -> Iterator[Flags]:
    earliest = times
    for step in range(1, steps.max() + 1):
        earliest = np.minimum(earliest, _carried(times, steps == step))
        yield times - earliest <= window


def _ways_by(way: Callable[[Numbers, Steps, int], Iterator[Flags]], begins: Callable[[Steps], Flags]) -> Any:
    """Return the function that goes through lists.

    Args:
        way: Tells for each step, from the first on, where it is reached: nowhere by who did not reach the one before.
        begins: Tells where a way may begin.
    """

    def ways(moments: pa.ChunkedArray, window: pa.ChunkedArray) -> pa.Array:
        longest = window[0].as_py()
        parts = []
        for times, kinds, first, zero in in_order(moments, bits=_STEP_BITS, apart=longest):
            steps = (_LAST - kinds).astype(np.int8)
            reached = np.zeros(len(first), np.int64)
            for found in way(times, steps, longest):
                reached += np.logical_or.reduceat(found, first)
            begun = np.maximum.reduceat(times * begins(steps), first)
            tied = np.zeros(len(times), np.bool_)
            tied[1:] = (times[1:] == times[:-1]) & (steps[1:] != steps[:-1])
            columns = [
                pa.array(reached),
                pa.array(begun + zero, mask=begun == 0).cast(pa.timestamp("us")),
                pa.array(np.maximum.reduceat(steps, first).astype(np.int64)),
                pa.array(np.logical_or.reduceat(tied, first)),
            ]
            parts.append(pa.StructArray.from_arrays(columns, _WAY.names))
        return pa.concat_arrays(parts)

    return ways


_WAY: Final = dt.Struct({"reached": dt.int64, "begun": dt.Timestamp(scale=6), "steps": dt.int64, "tied": dt.boolean})
_WAYS: Final = {
    order: ibis.udf.scalar.pyarrow(_ways_by(way, begins), name=f"way_{order}", signature=((INTEGERS, "int64"), _WAY))
    for order, way, begins in (
        ("ordered", _ordered, lambda steps: steps == 1),
        ("exact", _exact, lambda steps: steps == 1),
        ("any", _any, lambda steps: steps > 0),
    )
}
