"""The plan that the gateway checks against: one at a time, swapped as a whole when its file changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from heliograph.event import UNDECLARED
from heliograph.gateway.bodies import BodyChecker
from heliograph.plan.changes import plan_changes
from heliograph.plan.columns import wire_schema
from heliograph.plan.follow import FollowedPlan, Look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Plan

_log: Final = structlog.get_logger("heliograph.gateway")


class Checks:
    """A plan and all that is made of it; none of it ever changes, so that whoever holds it sees one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan: Final = plan
        self.label: Final = plan.label
        self.content: Final = plan.canonical()
        """What instances are answered."""
        self.digest: Final = plan.digest()
        self.names: Final = frozenset((*plan.events, UNDECLARED))
        """Under which a delivery may tell what it leaves out."""
        self.bodies: Final = BodyChecker(plan)


class PlanInForce:
    """The plan in force at a gateway.

    Args:
        plan: It; or the files that are followed from now on.
    """

    def __init__(self, plan: Plan | FollowedPlan) -> None:
        self._file = plan if isinstance(plan, FollowedPlan) else None
        self._checks = Checks(plan.plan if isinstance(plan, FollowedPlan) else plan)

    @classmethod
    def of(cls, plan: Plan | PlanInForce) -> PlanInForce:
        """Return it as it is; a plan by itself stays in force."""
        return plan if isinstance(plan, PlanInForce) else cls(plan)

    def checks(self) -> Checks:
        """Return the plan in force and what is made of it. Ask once for each request."""
        return self._checks

    def look(self) -> None:
        """Look at the files, about once a second; what cannot be used is logged, and the plan in force stays."""
        found = Look.SAME if self._file is None else self._file.look()
        if self._file is None or found is Look.SAME:
            return
        if found is Look.CHANGED and self._file.plan.digest() == self._checks.digest:
            return  # put back after one that could not be used
        problems = [str(problem) for problem in self._file.problems]
        if found is Look.CHANGED:
            problems += retyped_columns(self._checks.plan, self._file.plan)
        if problems:
            _log.error("the plan has changed, and cannot be used", stays=self._checks.label, problems=problems)
            return
        before, self._checks = self._checks, Checks(self._file.plan)
        if before.label == self._checks.label:
            _log.warning("the plan has changed, and its version has not: raise it", plan=before.label)
        changes = plan_changes(before.plan, self._checks.plan)
        _log.info("the plan has changed", before=before.label, now=self._checks.label, **changes.told())


def retyped_columns(before: Plan, after: Plan) -> Iterator[str]:
    """Yield what a change of plan does to columns that are there: none may get another type."""
    known = {field.name: field.type for field in wire_schema(before)}
    for field in wire_schema(after):
        if known.get(field.name, field.type) != field.type:
            yield (
                f"the property {field.name} has another type than in {before.label}, under which its values are "
                "stored: give it another name"
            )
