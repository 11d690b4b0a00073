"""How the marts stand, whether they are what their definitions say, and how to have them made anew."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.lake.commits import commit
from heliograph.lake.marts.changing import data_files, paths_of
from heliograph.lake.marts.definitions import definition_digest
from heliograph.lake.marts.engine import Definitions
from heliograph.lake.marts.folding import count_differing
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.marts.tables import MARTS, State, find_mart, read_raw_from, read_state, state_property
from heliograph.lake.storage import connect
from heliograph.lake.tables import find_catalog, find_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from pyiceberg.table import Transaction

    from heliograph.lake.marts.tables import Mart
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings

_SLICE_ROWS: Final = 1_000_000


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
    settings: LakeSettings, plan: Plan, tell: Callable[[date], object] = lambda _: None
) -> dict[str, dict[str, int]]:
    """Compare the marts with what their definitions say of the events, both as of one place in the log.

    Args:
        settings: Where the lake is.
        plan: What the definitions depend on.
        tell: Is told the first of the days that are compared next.

    Returns:
        By mart and first day of some days, how many rows, once folded, stand on one side alone; of days of which events
        have gone because of their age nothing is said.

    Raises:
        NotWholeError: There is nothing to be compared.
    """
    events = find_events(settings)
    stored = read_lake(settings, plan)
    if events is None:
        return {}
    if any(mart.name not in stored for mart in MARTS):
        raise NotWholeError("the marts are not whole: wait until the loader has made them, and look again")
    connection = connect(settings)
    definitions = Definitions(plan, connection)
    found: dict[str, dict[str, int]] = {}
    files = list(stored["events"].files)
    for first, until in _slices(definitions.count_days(files, read_raw_from(events))):
        tell(first)
        made = definitions.from_files(MARTS, files, first=first, until=until)
        for mart in MARTS:
            rows = _rows_of(definitions, list(stored[mart.name].files), mart, first, until)
            if differing := count_differing(connection, mart, rows, made[mart]):
                found.setdefault(mart.table, {})[str(first)] = differing
    return found


def _slices(days: list[tuple[date, int]]) -> Iterator[tuple[date, date | None]]:
    """Yield spans of days, each with the first day behind it: of few events, or of one day."""
    starts: list[date] = []
    total = 0
    for day, count in days:
        if not starts or total + count > _SLICE_ROWS:
            starts.append(day)
            total = 0
        total += count
    yield from zip(starts, [*starts[1:], None], strict=True) if starts else ()


def _rows_of(definitions: Definitions, files: list[str], mart: Mart, first: date, until: date | None) -> pa.Table:
    if not files:
        return mart.schema.empty_table()
    query = "from read_parquet($files, hive_partitioning = false) where day >= $first and day < $until"
    parameters = {"files": files, "first": first, "until": until or date.max}
    found: pa.Table = definitions.connection.sql(query, params=parameters).to_arrow_table()
    return found.select(mart.schema.names).cast(mart.schema)
