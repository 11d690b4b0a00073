"""Lint rules on how much is told: values that are finer than any question needs, and budgets that are passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heliograph.plan.budget import plan_bits, value_count
from heliograph.plan.finding import Finding
from heliograph.plan.model import IntegerProperty, NumberProperty
from heliograph.plan.problem import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from heliograph.plan.model import Plan

MANY_VALUES: Final = 1 << 20
"""Values from which on a number can tell single things of a large company apart."""
_RICHEST: Final = 3
"""Properties or events that a message names."""


def wide_integer(plan: Plan, _today: date) -> Iterator[Finding]:
    """Find whole numbers with room for an identity."""
    for event, definition in plan.events.items():
        for name, kind in definition.properties.items():
            if isinstance(kind, IntegerProperty) and (values := value_count(kind)) > MANY_VALUES:
                path = ("events", event, "properties", name)
                yield Finding(
                    path,
                    f"{shown(name)} has {values:,} values, as if it had no bound",
                    "Choose bounds that honest values need, a `precision`, or the type `count` with buckets.",
                    needs=(path,),
                )


def full_precision(plan: Plan, _today: date) -> Iterator[Finding]:
    """Find numbers with all their digits."""
    for event, definition in plan.events.items():
        for name, kind in definition.properties.items():
            if isinstance(kind, NumberProperty) and kind.precision is None:
                path = ("events", event, "properties", name)
                yield Finding(
                    path,
                    f"{shown(name)} leaves with all its digits, some {value_count(kind).bit_length()} bits",
                    "Say which `precision` the question needs, such as 0.01 or 1.",
                    needs=(path,),
                )


def event_budget(plan: Plan, _today: date) -> Iterator[Finding]:
    """Hold each event against the plan's budget."""
    for event, bits in plan_bits(plan).events.items():
        if bits.total > plan.budget.event_bits:
            richest = sorted(bits.properties.items(), key=lambda item: -item[1])[:_RICHEST]
            listing = ", ".join(f"{shown(name)} {each:.1f}" for name, each in richest)
            yield Finding(
                ("events", event),
                f"{shown(event)} can carry {bits.total:.1f} bits, and the budget of an event is "
                f"{plan.budget.event_bits:g}; most of it: {listing}",
                "Give these a `precision`, buckets or tighter bounds, or ask the question with fewer properties.",
                needs=(("events", event), ("events", event, "properties")),
            )


def user_day_budget(plan: Plan, _today: date) -> Iterator[Finding]:
    """Hold all events of a user's day against the plan's budget."""
    bits = plan_bits(plan)
    if bits.user_day > plan.budget.user_day_bits:
        richest = sorted(bits.user_days.items(), key=lambda item: -item[1])[:_RICHEST]
        listing = ", ".join(f"{shown(name)} {each:,.0f}" for name, each in richest)
        yield Finding(
            ("budget", "user_day_bits") if plan.events else (),
            f"a user's day can carry {bits.user_day:,.0f} bits, and its budget is {plan.budget.user_day_bits:,.0f}; "
            f"most of it: {listing}",
            "Estimate each event's `rate`; give properties a `precision`, buckets or tighter bounds; leave some out.",
            needs=(("events",),),
        )
