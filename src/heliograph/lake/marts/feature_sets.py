"""Sets of features as the bits of whole numbers: what a user used on a day, or in a session, in one row.

The features of a plan, those of the events that make their user active, are numbered in alphabetical order, from 0 on.
A number holds 62 of them, and so a row has a `page`: 0 for the first 62, which is all that most plans have, 1 for the
next. What a bit stands for hangs on the plan, and so does the digest of the definitions: when one changes, so does the
other, and the marts are made anew.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import ibis
import pyarrow as pa

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

BITS: Final = 62
"""Members of a set that one number holds, none of which is its sign."""


@ibis.udf.agg.builtin(name="bit_or")  # type: ignore[untyped-decorator]  # Ibis's, which has no types
def bit_or(bits: int) -> int:  # type: ignore[empty-body]  # the engine has it
    """Return the union of the sets of all rows; null if none has one."""


def numbered_features(plan: Plan) -> dict[str, int]:
    """Return the features of a plan with their numbers."""
    features = {event.feature for event in plan.events.values() if event.active}
    return {feature: number for number, feature in enumerate(sorted(features))}


def numbers_of_names(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Return each name of an event that makes its user active, with the number of its feature."""
    numbers = numbered_features(plan)
    return tuple((name, numbers[event.feature]) for name, event in plan.events.items() if event.active)


def count_pages(plan: Plan) -> int:
    """Return how many numbers it takes to hold a set of a plan's features."""
    return max(1, -(-len(numbered_features(plan)) // BITS))


def bits_of_features(plan: Plan) -> ibis.Table:
    """Return for each `feature` the set of just this one: `page` and `bit`."""
    return _table_of("feature", tuple(numbered_features(plan).items()))


def bits_of_names(plan: Plan) -> ibis.Table:
    """Return for each `name` of an event that makes its user active the set of just its feature: `page` and `bit`."""
    return _table_of("name", numbers_of_names(plan))


@lru_cache(maxsize=32)
def _table_of(by: str, numbers: tuple[tuple[str, int], ...]) -> ibis.Table:
    """Return the table, the same one each time: expressions of equal parts are known to be equal, and compiled once."""
    return ibis.memtable(
        pa.table(
            {
                by: pa.array([word for word, _ in numbers], pa.string()),
                "page": pa.array([number // BITS for _, number in numbers], pa.int64()),
                "bit": pa.array([1 << number % BITS for _, number in numbers], pa.int64()),
            }
        )
    )
