"""Several gateways fill one lake: their loaders take turns, and what more than one log holds is loaded once.

An instance keeps to one gateway. Should a load balancer send it to another all the same, the two logs may hold the same
numbers of an epoch, or each a part of them, in whatever order they are loaded: then it is not enough to know how far
an epoch has come in the lake, and each number is looked up.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from heliograph.lake.exclusion import LOADING, Exclusion
from heliograph.lake.storage import connect
from heliograph.lake.tables import event_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.table import Table

    from heliograph.settings import LakeSettings
    from heliograph.wire import Receipt

_SECONDS: Final = 600.0


class Turns:
    """The turns of one loader at one lake."""

    def __init__(self, lake: LakeSettings) -> None:
        self._exclusion = Exclusion(lake)
        self._left: str | None = None

    @contextmanager
    def mine(self, events: Table) -> Iterator[bool]:
        """Be the one who loads, until the end of the block; tell whether somebody has written since the last time.

        Raises:
            BusyError: Others did not end for too long.
        """
        with self._exclusion.hold(LOADING, seconds=_SECONDS):
            events.refresh()
            yield events.metadata_location != self._left
            events.refresh()
            self._left = events.metadata_location


def numbers_in_lake(lake: LakeSettings, receipt: Receipt, schema: pa.Schema) -> pa.Table:
    """Return which numbers of a delivery's range the lake holds; `schema` is that of its events."""
    files = event_files(lake)
    if not files:
        return schema.empty_table()
    query = """
        select instance, epoch, sequence from read_parquet($files, hive_partitioning = false)
        where instance = $instance and epoch = $epoch and sequence between $first and $last
    """
    numbers = {"epoch": receipt.epoch, "first": receipt.first, "last": receipt.last}
    with connect(lake) as connection:
        return connection.sql(query, params={"files": files, "instance": receipt.instance, **numbers}).to_arrow_table()


def without_known(rows: pa.Table, receipt: Receipt, known: Iterable[pa.Table]) -> pa.Table:
    """Return the rows of a delivery whose numbers none of the tables has."""
    for table in known:
        same = (pc.field("instance") == receipt.instance) & (pc.field("epoch") == receipt.epoch)
        numbers = table.select(["instance", "epoch", "sequence"]).filter(same).column("sequence")
        if len(numbers):
            rows = rows.filter(pc.invert(pc.is_in(rows.column("sequence"), value_set=numbers.combine_chunks())))
    return rows
