"""A gateway of one process: SIGHUP has it read anew, and refuses nobody meanwhile."""

from __future__ import annotations

import os
import signal
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway_process import GatewayProcess, gateway_process, wait_for
from harness import INSTANCE, as_lines, deliver, event, zstd
from heliograph.cli import app
from heliograph.gateway.door import NAME
from heliograph.gateway.log_reading import read_accounts
from heliograph.gateway.rotation import rotate_key
from heliograph.instance.https import tls_context
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(tmp_path_factory.mktemp("single"), workers=1) as found:
        yield found


def client(gateway: GatewayProcess) -> httpx.Client:
    context = tls_context(str(gateway.vendor.authority_file))
    return httpx.Client(base_url=gateway.vendor.address, verify=context, timeout=60)


def reload(gateway: GatewayProcess, message: str = "settings read anew") -> dict[str, Any]:
    before = len(gateway.messages(message))
    os.kill(gateway.pid, signal.SIGHUP)
    wait_for(lambda: len(gateway.messages(message)) > before, message)
    return gateway.messages(message)[-1]


def set_anew(gateway: GatewayProcess, before: str, now: str) -> None:
    text = gateway.settings_file.read_text()
    assert before in text
    gateway.settings_file.write_text(text.replace(before, now))


def send(http: httpx.Client, first: int, last: int) -> httpx.Response:
    body = zstd(as_lines([event(number) for number in range(first, last + 1)]))
    return deliver(http, body, numbers=(first, last), content_type=NDJSON)


def served_certificate(gateway: GatewayProcess) -> str:
    return ssl.get_server_certificate(("127.0.0.1", gateway.vendor.port))


def replace_certificate(gateway: GatewayProcess) -> None:
    settings = gateway.vendor.settings.gateway
    again = gateway.vendor.authority.issue_cert("localhost", "127.0.0.1")
    again.private_key_pem.write_to_path(settings.private_key)
    Path(settings.certificate).write_bytes(b"".join(part.bytes() for part in again.cert_chain_pems))


def test_settings_keys_and_certificate_are_read_anew_and_nobody_is_refused(gateway: GatewayProcess) -> None:
    certificate = served_certificate(gateway)
    with gateway.vendor.http() as http:
        token = http.headers["authorization"]
        assert send(http, 1, 3).is_success
    over = threading.Event()

    def connect_anew() -> int:
        """Any error ends this, and the test."""
        times = 0
        while not over.is_set():
            with client(gateway) as http:
                assert http.get("/healthz").is_success
            times += 1
        return times

    def keep_alive() -> int:
        times = 0
        with client(gateway) as http:
            while not over.is_set():
                assert http.get("/v1/keys").is_success
                times += 1
        return times

    rotate_key(gateway.vendor.signing_key, now=1.0)
    replace_certificate(gateway)
    set_anew(gateway, "maximum_body_bytes = 8388608", "maximum_body_bytes = 2000")
    with ThreadPoolExecutor(2) as pool:
        ways = [pool.submit(connect_anew), pool.submit(keep_alive)]
        for _ in range(3):
            reload(gateway)
        over.set()
        assert all(way.result() > 3 for way in ways)
    assert served_certificate(gateway) != certificate
    with client(gateway) as http:  # the new key signs, and no token of the old one is believed
        assert len(http.get("/v1/keys").json()["endorsements"]) == 1
        assert http.get("/v1/account", headers={"authorization": token}).status_code == 401
    with gateway.vendor.http() as http:
        assert send(http, 1, 3).json()["duplicate"]
        assert deliver(http, b"x" * 3_000, numbers=(4, 4), content_type=NDJSON).status_code == 413


@pytest.mark.parametrize("what", ["maximum_body_bytes =", "gateway.crt", "plan.json", "sqlite:///"])
def test_what_cannot_be_used_is_told_and_what_was_there_stays(gateway: GatewayProcess, what: str) -> None:
    good = gateway.settings_file.read_text()
    try:
        set_anew(gateway, what, f"no_{what}" if what.endswith("=") else "/none")
        assert reload(gateway, "what was read anew cannot be used")["problems"]
    finally:
        gateway.settings_file.write_text(good)
    assert gateway.answers()


def test_an_import_that_the_gateway_does_not_answer_says_so_and_takes_nothing(gateway: GatewayProcess) -> None:
    bundle = gateway.vendor.folder / "bundle"
    bundle.write_bytes(b"")
    door = Path(gateway.vendor.settings.gateway.log) / NAME
    hidden = door.rename(door.with_name("hidden"))
    try:
        done = CliRunner().invoke(app, ["--config", str(gateway.settings_file), "gateway", "import", str(bundle)])
    finally:
        hidden.rename(door)
    assert done.exit_code == 2
    assert "does not answer" in done.output


def test_it_ends_cleanly_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    with gateway_process(tmp_path, workers=1) as gateway:
        reload(gateway)
        with gateway.vendor.http() as http:
            assert send(http, 1, 5).is_success
        assert gateway.end() == 0
        assert read_accounts(Path(gateway.vendor.settings.gateway.log))[INSTANCE].expected(1) == 6
        assert gateway.messages("ended by an error") == []
        assert not (Path(gateway.vendor.settings.gateway.log) / NAME).exists()
