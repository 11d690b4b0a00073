"""A flood of one instance is no trouble of another: allowances, bodies held at once, and turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import ACCOUNT, INSTANCE, Vendor, as_lines, deliver, event, random_id, zstd
from heliograph.consent.deployment import Deployment
from heliograph.gateway.fairness import BURST_SECONDS, Allowances, Bodies, Turns
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.instance.https import tls_context
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = "globex-1"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def refusal(take: Callable[[], Any]) -> RefusalError | None:
    try:
        take()
    except RefusalError as error:
        return error
    return None


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 2_000)), max_size=60))
def test_whatever_comes_an_instance_gets_its_burst_and_its_rate_and_no_more(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    allowances = Allowances(requests=2, size=1_000, now=clock)
    taken, sizes = 0, 0
    for pause, size in steps:
        clock.now += pause
        error = refusal(lambda size=size: allowances.take("a", size))  # type: ignore[misc]
        if error is None:
            taken, sizes = taken + 1, sizes + size
        else:
            assert error.refusal is Refusal.TOO_MANY_REQUESTS
            assert error.retry_after is not None
            clock.now += error.retry_after
            assert refusal(lambda: allowances.take("a", 0)) is None  # it is worth waiting so long
            taken += 1
        assert refusal(lambda: allowances.take(f"b{clock.now}", 1)) is None  # others have their own
    elapsed = clock.now - 1_000
    assert taken <= 2 * (elapsed + BURST_SECONDS) + 1e-6
    assert sizes <= 1_000 * (elapsed + BURST_SECONDS) + 2_000 + 1e-6


def test_instances_that_have_been_silent_are_forgotten() -> None:
    clock = Clock()
    allowances = Allowances(requests=1, size=1, now=clock)
    for number in range(10_000):
        allowances.take(str(number), 0)
    clock.now += 100
    allowances.take("another", 0)
    assert len(allowances._buckets) == 1


def test_bodies_are_bounded_for_one_and_for_all_and_given_back_whatever_happens() -> None:
    bodies = Bodies(most_bytes=1_000, most_of_one=2)

    def hold(instance: str, size: int) -> Any:
        holding = bodies.hold(instance, size)
        holding.__enter__()
        return holding

    with bodies.hold("a", 5_000):  # one alone is taken, however large
        found = refusal(lambda: hold("b", 1))
        assert found is not None
        assert found.refusal is Refusal.OVERLOADED
    held = [hold("a", 100), hold("a", 100)]
    found = refusal(lambda: hold("a", 1))
    assert found is not None
    assert (found.refusal, found.retry_after) == (Refusal.TOO_MANY_AT_ONCE, 1)
    held += [hold("b", 200)]
    found = refusal(lambda: hold("b", 100))  # more than its share of the memory
    assert found is not None
    assert found.refusal is Refusal.TOO_MANY_AT_ONCE
    for each in held:
        each.__exit__(None, None, None)
    with pytest.raises(ZeroDivisionError), bodies.hold("a", 900):
        raise ZeroDivisionError
    assert bodies.held_bytes == 0
    assert not bodies._number
    assert not bodies._bytes


def test_instances_take_turns_however_many_deliveries_of_one_wait() -> None:
    order: list[str] = []

    async def check(turns: Turns, instance: str) -> None:
        await turns.turn(instance)
        order.append(instance)

    async def run() -> None:
        turns = Turns()
        flood = [asyncio.create_task(check(turns, "flood")) for _ in range(200)]
        await asyncio.sleep(0)
        other = [asyncio.create_task(check(turns, "other")) for _ in range(5)]
        gone = asyncio.create_task(check(turns, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*flood, *other)
        await check(turns, "later")

    asyncio.run(run())
    places = [place for place, instance in enumerate(order) if instance == "other"]
    assert places[-1] <= 2 + 2 * 5  # one of the flood between two of its own, and not all 200 before
    assert len(order) == 206


@pytest.fixture(name="vendor")
def two_instances(tmp_path: Path) -> Vendor:
    vendor = Vendor(tmp_path, instance_requests_per_second=2, instance_bodies=8)
    key = load_or_create_key(tmp_path / "other.pem")
    with vendor.registry() as registry:
        registry.add_instance(OTHER, account=ACCOUNT, deployment=Deployment.MANAGED, public_key=public_key_text(key))
    return vendor


def body_of(number: int, events: int = 1) -> bytes:
    return zstd(as_lines([event(first, user_id=random_id(7)) for first in range(number, number + events)]))


def test_a_flood_is_told_to_wait_before_its_bodies_are_read_and_another_instance_goes_on(
    vendor: Vendor, tmp_path: Path
) -> None:
    with vendor.running(), vendor.http() as flood:
        key = load_or_create_key(tmp_path / "other.pem")
        client = vendor.client(key, OTHER)
        client.policy()
        other = httpx.Client(base_url=vendor.address, verify=tls_context(str(vendor.authority_file)), timeout=60)
        other.headers["authorization"] = f"Bearer {client._token}"
        answers = []
        taken_of_other = 0
        for number in range(1, 61):
            answers.append(deliver(flood, body_of(number), numbers=(number, number), content_type=NDJSON))
            if number % 5 == 0:
                first = number // 5
                taken_of_other += deliver(other, body_of(first), numbers=(first, first), content_type=NDJSON).is_success
        client.close()
        other.close()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert taken_of_other == 12
    assert refused
    assert all(answer.json()["type"] == "too_many_requests" for answer in refused)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    accepted = [entry.receipt.instance for entry, _ in vendor.entries()]
    assert accepted.count(OTHER) == 12
    assert accepted.count(INSTANCE) == len(answers) - len(refused) - sum(a.status_code == 409 for a in answers)
