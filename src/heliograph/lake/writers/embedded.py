"""The writer of one machine: Arrow, in this process, a piece at a time."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pyarrow as pa

from heliograph.lake.maintenance.layout import in_order, read_rows, write_file
from heliograph.lake.marts.changing import written
from heliograph.lake.marts.engine import Definitions
from heliograph.lake.marts.folding import count_differing, folded
from heliograph.lake.marts.tables import MARTS
from heliograph.lake.matching import sql_case
from heliograph.lake.storage import connect
from heliograph.lake.tables import is_events
from heliograph.lake.writers.writer import Covered, Days, slices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import duckdb
    import numpy.typing as npt
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.engines import Stored
    from heliograph.lake.marts.tables import Mart
    from heliograph.lake.matching import Scope
    from heliograph.lake.writers.writer import Change
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings

_SERIES_BITS: Final = 21
_SEQUENCE_BITS: Final = 42
"""An event's identity fits into one number, unless there are more series, or events of one."""


class EmbeddedWriter:
    """Does each piece in memory; see `heliograph.lake.writers.writer.Writer`.

    Args:
        settings: Where the lake is.
    """

    at_once = 1
    slice_rows = 1_000_000

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings

    def rewrite(self, table: Table, pieces: Sequence[Sequence[DataFile]], change: Change) -> list[list[DataFile]]:
        """Write the rows of each piece to one new file."""
        return [self._rewrite(table, piece, change) for piece in pieces]

    def _rewrite(self, table: Table, piece: Sequence[DataFile], change: Change) -> list[DataFile]:
        rows = read_rows(table, piece)
        if change.without:
            rows = self._without(rows, change.without)
        if change.once:
            rows = _each_once(rows, change.once)
        if change.folds is not None:
            with connect(self._settings) as connection:
                rows = folded(connection, change.folds, rows).cast(rows.schema)  # which numbers its columns
        return [write_file(table, in_order(rows), piece[0])] if len(rows) else []

    def _without(self, rows: pa.Table, scopes: Sequence[Scope]) -> pa.Table:
        case = sql_case(scopes, rows.schema.names)
        if case is None:
            return rows
        sql, parameters = case
        with connect(self._settings) as connection:
            connection.register("given", rows)
            query = f"select ({sql}) is null as stays from given"  # noqa: S608 - names of columns, and parameters
            return rows.filter(connection.sql(query, params=parameters).to_arrow_table().column("stays"))

    def find(self, table: Table, files: Sequence[str], scopes: Sequence[Scope]) -> list[Covered]:
        """Return what of a table's files orders cover."""
        case = sql_case(scopes, [field.name for field in table.schema().fields])
        if case is None:
            return []
        sql, parameters = case
        of_events = ", instance, name, epoch, max(sequence), min(time)" if is_events(table) else ""
        query = f"""
            select erasure, filename, count(*){of_events}
            from (
                select *, {sql} as erasure
                from read_parquet($files, union_by_name = true, filename = true, hive_partitioning = false)
            )
            where erasure is not null group by all
        """  # noqa: S608 - made from names of columns, with all values as parameters
        with connect(self._settings) as connection:
            rows = connection.execute(query, {**parameters, "files": list(files)}).fetchall()
        return [Covered(*row) for row in rows]

    def make(
        self,
        marts: Mapping[Mart, Table],
        plan: Plan,
        files: Sequence[str],
        days: Days,
        scopes: Sequence[Scope] | None = None,
    ) -> dict[Mart, list[DataFile]]:
        """Write what the definitions of marts say of the events of some days."""
        condition: tuple[str, dict[str, Any]] = ("true", {})
        if scopes is not None:
            case = sql_case(scopes, next(iter(marts)).schema.names, day="time::date")
            if case is None:
                return {mart: [] for mart in marts}
            condition = (f"({case[0]}) is not null", case[1])
        with connect(self._settings) as connection:
            made = Definitions(plan, connection).made_of_files(
                files, first=days.first, until=days.until, condition=condition
            )
        return {mart: written(table, table.metadata, mart, made[mart]) for mart, table in marts.items()}

    def count_days(self, plan: Plan, files: Sequence[str], days: Days) -> list[tuple[date, int]]:
        """Return how many events there are in files of each day, in order."""
        with connect(self._settings) as connection:
            return Definitions(plan, connection).count_days(files, days.first)

    def count_differing(
        self, plan: Plan, stored: Mapping[str, Stored], days: Days, tell: Callable[[date], object]
    ) -> dict[str, dict[date, int]]:
        """Compare marts with what their definitions say of the events, some days at a time."""
        found: dict[str, dict[date, int]] = {}
        files = list(stored["events"].files)
        with connect(self._settings) as connection:
            definitions = Definitions(plan, connection)
            for first, until in slices(definitions.count_days(files, days.first), self.slice_rows):
                tell(first)
                made = definitions.from_files(MARTS, files, first=first, until=until)
                for mart in MARTS:
                    rows = _rows_of(connection, list(stored[mart.name].files), mart, Days(first, until))
                    if differing := count_differing(connection, mart, rows, made[mart]):
                        found.setdefault(mart.name, {})[first] = differing
        return found

    def begin(self) -> None:
        """It always can."""

    def rest(self) -> None:
        """It holds nothing."""

    def close(self) -> None:
        """It holds nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()


def _each_once(rows: pa.Table, identity: Sequence[str]) -> pa.Table:
    """Return rows without those whose identity another before them has; its last column is a number, counted up."""
    *words, last = identity
    series = np.zeros(len(rows), np.int64)
    for name in words:
        positions = _positions(rows.column(name))
        series = series * (positions.max(initial=0) + 1) + positions
    sequence = rows.column(last).to_numpy()
    if series.max(initial=0) >= 1 << _SERIES_BITS or sequence.max(initial=0) >= 1 << _SEQUENCE_BITS:
        _, series = np.unique(series, return_inverse=True)
        keys = np.rec.fromarrays([series, sequence])
    else:
        keys = series << _SEQUENCE_BITS | sequence
    _, first = np.unique(keys, return_index=True)
    return rows if len(first) == len(rows) else rows.take(pa.array(np.sort(first)))


def _positions(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return for each value its position among all that there are."""
    return np.asarray(column.combine_chunks().dictionary_encode().indices).astype(np.int64)


def _rows_of(connection: duckdb.DuckDBPyConnection, files: list[str], mart: Mart, days: Days) -> pa.Table:
    if not files:
        return mart.schema.empty_table()
    query = "from read_parquet($files, hive_partitioning = false) where day >= $first and day < $until"
    parameters = {"files": files, "first": days.first, "until": days.until or date.max}
    found: pa.Table = connection.sql(query, params=parameters).to_arrow_table()
    return found.select(mart.schema.names).cast(mart.schema)
