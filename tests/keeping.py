"""A lake for the tests of maintenance: real tables, filled without a gateway, and a clock that is set by hand."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from harness import SMALL_PLAN, random_id
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.storage import connect
from heliograph.lake.tables import event_files, find_events, lake_columns, open_events
from heliograph.settings import LakeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pyiceberg.table import Table

    from heliograph.plan.model import Plan

BEGIN = datetime(2026, 10, 1, 12)  # noqa: DTZ001 - the lake keeps UTC without a zone


class KeptLake:
    """Tables in a folder, or elsewhere if `fields` say so."""

    def __init__(self, folder: Path, plan: Plan = SMALL_PLAN, **fields: Any) -> None:
        given = {
            "warehouse": str(folder / "lake"),
            "catalog": f"sqlite:///{folder}/lake/catalog.db",
            "compact_files": 2,
        }
        self.settings = LakeSettings(**{**given, **fields})
        self.later = timedelta()
        self.table = open_events(self.settings, plan)

    def now(self) -> datetime:
        """Now, and as much later as was said: what is written gets the machine's own time."""
        return datetime.now(UTC) + self.later

    def keeper(self, *, wait: Callable[[float], object] = lambda _: None, **more: Any) -> Keeper:
        return Keeper(self.settings, now=self.now, wait=wait, **more)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Commit rows as one file per month."""
        self.table.refresh()
        self.table.append(pa.Table.from_pylist(list(rows), lake_columns(self.table)))

    def widen(self, plan: Plan) -> None:
        self.table = open_events(self.settings, plan)

    def rows(self) -> Counter[tuple[Any, ...]]:
        """All rows as a multiset: tuples of the table's columns."""
        files = event_files(self.settings)
        if not files:
            return Counter()
        names = [field.name for field in self.newest().schema().fields]
        with connect(self.settings) as connection:
            reading = "read_parquet($files, union_by_name = true, hive_partitioning = false)"
            found = connection.sql(f"select * from {reading}", params={"files": files}).to_arrow_table().to_pylist()
        return Counter(tuple(row.get(name) for name in names) for row in found)

    def newest(self) -> Table:
        table = find_events(self.settings)
        assert table is not None
        return table


def row(
    number: int, *, user: int = 1, day: int = 0, instance: str = "one", epoch: int = 1, **more: Any
) -> dict[str, Any]:
    """One row of the table of events."""
    moment = BEGIN + timedelta(days=day, seconds=number)
    return {
        "instance": instance,
        "account": "acme",
        "epoch": epoch,
        "sequence": number,
        "name": "SearchSubmitted",
        "time": moment,
        "user_id": random_id(user),
        "source": "web",
        "agreement": "agreement-1",
        "plan": "small@1",
        "received": moment,
        "duration_ms": number,
        **more,
    }
