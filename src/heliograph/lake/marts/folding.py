"""Folding: several rows of one key become one, and parts of sessions that belong together one part.

Whoever reads a mart adds up its rows, so that nothing changes for them but the time it takes.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Final

import ibis
import structlog

from heliograph.lake.marts.changing import data_files, paths_of, read_files, replace_rows
from heliograph.lake.marts.definitions import USER_DAY, in_parts
from heliograph.lake.marts.feature_sets import bit_or
from heliograph.lake.marts.tables import INSTANCE_DAYS, SESSION_PARTS, SESSION_SPANS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.typedef import Record

    from heliograph.lake.marts.tables import Mart

_TIERS: Final = (256 << 10, 8 << 20)
"""Sizes in bytes: files below the first are folded together, then those below the next; larger ones stay."""
MOST_FILES: Final = 32
"""Files of a tier in a month: more are folded."""
_log: Final = structlog.get_logger("heliograph.loader")


def folded(connection: duckdb.DuckDBPyConnection, mart: Mart, rows: pa.Table) -> pa.Table:
    """Return the rows of a mart with one for each key."""
    connection.register("unfolded", rows)
    try:
        return connection.sql(_sql(mart)).to_arrow_table().cast(mart.schema)
    finally:
        connection.unregister("unfolded")


@cache
def _sql(mart: Mart) -> str:
    rows = ibis.table(ibis.Schema.from_pyarrow(mart.schema), name="unfolded")
    return str(ibis.to_sql(folded_table(rows, mart), dialect="duckdb"))


def folded_table(rows: ibis.Table, mart: Mart) -> ibis.Table:
    """Return a mart's rows with one for each key, as an expression for any engine."""
    if not mart.sums:
        return rows
    names = mart.schema.names
    if mart in {SESSION_PARTS, SESSION_SPANS}:
        rows = _whole_parts(rows)
    sums = {name: rows[name].sum() for name in mart.sums}
    unions = {name: bit_or(rows[name]) for name in mart.unions}
    return rows.group_by(mart.keys).agg(**sums, **unions).select(*names)


def _whole_parts(rows: ibis.Table) -> ibis.Table:
    """Return parts of sessions with the begin and end of what those make together that are no longer pause apart."""
    earlier = ibis.window(group_by=USER_DAY, order_by=["begun", "ended"], rows=(None, -1))
    return in_parts(rows, rows.ended.max().over(earlier), begun="begun", ended="ended")


def count_differing(connection: duckdb.DuckDBPyConnection, mart: Mart, ours: pa.Table, theirs: pa.Table) -> int:
    """Return how many rows, once folded, stand on one side alone."""
    connection.register("ours", folded(connection, mart, ours))
    connection.register("theirs", folded(connection, mart, theirs))
    query = """
        select count(*) from (
            (from ours except all from theirs) union all (from theirs except all from ours)
        )
    """
    found = connection.sql(query).fetchall()
    connection.unregister("ours")
    connection.unregister("theirs")
    return int(found[0][0])


def fold_small_files(table: Table, mart: Mart, connection: duckdb.DuckDBPyConnection) -> bool:
    """Fold the small files of one month, if there are many; return whether there were."""
    if mart is INSTANCE_DAYS or not (found := _too_many(data_files(table))):
        return False
    month = found[0].partition
    before = len(found)

    def new() -> tuple[Sequence[DataFile], pa.Table]:
        files = _too_many([file for file in data_files(table) if file.partition == month])
        return files, folded(connection, mart, read_files(table, mart, paths_of(files)))

    replace_rows(table, mart, new)
    _log.info("folded", mart=mart.name, files=before)
    return True


def _too_many(files: Sequence[DataFile]) -> list[DataFile]:
    """Return the files of the lowest tier of some month that has too many of them."""
    tiers: dict[tuple[int, Record], list[DataFile]] = defaultdict(list)
    for file in files:
        tier = sum(file.file_size_in_bytes >= size for size in _TIERS)
        if tier < len(_TIERS):
            tiers[tier, file.partition].append(file)
    return next((tiers[key] for key in sorted(tiers, key=str) if len(tiers[key]) > MOST_FILES), [])
