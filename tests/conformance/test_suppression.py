"""No group under the minimum can be computed from what is shown, by whatever differences of totals."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from conformance.histories import NOW, PLAN, History, histories
from conformance.reading import READINGS, Reading
from heliograph.insights.catalog import METRICS, Metric, metric_named
from heliograph.insights.scope import QuestionError, Scope
from heliograph.insights.stickiest import StickinessRule
from heliograph.insights.suppression import Counts, from_row_to_row, parts_of, suppressed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asking import Row

SCOPE = Scope(until=date(2026, 2, 9), now=NOW)
MINIMUM = 3
MANY = [f"u{number}" for number in range(9)]
TOLD = [metric for metric in METRICS if metric.counts is not None]
RULES = {"feature-stickiness": StickinessRule(minimum_users=2)}


def rows_of(history: History, metric: Metric, scope: Scope) -> list[Row]:
    # Nobody is of two accounts, so that what all together make is the sum over the accounts.
    events = tuple(
        replace(event, user=None if event.user is None else f"{event.account}-{event.user}") for event in history.events
    )
    rule = RULES.get(metric.name, metric.example(PLAN))
    rows = READINGS[metric.name](Reading(replace(history, events=events), PLAN, scope), rule)
    rows.sort(key=lambda row: [str(row.get("unit")), *(row[key] for key in counts_of(metric).keys)])
    return rows


def counts_of(metric: Metric) -> Counts:
    assert metric.counts is not None
    return metric.counts


def shown_of(rows: Sequence[Row], counts: Counts) -> list[Row]:
    found: list[Row] = suppressed(
        pa.Table.from_pylist(list(rows)), counts, unit="unit", minimum_group=MINIMUM
    ).to_pylist()
    return found


class Attack:
    """All that is shown, as linear equations in all numbers; the groups to be protected, as forms in them."""

    def __init__(self, rows: Sequence[Row], shown: Sequence[Row], counts: Counts) -> None:
        self.counts = counts
        self.cells = {
            (number, column): place
            for place, (number, column) in enumerate(
                (number, column)
                for number, row in enumerate(rows)
                for column in counts.people
                if row.get(column) is not None
            )
        }
        self.values = [rows[number][column] for number, column in self.cells]
        self.known = [self.form({cell: 1}) for cell in self.cells if shown[cell[0]][cell[1]] is not None]
        self.groups = [self.form({cell: 1}) for cell in self.cells]
        for link in (link for make in counts.links for link in make(rows, "unit")):
            if link.terms.keys() <= self.cells.keys():
                (self.groups if link.rest else self.known).append(self.form(link.terms))

    def form(self, terms: dict[Any, int]) -> Any:
        vector = np.zeros(len(self.cells))
        for cell, factor in terms.items():
            vector[self.cells[cell]] = factor
        return vector

    def tell_totals(self, rows: Sequence[Row], totals: Sequence[Row]) -> None:
        """Add what a table of all units together shows."""
        for total in totals:
            of_it = [n for n, row in enumerate(rows) if all(row[key] == total[key] for key in self.counts.keys)]
            for column in self.counts.people:
                if total.get(column) is not None:
                    self.known.append(self.form({(n, column): 1 for n in of_it if (n, column) in self.cells}))

    def succeeds(self) -> list[Any]:
        """Return the small groups that follow from what is known."""
        if not self.known:
            return []
        basis = np.vstack(self.known)
        rank = np.linalg.matrix_rank(basis)
        return [
            group
            for group in self.groups
            if 0 < group @ self.values < MINIMUM and np.linalg.matrix_rank(np.vstack([basis, group])) == rank
        ]


@pytest.mark.parametrize("metric", TOLD, ids=lambda metric: metric.name)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(portions=1, users=MANY))
def test_no_small_group_follows_from_what_is_shown_even_with_the_totals(metric: Metric, history: History) -> None:
    counts, recent = counts_of(metric), replace(SCOPE, since=date(2026, 1, 26))
    rows = rows_of(history, metric, recent)
    if not rows:
        return
    shown = shown_of(rows, counts)
    attack = Attack(rows, shown, counts)
    if "unit" in rows[0]:
        together = rows_of(history, metric, replace(recent, unit="everyone"))
        attack.tell_totals(rows, shown_of(together, counts))
    assert attack.succeeds() == []
    for row, kept in zip(rows, shown, strict=True):
        assert all(kept[column] in {None, row[column]} for column in counts.people if column in row)
        assert all(not 0 < (kept[column] or 0) < MINIMUM for column in counts.people if column in row)
        assert kept["suppressed"] == any(kept[column] is None and row[column] is not None for column in row)


@pytest.mark.parametrize("metric", TOLD, ids=lambda metric: metric.name)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(portions=1))
def test_the_numbers_of_a_metric_hang_together_as_it_says(metric: Metric, history: History) -> None:
    rows = rows_of(history, metric, SCOPE)
    links = [link for make in counts_of(metric).links for link in make(rows, "unit")]
    for link in links:
        if all(rows[number].get(column) is not None for number, column in link.terms):
            rest = sum(factor * rows[number][column] for (number, column), factor in link.terms.items())
            assert rest >= 0 if link.rest else rest == 0, link


SESSIONS = Counts(
    people=("users", "several"),
    derived={"share": ("users", "several")},
    links=(parts_of("users", "several", rest=True),),
)


def told(rows: list[Row], counts: Counts = SESSIONS) -> list[tuple[Any, ...]]:
    found = suppressed(pa.Table.from_pylist(rows), counts, unit="account").to_pylist()
    return [tuple(row.values())[1:] for row in found]


def test_nothing_is_hidden_where_every_group_is_large_or_nobody() -> None:
    rows = [{"account": "a", "users": 20, "several": 9, "share": 0.45}, {"account": "b", "users": 0, "several": 0}]
    assert told(rows) == [(20, 9, 0.45, False), (0, 0, None, False)]


def test_a_small_group_hides_what_it_would_follow_from() -> None:
    # 4 are hidden; so is one of 20 and 16, as either with the other would give them away: the smaller of both.
    assert told([{"account": "a", "users": 20, "several": 16, "share": 0.8}]) == [(20, None, None, True)]
    assert told([{"account": "a", "users": 20, "several": 4, "share": 0.2}]) == [(20, None, None, True)]


def test_a_small_account_takes_another_with_it_as_all_together_are_told() -> None:
    rows = [{"account": name, "users": users} for name, users in (("a", 3), ("b", 40), ("c", 7))]
    assert told(rows, Counts(people=("users",))) == [(None, True), (40, False), (None, True)]


def test_two_small_accounts_take_a_third_with_them_if_together_they_are_small() -> None:
    rows = [{"account": name, "users": users} for name, users in (("a", 2), ("b", 40), ("c", 2), ("d", 9))]
    assert [row[0] for row in told(rows, Counts(people=("users",)))] == [None, 40, None, None]
    rows = [{"account": name, "users": users} for name, users in (("a", 4), ("b", 40), ("c", 3))]
    assert [row[0] for row in told(rows, Counts(people=("users",)))] == [None, 40, None]


def test_what_follows_from_row_to_row_is_hidden_too() -> None:
    reach = from_row_to_row({("reach", 0): 1, ("users", 0): -1, ("reach", 1): -1})
    rows = [
        {"account": "a", "k": 1, "users": 10, "reach": 25},
        {"account": "a", "k": 2, "users": 3, "reach": 15},
        {"account": "a", "k": 3, "users": 12, "reach": 12},
    ]
    shown = told(rows, Counts(people=("users", "reach"), links=(reach,), keys=("k",)))
    assert shown[1][1] is None
    # What users on two days are would follow from either pair.
    assert None in {shown[1][2], shown[2][2]}
    assert None in {shown[0][1], shown[1][2]}


def test_what_tells_of_single_users_is_refused() -> None:
    with pytest.raises(QuestionError, match="suppressed"):
        metric_named("searches").result(None, PLAN, SCOPE, suppress=5)  # type: ignore[arg-type]  # not even looked at
    with pytest.raises(QuestionError, match="1 person or more"):
        suppressed(pa.table({"users": [1]}), SESSIONS, unit="account", minimum_group=0)
