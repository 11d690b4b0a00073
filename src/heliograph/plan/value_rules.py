"""Rules of what a property or a fact can be: its name, its bounds, its precision, its buckets, its members."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from heliograph.event import RESERVED
from heliograph.plan.coarsen import nearest_multiple, nearest_step, steps_in_one
from heliograph.plan.finding import Finding, pattern_remedy, too_many
from heliograph.plan.model import (
    CountProperty,
    CountsFact,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)
from heliograph.plan.problem import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Fact, Plan, Property
    from heliograph.plan.shape import Path

PROPERTY: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
FACT: Final = PROPERTY
MEMBER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,47}")
DURATION_ENDING: Final = "_ms"

MAXIMUM_INTEGER: Final = 2**53
"""Every whole number up to it is exact in JSON readers that know floating-point numbers only."""
MAXIMUM_STEPS: Final = 2**50
"""Up to it, each multiple of a number's precision is the nearest one to itself: see `heliograph.plan.coarsen`."""
MINIMUM_BUCKETS: Final = 2
MAXIMUM_BUCKETS: Final = 40
PRECISIONS: Final = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001)
"""What a number can be rounded to."""


def check_properties(plan: Plan) -> Iterator[Finding]:
    """A property has a usable name, one kind in all events, and bounds or members that some value meets."""
    first_places: dict[str, tuple[Path, Property]] = {}
    for event, definition in plan.events.items():
        for name, kind in definition.properties.items():
            path = ("events", event, "properties", name)
            yield from _check_property_name(path, name, kind)
            first_path, first_kind = first_places.setdefault(name, (path, kind))
            if type(first_kind) is not type(kind):
                yield Finding(
                    path,
                    f"{shown(name)} is {_kind(kind)} here and {_kind(first_kind)} elsewhere",
                    "Give it one type in all events, or two names.",
                    also=first_path,
                )
            yield from _check_values(path, kind)


def check_facts(plan: Plan) -> Iterator[Finding]:
    """A fact has a usable name, and bounds or members that some value meets."""
    for name, fact in plan.facts.items():
        path = ("facts", name)
        if not FACT.fullmatch(name):
            yield Finding(path, f"{shown(name)} is not a fact's name", pattern_remedy("licence_tier", FACT))
        yield from _check_values(path, fact)


def _check_property_name(path: Path, name: str, kind: Property) -> Iterator[Finding]:
    if name in RESERVED:
        message = f"{shown(name)} is a name that every event or every stored row has already"
        yield Finding(path, message, "Choose another name, one that says what is counted.")
    elif not PROPERTY.fullmatch(name):
        yield Finding(path, f"{shown(name)} is not a property's name", pattern_remedy("result_count", PROPERTY))
    elif isinstance(kind, DurationProperty) and not name.endswith(DURATION_ENDING):
        message = f"{shown(name)} is a duration, and its name does not say that it is in milliseconds"
        yield Finding(path, message, f"Let it end in `{DURATION_ENDING}`, as in `duration_ms`.")


def _check_values(path: Path, kind: Property | Fact) -> Iterator[Finding]:
    match kind:
        case MemberProperty():
            yield from _check_members((*path, "members"), kind.members)
        case CountsFact():
            yield from _check_members((*path, "members"), kind.members)
            yield from _check_bounds(path, {"maximum": kind.maximum}, minimum=0)
        case IntegerProperty():
            bounds = {"minimum": kind.minimum, "maximum": kind.maximum}
            yield from _check_bounds(path, bounds, minimum=kind.minimum) or _check_precision(
                path, bounds, kind.precision
            )
        case DurationProperty():
            yield from _check_maximum(path, kind.maximum) or _check_precision(
                path, {"maximum": kind.maximum}, kind.precision
            )
        case NumberProperty():
            yield from _check_number(path, kind)
        case CountProperty():
            yield from _check_buckets((*path, "buckets"), kind.buckets)


def _check_members(path: Path, members: tuple[str, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for position, member in enumerate(members):
        below = (*path, str(position))
        if not MEMBER.fullmatch(member):
            yield Finding(below, f"{shown(member)} is not a member", pattern_remedy("c++", MEMBER))
        elif member in seen:
            yield Finding(below, f"{shown(member)} stands twice", "Keep one of the two.")
        seen.add(member)


def _check_bounds(path: Path, bounds: dict[str, int], *, minimum: int) -> list[Finding]:
    return [_beyond((*path, field), bound) for field, bound in bounds.items() if abs(bound) > MAXIMUM_INTEGER] + (
        _wrong_way(path, minimum, bounds["maximum"])
    )


def _wrong_way(path: Path, minimum: float, maximum: float) -> list[Finding]:
    if minimum <= maximum or math.isnan(minimum) or math.isnan(maximum):
        return []
    message = f"the minimum, {shown(str(minimum))}, is above the maximum, {shown(str(maximum))}"
    return [Finding((*path, "maximum"), message, "Exchange them, or mend one.", needs=((*path, "minimum"),))]


def _beyond(path: Path, number: int) -> Finding:
    return Finding(path, f"{shown(str(number))} is beyond ±2^53", f"Stay within ±{MAXIMUM_INTEGER}.")


def _check_maximum(path: Path, maximum: int) -> list[Finding]:
    """A duration begins at zero."""
    if maximum > MAXIMUM_INTEGER:
        return [_beyond((*path, "maximum"), maximum)]
    if maximum < 1:
        message = f"{shown(str(maximum))} is no longest duration"
        return [Finding((*path, "maximum"), message, "Write the milliseconds that no honest value passes: 1 or more.")]
    return []


def _check_precision(path: Path, bounds: dict[str, int], precision: int) -> list[Finding]:
    """What is rounded must stay within the bounds: they are multiples of the precision themselves."""
    below = (*path, "precision")
    width = bounds["maximum"] - bounds.get("minimum", 0)
    if precision < 1:
        remedy = "Write 1 or more, such as 10 for multiples of ten, or leave it out."
        return [Finding(below, f"{shown(str(precision))} is no precision of whole numbers", remedy)]
    if precision > max(width, 1):
        message = f"the precision, {shown(str(precision))}, is wider than the whole range, {shown(str(width))}"
        needs = tuple((*path, field) for field in ("minimum", "maximum"))
        return [Finding(below, message, "Take a finer one: all values would become one or two.", needs=needs)]
    return [
        _no_multiple((*path, field), field, str(bound), str(precision), str(nearest_multiple(bound, precision)))
        for field, bound in bounds.items()
        if bound % precision
    ]


def _no_multiple(path: Path, field: str, bound: str, precision: str, near: str) -> Finding:
    message = f"the {field}, {shown(bound)}, is no multiple of the precision, {shown(precision)}"
    remedy = f"Write `{field}: {near}`: what leaves is rounded, and must stay within the bounds."
    return Finding(path, message, remedy, needs=((*path[:-1], "precision"),))


def _check_number(path: Path, kind: NumberProperty) -> Iterator[Finding]:
    bounds = {"minimum": kind.minimum, "maximum": kind.maximum}
    endless = [field for field, bound in bounds.items() if not math.isfinite(bound)]
    for field in endless:
        yield Finding((*path, field), f"{shown(str(bounds[field]))} is no bound", "Write a finite number.")
    if wrong := _wrong_way(path, kind.minimum, kind.maximum):
        yield from wrong
    elif kind.precision is not None and kind.precision not in PRECISIONS:
        yield Finding(
            (*path, "precision"),
            f"{shown(str(kind.precision))} is no power of ten from 0.000001 to 1",
            "Write 1, 0.1, 0.01, 0.001, 0.0001, 0.00001 or 0.000001; for multiples of more, take an integer.",
        )
    elif kind.precision is not None and not endless:
        yield from _check_steps(path, bounds, kind.precision)


def _check_steps(path: Path, bounds: dict[str, float], precision: float) -> Iterator[Finding]:
    steps, text = steps_in_one(precision), f"{precision:f}".rstrip("0").rstrip(".")
    for field, bound in bounds.items():
        if abs(bound) * steps > MAXIMUM_STEPS:
            message = f"{shown(str(bound))} is too large to be exact in steps of {shown(text)}"
            remedy = f"Stay within ±{MAXIMUM_STEPS // steps:,}, or take a coarser precision."
            yield Finding((*path, field), message, remedy, needs=((*path, "precision"),))
        elif (near := nearest_step(bound, steps)) != bound:
            yield _no_multiple((*path, field), field, str(bound), text, str(near))


def _check_buckets(path: Path, buckets: tuple[int, ...]) -> Iterator[Finding]:
    if len(buckets) < MINIMUM_BUCKETS:
        remedy = "Write the lower bounds of two buckets at least, as in `[0, 1, 10, 100]`."
        yield Finding(path, f"there are {len(buckets)} buckets, which tell nothing", remedy)
    if len(buckets) > MAXIMUM_BUCKETS:
        yield too_many(path, len(buckets), MAXIMUM_BUCKETS, "buckets")
    for position, bound in enumerate(buckets):
        if bound < 0:
            message = f"{shown(str(bound))} is below zero"
            yield Finding(
                (*path, str(position)), message, "Begin with 0, or with the least number that is worth telling."
            )
        elif bound > MAXIMUM_INTEGER:
            yield _beyond((*path, str(position)), bound)
    for position, (low, high) in enumerate(pairwise(buckets), 1):
        if high <= low:
            message = f"{shown(str(high))} does not rise above {shown(str(low))} before it"
            yield Finding((*path, str(position)), message, "Write the lower bounds of the buckets in rising order.")


def _kind(definition: Property) -> str:
    return f"`{definition.__struct_config__.tag}`"
