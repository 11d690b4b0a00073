"""How the lake stands after upkeep, in a file for the node exporter's textfile collector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from heliograph.lake.maintenance.inventory import take_inventory
from heliograph.lake.storage import is_remote
from heliograph.metrics import Kind, MetricTable, Snapshot, write_metrics

if TYPE_CHECKING:
    from datetime import datetime

    from heliograph.settings import Settings

FILE: Final = "upkeep.prom"
"""In the warehouse, or beside the gateway's log, if the settings name no other."""


class UpkeepMetric(MetricTable):
    """Every metric of upkeep."""

    KEPT = (
        "heliograph_lake_kept_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When upkeep last came to its end, in seconds since 1970.",
    )
    ROWS = ("heliograph_lake_rows", Kind.GAUGE, ("table",), "Rows of a table of the lake.")
    FILES = ("heliograph_lake_files", Kind.GAUGE, ("table",), "Data files of a table's newest snapshot.")
    BYTES = ("heliograph_lake_bytes", Kind.GAUGE, ("table",), "Bytes of these files.")
    SNAPSHOTS = ("heliograph_lake_snapshots", Kind.GAUGE, ("table",), "Snapshots that a table knows.")
    STORED = (
        "heliograph_lake_stored_bytes",
        Kind.GAUGE,
        ("table",),
        "Bytes of all files in a table's folder: those of older snapshots, metadata, and orphans, too.",
    )


def tell_metrics(settings: Settings, now: datetime) -> None:
    """Write down how the lake stands, and that upkeep came to its end.

    Raises:
        OSError: The file cannot be written.
    """
    found = Snapshot()
    found.put(UpkeepMetric.KEPT, now.timestamp())
    for each in take_inventory(settings.lake, now):
        table = each.table.rpartition(".")[2]
        found.put(UpkeepMetric.ROWS, each.rows, table=table)
        found.put(UpkeepMetric.FILES, each.files, table=table)
        found.put(UpkeepMetric.BYTES, each.bytes, table=table)
        found.put(UpkeepMetric.SNAPSHOTS, each.snapshots, table=table)
        found.put(UpkeepMetric.STORED, each.stored_bytes, table=table)
    folder = settings.gateway.log if is_remote(settings.lake) else settings.lake.warehouse
    write_metrics(settings.lake.upkeep_metrics_file or Path(folder) / FILE, found.text())
