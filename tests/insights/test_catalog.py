from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pytest

from asking import rows_of
from heliograph.insights.catalog import METRICS, Metric, metric_named
from heliograph.insights.scope import is_valid
from heliograph.insights.tables import Tables

if TYPE_CHECKING:
    from asking import MakeScope, MakeTables
    from heliograph.plan.model import Plan

each = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


@each
def test_a_metric_reads_the_tables_that_it_says_and_no_other(
    metric: Metric, plan: Plan, make_tables: MakeTables, make_scope: MakeScope
) -> None:
    tables = make_tables([{"user": "ann", "at": f"2026-01-{day:02}T09:00"} for day in range(1, 29)])
    scope, rule = make_scope("2026-01-28"), metric.example(plan)
    emptied = {
        name: getattr(tables, name) if name in metric.reads else getattr(tables, name).limit(0)
        for name in Tables.__struct_fields__
        if name != "event_days" and isinstance(getattr(tables, name), ibis.Table)
    }
    expected = rows_of(metric.function(tables, plan, scope, rule=rule))
    assert rows_of(metric.function(Tables(**emptied, kept=True), plan, scope, rule=rule)) == expected
    assert expected


@each
def test_the_example_of_a_rule_is_one(metric: Metric, plan: Plan) -> None:
    assert is_valid(metric.example(plan))
    assert metric_named(metric.name) is metric
