"""Fills a lake with the events of a simulated population, and has its marts made, without agents or a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from heliograph.demo.bulk import event_batches
from heliograph.lake.maintenance.layout import in_order
from heliograph.lake.marts.keeping import Marts
from heliograph.lake.tables import open_events
from heliograph.lake.transactions import begin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.table import Table

    from heliograph.demo.population import Population
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings

COMMIT_ROWS: Final = 1_000_000
"""Rows of a commit, so that memory is bounded and files are large."""


def append_events(lake: LakeSettings, plan: Plan, population: Population, *, rows: int = COMMIT_ROWS) -> Table:
    """Append all events of a population to a lake, some days to a commit, sorted as the lake sorts its files.

    Args:
        lake: Where it is; it may not be there yet.
        plan: The population's plan.
        population: Who does what.
        rows: Rows of a commit, at least, but for the last.

    Returns:
        The table of events.
    """
    table = open_events(lake, plan)
    for portion in _portions(event_batches(population, plan), rows):
        with begin(table) as transaction:
            transaction.append(in_order(portion))
    return table


def make_marts(lake: LakeSettings, plan: Plan, events: Table) -> None:
    """Have the marts made of all events that are in the lake."""
    marts = Marts(lake, plan)
    marts.recall(events)
    while marts.make_on(events):
        pass


def _portions(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= rows:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)
