"""The plans of the simulation, and what is made of each once: that takes most of a history's time."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, Final

from harness import SMALL_PLAN, definition
from heliograph.gateway.plans import Checks
from heliograph.instance.batch import BatchBuilder
from heliograph.plan.model import IntegerProperty
from updating import changed

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

LATER_EVENT: Final = "CellRun"
"""Declared by the second plan alone."""
PLANS: Final[tuple[Plan, Plan]] = (
    SMALL_PLAN,
    changed(
        SMALL_PLAN,
        CellRun=definition(
            "pages", properties={"duration_ms": IntegerProperty(description="How long.", maximum=600_000)}
        ),
    ),
)


@functools.cache
def checks_of(plan: int) -> Checks:
    """Return the checks of a plan by its number."""
    return Checks(PLANS[plan])


@functools.cache
def _builder(label: str, plan: Any) -> BatchBuilder:
    return BatchBuilder(plan.plan, None)  # type: ignore[arg-type] # each copy gets its own


class _ByIdentity:
    """A plan as a key: plans are not hashable."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._label = plan.digest()

    def __hash__(self) -> int:
        return hash(self._label)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other._label == self._label


def quick_builder(plan: Plan, pseudonyms: Any, _code: Any = None) -> BatchBuilder:
    """Return a builder like any other: what is made of the plan is made once, as it takes most of a history's time."""
    builder = copy.copy(_builder(plan.label, _ByIdentity(plan)))
    builder._pseudonyms = pseudonyms
    return builder
