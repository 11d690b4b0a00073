"""A small real HTTP proxy for tests: it makes tunnels (CONNECT), and asks for credentials if it is told to."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Proxy(socketserver.ThreadingTCPServer):
    """Notes what it was asked for, and every byte that went through."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, credentials: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.credentials = credentials
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.seen = bytearray()

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port


class _Tunnel(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        self.server.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.server.asked.append(f"{method} {target}")
        wanted = f"proxy-authorization: basic {base64.b64encode(self.server.credentials.encode()).decode()}"
        if self.server.credentials and wanted.lower() not in head.decode().lower():
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._pass, args=(there, self.connection), daemon=True)
            back.start()
            self._pass(self.connection, there)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(1 << 16):
                self.server.seen += part
                sink.sendall(part)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def connect_proxy(credentials: str = "") -> Iterator[Proxy]:
    with Proxy(credentials) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
