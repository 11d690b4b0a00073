"""How the marts stand, whether they are what their definitions say, and how to have them made anew."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec

from heliograph.lake.commits import commit
from heliograph.lake.marts.changing import data_files, paths_of
from heliograph.lake.marts.definitions import definition_digest
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.marts.tables import MARTS, State, find_mart, read_raw_from, read_state, state_property
from heliograph.lake.storage import connect
from heliograph.lake.tables import find_catalog, find_events
from heliograph.lake.writers.embedded import EmbeddedWriter
from heliograph.lake.writers.writer import Days

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiceberg.table import Transaction

    from heliograph.lake.marts.tables import Mart
    from heliograph.lake.writers import Writer
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one mart stands."""

    table: str
    rows: int = 0
    files: int = 0
    bytes: int = 0
    first_day: date | None = None
    last_day: date | None = None
    digest: str = ""
    """Of the definition that it was made by."""
    state: str = "missing"
    """``whole``, ``being made`` (days before `until` are there), ``of another definition``, or ``missing``."""
    until: date | None = None


def take_stock(settings: LakeSettings, plan: Plan) -> list[Standing]:
    """Return how each mart stands under a plan."""
    return [_stand(settings, mart, definition_digest(plan)) for mart in MARTS]


def _stand(settings: LakeSettings, mart: Mart, digest: str) -> Standing:
    catalog = find_catalog(settings)
    table = None if catalog is None else find_mart(catalog, mart)
    if table is None:
        return Standing(table=mart.table)
    files, state = data_files(table), read_state(table)
    first = last = None
    if files:
        with connect(settings) as connection:
            query = "select min(day), max(day) from read_parquet($files, hive_partitioning = false)"
            [(first, last)] = connection.execute(query, {"files": paths_of(files)}).fetchall()
    word = "whole" if state.until is None else "being made"
    return Standing(
        table=mart.table,
        rows=sum(file.record_count for file in files),
        files=len(files),
        bytes=sum(file.file_size_in_bytes for file in files),
        first_day=first,
        last_day=last,
        digest=state.digest,
        state=word if state.digest == digest else "of another definition",
        until=state.until,
    )


def ask_anew(settings: LakeSettings) -> bool:
    """Have all marts made anew by the loader that runs, or the next one; tell whether there are any."""
    catalog = find_catalog(settings)
    tables = [] if catalog is None else [table for mart in MARTS if (table := find_mart(catalog, mart)) is not None]

    def change(transaction: Transaction) -> None:
        transaction.set_properties(state_property(State(digest="", until=date.min)))

    for table in tables:
        commit(table, change)
    return bool(tables)


class NotWholeError(Exception):
    """The marts cannot be compared with anything: they are being made, or were made by another definition."""


def check_marts(
    settings: LakeSettings,
    plan: Plan,
    tell: Callable[[date], object] = lambda _: None,
    *,
    writer: Writer | None = None,
) -> dict[str, dict[str, int]]:
    """Compare the marts with what their definitions say of the events, both as of one place in the log.

    Args:
        settings: Where the lake is.
        plan: What the definitions depend on.
        tell: Is told the first of the days that are compared next.
        writer: Compares them; None: this process does.

    Returns:
        By mart and first day of some days, how many rows, once folded, stand on one side alone; of days of which events
        have gone because of their age nothing is said.

    Raises:
        NotWholeError: There is nothing to be compared.
        EngineError: The writer's engine could not.
    """
    events = find_events(settings)
    stored = read_lake(settings, plan)
    if events is None:
        return {}
    if any(mart.name not in stored for mart in MARTS):
        raise NotWholeError("the marts are not whole: wait until the loader has made them, and look again")
    writer = EmbeddedWriter(settings) if writer is None else writer
    found = writer.count_differing(plan, stored, Days(read_raw_from(events)), tell)
    return {
        mart.table: {str(day): count for day, count in found[mart.name].items()} for mart in MARTS if mart.name in found
    }
