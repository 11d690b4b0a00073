"""The instance's side: calls of `record` that fill an outbox, and the exporter that drains it."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, cycle, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from figures import ExporterFigures, Latency, RecorderFigures, Spread, Stopwatch
from heliograph import Recorder
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.exporter import Exporter
from heliograph.instance.machine_code import instance_code
from heliograph.instance.notice import NoticeWriter
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.read_ahead import Place, read_events
from heliograph.instance.state import State
from heliograph.settings import RecorderSettings
from vendor_side import Site, running_site
from workload import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heliograph.demo.simulation import SimulatedEvent
    from heliograph.instance.machine_code import InstanceCode
    from heliograph.plan.model import Plan

_THREADS: Final = 4
_STEADY_PER_SECOND: Final = 500
_STEADY_EVENTS: Final = 20_000
"""So many are recorded at that rate, over and over."""
_REQUEST_EVENTS: Final = 60
"""So many stand in what a request of the product's has to do beside recording one: some 0.15 milliseconds of work."""
_GROWN: Final = 8
"""So many times `agent.batch_events` has a batch of a backlog."""
_EVENT_BYTES: Final = 220
"""Of an event in the outbox, with its frame."""
_EVENT: Final = bytes(_EVENT_BYTES)


def measure_instance(
    folder: Path, plan: Plan, plan_file: Path, events: Sequence[SimulatedEvent], *, seconds: float, rounds: int
) -> tuple[ExporterFigures, RecorderFigures]:
    """Record all `events` and drain them into a gateway, `rounds` times; then record at a steady rate for `seconds`."""
    calls: list[float] = []
    recording: list[float] = []
    dropped = 0
    limits: list[float] = []
    drains: list[_Drain] = []
    code = instance_code().ready()  # as in an agent that has read some 100,000 events of its backlog
    with running_site(folder / "site", plan_file) as site:
        for number in range(rounds):
            settings = RecorderSettings(outbox=str(folder / f"outbox-{number}"))
            _give_notice(Path(settings.outbox))
            recorder = Recorder(settings, version=VERSION, source=plan.sources[0])
            watch = Stopwatch()
            calls += [_record(recorder, event) for event in events]
            recording.append(len(events) / watch.clock())
            dropped += len(events) - sum(recorder.recorded.values())
            recorder.close()
            limits.append(_read_and_build(plan, Path(settings.outbox), folder / f"limit-{number}", site, code))
            drains.append(_drain(site, plan, settings, folder / f"agent-{number}", code))
        accepted = sum(site.account().accepted.values())
    steady, dropped_steadily = _measure_steadily(plan, folder / "steady", events[:_STEADY_EVENTS], seconds, rounds)
    total = len(events) * rounds
    return (
        ExporterFigures(
            events=total,
            read_and_build_per_cpu_second=Spread.of(limits),
            events_per_cpu_second=Spread.of([len(events) / drain.processor for drain in drains]),
            events_per_second=Spread.of([len(events) / drain.clock for drain in drains]),
            accepted=accepted,
        ),
        RecorderFigures(
            full_speed=Latency.of(calls),
            full_speed_per_second=Spread.of(recording).median,
            steady=Latency.of(steady.record),
            steady_call=Latency.of(steady.call),
            steady_write=Latency.of(steady.write),
            steady_both=Latency.of(steady.both),
            working=Latency.of(steady.working),
            dropped=dropped + dropped_steadily,
        ),
    )


def _give_notice(outbox: Path) -> None:
    """Say what an agent says: it reads the lines that cost a recorder least."""
    now = datetime.now(UTC)
    NoticeWriter(outbox, keep_local=False).tell("events", until=now + timedelta(days=1), now=now)


def _record(recorder: Recorder, event: SimulatedEvent) -> float:
    """Record an event as a product does, and return the seconds that the call took."""
    return _timed(recorder.record, event)


def _timed(record: Callable[..., bool], event: SimulatedEvent) -> float:
    start = time.perf_counter()
    record(
        event.name,
        user=event.user,
        session=event.session,
        outcome=event.outcome,
        time=event.time,
        **event.properties,
    )
    return time.perf_counter() - start


class _Steady(NamedTuple):
    """The durations of calls at a fixed rate, in seconds."""

    record: list[float]
    call: list[float]
    write: list[float]
    both: list[float]
    working: list[float]


def _measure_steadily(
    plan: Plan, folder: Path, events: Sequence[SimulatedEvent], seconds: float, rounds: int
) -> tuple[_Steady, int]:
    """Record at a fixed rate, in turn with what a call and a write take by themselves; count what was dropped, too."""
    folder.mkdir()
    _give_notice(folder / "outbox")
    recorder = Recorder(RecorderSettings(outbox=str(folder / "outbox")), version=VERSION, source=plan.sources[0])
    found = _Steady([], [], [], [], [])
    file = os.open(folder / "file", os.O_RDWR | os.O_CREAT)
    places = count(0, _EVENT_BYTES)

    def write(_: SimulatedEvent) -> float:
        start = time.perf_counter()
        os.pwrite(file, _EVENT, next(places))
        return time.perf_counter() - start

    def do_both(_name: str, /, *, user: object, session: object, outcome: object, time: object, **_: object) -> bool:
        return os.pwrite(file, _EVENT, next(places)) is user is session is outcome is time

    request = json.dumps([{"name": event.name, "user": event.user} for event in events[:_REQUEST_EVENTS]])

    def answer_and_record(event: SimulatedEvent) -> float:
        json.dumps(sorted(json.loads(request), key=itemgetter("name")))
        return _timed(recorder.record, event)

    for _ in range(rounds):
        found.record.extend(_call_steadily(partial(_timed, recorder.record), events, seconds / rounds))
        found.call.extend(_call_steadily(partial(_timed, _do_nothing), events, seconds / rounds))
        found.write.extend(_call_steadily(write, events, seconds / rounds))
        found.both.extend(_call_steadily(partial(_timed, do_both), events, seconds / rounds))
        found.working.extend(_call_steadily(answer_and_record, events, seconds / rounds))
    os.close(file)
    recorded = sum(recorder.recorded.values())
    recorder.close()
    return found, len(found.record) + len(found.working) - recorded


def _do_nothing(_name: str, /, *, user: object, session: object, outcome: object, time: object, **_: object) -> bool:
    return user is session is outcome is time


def _call_steadily(
    call: Callable[[SimulatedEvent], float], events: Sequence[SimulatedEvent], seconds: float
) -> list[float]:
    """Call from several threads at a fixed rate, and return what each call says that it took."""
    pause = _THREADS / _STEADY_PER_SECOND
    calls: list[float] = []
    begin = time.perf_counter()

    def run(thread: int) -> None:
        # The threads take turns, and a late call does not move those after it.
        due = begin + pause * thread / _THREADS
        for event in islice(cycle(events), thread, None, _THREADS):
            if due > begin + seconds and due > begin + pause:
                return
            time.sleep(max(due - time.perf_counter(), 0.0))
            calls.append(call(event))
            due += pause

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls


def _read_and_build(plan: Plan, outbox: Path, scratch: Path, site: Site, code: InstanceCode) -> float:
    """Read the outbox and build its batches, without the network, and return events per processor second."""
    state = State(scratch)
    builder = BatchBuilder(plan, Pseudonyms(state), code)
    latest = datetime.now(UTC) + timedelta(minutes=15)
    events = 0
    watch = Stopwatch()
    for reader in read_epochs(outbox):
        place = Place(reader.epoch, START, _GROWN * site.instance.agent.batch_events, builder, latest)
        while (read := read_events(reader, place)).chunk.end != place.position:
            events += builder.build(read.recorded, numbers=read.chunk.numbers, latest=latest).events
            place = place._replace(position=read.chunk.end)
    rate = events / watch.processor()
    state.close()
    return rate


class _Drain(NamedTuple):
    clock: float
    processor: float


def _drain(site: Site, plan: Plan, settings: RecorderSettings, memory: Path, code: InstanceCode) -> _Drain:
    """Deliver everything in the outbox, by an exporter that has seen none of its users before."""
    state = State(memory)
    client = site.client()
    try:
        client.policy()
        exporter = Exporter(
            agent=site.instance.agent, recorder=settings, plan=plan, state=state, client=client, code=code
        )
        watch = Stopwatch()
        while exporter.deliver_round():
            pass
        return _Drain(watch.clock(), watch.processor())
    finally:
        client.close()
        state.close()
