"""Slow and hung clients: they are cut off, and others deliver meanwhile."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest

from harness import Vendor, as_lines, deliver, event, zstd
from heliograph.gateway import server
from heliograph.https_server import MOST_HEAD_BYTES
from heliograph.instance.https import tls_context
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_CONNECTIONS = 20


@pytest.fixture(name="vendor")
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", MOST_CONNECTIONS)
    with Vendor(tmp_path, head_seconds=1.0, body_seconds=3.0, slowest_bytes_per_second=1 << 20).running() as vendor:
        yield vendor


def plain(vendor: Vendor) -> socket.socket:
    connection = socket.create_connection(("localhost", vendor.port))
    connection.settimeout(60)
    return connection


def secure(vendor: Vendor) -> ssl.SSLSocket:
    return tls_context(str(vendor.authority_file)).wrap_socket(plain(vendor), server_hostname="localhost")


def everything(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    parts = []
    try:
        while part := connection.recv(4_096):
            parts.append(part)
    except (ConnectionError, ssl.SSLError):
        pass
    return b"".join(parts)


class Trickle:
    """Sends a byte on each of its connections now and then, until the server has ended all of them."""

    def __init__(self, connections: list[socket.socket], content: bytes) -> None:
        self._all = connections
        self._open = list(connections)
        self._content = content
        self._thread = threading.Thread(target=self._run)
        self.stop = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()
        for connection in self._all:
            connection.close()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        place = 0
        while self._open and not self.stop.wait(0.05):
            for connection in list(self._open):
                try:
                    connection.send(self._content[place : place + 1] or b"x")
                except OSError:
                    self._open.remove(connection)
            place += 1


def test_many_who_send_a_byte_now_and_then_are_cut_off_and_others_deliver_meanwhile(vendor: Vendor) -> None:
    with vendor.http() as http:
        hanging: list[socket.socket] = [plain(vendor) for _ in range(30)]  # they never shake hands
        hanging += [secure(vendor) for _ in range(10)]
        number = 0
        with Trickle(hanging, b"POST /v1/events HTTP/1.1\r\nhost: x\r\nx-" + b"y" * 10_000) as trickle:
            while not trickle.is_over or number < 10:
                number += 1
                body = zstd(as_lines([event(number)]))
                assert deliver(http, body, numbers=(number, number), content_type=NDJSON).is_success
        assert len(vendor.entries()) == number


def test_a_body_that_comes_too_slowly_gets_408_and_the_connection_ends(vendor: Vendor) -> None:
    with vendor.http() as http, secure(vendor) as slow:
        slow.sendall(
            b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\nauthorization: "
            + http.headers["authorization"].encode()
            + b"\r\n\r\n"
        )
        with Trickle([slow], b""):
            answer = everything(slow)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in head
        assert b"too_slow" in body
        assert deliver(http, zstd(as_lines([event(1)])), numbers=(1, 1), content_type=NDJSON).is_success
    assert len(vendor.entries()) == 1


def test_headers_without_end_are_cut_off(vendor: Vendor) -> None:
    with secure(vendor) as endless:
        with suppress(OSError):
            endless.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 2 * MOST_HEAD_BYTES)
        assert everything(endless) == b""


def test_of_too_many_idle_connections_the_oldest_make_room(vendor: Vendor) -> None:
    request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    idle: list[ssl.SSLSocket] = []

    def ask(connection: ssl.SSLSocket) -> bytes:
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(4_096)
        return answer

    for _ in range(MOST_CONNECTIONS + 5):
        connection = secure(vendor)
        assert ask(connection).startswith(b"HTTP/1.1 200")
        idle.append(connection)
    for connection in idle[:5]:
        assert everything(connection) == b""
    assert ask(idle[-1]).startswith(b"HTTP/1.1 200")
    for connection in idle:
        connection.close()
