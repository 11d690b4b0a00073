"""A real gateway process, with TLS, token, validation, fdatasync and receipts; and the loader behind it."""

from __future__ import annotations

import os
import ssl
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx

from figures import CPU_TICK, GatewayFigures, Latency, Spread, Stopwatch, TogetherFigures, family_cpu_seconds
from generators import Generators, Load
from heliograph.demo.home import Home
from heliograph.demo.processes import Processes, wait_until
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key
from heliograph.lake.loader import Loader
from heliograph.wire import HEALTH_PATH, total_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from generators import Delivery
    from heliograph.demo.processes import Process
    from heliograph.instance.transport import GatewayAccount
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings
    from workload import Series

_START_SECONDS: Final = 60.0
_WARM_SECONDS: Final = 5.0
"""In which a gateway takes enough to have its loops compiled; a round that is shorter is waited for no longer."""
_INSTANCE: Final = "benchmark"
_CLI: Final = ("heliograph.cli",)


class Site(NamedTuple):
    """A running gateway, and one instance that it knows."""

    vendor: Settings
    vendor_file: Path
    instance: Settings
    instance_file: Path
    gateway: Process

    def client(self) -> GatewayClient:
        """Return a new client of the instance; to be closed."""
        return GatewayClient(self.instance.agent, load_or_create_key(Path(self.instance.agent.key)))

    def account(self) -> GatewayAccount:
        """Return what the gateway holds of the instance."""
        client = self.client()
        try:
            return client.account()
        finally:
            client.close()


@contextmanager
def running_site(folder: Path, plan_file: Path, *, workers: int = 1, program: Sequence[str] = _CLI) -> Iterator[Site]:
    """Make a vendor and an instance in `folder`, and run the gateway inside the block.

    Args:
        folder: Where they keep everything.
        plan_file: The plan's file.
        workers: How many processes of the gateway check deliveries.
        program: The module that is Heliograph's command line, and arguments before all others.
    """
    home = Home(folder, plan_file)
    [customer] = home.add_customers([(_INSTANCE, _INSTANCE)])
    trusted = ssl.create_default_context(cafile=customer.settings.agent.certificate_authority)

    def answers() -> bool:
        try:
            return httpx.get(home.gateway_address + HEALTH_PATH, verify=trusted).is_success
        except httpx.TransportError:
            return False

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    if workers > 1:
        environment["HELIOGRAPH_GATEWAY_WORKERS"] = str(workers)
    with Processes(home.logs, environment) as processes:
        gateway = processes.start("gateway", *program, "--config", str(home.vendor_file), "gateway", "run")
        wait_until(answers, seconds=_START_SECONDS, what="the gateway to answer", check=[gateway])
        yield Site(home.vendor, home.vendor_file, customer.settings, customer.settings_file, gateway)


def measure_together(
    folder: Path, plan_file: Path, series: Series, *, workers: int, seconds: float, rounds: int
) -> TogetherFigures:
    """Deliver one format to a gateway of several workers as fast as they take it."""
    with running_site(folder, plan_file, workers=workers) as site:
        with Generators(Load.of(site.instance, series)) as generators:
            time.sleep(min(_WARM_SECONDS, seconds))
            windows = [_measure_window(site.gateway.pid, seconds) for _ in range(rounds)]
            deliveries = generators.stop()
        account = site.account()
    events = [_events_within(window, deliveries, series) for window in windows]
    return TogetherFigures(
        format=series.format.name,
        workers=workers,
        events_per_second=Spread.of([n / (each.end - each.start) for n, each in zip(events, windows, strict=True)]),
        events_per_cpu_second=Spread.of([n / each.processor for n, each in zip(events, windows, strict=True)]),
        sent=len(deliveries) * series.batch_events,
        accepted=sum(account.accepted.values()),
    )


def _events_within(window: _Window, deliveries: Sequence[Delivery], series: Series) -> int:
    return series.batch_events * sum(window.start < delivery.end <= window.end for delivery in deliveries)


class _Window(NamedTuple):
    """Two moments, and the processor time that the gateway had taken by each."""

    start: float
    end: float
    processor: float


def measure_gateway(
    folder: Path, plan: Plan, plan_file: Path, series: Series, decoding: Spread, *, seconds: float, rounds: int
) -> GatewayFigures:
    """Deliver one format to a gateway of its own as fast as it takes it, then load its log into its lake.

    Args:
        folder: Where the gateway keeps everything.
        plan: The plan.
        plan_file: Its file.
        series: The bodies.
        decoding: The limit, for the figures.
        seconds: Length of one round.
        rounds: How often it is measured.
    """
    with running_site(folder, plan_file) as site:
        load = Load.of(site.instance, series)
        with Generators(load) as generators:
            time.sleep(min(_WARM_SECONDS, seconds))
            windows = [_measure_window(site.gateway.pid, seconds) for _ in range(rounds)]
            deliveries = generators.stop()
        account = site.account()
    events = [_events_within(window, deliveries, series) for window in windows]
    clock = [window.end - window.start for window in windows]
    return GatewayFigures(
        format=series.format.name,
        batch_events=series.batch_events,
        body_bytes=sum(map(len, series.bodies)) // len(series.bodies),
        event_bytes=round(series.event_bytes, 1),
        decode_per_cpu_second=decoding,
        events_per_cpu_second=Spread.of(
            [number / window.processor for number, window in zip(events, windows, strict=True)]
        ),
        events_per_second=Spread.of([number / duration for number, duration in zip(events, clock, strict=True)]),
        busy=Spread.of([window.processor / duration for window, duration in zip(windows, clock, strict=True)]),
        delivery=Latency.of([each.end - each.start for each in deliveries]),
        sent=len(deliveries) * series.batch_events,
        accepted=sum(account.accepted.values()),
        rejected=total_counts(account.rejected) + total_counts(account.absent),
        loaded_per_cpu_second=_measure_loading(site.vendor, plan, seconds * rounds),
    )


def _measure_window(process: int, seconds: float) -> _Window:
    start, before = time.monotonic(), family_cpu_seconds(process)
    time.sleep(seconds)
    end, after = time.monotonic(), family_cpu_seconds(process)
    return _Window(start, end, max(after - before, CPU_TICK))  # less cannot be told


def _measure_loading(vendor: Settings, plan: Plan, seconds: float) -> Spread:
    """Load one commit after the other, for `seconds` or until the log is in the lake."""
    loader = Loader(vendor.gateway, vendor.lake, plan)
    rates: list[float] = []
    whole = Stopwatch()
    while not rates or whole.clock() < seconds:
        watch = Stopwatch()
        rows = loader.load_round()
        if rows == 0:
            break
        rates.append(rows / watch.processor())
    loader.close()
    # The last one may be of few rows.
    return Spread.of(rates[:-1] or rates)
