"""Realistic events from the simulation, and bodies of them in each format, built before anything is measured."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import zstandard

from heliograph.demo.simulation import Simulation
from heliograph.event import format_time
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.pseudonyms import SESSION, USER, Pseudonyms
from heliograph.instance.state import State
from heliograph.plan.coarsen import coarsen_all
from heliograph.wire import ARROW, NDJSON

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heliograph.demo.simulation import SimulatedEvent
    from heliograph.plan.model import Plan

VERSION: Final = "6.1.0"
_PEOPLE: Final = 1_500
_EVENTS_EACH: Final = 80
"""So many at least does each of the people in these days."""
_DAYS: Final = 42


class Format(NamedTuple):
    """A wire format, as a client would choose it."""

    name: str
    content_type: str
    encoding: str
    batch_events: int


FORMATS: Final = (
    Format("Arrow, zstd", ARROW, "zstd", 5_000),
    Format("NDJSON, zstd", NDJSON, "zstd", 1_500),
    Format("NDJSON, gzip", NDJSON, "gzip", 1_500),
)


class Series(NamedTuple):
    """The bodies of one epoch, from sequence number 1 on. Any number of epochs may deliver the same ones."""

    format: Format
    batch_events: int
    bodies: list[bytes]
    event_bytes: float
    """Of one event before compression."""


def simulate(plan: Plan, count: int) -> list[SimulatedEvent]:
    """Return `count` events of a busy instance's last weeks, in the order of their times."""
    simulation = Simulation(plan, people=max(_PEOPLE, count // _EVENTS_EACH), days=_DAYS, source=random.Random(7))
    events = list(islice(simulation.past(datetime.now(UTC)), count))
    if len(events) < count:
        raise ValueError(f"the simulation gives {len(events):,} events, and {count:,} are wanted")
    return sorted(events, key=attrgetter("time"))


def build_series(plan: Plan, events: Sequence[SimulatedEvent], kind: Format, scratch: Path) -> Series:
    """Build as many whole bodies as `events` gives; the last ones are left out.

    Args:
        plan: What the events are declared in.
        events: In order; one body at least.
        kind: The format.
        scratch: A folder for the random ids of users and sessions.
    """
    size = min(kind.batch_events, len(events))
    batches = [events[start : start + size] for start in range(0, len(events) - size + 1, size)]
    state = State(scratch)
    pseudonyms = Pseudonyms(state)
    try:
        if kind.content_type == ARROW:
            builder = BatchBuilder(plan, pseudonyms)
            latest = datetime.now(UTC) + timedelta(minutes=15)
            contents = [builder.build(lines, numbers=size, latest=latest).body for lines in _recorded(plan, batches)]
            inflated = sum(map(zstandard.frame_content_size, contents))
            return Series(kind, size, contents, inflated / size / len(batches))
        lines = [b"\n".join(each) for each in _sent(plan, batches, pseudonyms)]
    finally:
        state.close()
    compress = zstandard.ZstdCompressor(level=1).compress if kind.encoding == "zstd" else _gzip
    return Series(kind, size, [compress(each) for each in lines], sum(map(len, lines)) / size / len(batches))


def json_lines(series: Series) -> list[bytes]:
    """Return the events of NDJSON bodies compressed with zstd, each with its end of line."""
    contents = (zstandard.ZstdDecompressor().decompress(body) for body in series.bodies)
    return [line + b"\n" for content in contents for line in content.splitlines()]


def recorded_lines(plan: Plan, events: Sequence[SimulatedEvent], size: int) -> list[list[bytes]]:
    """Return events as an outbox holds them, `size` at a time."""
    return _recorded(plan, [events[start : start + size] for start in range(0, len(events), size)])


def _recorded(plan: Plan, batches: Sequence[Sequence[SimulatedEvent]]) -> list[list[bytes]]:
    """Return events as the outbox holds them, with the product's own ids."""
    fields = ({"user": str(event.user), "session": event.session} for batch in batches for event in batch)
    return _lines(plan, batches, fields)


def _sent(plan: Plan, batches: Sequence[Sequence[SimulatedEvent]], pseudonyms: Pseudonyms) -> list[list[bytes]]:
    """Return events as they leave, with random ids."""
    events = [event for batch in batches for event in batch]
    users = pseudonyms.ids(USER, [str(event.user) for event in events])
    sessions = pseudonyms.ids(SESSION, [event.session for event in events])
    fields = ({"user_id": user, "session_id": session} for user, session in zip(users, sessions, strict=True))
    return _lines(plan, batches, fields)


def _lines(plan: Plan, batches: Sequence[Sequence[SimulatedEvent]], ids: Any) -> list[list[bytes]]:
    sequence = 0
    encoded = []
    for batch in batches:
        lines = []
        for event in batch:
            sequence += 1
            wire: dict[str, Any] = {"name": event.name, "sequence": sequence, "time": format_time(event.time)}
            wire |= next(ids)
            wire |= {"outcome": event.outcome, "version": VERSION, "source": plan.sources[0]}
            wire |= coarsen_all(event.properties, plan.events[event.name].properties)
            lines.append(msgspec.json.encode(wire))
        encoded.append(lines)
    return encoded


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 6)
