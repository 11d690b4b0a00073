"""What leaves in the place of a recorded value: rounded, so that it tells no more than the plan asks for.

The instance rounds, and both ends check with the same formula: a value is coarse enough if rounding leaves it as it is.
`heliograph.plan.coarse_columns` does the same for columns. What is out of range is never moved into it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from heliograph.plan.model import CountProperty, DurationProperty, IntegerProperty, NumberProperty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.plan.model import Fact, Property


def coarsen(value: Any, kind: Property | Fact) -> Any:
    """Return what leaves in the place of `value`; `value` itself if it is of another type or out of range.

    A whole number or a duration becomes the nearest multiple of its precision, a half the even one of the two; the
    plan's rules see to it that the bounds are multiples themselves, so that no value leaves them. A number becomes
    `nearest_step`. A count becomes the lower bound of its bucket.
    """
    match kind:
        case IntegerProperty() | DurationProperty():
            if kind.precision > 1 and is_whole(value) and least(kind) <= value <= kind.maximum:
                return nearest_multiple(value, kind.precision)
        case NumberProperty():
            if kind.precision is not None and is_number(value) and kind.minimum <= value <= kind.maximum:
                return nearest_step(value, steps_in_one(kind.precision))
        case CountProperty():
            if is_whole(value) and value >= kind.buckets[0]:
                return kind.buckets[bisect_right(kind.buckets, value) - 1]
    return value


def coarsen_all(values: Mapping[str, Any], kinds: Mapping[str, Property] | Mapping[str, Fact]) -> dict[str, Any]:
    """Return what leaves in the place of each of `values`, by name; a name that `kinds` lacks keeps its value."""
    return {name: coarsen(value, kinds[name]) if name in kinds else value for name, value in values.items()}


def least(kind: IntegerProperty | NumberProperty | DurationProperty) -> float:
    """Return the lower bound of a property that has two."""
    return 0 if isinstance(kind, DurationProperty) else kind.minimum


def nearest_multiple(value: int, precision: int) -> int:
    """Return the multiple of `precision` that is nearest to `value`; a half becomes the even multiple."""
    steps, rest = divmod(value, precision)
    return (steps + (2 * rest > precision or (2 * rest == precision and steps % 2))) * precision


def nearest_step(value: float, steps: int) -> float:
    """Return the multiple of 1/`steps` that is nearest to `value`, as the nearest floating-point number.

    It is ``rint(value * steps) / steps`` in IEEE 754 double precision. Dividing by a whole number gives what the
    decimal fraction means in every language; multiplying by 0.01 would not.
    """
    return round(float(value) * steps) / steps


def steps_in_one(precision: float) -> int:
    """Return how many steps of a precision, which is a power of ten up to 1, make one."""
    return round(1 / precision)


def is_whole(value: object) -> bool:
    """Tell whether `value` is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Tell whether `value` is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
