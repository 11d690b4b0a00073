"""The admin's word on a difference, of the account or of the two ends: it is known, and why.

It stands in the ledger, for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.instance.account import read_passed
from heliograph.ledger.entries import EndsExplained, Explained

if TYPE_CHECKING:
    from heliograph.difference import EndsDifference
    from heliograph.instance.state import State


def explain_ends(state: State, differences: list[EndsDifference], *, by: str, reason: str) -> EndsExplained | None:
    """Record that the two ends are known to differ in this; None where they do not. The agent may run.

    Once one of these differences becomes another, such as a larger one, it is not explained by it any more.

    Raises:
        sqlite3.Error: It could not be recorded.
    """
    if not differences:
        return None
    with state.connection:
        state.connection.execute("begin immediate")
        entry = EndsExplained(time=state.moment(), by=by, reason=reason, differences=differences)
        state.ledger.append(entry)
        return entry


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
