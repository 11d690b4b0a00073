"""The gateway's metrics, and the address on the loopback where they are read.

What happens to a request is counted by whichever process answers it; with several workers, prometheus-client adds them
up from files that they share. What the log knows anyway, such as every event's outcome, is read from it when somebody
asks, and costs a delivery nothing.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from heliograph.event import Verdict
from heliograph.gateway.explaining import Explanations
from heliograph.gateway.log_reading import RELEASED, read_generation, segment_path, segments
from heliograph.metrics import Kind, Meters, MetricTable, Snapshot, render
from heliograph.wire import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heliograph.gateway.log import Log
    from heliograph.gateway.readiness import Readiness
    from heliograph.settings import GatewaySettings

SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of the environment by which prometheus-client shares what several processes count."""
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class GatewayMetric(MetricTable):
    """Every metric of the gateway."""

    REQUESTS = (
        "heliograph_gateway_requests_total",
        Kind.COUNTER,
        ("path", "outcome"),
        "Requests by address, and by how they ended: ok, duplicate, or the refusal's code (docs/wire.md).",
    )
    BYTES = (
        "heliograph_gateway_received_bytes_total",
        Kind.COUNTER,
        (),
        "Bytes of deliveries' bodies as received, of those refused too.",
    )
    TOKENS = ("heliograph_gateway_tokens_total", Kind.COUNTER, (), "Access tokens that were given out.")
    STEP_SECONDS = (
        "heliograph_gateway_step_seconds",
        Kind.HISTOGRAM,
        ("step",),
        "Seconds of a delivery that is taken: checks until nothing is left to ask, store until it is on disk.",
    )
    COMMIT_SECONDS = (
        "heliograph_gateway_commit_seconds",
        Kind.HISTOGRAM,
        (),
        "Seconds to write what was queued and to force it to disk, once for all of it.",
    )
    EVENTS = (
        "heliograph_gateway_events_total",
        Kind.COUNTER,
        ("event", "outcome"),
        "Numbers that were delivered, by declared name and verdict, those told to be absent too.",
    )
    INSTANCES = ("heliograph_gateway_instances", Kind.GAUGE, (), "Instances that have delivered.")
    DIFFERENCES = (
        "heliograph_gateway_account_differences_total",
        Kind.COUNTER,
        (),
        "Ranges of numbers that did not add up, of all instances.",
    )
    OPEN_DIFFERENCES = (
        "heliograph_gateway_account_open_differences",
        Kind.GAUGE,
        (),
        "Ranges that did not add up and that nobody has explained; at least 1 for each account that does not close.",
    )
    QUEUE = ("heliograph_gateway_log_queue", Kind.GAUGE, (), "Deliveries and pings that wait to be written.")
    LOG_BYTES = ("heliograph_gateway_log_bytes", Kind.GAUGE, (), "Bytes that the log's segments take on disk.")
    LOG_BOUND = (
        "heliograph_gateway_log_bound_bytes",
        Kind.GAUGE,
        (),
        "Bytes past which no segment is begun, and deliveries are refused with 507.",
    )
    LOG_WAITING = (
        "heliograph_gateway_log_waiting_segments",
        Kind.GAUGE,
        (),
        "Segments of the log that the loader has not released yet.",
    )
    DISK_FREE = ("heliograph_gateway_disk_free_bytes", Kind.GAUGE, (), "Bytes that are free on the log's disk.")
    READY = (
        "heliograph_gateway_ready",
        Kind.GAUGE,
        ("check",),
        "1 for each check of readiness that is in order, and 0 for one that is not.",
    )


METERS: Final = Meters(GatewayMetric, CollectorRegistry())
"""Of this process, or of all that share a folder."""


def read_metrics(log: Log, settings: GatewaySettings, readiness: Readiness) -> bytes:
    """Return all metrics in Prometheus's text format."""
    registry = METERS.registry
    if SHARED in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return render([snapshot(log, settings, readiness)], registry)


def snapshot(log: Log, settings: GatewaySettings, readiness: Readiness) -> Snapshot:
    """Read what the log knows."""
    found = Snapshot()
    outcomes: Counter[tuple[str, str]] = Counter()
    differences = open_differences = 0
    explanations = Explanations(log.folder)
    accounts = list(log.accounts.items())
    for instance, account in accounts:
        differences += account.difference_count
        open_differences += explanations.open_differences(instance, account)
        for name, count in list(account.accepted.items()):
            outcomes[name, Verdict.ACCEPTED] += count
        for counts in (account.rejected, account.absent):
            for name, verdicts in list(counts.items()):
                for verdict, count in list(verdicts.items()):
                    outcomes[name, verdict] += count
    for (name, outcome), count in sorted(outcomes.items()):
        found.put(GatewayMetric.EVENTS, count, event=name, outcome=str(outcome))
    found.put(GatewayMetric.INSTANCES, len(accounts))
    found.put(GatewayMetric.DIFFERENCES, differences)
    found.put(GatewayMetric.OPEN_DIFFERENCES, open_differences)
    found.put(GatewayMetric.QUEUE, log.waiting)
    _put_log(found, log.folder, settings)
    for check in readiness.checks:
        found.put(GatewayMetric.READY, float(check.ok), check=check.name)
    return found


def _put_log(found: Snapshot, folder: Path, settings: GatewaySettings) -> None:
    generations = segments(folder)
    released = read_generation(folder / RELEASED) or 0
    total = 0
    for generation in generations:
        try:
            total += segment_path(folder, generation).stat().st_size
        except FileNotFoundError:  # used again meanwhile
            continue
    found.put(GatewayMetric.LOG_BYTES, total)
    found.put(GatewayMetric.LOG_BOUND, settings.maximum_log_bytes)
    found.put(GatewayMetric.LOG_WAITING, sum(generation >= released for generation in generations))
    found.put(GatewayMetric.DISK_FREE, shutil.disk_usage(folder).free)


@contextmanager
def serving_metrics(log: Log, settings: GatewaySettings, ready: Callable[[], Readiness]) -> Iterator[int]:
    """Answer ``/metrics`` and ``/ready`` on the loopback inside the block, and give the port; none if it is set to 0.

    Raises:
        OSError: The port cannot be had.
    """
    if settings.metrics_port == 0:
        yield 0
        return

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            readiness = ready()
            if self.path == "/metrics":
                self._answer(200, _TEXT, read_metrics(log, settings, readiness))
            elif self.path == "/ready":
                status = 200 if readiness.ready else 503
                self._answer(status, JSON, msgspec.json.encode(readiness))
            else:
                self._answer(404, "text/plain", b"/metrics or /ready\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", settings.metrics_port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
