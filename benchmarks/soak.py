"""Memory over a long run: gateway, agent and loader at a bounded rate, and whether any of them grows.

A recorder of this process records at the rate; the agent sends, the gateway stores, the loader loads, each in a process
of its own, and every other minute ``lake upkeep`` runs beside them, as a timer has it. Their resident memory is sampled
every second. The slope is that of the least squares through the means of
twelve equal stretches, without the first quarter of the run, in which caches fill and pools grow; the interval is that
of 95 %. Every event that was recorded must have been accepted in the end, or the figures are worth nothing.

Run it by ``make soak``; ``ARGS="--seconds 60 --rate 500"`` passes options on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from figures import family, resident_bytes
from heliograph import Recorder
from heliograph.demo.processes import ProcessError, Processes, wait_until
from heliograph.plan.load import load_plan
from vendor_side import Site, running_site
from workload import VERSION, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.demo.processes import Process
    from heliograph.demo.simulation import SimulatedEvent
    from heliograph.plan.model import Plan

_PLAN: Final = Path(__file__).resolve().parents[1] / "plans" / "code-intelligence.yaml"
_EVENTS: Final = 20_000
_STRETCHES: Final = 12
_WARM: Final = 0.25
_STUDENT: Final = 2.228
"""Of Student's distribution with ten degrees of freedom: 97.5 % lie below."""
_DRAIN_SECONDS: Final = 120.0
_STEP_SECONDS: Final = 0.05
_BARS: Final = "▁▂▃▄▅▆▇█"
_MIB: Final = 1 << 20


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One process's resident memory over the run, in bytes."""

    name: str
    samples: list[int]
    slope: float
    """Bytes an hour, after the first quarter."""
    interval: float
    """What may be added to the slope or taken from it: 95 %."""


class Soak(NamedTuple):
    """What a run found."""

    seconds: float
    recorded: int
    accepted: int
    upkeep_runs: int
    memory: list[Memory]


class Upkeep:
    """Calls ``lake upkeep`` again and again, each time in a new process, one at a time."""

    def __init__(self, processes: Processes, settings: Path, *, seconds: float) -> None:
        self._start = partial(
            processes.start, "upkeep", "heliograph.cli", "--config", str(settings), "lake", "upkeep", "--json"
        )
        self._running: Process | None = None
        self._seconds = self._next = seconds
        self.runs = 0
        """How many have come to their end."""

    def look(self, passed: float) -> None:
        """Start the next one if it is due, and the one before has ended.

        Raises:
            ProcessError: One has failed.
        """
        if self._running is not None and self._running.status() is not None:
            self.end()
        if self._running is None and passed >= self._next:
            self._next = passed + self._seconds
            self._running = self._start()

    def end(self) -> None:
        """Wait for the one that is running.

        Raises:
            ProcessError: It has failed.
        """
        running, self._running = self._running, None
        if running is not None:
            wait_until(lambda: running.status() is not None, seconds=_DRAIN_SECONDS, what="lake upkeep")
            if running.status() != 0:
                raise ProcessError(f"lake upkeep has failed: {running.tail()}")
            self.runs += 1


def run(folder: Path, plan: Plan, *, seconds: float, rate: float, upkeep_seconds: float) -> Soak:
    """Record at `rate` a second for `seconds`, with upkeep every so many, and sample what the other processes hold."""
    events = simulate(plan, _EVENTS)
    with running_site(folder, _PLAN) as site, Processes(folder, os.environ) as processes:
        start = processes.start
        loader = start("loader", "heliograph.cli", "--config", str(site.vendor_file), "lake", "load", "--follow")
        agent = start("agent", "heliograph.cli", "--config", str(site.instance_file), "agent", "run")
        pids = {"gateway": site.gateway.pid, "agent": agent.pid, "loader": loader.pid}
        upkeep = Upkeep(processes, site.vendor_file, seconds=upkeep_seconds)
        recorder = Recorder(site.instance.recorder, version=VERSION, source=plan.sources[0])
        samples = _record(recorder, events, pids, upkeep, seconds=seconds, rate=rate)
        recorder.close()
        recorded = sum(recorder.recorded.values())
        wait_until(
            lambda: _accepted(site) >= recorded, seconds=_DRAIN_SECONDS, what="the agent", check=[agent, site.gateway]
        )
        accepted = _accepted(site)
        loader.require_running()
        upkeep.end()
    return Soak(
        seconds, recorded, accepted, upkeep.runs, [_memory(name, each, seconds) for name, each in samples.items()]
    )


def _record(
    recorder: Recorder,
    events: Sequence[SimulatedEvent],
    pids: dict[str, int],
    upkeep: Upkeep,
    *,
    seconds: float,
    rate: float,
) -> dict[str, list[int]]:
    samples: dict[str, list[int]] = {name: [] for name in pids}
    source = cycle(events)
    begin = time.monotonic()
    recorded, look = 0, 0.0
    while (passed := time.monotonic() - begin) < seconds:
        while recorded < passed * rate:
            event = next(source)
            recorder.record(
                event.name, user=event.user, session=event.session, outcome=event.outcome, **event.properties
            )
            recorded += 1
        if passed >= look:
            look += min(1.0, seconds / _STRETCHES / 2)
            for name, pid in pids.items():
                samples[name].append(sum(map(resident_bytes, family(pid))))
        upkeep.look(passed)
        time.sleep(_STEP_SECONDS)
    return samples


def _accepted(site: Site) -> int:
    return sum(site.account().accepted.values())


def _memory(name: str, samples: list[int], seconds: float) -> Memory:
    warm = np.array(samples[int(len(samples) * _WARM) :], float)
    means = np.array([part.mean() for part in np.array_split(warm, _STRETCHES)])
    hours = np.linspace(0, seconds * (1 - _WARM) / 3600, _STRETCHES)
    slope, level = np.polyfit(hours, means, 1)
    rest = means - (slope * hours + level)
    error = np.sqrt((rest**2).sum() / (_STRETCHES - 2) / ((hours - hours.mean()) ** 2).sum())
    return Memory(name=name, samples=samples, slope=float(slope), interval=float(_STUDENT * error))


def print_soak(console: Console, soak: Soak) -> None:
    """Print a table, with a line of bars over time for each process."""
    table = Table(
        title=(
            f"{soak.seconds:,.0f} seconds: {soak.recorded:,} events recorded, {soak.accepted:,} accepted,"
            f" {soak.upkeep_runs} times upkeep"
        ),
        title_justify="left",
    )
    for heading in ("", "after a quarter", "at the end", "highest", "MiB an hour", "over time"):
        table.add_column(heading, justify="left" if heading in ("", "over time") else "right", no_wrap=True)
    for each in soak.memory:
        warm = each.samples[int(len(each.samples) * _WARM)]
        sizes = [f"{size / _MIB:,.1f} MiB" for size in (warm, each.samples[-1], max(each.samples))]
        slope = f"{each.slope / _MIB:+,.1f} ± {each.interval / _MIB:,.1f}"
        table.add_row(each.name, *sizes, slope, bars(each.samples))
    console.print(table)


def bars(samples: Sequence[int], width: int = 40) -> str:
    """Return samples as a line of bars, from zero to the highest."""
    parts = [part.mean() for part in np.array_split(np.array(samples), min(width, len(samples)))]
    highest = max(*parts, 1.0)
    return "".join(_BARS[min(int(part / highest * len(_BARS)), len(_BARS) - 1)] for part in parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return 0; 1 when an event was not accepted."""
    parser = argparse.ArgumentParser(prog="soak.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to record (default: 600)")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events a second (default: 2000)")
    parser.add_argument(
        "--upkeep-seconds", type=float, default=120.0, help="how often the lake is kept in order (default: 120)"
    )
    parser.add_argument("--folder", type=Path, default=Path(), help="where to write (default: here)")
    parser.add_argument("--json", type=Path, help="write the samples to this file as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix=".heliograph-soak-", dir=options.folder) as folder:
        soak = run(
            Path(folder) / "site",
            load_plan(_PLAN),
            seconds=options.seconds,
            rate=options.rate,
            upkeep_seconds=options.upkeep_seconds,
        )
    print_soak(Console() if sys.stdout.isatty() else Console(width=120), soak)  # a file is as wide as the table
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode(soak.memory))
    return 0 if soak.accepted == soak.recorded else 1


if __name__ == "__main__":
    sys.exit(main())
