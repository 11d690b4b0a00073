"""What the benchmarks find, and the two clocks by which they find it: of the wall, and of the processor."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

CPU_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""What the system rounds the processor time of another process to, in seconds."""


class Spread(msgspec.Struct, frozen=True):
    """A figure that was measured several times."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(float(np.median(values)), float(min(values)), float(max(values)))

    @property
    def noise(self) -> float:
        """Half of the way from the lowest to the highest, as a share of the median."""
        return (self.highest - self.lowest) / 2 / self.median if self.median else 0.0


class Latency(msgspec.Struct, frozen=True):
    """How long one of many calls takes, in seconds."""

    calls: int
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Return the percentiles of at least one duration."""
        p50, p99 = np.percentile(seconds, (50, 99))
        return cls(len(seconds), float(p50), float(p99))


class DiskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Writing a block and forcing it to disk (fdatasync), in the folder that the gateway's log is in."""

    block_bytes: int
    append: Latency
    """At the end of a file that grows."""
    overwrite: Latency
    """Within space that was written before, as in a recycled segment."""


class GatewayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One format through a gateway process, and the same bodies through its decoder alone."""

    format: str
    batch_events: int
    body_bytes: int
    """Of one body as sent, on average."""
    event_bytes: float
    """Of one event before compression."""
    decode_per_cpu_second: Spread
    """Inflated and validated without a server: the limit."""
    events_per_cpu_second: Spread
    """User and system time of all threads of the gateway's process."""
    events_per_second: Spread
    busy: Spread
    """Processor seconds of the gateway in a second of the clock."""
    delivery: Latency
    """From sending a body to having its signed receipt."""
    sent: int
    accepted: int
    """By the gateway's account."""
    rejected: int
    loaded_per_cpu_second: Spread
    """Rows that the loader takes from this log into the lake."""

    @property
    def share_of_limit(self) -> float:
        """How much of what the decoder alone does is left with everything else around it."""
        return self.events_per_cpu_second.median / self.decode_per_cpu_second.median


class ExporterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """An outbox that a recorder filled, one event a frame, drained into a gateway process."""

    events: int
    read_and_build_per_cpu_second: Spread
    """Without state on disk or network: the limit."""
    events_per_cpu_second: Spread
    events_per_second: Spread
    accepted: int

    @property
    def share_of_limit(self) -> float:
        """How much of what reading and building alone does is left."""
        return self.events_per_cpu_second.median / self.read_and_build_per_cpu_second.median


class RecorderFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `record`, as the product's thread sees it."""

    full_speed: Latency
    full_speed_per_second: float
    steady: Latency
    """Four threads that record 500 events a second together."""
    steady_call: Latency
    """The same threads, calling a function of Python that takes the same arguments and does nothing: the limit."""
    steady_write: Latency
    """The same threads, writing (``pwrite``) as many bytes as an event has, and nothing else."""
    steady_both: Latency
    """The same threads, calling a function that takes the same arguments and writes as many bytes: the least that a
    call can take whose event outlives the process."""
    working: Latency
    """Four threads that record 500 events a second together, each after some other work, as in a request of a product;
    the others come out of sleep, and find nothing of what they need at hand."""
    dropped: int


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Another program that takes the same events; `peer` says what it does less."""

    name: str
    events: int
    """Of one round."""
    events_per_cpu_second: Spread
    events_per_second: Spread


class LimitFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts that nobody can leave out take by themselves, on this machine and in this run."""

    copy_bytes_per_cpu_second: Spread
    """Copying a megabyte in memory."""
    tls_bytes_per_cpu_second: Spread
    """Decrypting TLS 1.3 records, in this Python."""
    zstd_bytes_per_cpu_second: Spread
    """Decompressing the Arrow bodies, by what comes out."""
    arrow_per_cpu_second: Spread
    """Events decompressed, read by Arrow and validated (``full=True``), and not looked at."""
    json_per_cpu_second: Spread
    """Events decompressed, and decoded by msgspec into types without bounds."""


class TogetherFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway of several workers."""

    format: str
    workers: int
    events_per_second: Spread
    events_per_cpu_second: Spread
    """Of all its processes."""
    sent: int
    accepted: int


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    processor: str
    cores: int
    python: str
    load_before: float
    """Processes that wanted a core in the minute before the run."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run finds."""

    machine: Machine
    plan: str
    disk: DiskFigures
    limits: LimitFigures
    peer: PeerFigures | None
    """None where it is not installed."""
    together: list[TogetherFigures]
    """Of two workers; none where this gateway has no such setting."""
    gateway: list[GatewayFigures]
    exporter: ExporterFigures
    recorder: RecorderFigures

    def problems(self) -> list[str]:
        """Return what makes the figures worthless: events that were not accepted are no throughput."""
        problems = [
            f"{each.format}: {each.sent:,} events were sent, {each.accepted:,} accepted, {each.rejected:,} rejected"
            for each in self.gateway
            if each.accepted != each.sent or each.rejected
        ]
        problems += [
            f"{each.format}, {each.workers} workers: {each.sent:,} events were sent, {each.accepted:,} accepted"
            for each in self.together
            if each.accepted != each.sent
        ]
        if self.exporter.accepted != self.exporter.events:
            problems.append(f"exporter: of {self.exporter.events:,} events {self.exporter.accepted:,} were accepted")
        if self.recorder.dropped:
            problems.append(f"recorder: {self.recorder.dropped:,} events were dropped")
        return problems


def process_cpu_seconds(process: int) -> float:
    """Return the user and system time that all threads of a process have taken (see proc(5))."""
    # The second field is the program's name in brackets, which may hold spaces: count from behind it.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * CPU_TICK


def family(process: int) -> list[int]:
    """Return a process and all that descend from it, those that ended meanwhile left out."""
    found = [process]
    for each in found:
        try:
            tasks = [*Path(f"/proc/{each}/task").iterdir()]
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def family_cpu_seconds(process: int) -> float:
    """Return the processor time of a process and of all that descend from it and live."""
    return sum(map(process_cpu_seconds, family(process)))


def resident_bytes(process: int) -> int:
    """Return how much memory a process holds that is not swapped out (see proc(5), statm)."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def this_machine() -> Machine:
    """Describe the machine, as far as the figures depend on it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        processor=names[0] if names else os.uname().machine,
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        load_before=round(os.getloadavg()[0], 2),
    )


class Stopwatch:
    """Seconds of the clock and of this process's own processor time since it was made."""

    def __init__(self) -> None:
        self._clock = time.perf_counter()
        self._processor = time.process_time()

    def clock(self) -> float:
        """Return seconds of the clock."""
        return time.perf_counter() - self._clock

    def processor(self) -> float:
        """Return seconds of the processor, of all threads."""
        return time.process_time() - self._processor
