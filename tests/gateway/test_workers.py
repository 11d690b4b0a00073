"""A gateway of several worker processes: one order, no refused connection, and nothing twice whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway_process import GatewayProcess, gateway_process, is_running, wait_for
from harness import INSTANCE, as_lines, deliver, event, zstd
from heliograph.gateway.door import NAME, knock
from heliograph.gateway.log_reading import read_accounts
from heliograph.gateway.rotation import rotate_key
from heliograph.instance.https import tls_context
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVENTS = 5
_CLIENTS = 4


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(tmp_path_factory.mktemp("workers"), workers=2) as found:
        yield found


def token(gateway: GatewayProcess) -> str:
    with gateway.vendor.http() as http:
        return http.headers["authorization"]


def send(http: httpx.Client, number: int, epoch: int) -> httpx.Response:
    numbers = (number * _EVENTS + 1, (number + 1) * _EVENTS)
    body = zstd(as_lines([event(each) for each in range(numbers[0], numbers[1] + 1)]))
    return deliver(http, body, epoch=epoch, numbers=numbers, content_type=NDJSON)


def send_until_taken(gateway: GatewayProcess, authorization: str, epoch: int, deliveries: int) -> int:
    """Deliver on a new connection each time, and again whatever happens until it is taken; return how many were new."""
    new = 0
    context = tls_context(str(gateway.vendor.authority_file))
    for number in range(deliveries):
        while True:
            with (
                suppress(httpx.TransportError),
                httpx.Client(
                    base_url=gateway.vendor.address,
                    verify=context,
                    headers={"authorization": authorization},
                    timeout=60,
                ) as http,
            ):
                answer = send(http, number, epoch)
                if answer.is_success:
                    new += not answer.json()["duplicate"]
                    break
    return new


def stored_ranges(gateway: GatewayProcess, epoch: int) -> list[tuple[int, int]]:
    entries = [entry.receipt for entry, _ in gateway.vendor.entries()]
    return [(receipt.first, receipt.last) for receipt in entries if receipt.epoch == epoch]


def all_ranges(deliveries: int) -> list[tuple[int, int]]:
    return [(number * _EVENTS + 1, (number + 1) * _EVENTS) for number in range(deliveries)]


def test_the_same_deliveries_by_many_workers_at_once_are_stored_once(gateway: GatewayProcess) -> None:
    authorization = token(gateway)
    with ThreadPoolExecutor(_CLIENTS) as pool:
        ways = [pool.submit(send_until_taken, gateway, authorization, 1, 20) for _ in range(_CLIENTS)]
        new = sum(way.result() for way in ways)
    assert stored_ranges(gateway, 1) == all_ranges(20)
    assert new == 20


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost_or_twice(gateway: GatewayProcess) -> None:
    before = gateway.worker_pids()
    authorization = token(gateway)
    with ThreadPoolExecutor(_CLIENTS) as pool:
        ways = [pool.submit(send_until_taken, gateway, authorization, epoch, 40) for epoch in (11, 11, 12, 13)]
        wait_for(lambda: len(stored_ranges(gateway, 11)) > 5, "some deliveries")
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        for way in ways:
            way.result()
    for epoch in (11, 12, 13):
        assert stored_ranges(gateway, epoch) == all_ranges(40)
    wait_for(lambda: len(gateway.worker_pids()) == 2 and killed not in gateway.worker_pids(), "another worker")
    assert gateway.messages("a worker has ended")[-1]["status"] == -signal.SIGKILL


def test_a_new_set_of_workers_takes_over_without_a_refused_connection(gateway: GatewayProcess) -> None:
    wait_for(lambda: len(gateway.worker_pids()) == 2, "both workers")
    before = gateway.worker_pids()
    authorization = token(gateway)
    context = tls_context(str(gateway.vendor.authority_file))
    over = threading.Event()
    rotate_key(gateway.vendor.signing_key, now=1.0)

    def client() -> httpx.Client:
        return httpx.Client(base_url=gateway.vendor.address, verify=context, timeout=60)

    def connect_anew() -> int:
        """Any error ends this, and the test."""
        times = 0
        while not over.is_set():
            with client() as http:
                assert http.get("/healthz").is_success
            times += 1
        return times

    def keep_alive() -> int:
        times = 0
        with client() as http:
            while not over.is_set():
                assert http.get("/v1/keys").is_success
                times += 1
        return times

    with ThreadPoolExecutor(2) as pool:
        ways = [pool.submit(connect_anew), pool.submit(keep_alive)]
        os.kill(gateway.pid, signal.SIGHUP)
        wait_for(lambda: not any(map(is_running, before)) or any(way.done() for way in ways), "the old ones to end")
        over.set()
        assert all(way.result() > 10 for way in ways)
    assert len(gateway.worker_pids()) == 2
    with client() as http:  # the new ones sign with the new key, and believe no token of the old one
        assert len(http.get("/v1/keys").json()["endorsements"]) == 1
        assert http.get("/v1/account", headers={"authorization": authorization}).status_code == 401
    with gateway.vendor.http() as authenticated:
        assert send(authenticated, 0, 21).is_success


def test_workers_that_do_not_start_leave_the_old_ones_at_work(gateway: GatewayProcess) -> None:
    wait_for(lambda: len(gateway.worker_pids()) == 2, "both workers")
    before = gateway.worker_pids()
    good = gateway.settings_file.read_text()
    gateway.settings_file.write_text("[gateway]\nnonsense = 1\n")
    try:
        os.kill(gateway.pid, signal.SIGHUP)
        wait_for(lambda: gateway.messages("the new workers do not start"), "that they do not start")
    finally:
        gateway.settings_file.write_text(good)
    assert gateway.worker_pids() == before
    assert gateway.answers()


def test_the_main_process_answers_at_the_door_to_its_owner_alone(gateway: GatewayProcess) -> None:
    folder = Path(gateway.vendor.settings.gateway.log)
    with gateway.vendor.http() as http:
        send(http, 0, 31)

    async def ask() -> int:
        async with knock(folder) as writer:
            return (await writer.standing(INSTANCE, 31)).expected

    assert asyncio.run(ask()) == _EVENTS + 1
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_client_that_speaks_no_tls_takes_nothing_from_the_others(gateway: GatewayProcess) -> None:
    context = ssl.create_default_context()
    for _ in range(20):
        with pytest.raises(httpx.ConnectError), httpx.Client(verify=context) as stranger:  # it does not trust us
            stranger.get(gateway.vendor.address)
    assert gateway.answers()


def test_workers_end_with_the_main_process_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    with gateway_process(tmp_path, workers=2) as gateway:
        authorization = token(gateway)
        assert send_until_taken(gateway, authorization, 1, 5) == 5
        workers = gateway.worker_pids()
        gateway.end(signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, workers)), "the workers to end")
        gateway.start()
        with gateway.vendor.http() as http:
            assert send(http, 4, 1).json()["duplicate"]
        answers: list[Any] = []
        with gateway.vendor.http() as http, ThreadPoolExecutor(1) as pool:
            answers.append(pool.submit(send, http, 5, 1).result())
        assert answers[0].is_success
        assert gateway.end() == 0
        assert read_accounts(Path(gateway.vendor.settings.gateway.log))[INSTANCE].expected(1) == 31
