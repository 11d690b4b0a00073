"""The loader's metrics, in a file for the node exporter's textfile collector."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry

from heliograph.gateway.log_reading import segments
from heliograph.lake.differences import LakeDifferences
from heliograph.lake.storage import is_remote
from heliograph.lake.tables import find_events
from heliograph.metrics import Kind, Meters, MetricTable, Snapshot, render, write_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyiceberg.table import Table

    from heliograph.gateway.log_reading import Place
    from heliograph.lake.account import LoadAccount
    from heliograph.settings import GatewaySettings, LakeSettings

FILE: Final = "metrics.prom"
"""In the warehouse, if the settings name no other."""
_SECONDS: Final = 5.0
"""How often the file is written, at most."""
_log: Final = structlog.get_logger("heliograph.loader")


class LoaderMetric(MetricTable):
    """Every metric of the loader."""

    EVENTS = (
        "heliograph_loader_events_total",
        Kind.COUNTER,
        ("event",),
        "Rows of events committed to the lake since the loader was started, by declared name.",
    )
    PINGS = (
        "heliograph_loader_ping_rows_total",
        Kind.COUNTER,
        (),
        "Rows of pings committed to the lake since the loader was started.",
    )
    COMMIT_SECONDS = (
        "heliograph_loader_commit_seconds",
        Kind.HISTOGRAM,
        (),
        "Seconds to write rows, to commit them, and to force them to disk.",
    )
    FAILURES = (
        "heliograph_loader_failures_total",
        Kind.COUNTER,
        (),
        "Rounds in which nothing could be loaded, as a column has another type.",
    )
    LAG = (
        "heliograph_loader_lag_seconds",
        Kind.GAUGE,
        (),
        "Now minus when the gateway stored the latest delivery that is loaded; 0 when everything is.",
    )
    WAITING = (
        "heliograph_loader_waiting_segments",
        Kind.GAUGE,
        (),
        "Segments of the log from where the loader stands on, the present one among them.",
    )
    DIFFERENCES = (
        "heliograph_loader_account_differences_total",
        Kind.COUNTER,
        (),
        "Ranges of numbers that did not add up since the loader was started.",
    )
    OPEN_DIFFERENCES = (
        "heliograph_loader_account_open_differences",
        Kind.GAUGE,
        (),
        "Ranges of this log that did not add up, whoever loaded them, and that nobody has explained.",
    )
    CHECKED = (
        "heliograph_loader_checked_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When the loader last looked at the log, in seconds since 1970.",
    )


class LoaderMonitor:
    """Counts what one loader does, and writes it down.

    Args:
        gateway: Where the log is.
        lake: Where the file is.
        now: Seconds since 1970.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(
        self,
        gateway: GatewaySettings,
        lake: LakeSettings,
        *,
        now: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.meters: Final = Meters(LoaderMetric, CollectorRegistry())
        self.received = 0
        """When the gateway stored the latest delivery that is loaded: microseconds since 1970."""
        self._lake = lake
        self._log = Path(gateway.log)
        self._file = Path(lake.metrics_file or Path(gateway.log if is_remote(lake) else lake.warehouse) / FILE)
        self._now = now
        self._ticks = ticks
        self._next = 0.0
        self._failed = False

    def look(self, table: Table, place: Place, account: LoadAccount, *, caught_up: bool) -> None:
        """Write the metrics down, unless that was a moment ago.

        Args:
            table: The events, as the loader has them.
            place: Where the loader stands.
            account: What it has passed.
            caught_up: Whether the last round found nothing more to load.
        """
        if self._ticks() < self._next:
            return
        self._next = self._ticks() + _SECONDS
        found = Snapshot()
        lag = 0.0 if caught_up or not self.received else self._now() - self.received / 1_000_000
        found.put(LoaderMetric.LAG, lag)
        found.put(LoaderMetric.CHECKED, self._now())
        found.put(LoaderMetric.DIFFERENCES, account.difference_count)
        found.put(LoaderMetric.OPEN_DIFFERENCES, self._open_differences(table))
        found.put(LoaderMetric.WAITING, sum(each >= place.generation for each in segments(self._log)))
        try:
            write_metrics(self._file, render([found], self.meters.registry))
            self._failed = False
        except OSError as error:  # nothing waits for it
            if not self._failed:
                _log.warning("the metrics cannot be written", why=str(error))
            self._failed = True

    def _open_differences(self, table: Table) -> int:
        """Count what nobody has explained. Whoever explains it is another process: then the lake is asked anew."""
        log = self._lake.log
        return LakeDifferences(table).open_of(log) and LakeDifferences(find_events(self._lake)).open_of(log)
