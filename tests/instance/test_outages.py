"""Long outages: an instance comes back after weeks, and what has piled up drains faster than it has piled up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from msgspec.structs import replace

from harness import INSTANCE, SMALL_PLAN, Vendor, definition
from heliograph.demo.home import free_port
from heliograph.event import Epoch, Verdict
from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.rotation import rotate_key
from heliograph.instance.account import read_account
from heliograph.instance.exporter import Exporter
from heliograph.instance.https import tls_context
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.state import State
from heliograph.instance.transport import TransportError
from heliograph.settings import AgentSettings, RecorderSettings
from instance.test_vendor_word import Instance
from test_once import NOW, DirectGateway
from updating import followed, write_plan

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.wire import Answer, VerdictCounts

WEEKS = timedelta(weeks=6).total_seconds()


@pytest.mark.parametrize("restarts", [False, True])
def test_an_instance_that_was_offline_for_weeks_goes_on_though_all_it_knew_has_expired(
    tmp_path: Path, restarts: bool
) -> None:
    """Token and policy have expired, the gateway's key was replaced twice, and the plan has another event by now."""
    (tmp_path / "vendor").mkdir()
    vendor = Vendor(tmp_path / "vendor", port=free_port())
    verify = tls_context(str(vendor.authority_file))
    with vendor.running():
        instance = Instance(vendor.agent_settings(tmp_path / "instance"), httpx.HTTPTransport(verify=verify))
        instance.record()
        instance.agent.round()
        instance.wire.close()
    instance.wire.is_cut = True
    for week in range(6):
        instance.clock.ahead += WEEKS / 6
        assert instance.recorder.record("PageViewed", user=week, time=instance.clock.now())
        assert instance.recorder.record("Later", user=week, time=instance.clock.now())
        with pytest.raises(TransportError):
            instance.agent.round()
        rotate_key(vendor.signing_key, now=float(week))
    if restarts:
        instance.restart()
    vendor.plan = replace(SMALL_PLAN, version=2, events={**SMALL_PLAN.events, "Later": definition("pages")})
    file = tmp_path / "plan.yaml"
    write_plan(file, vendor.plan)
    with vendor.running(now=instance.clock.now, plan=PlanInForce(followed(file))):
        instance.wire.beneath = httpx.HTTPTransport(verify=verify)
        instance.wire.is_cut = False
        for _ in range(4):
            instance.clock.ahead += 400
            instance.agent.round()
        accepted = [entry.receipt.accepted for entry, _ in vendor.entries()]
        assert sum(each.get("PageViewed", 0) for each in accepted) == 7
        assert sum(each.get("Later", 0) for each in accepted) == 6
        assert instance.agent._exporter.standstill.standing is None
        instance.close()


def test_a_clock_that_is_set_while_the_agent_runs_costs_no_event_of_the_right_time(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    with Vendor(tmp_path / "vendor").running() as vendor:
        wire = httpx.HTTPTransport(verify=tls_context(str(vendor.authority_file)))
        instance = Instance(vendor.agent_settings(tmp_path / "instance"), wire)
        two_days = timedelta(days=2).total_seconds()
        for number, set_by in enumerate((0.0, -two_days, 0.0, two_days, -two_days, 0.0), 1):
            instance.clock.set_by = set_by
            instance.record()  # its time is the right one
            instance.agent.round()
            assert instance.account().delivered == {"PageViewed": number}
            assert abs(instance.agent._client.clock_offset.total_seconds() + set_by) < 60
        instance.clock.set_by = two_days
        assert instance.recorder.record("PageViewed", user=1, time=instance.clock.now())
        instance.agent.round()
        assert instance.account().dropped == {"PageViewed": {Verdict.FUTURE_TIME: 1}}
        instance.close()


class Metered(DirectGateway):
    """Takes time for each delivery, by a clock that others look at, and notes whose it was."""

    def __init__(self, folder: Path, *, seconds_each: float, seconds_an_event: float) -> None:
        self.seconds = 0.0
        self.epochs: list[int] = []
        self._each = seconds_each
        self._an_event = seconds_an_event
        super().__init__(folder)

    def now(self) -> datetime:
        return NOW - timedelta(days=100) + timedelta(seconds=self.seconds)

    def deliver(self, *, epoch: int, first: int, last: int, absent: VerdictCounts, body: bytes) -> Answer:
        self.seconds += self._each + self._an_event * (last - first + 1)
        self.epochs.append(epoch)
        return super().deliver(epoch=epoch, first=first, last=last, absent=absent, body=body)


class Product:
    """Records at an even rate, into an epoch that it changes as told."""

    def __init__(self, outbox: Path, gateway: Metered, rate: float) -> None:
        self.outbox = outbox
        self.gateway = gateway
        self.rate = rate
        self.recorded = 0
        self.epoch = 1
        self.writer = self._new_writer()

    def restart(self) -> None:
        self.writer.close()
        self.epoch += 1
        self.writer = self._new_writer()

    def _new_writer(self) -> EpochWriter:
        return EpochWriter(self.outbox, maximum_bytes=1 << 30, epoch=Epoch(self.epoch))

    def catch_up(self, factor: float = 1.0) -> None:
        """Record what is due by now."""
        due = int(self.gateway.seconds * self.rate * factor) - self.recorded
        for start in range(0, due, 100):
            count = min(100, due - start)
            event = {"name": "SearchSubmitted", "time": self.gateway.now(), "user": "u", "duration_ms": 1}
            self.writer.append([event] * count)
            self.recorded += count


def test_the_events_of_one_and_a_half_outages_drain_within_one_while_new_ones_come(tmp_path: Path) -> None:
    """What docs/operations.md promises, at its bound: the way takes three times as many events as are recorded."""
    outage = timedelta(days=14).total_seconds()
    rate = 4_000 / outage
    batch = 200
    # Of the time that a full delivery takes, a fifth is the way there and back, whatever it holds.
    full = batch / (3 * rate)
    gateway = Metered(tmp_path / "log", seconds_each=full / 5, seconds_an_event=full / batch * 4 / 5)
    product = Product(tmp_path / "outbox", gateway, rate)
    state = State(tmp_path / "agent")
    exporter = Exporter(
        agent=AgentSettings(batch_events=batch),
        recorder=RecorderSettings(outbox=str(tmp_path / "outbox")),
        plan=SMALL_PLAN,
        state=state,
        client=gateway,  # type: ignore[arg-type]
        now=gateway.now,
    )
    for part in range(3):  # the product restarts meanwhile
        gateway.seconds = (part + 1) * outage / 3
        product.catch_up(1.5)
        product.restart()
    gateway.seconds = outage
    backlog = product.recorded
    assert backlog == pytest.approx(1.5 * 4_000, abs=3)
    product.recorded -= int(0.5 * 4_000)  # from here on it is even again
    pending = backlog
    while pending > batch:
        before = len(gateway.epochs)
        product.catch_up()
        exporter.deliver_round()
        served = gateway.epochs[before:]
        assert served == sorted(set(served)), "an epoch was served twice, or out of order"
        accepted = gateway.log.account(INSTANCE).accepted.get("SearchSubmitted", 0)
        pending = product.recorded + int(0.5 * 4_000) - accepted
        if backlog - accepted > 4 * batch:
            assert {1, 2, 3} & set(served), "the backlog starves"
        assert gateway.seconds < 3 * outage
    assert gateway.seconds - outage <= outage
    product.catch_up()
    while exporter.deliver_round():
        pass
    product.writer.close()
    gateway.log.close()
    account = read_account(state, tmp_path / "outbox", SMALL_PLAN)
    assert account.closes()
    assert account.delivered == {"SearchSubmitted": product.recorded + int(0.5 * 4_000)}
    state.close()
