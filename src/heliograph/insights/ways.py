"""How far users come on the steps of a funnel: one pass over the events of some users, by numpy.

It is told by the places of events in their order, each user's behind those of the one before. A place that is carried
forward is the latest there is, and one of another user lies before the user's own first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import ibis
import numpy as np
import pyarrow as pa

from heliograph.insights.listing import INTEGERS, flat, in_order, listed, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.insights.listing import Flags, Numbers

_STEP_BITS: Final = 4
_LAST: Final = (1 << _STEP_BITS) - 1


def moments(events: ibis.Table) -> ibis.Value:
    """Return the list of the times and steps of all events, as `reached` takes it.

    Args:
        events: With `time`, and `step`: its number; 0 for none.
    """
    # A later step comes first, so that no step precedes one that it does not strictly precede.
    return listed((microseconds(events.time) << _STEP_BITS) | (_LAST - events.step))


def sequences(events: ibis.Table) -> ibis.Value:
    """Return the list of their sequence numbers."""
    return listed(events.sequence)


def reached(order: str, moments: ibis.Value, sequences: ibis.Value, window: int) -> ibis.Value:
    """Return the last step to which each user came, 0 for none.

    Args:
        order: ``ordered``, ``exact`` or ``any``.
        moments: Of a user each.
        sequences: Of the same events.
        window: Microseconds from the first step within which all others count.
    """
    return _REACHED[order](moments, sequences, window)


class _Events(NamedTuple):
    """Events of some users in their order."""

    times: Numbers
    steps: Numbers
    users: Numbers
    first: Numbers
    """Where each user's begin."""

    def follow(self, begun: Numbers, at: Numbers, window: int) -> Flags:
        """Tell for events at some places whether they are of the same user as those before, and within the window."""
        return (begun >= self.first[self.users[at]]) & (self.times[at] - self.times[begun] <= window)


def _ordered(events: _Events, window: int) -> Numbers:
    came = begun = np.flatnonzero(events.steps == 1)
    found = np.zeros_like(events.steps)
    found[came] = 1
    for step in range(2, events.steps.max() + 1):
        at = np.flatnonzero(events.steps == step)
        before = np.searchsorted(came, at)
        at, before = at[before > 0], before[before > 0] - 1
        goes_on = events.follow(begun[before], at, window)
        came, begun = at[goes_on], begun[before[goes_on]]
        found[came] = step
    return found


def _exact(events: _Events, window: int) -> Numbers:
    found = np.where(events.steps == 1, 1, 0)
    came = np.flatnonzero(found)
    for step in range(2, events.steps.max() + 1):
        at = came + 1
        at = at[at < len(found)]
        at = at[(events.steps[at] == step) & events.follow(at - (step - 1), at, window)]
        came = at
        found[came] = step
    return found


def _any(events: _Events, window: int) -> Numbers:
    found = np.zeros_like(events.steps)
    places = np.arange(len(found))
    earliest = places
    for step in range(1, events.steps.max() + 1):
        earliest = np.minimum(earliest, np.maximum.accumulate(np.where(events.steps == step, places, -1)))
        found[(earliest >= 0) & events.follow(earliest, places, window)] = step
    return found


def _reached_by(way: Callable[[_Events, int], Numbers]) -> Callable[..., pa.Array]:
    """Return the function that goes through lists as `reached` takes them."""

    def reached(moments: pa.ChunkedArray, sequences: pa.ChunkedArray, window: pa.ChunkedArray) -> pa.Array:
        packed, users, first = in_order(moments)
        times = packed >> _STEP_BITS
        if ((times[1:] == times[:-1]) & (users[1:] == users[:-1])).any():
            packed = flat(moments)
            packed = packed[np.lexsort((packed & _LAST, flat(sequences), packed >> _STEP_BITS, users))]
        found = way(_Events(times, _LAST - (packed & _LAST), users, first), window[0].as_py())
        return pa.array(np.maximum.reduceat(found, first))

    return reached


_SIGNATURE: Final = ((INTEGERS, INTEGERS, "int64"), "int64")
_REACHED: Final = {
    order: ibis.udf.scalar.pyarrow(_reached_by(way), name=f"reached_{order}", signature=_SIGNATURE)
    for order, way in (("ordered", _ordered), ("exact", _exact), ("any", _any))
}
