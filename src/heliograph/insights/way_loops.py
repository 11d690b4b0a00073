"""Loops over what each user did, in the order of time: how far they came on the steps of a funnel.

They are written so that Numba can compile them (`heliograph.machine_code`), and Python runs them as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from heliograph.insights.user_loops import Flags, Integers

STEP_BITS: Final = 4
"""How many bits of a moment say its step, behind microseconds since 1970."""
_STEP: Final = (1 << STEP_BITS) - 1
LONG_AGO: Final = -(1 << 62)
"""So early that nothing is within any window of it."""


class Ways(NamedTuple):
    """How far each user came so far."""

    reached: Integers
    """The last step to which the user came; 0 for none."""
    begun: Integers
    """Microseconds since 1970 at which a way last began; far below 0, if none did."""
    steps: Integers
    """The largest number of a step that was done at all."""
    tied: Flags
    """Whether it matters which of two events at the same time came first: then the others say nothing."""
    late: Flags
    """Whether events came behind later ones that had been gone through: then the others say nothing, either."""
    last: Integers
    """The last moment that was gone through."""
    carried: Integers
    """Of shape (users, steps + 1): what those that come need to know of those before them."""


def put_in_order(moments: Integers, user: int, ways: Ways) -> None:
    """Put the moments of a user in order, and tell what is in the way of going through them."""
    for at in range(1, len(moments)):
        if moments[at] < moments[at - 1]:  # files are in order, and few are of the same days
            moments.sort()
            break
    last = ways.last[user]
    ways.late[user] |= moments[0] >> STEP_BITS < last >> STEP_BITS
    is_tied = False
    for moment in moments:
        is_tied |= 0 < moment ^ last <= _STEP
        last = moment
    ways.tied[user] |= is_tied
    ways.last[user] = last


def go_ordered(gathered: Integers, first: Integers, window: int, ways: Ways) -> None:
    """Tell how far users come who may do anything between two steps; see `go_exact` for what it takes.

    Each event of step k carries the latest first step from which it can be reached: the one that the latest event of
    step k-1 carries, as that has most time left.
    """
    for user in range(len(first) - 1):
        moments = gathered[first[user] : first[user + 1]]
        if len(moments) == 0:
            continue
        put_in_order(moments, user, ways)
        reached, steps = ways.reached[user], ways.steps[user]
        for moment in moments:
            time, step = moment >> STEP_BITS, moment & _STEP
            steps = max(steps, step)
            if step == 1:
                ways.carried[user, 1] = time
            elif time - ways.carried[user, step - 1] <= window:
                ways.carried[user, step] = ways.carried[user, step - 1]
            else:
                continue
            reached = max(reached, step)
        ways.reached[user], ways.begun[user], ways.steps[user] = reached, ways.carried[user, 1], steps


def go_exact(gathered: Integers, first: Integers, window: int, ways: Ways) -> None:
    """Tell how far users come who may do nothing between two steps that makes them active.

    Args:
        gathered: The moments of the users, in any order for each of them; they are put in order.
        first: Where those of each user begin, and where the last one's end.
        window: Microseconds from the first step within which all others count.
        ways: Of the moments before; is moved on.
    """
    for user in range(len(first) - 1):
        moments = gathered[first[user] : first[user + 1]]
        if len(moments) == 0:
            continue
        put_in_order(moments, user, ways)
        begun, so_far = ways.begun[user], ways.carried[user, 0]
        reached, steps = ways.reached[user], ways.steps[user]
        for moment in moments:
            time, step = moment >> STEP_BITS, moment & _STEP
            steps = max(steps, step)
            if step == 1:
                so_far, begun = 1, time
            elif step == so_far + 1 and so_far > 0 and time - begun <= window:
                so_far = step
            else:
                so_far = 0
            reached = max(reached, so_far)
        ways.begun[user], ways.carried[user, 0] = begun, so_far
        ways.reached[user], ways.steps[user] = reached, steps


def go_any(gathered: Integers, first: Integers, window: int, ways: Ways) -> None:
    """Tell how far users come who take the steps in whatever order; see `go_exact` for what it takes.

    Each event carries when each step was last done before it.
    """
    for user in range(len(first) - 1):
        moments = gathered[first[user] : first[user + 1]]
        if len(moments) == 0:
            continue
        put_in_order(moments, user, ways)
        latest = ways.carried[user]
        reached, steps = ways.reached[user], ways.steps[user]
        for moment in moments:
            time, step = moment >> STEP_BITS, moment & _STEP
            steps = max(steps, step)
            latest[step] = earliest = time
            for other in range(1, reached + 1):
                earliest = min(earliest, latest[other])
            while reached + 1 < len(latest) and time - min(earliest, latest[reached + 1]) <= window:
                reached += 1
                earliest = min(earliest, latest[reached])
        ways.begun[user] = moments[-1] >> STEP_BITS
        ways.reached[user], ways.steps[user] = reached, steps
