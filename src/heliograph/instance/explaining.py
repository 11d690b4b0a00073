"""The admin's word on a difference of the account: it is known, and why. It stands in the ledger, for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.instance.account import read_passed
from heliograph.ledger.entries import MOST_BY, MOST_REASON, Explained

if TYPE_CHECKING:
    from heliograph.instance.state import State


def explanation_problems(by: str, reason: str) -> list[str]:
    """Return what is wrong with the words of an explanation."""
    problems = []
    if not 0 < len(by.strip()) <= MOST_BY:
        problems.append(f'--by: the role that says so, such as "operations"; at most {MOST_BY} characters')
    if not 0 < len(reason.strip()) <= MOST_REASON:
        problems.append(f"--reason: how the difference came to be; at most {MOST_REASON:,} characters")
    return problems


def explain(state: State, *, by: str, reason: str) -> Explained | None:
    """Record that all that does not add up so far is known; None where everything does. The agent may run.

    What was explained before stays; what is found to differ later is not explained by it.

    Raises:
        sqlite3.Error: It could not be recorded.
    """
    with state.connection:
        state.connection.execute("begin immediate")
        account = read_passed(state)
        if account.closes():
            return None
        entry = Explained(
            time=state.moment(),
            by=by,
            reason=reason,
            differences=account.difference_count,
            events=account.recorded - account.accounted(),
            names=account.unexplained(),
            ranges=account.open_ranges(),
        )
        state.ledger.append(entry)
        return entry
