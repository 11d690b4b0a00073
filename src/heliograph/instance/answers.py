"""What to do about each answer that is not the one hoped for: one table, for deliveries and for everything else.

An answer counts as the gateway's only if it is a problem as docs/wire.md has it. Whatever else answers stands between
us and the gateway (a proxy, a hotel's log-in page, a load balancer), knows nothing of our events, and decides nothing
about them.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from heliograph.wire import Problem

FOREIGN: Final = "unknown"
"""The type of a problem that we made ourselves, for an answer that was none of the gateway's."""


class Action(enum.Enum):
    """What an answer asks for."""

    REPEAT = "wait, and send the same again"
    SPLIT = "send less at once, until the event at fault is alone"
    RENEW = "ask for another token"
    ASK = "ask for policy and plan again, and go by them"
    GO_ON = "go on from `expected`"
    STOP = "wait long, and tell the admin"


_BY_STATUS: Final = {
    400: Action.SPLIT,
    401: Action.RENEW,
    403: Action.ASK,
    404: Action.STOP,
    405: Action.STOP,
    408: Action.REPEAT,
    409: Action.STOP,
    413: Action.SPLIT,
    415: Action.STOP,
    422: Action.SPLIT,
    425: Action.REPEAT,
    429: Action.REPEAT,
    503: Action.REPEAT,
    507: Action.REPEAT,
}
"""By status, for every problem that is not named below: the gateway may be newer than this agent."""
_SERVER_ERROR: Final = 500
_BY_TYPE: Final = {
    "plan_changed": Action.ASK,
    "sequence_gap": Action.GO_ON,
    # About the request's form or the instance, and so about no event: less at once would not help.
    "malformed_assertion": Action.STOP,
    "missing_header": Action.STOP,
    "bad_header": Action.STOP,
}
TOO_LARGE: Final = 413


def action_of(problem: Problem) -> Action:
    """Return what a problem asks for."""
    if problem.type == FOREIGN:
        # A proxy may bound what it lets through; nothing else that it says is about our events.
        return Action.SPLIT if problem.status == TOO_LARGE else Action.REPEAT
    if problem.type in _BY_TYPE:
        return _BY_TYPE[problem.type]
    if problem.status >= _SERVER_ERROR:
        return Action.REPEAT
    return _BY_STATUS.get(problem.status, Action.STOP)


def is_for_good(problem: Problem) -> bool:
    """Tell whether an event that is alone in a delivery may be given up for this problem."""
    return problem.type != FOREIGN and action_of(problem) is Action.SPLIT
