"""What the machine itself can do: force bytes to disk, and decode and validate the bodies without a server."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from figures import DiskFigures, Latency, Spread, Stopwatch
from heliograph.gateway.bodies import BodyChecker

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.plan.model import Plan
    from workload import Series

_BLOCK: Final = os.urandom(64 << 10)
_MOST_INFLATED: Final = 64 << 20


def measure_disk(folder: Path, seconds: float) -> DiskFigures:
    """Write blocks one after the other, each forced to disk, for `seconds` in all."""
    path = folder / "disk"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        append = _write(descriptor, seconds / 2, blocks=None)
        overwrite = _write(descriptor, seconds / 2, blocks=append.calls)
    finally:
        os.close(descriptor)
        path.unlink()
    return DiskFigures(block_bytes=len(_BLOCK), append=append, overwrite=overwrite)


def _write(descriptor: int, seconds: float, *, blocks: int | None) -> Latency:
    """Write at rising offsets; with `blocks`, begin anew after so many."""
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while not durations or time.perf_counter() < end:
        place = len(durations) if blocks is None else len(durations) % blocks
        start = time.perf_counter()
        os.pwrite(descriptor, _BLOCK, place * len(_BLOCK))
        os.fdatasync(descriptor)
        durations.append(time.perf_counter() - start)
    return Latency.of(durations)


def measure_decoding(plan: Plan, series: Series, seconds: float, rounds: int) -> Spread:
    """Inflate and check the bodies again and again, as the gateway does, and return events per processor second."""
    checker = BodyChecker(plan)
    latest = datetime.now(UTC) + timedelta(minutes=15)

    def check_all() -> int:
        events = 0
        for body in series.bodies:
            kind = series.format
            checked = checker.check(body, kind.encoding, kind.content_type, most=_MOST_INFLATED, latest=latest)
            events += sum(checked.accepted.values())
        return events

    rates = []
    check_all()
    for _ in range(rounds):
        events = 0
        watch = Stopwatch()
        while watch.clock() < seconds:
            events += check_all()
        rates.append(events / watch.processor())
    return Spread.of(rates)
