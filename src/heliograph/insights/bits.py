"""Small sets as the bits of a whole number, by functions that both engines have under one name."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Final

import ibis
import pyarrow as pa

from heliograph.insights.numbering import NUMBER, with_number
from heliograph.insights.scope import number_of
from heliograph.lake.marts.feature_sets import BITS, bit_or, bits_of_names, count_pages, numbered_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.insights.scope import Window
    from heliograph.plan.model import Plan

_SET: Final = "features_"
_DAYS: Final = "days_"


@ibis.udf.scalar.builtin(name="bit_count", signature=(("int64",), "int8"))  # type: ignore[untyped-decorator]  # likewise
def _bit_count(bits: int) -> int: ...  # type: ignore[empty-body]  # the engine has it


def bits_set(bits: ibis.Value) -> ibis.Value:
    """Return how many members a set has, as an int64."""
    return _bit_count(bits).cast("int64")


def with_feature_sets(table: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the rows of a feature, each with the set of just this one, in as many columns as the plan needs.

    Args:
        table: With the `name` of an event.
        plan: Says the features: those of the events that make their user active.
    """
    return with_paged_sets(table.join(bits_of_names(plan), "name").rename(features="bit"), plan)


def with_paged_sets(table: ibis.Table, plan: Plan) -> ibis.Table:
    """Return the rows of a mart that has sets of features, with these in as many columns as the plan needs.

    Args:
        table: With `page` and `features`; see `heliograph.lake.marts.feature_sets`.
        plan: Says how many features there are.
    """
    if (pages := count_pages(plan)) == 1:
        return table.mutate(table.features.name(f"{_SET}0"))
    return table.mutate(
        *(ibis.ifelse(table.page == page, table.features, 0).name(f"{_SET}{page}") for page in range(pages))
    )


def day_sets(day: ibis.Value, window: Window) -> dict[str, ibis.Value]:
    """Return aggregates by column: the sets of the days of the window on which there is a row.

    Args:
        day: A date within the window.
        window: As many days as there are.
    """
    before = ibis.literal(number_of(window.last), "int64") - day.epoch_days().cast("int64")
    columns = {}
    for column, first in enumerate(range(0, window.days, BITS)):
        bit = ibis.literal(1, "int64") << (before - first)
        inside = bit if window.days <= BITS else ibis.ifelse(before.between(first, first + BITS - 1), bit, 0)
        columns[f"{_DAYS}{column}"] = bit_or(inside)
    return columns


def count_days(table: ibis.Table) -> ibis.Value:
    """Return how many days each row's sets have."""
    return functools.reduce(operator.add, (bits_set(table[name]) for name in table.columns if name.startswith(_DAYS)))


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


def united_in_turn(table: ibis.Table, keys: Sequence[str], place: str, plan: Plan) -> ibis.Table:
    """Return for each combination of keys and place the union of its rows' sets of features; none that is empty.

    Where a plan has few features, the sets of several places in turn stand side by side in one number while rows are
    grouped: the groups are as many times fewer, and to group by words is what such a question takes.

    Args:
        table: With sets, none of them empty, as `with_paged_sets` returns it.
        keys: The other columns to group by.
        place: A column of whole numbers from 0 on.
        plan: Says how many features there are.

    Returns:
        `keys`, `place`, and the sets.
    """
    width = max(1, min(BITS, len(numbered_features(plan))))
    many = BITS // width
    if many == 1:
        return table.group_by([*keys, place]).agg(**unions(table))
    [column] = sets(table)
    turn = table[place] // many
    beside = table.select(*keys, turn=turn, **{column: table[column] << (table[place] - turn * many) * width})
    together = beside.group_by([*keys, "turn"]).agg(**unions(beside))
    known = together.cross_join(_numbers("step", many))
    apart = known.select(
        *keys,
        (known.turn * many + known.step).name(place),
        ((known[column] >> known.step * width) & ibis.literal((1 << width) - 1, "int64")).name(column),
    )
    return apart.filter(apart[column] != 0)


def day_masks(days: ibis.Table, plan: Plan, window: Window) -> ibis.Table:
    """Return for each user and each feature that they used, in the order of the plan's numbers, the set of its days.

    Args:
        days: `active_days` of the window.
        plan: Says which features there are.
        window: No more days than a number holds.

    Returns:
        `user` (a number, or the id), `feature` (its number), `mask` (the set; never empty).
    """
    days = with_paged_sets(days, plan)
    day = ibis.literal(1, "int64") << (number_of(window.last) - days.day.epoch_days().cast("int64"))
    numbers = numbered_features(plan).values()

    def used(number: int) -> ibis.Value:
        page = days[f"{_SET}{number // BITS}"]
        return (page & ibis.literal(1 << number % BITS, "int64")) != 0

    # A column for each feature, and only then a row: an engine goes over the days once, and groups few rows.
    wide = with_number(
        days.group_by("user_id").agg(
            **{f"{_DAYS}{number}": bit_or(ibis.ifelse(used(number), day, 0)) for number in numbers}
        ),
        "user_id",
    )
    known = wide.cross_join(_numbers("feature", len(numbers)))
    masks = known.select(
        "feature",
        user=known[NUMBER],
        mask=known.feature.cases(*((number, known[f"{_DAYS}{number}"]) for number in numbers), else_=0),
    )
    return masks.filter(masks["mask"] != 0)


@functools.lru_cache(maxsize=16)
def _numbers(name: str, count: int) -> ibis.Table:
    """Return the numbers from 0 on, the same table each time: expressions of equal parts are compiled once."""
    return ibis.memtable(pa.table({name: pa.array(range(count), pa.int64())}))
