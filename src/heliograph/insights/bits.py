"""Small sets as the bits of a whole number, by functions that both engines have under one name."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Final

import ibis
import pyarrow as pa

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

BITS: Final = 62
"""Members of a set that one number holds, none of which is its sign."""
_SET: Final = "features_"


@ibis.udf.agg.builtin(name="bit_or")  # type: ignore[untyped-decorator]  # Ibis's, which has no types
def bit_or(bits: int) -> int:  # type: ignore[empty-body]  # the engine has it
    """Return the union of the sets of all rows; null if none has one."""


@ibis.udf.scalar.builtin(name="bit_count", signature=(("int64",), "int8"))  # type: ignore[untyped-decorator]  # likewise
def _bit_count(bits: int) -> int: ...  # type: ignore[empty-body]  # the engine has it


def bits_set(bits: ibis.Value) -> ibis.Value:
    """Return how many members a set has, as an int64."""
    return _bit_count(bits).cast("int64")


def with_feature_sets(table: ibis.Table, plan: Plan, *, by: str) -> ibis.Table:
    """Return the rows of a feature, each with the set of just this one, in as many columns as the plan needs.

    Args:
        table: With a column of names of events, or of features.
        plan: Says the features: those of the events that make their user active.
        by: The column: ``name`` or ``feature``.
    """
    active = [(name, event.feature) for name, event in plan.events.items() if event.active]
    pairs = active if by == "name" else sorted({(feature, feature) for _, feature in active})
    return table.join(_sets_of(tuple(pairs), by), by)


@functools.lru_cache(maxsize=32)
def _sets_of(pairs: tuple[tuple[str, str], ...], by: str) -> ibis.Table:
    """Return the sets by name, the same table each time: expressions of equal parts are compiled once."""
    numbers = {feature: number for number, feature in enumerate(sorted({feature for _, feature in pairs}))}
    columns = {by: pa.array([name for name, _ in pairs], pa.string())}
    for column in range(len(numbers) // BITS + 1):
        places = (numbers[feature] - column * BITS for _, feature in pairs)
        columns[f"{_SET}{column}"] = pa.array([1 << at if 0 <= at < BITS else 0 for at in places], pa.int64())
    return ibis.memtable(pa.table(columns))


def sets(table: ibis.Table) -> list[str]:
    """Return the columns of a table that are sets of features."""
    return [name for name in table.columns if name.startswith(_SET)]


def unions(table: ibis.Table, *, where: ibis.Value | None = None) -> dict[str, ibis.Value]:
    """Return aggregates of the sets by column: what any row has; only those rows of which `where` holds."""
    if where is None:
        return {name: bit_or(table[name]) for name in sets(table)}
    return {name: bit_or(ibis.ifelse(where, table[name], 0)) for name in sets(table)}


def count_features(table: ibis.Table) -> ibis.Value:
    """Return how many features each row's set has."""
    return functools.reduce(operator.add, (bits_set(table[name]) for name in sets(table)))
