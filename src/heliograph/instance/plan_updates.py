"""The plan by which an instance sends: the vendor's, as its signed policy names it, and no more than the admin's limit.

In force is the vendor's plan, once it was heard. Before that it is the plan file of the instance, or nothing; and
nothing leaves by either, as nothing leaves before the vendor was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from heliograph.instance.declared import Declaration
from heliograph.plan.changes import plan_changes, present_names
from heliograph.plan.follow import FollowedPlan, Look
from heliograph.plan.model import Plan
from heliograph.plan.narrow import narrowed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from heliograph.instance.plan_table import PlanTable

NOTHING: Final = Plan(
    heliograph_plan=2,
    name="nothing",
    version=1,
    description="Declares nothing: no plan is known yet.",
    sources=("none",),
    features={},
    events={},
)
"""In force while no plan is known."""
_log: Final = structlog.get_logger("heliograph.plan")


class PlanUpdates:
    """The plan in force on an instance.

    Args:
        table: Where the vendor's plans are kept.
        file: The instance's own plan; None if it has none.
        pinned: Whether the instance's own plan is a limit: only what both declare may leave.
        now: The clock.
    """

    def __init__(
        self, table: PlanTable, file: Plan | FollowedPlan | None, *, pinned: bool, now: Callable[[], datetime]
    ) -> None:
        self._table = table
        self._followed = file if isinstance(file, FollowedPlan) else None
        self._local = file.plan if isinstance(file, FollowedPlan) else file
        self._pinned = pinned
        self._now = now
        self._vendors = table.latest()
        self._digest = None if self._vendors is None else self._vendors.digest()
        self._ever = table.ever_declared()
        self.plan: Plan = self._in_force()
        """The plan in force; another object whenever it changes."""
        if self._vendors is not None and not self._names(self.plan) <= self._ever:
            # The limit was changed while no agent ran.
            table.declare(self._names(self.plan))
            self._ever |= self._names(self.plan)

    @property
    def digest(self) -> str | None:
        """The digest of the vendor's plan; None before it was heard."""
        return self._digest

    @property
    def is_heard(self) -> bool:
        """Whether the vendor's plan is known, from which all follows."""
        return self._vendors is not None

    @property
    def withdrawn(self) -> frozenset[str]:
        """The names of events that may not be collected: the vendor has taken them back, or the admin's limit has not.

        An event that nobody has said anything of is not among them: it may be declared some day.
        """
        vendors = self._vendors or NOTHING
        refused = {*self._ever, *vendors.retired, *vendors.events}
        return frozenset(refused - self.plan.events.keys() - present_names(self.plan).keys())

    def has(self, digest: str) -> bool:
        """Tell whether the vendor's plan with this digest is held; the instance's own file may be the same one."""
        if self._digest != digest and self._local is not None and self._local.digest() == digest:
            self.take(self._local)
        return self._digest == digest

    def take(self, plan: Plan) -> None:
        """Let a plan of the vendor's come into force."""
        before = None if self._vendors is None else self.plan
        self._vendors, self._digest = plan, plan.digest()
        self._change(before, plan)

    def look(self) -> None:
        """Look whether the admin's limit has changed; one that cannot be used is logged, and the last one stays."""
        if self._followed is None or not self._pinned:
            return
        found = self._followed.look()
        if found is Look.REFUSED:
            problems = [str(problem) for problem in self._followed.problems]
            _log.error("the plan file has changed, and cannot be used: the last one stays the limit", problems=problems)
        elif found is Look.CHANGED:
            self._local = self._followed.plan
            if self._vendors is not None:
                self._change(self.plan, self._vendors)

    def _in_force(self) -> Plan:
        if self._vendors is None:
            return self._local or NOTHING
        return narrowed(self._vendors, self._local or NOTHING) if self._pinned else self._vendors

    def _change(self, before: Plan | None, vendors: Plan) -> None:
        after = self._in_force()
        changes = plan_changes(before, after)
        self._table.put(vendors, changes, self._names(after), now=self._now())
        self.plan = after
        self._ever |= self._names(after)
        _log.info("the plan has changed", now=after.label, pinned=self._pinned, **changes.told())

    @staticmethod
    def _names(plan: Plan) -> frozenset[str]:
        return frozenset((*plan.events, *present_names(plan)))


def declaration_of(plans: PlanUpdates) -> Declaration | None:
    """Return what recorders are told of the plan in force; None before the vendor's was heard."""
    if not plans.is_heard:
        return None
    return Declaration(
        plan=plans.plan.label,
        events={name: list(event.properties) for name, event in plans.plan.events.items()},
        renamed=present_names(plans.plan),
        withdrawn=sorted(plans.withdrawn),
    )


def plan_in_force(table: PlanTable, file: Plan | None, *, pinned: bool) -> Plan:
    """Return the plan in force by what is known on the instance, to look only."""
    vendors = table.latest()
    if vendors is None:
        return file or NOTHING
    return narrowed(vendors, file or NOTHING) if pinned else vendors
