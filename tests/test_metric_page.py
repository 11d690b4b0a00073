"""docs/metric-definitions.md says of each metric what the code says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import metric_page
from heliograph.insights.catalog import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_page_of_the_metrics_is_made_of_them(golden: Callable[[str, str], None]) -> None:
    golden("docs/metric-definitions.md", metric_page.page())


def test_every_parameter_has_a_meaning_and_bounds() -> None:
    for metric in METRICS:
        rows = list(metric_page._parameters(metric.rule))[2:-1]
        assert len(rows) == len(metric.rule.__struct_fields__), metric.name
        assert all(cell.strip() for row in rows for cell in row.split(" | ")[2:]), metric.name
