"""A batch that the gateway refuses: the event at fault is found, all others arrive, and a broken gateway costs little.

The real exporter, outbox, intake and log; between them stands a gateway that refuses what it is told to.
"""

from __future__ import annotations

import math
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import INSTANCE, SMALL_PLAN
from heliograph.event import Verdict
from heliograph.instance.account import read_account
from heliograph.instance.exporter import Exporter
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.splitting import GIVE_UP_EVERY, MOST_GIVEN_UP, MOST_REFUSALS
from heliograph.instance.standstill import read_standstill
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayRefusalError, StandstillError
from heliograph.settings import AgentSettings, RecorderSettings
from heliograph.wire import Answer, Problem, VerdictCounts
from test_once import MEMORY, NOW, DirectGateway

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 64


class Picky(DirectGateway):
    """Refuses a batch that holds one of the `bad` values, and whatever comes while it is broken."""

    def __init__(self, folder: Path, bad: set[int]) -> None:
        self.bad = bad
        self.requests = 0
        self.problem = Problem(type="bad_columns", title="t", status=422)
        self.is_broken: Callable[[int], bool] = lambda _: False
        super().__init__(folder)

    def deliver(self, *, epoch: int, first: int, last: int, absent: VerdictCounts, body: bytes) -> Answer:
        self.requests += 1
        if self.is_broken(self.requests) or self.bad & set(values_of(body)):
            raise GatewayRefusalError(self.problem)
        return super().deliver(epoch=epoch, first=first, last=last, absent=absent, body=body)


def values_of(body: bytes) -> list[int]:
    batch = pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)).read_next_batch()
    found: list[int] = batch.column("duration_ms").to_pylist() if "duration_ms" in batch.schema.names else []
    return found


class Instance:
    """An exporter over epochs of events whose values count from 0 up."""

    def __init__(self, folder: Path, sizes: list[int], bad: set[int]) -> None:
        self.folder = folder
        self.now = NOW
        self.gateway = Picky(folder / "log", bad)
        value = 0
        for number, size in enumerate(sizes, 1):
            writer = EpochWriter(folder / "outbox", maximum_bytes=1 << 30, epoch=number)  # type: ignore[arg-type]
            for start in range(0, size, 32):
                events = [
                    {"name": "SearchSubmitted", "time": NOW, "user": "u", "duration_ms": value + each}
                    for each in range(min(32, size - start))
                ]
                value += len(events)
                writer.append(events)
            writer.close()
        self.total = value
        self.open()

    def open(self) -> None:
        self.state = State(self.folder / "agent")
        self.exporter = Exporter(
            agent=AgentSettings(batch_events=BATCH),
            recorder=RecorderSettings(outbox=str(self.folder / "outbox")),
            plan=SMALL_PLAN,
            state=self.state,
            client=self.gateway,  # type: ignore[arg-type]
            now=lambda: self.now,
        )

    def close(self) -> None:
        self.state.close()
        self.gateway.log.close()

    def restart(self) -> None:
        self.state.close()
        self.open()

    def drain(self, *, most: int = 10_000) -> None:
        """Run rounds as the agent does, with a quarter of an hour between two while delivery stands still."""
        for _ in range(most):
            try:
                if not self.exporter.deliver_round():
                    return
            except StandstillError:
                self.now += timedelta(minutes=15)

    def stored(self) -> list[int]:
        found: list[int] = []
        for entry, body in self._entries():
            found += values_of(body) if entry else []
        return found

    def _entries(self) -> list[tuple[bool, bytes]]:
        from heliograph.gateway.log_entries import Entry  # noqa: PLC0415 - read when all is written
        from heliograph.gateway.log_reading import read_segment, segments  # noqa: PLC0415 - read when all is written

        folder = self.gateway.folder
        return [
            (isinstance(header, Entry), body)
            for generation in segments(folder)
            for _, header, body in read_segment(folder, generation)
        ]

    def refused(self) -> int:
        account = read_account(self.state, self.folder / "outbox", SMALL_PLAN)
        assert account.closes()
        assert account.recorded == self.total
        assert account.dropped.keys() <= {"SearchSubmitted"}
        assert account.dropped.get("SearchSubmitted", {}).keys() <= {Verdict.REFUSED}
        return account.dropped.get("SearchSubmitted", {}).get(Verdict.REFUSED, 0)


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))


def apart(values: set[int]) -> set[int]:
    """Leave out what has three before it: that many in a row look like a gateway that is broken."""
    return {each for each in values if not {each - 1, each - 2, each - 3} <= values}


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=3), chosen=st.sets(st.integers(0, 400), max_size=6))
@settings(max_examples=15)
def test_every_bad_event_is_isolated_by_few_requests_and_all_others_arrive(sizes: list[int], chosen: set[int]) -> None:
    instance = Instance(new_folder(), sizes, apart({each % sum(sizes) for each in chosen}))
    bad = instance.gateway.bad
    instance.drain()
    assert sorted(instance.stored()) == sorted(set(range(instance.total)) - bad)
    assert instance.refused() == len(bad)
    assert instance.now == NOW  # it never stood still
    # Without any bad event: a request for each batch, and one for what is told at the end of an epoch.
    plain = sum(math.ceil(size / BATCH) for size in sizes)
    assert instance.gateway.requests <= plain + len(bad) * (math.ceil(math.log2(BATCH)) + 2) + len(sizes)
    instance.close()


@given(
    size=st.integers(1, 150),
    chosen=st.sets(st.integers(0, 149), max_size=4),
    begins=st.integers(1, 12),
    lasts=st.integers(1, 70),
)
@settings(max_examples=15)
def test_a_gateway_that_breaks_for_a_while_costs_a_few_events_and_no_more(
    size: int, chosen: set[int], begins: int, lasts: int
) -> None:
    instance = Instance(new_folder(), [size, 10], apart({each % size for each in chosen}))
    gateway = instance.gateway
    gateway.is_broken = lambda request: begins <= request < begins + lasts
    instance.drain()
    stood = (instance.now - NOW) / GIVE_UP_EVERY
    lost = instance.refused() - len(gateway.bad)
    assert 0 <= lost <= MOST_GIVEN_UP + math.ceil(stood)
    stored = instance.stored()
    assert len(stored) == len(set(stored)) == instance.total - instance.refused()
    assert not set(stored) & gateway.bad
    assert read_standstill(instance.state.connection) is None
    instance.close()


@pytest.mark.parametrize("restarts", [False, True])
def test_a_gateway_that_refuses_everything_makes_the_agent_keep_nearly_everything_and_tell(restarts: bool) -> None:
    instance = Instance(new_folder(), [500, 500], set())
    instance.gateway.is_broken = lambda _: True
    for _ in range(3 if restarts else 1):
        instance.drain(most=60)
        if restarts:
            instance.restart()
    hours = (instance.now - NOW) / GIVE_UP_EVERY
    assert hours >= 1
    assert MOST_GIVEN_UP <= instance.refused() <= MOST_GIVEN_UP + math.ceil(hours)
    assert instance.gateway.requests <= MOST_REFUSALS + 4 * 4 * math.ceil(hours) + 4 * 3
    standing = read_standstill(instance.state.connection)
    assert standing is not None
    assert standing.reason == "bad_columns"
    instance.gateway.is_broken = lambda _: False
    instance.drain()
    assert len(instance.stored()) == instance.total - instance.refused()
    assert read_standstill(instance.state.connection) is None
    instance.close()


def test_many_bad_events_in_a_row_keep_neither_their_epoch_nor_others_for_ever() -> None:
    instance = Instance(new_folder(), [100, 100], set(range(10, 22)))
    instance.drain()
    assert len(instance.stored()) == 188
    assert instance.refused() == 12
    instance.close()


def test_a_proxy_that_bounds_bodies_costs_no_event() -> None:
    instance = Instance(new_folder(), [300], set())
    gateway = instance.gateway
    gateway.problem = Problem(type="unknown", title="t", status=413)
    whole = Picky.deliver

    def deliver(*, body: bytes, **fields: int) -> Answer:
        gateway.is_broken = lambda _: len(values_of(body)) > 20
        return whole(gateway, body=body, **fields)  # type: ignore[arg-type]

    gateway.deliver = deliver  # type: ignore[method-assign,assignment]
    instance.drain()
    assert instance.refused() == 0
    assert len(instance.stored()) == 300
    assert gateway.requests < 40
    gateway.is_broken = lambda _: True
    assert instance.gateway.log.account(INSTANCE).accepted == {"SearchSubmitted": 300}
    instance.close()
