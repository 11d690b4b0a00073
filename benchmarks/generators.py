"""Load for a gateway: processes that deliver bodies over several connections at once, as fast as they are taken."""

from __future__ import annotations

import multiprocessing
import threading
import time
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

import msgspec

from heliograph.event import new_epoch
from heliograph.instance.https import tls_context
from heliograph.instance.identity import assertion
from heliograph.keys import load_or_create_key
from heliograph.wire import EPOCH_HEADER, EVENTS_PATH, GRANT_TYPE, RANGE_HEADER, TOKEN_PATH, Answer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

    from heliograph.settings import Settings
    from workload import Series

_PROCESSES: Final = 2
_CONNECTIONS: Final = 4
"""Of each process. Each delivers epochs of its own, one after the other, so that nothing is delivered twice."""
_TIMEOUT_SECONDS: Final = 30.0


class Delivery(NamedTuple):
    """One delivery: when it was begun, and when its receipt was there, in seconds of the machine's monotonic clock."""

    start: float
    end: float


class Load(NamedTuple):
    """What a generator has to know; it goes to other processes."""

    host: str
    port: int
    authority: str
    token: str
    content_type: str
    encoding: str
    batch_events: int
    bodies: list[bytes]

    @classmethod
    def of(cls, instance: Settings, series: Series) -> Load:
        """Get a token for `instance`, and return the load of delivering `series` under its name."""
        address = urlsplit(instance.agent.gateway)
        proof = assertion(load_or_create_key(Path(instance.agent.key)), instance.agent.instance, time.time())
        connection = _connect(address.hostname or "", address.port or 443, instance.agent.certificate_authority)
        form = urlencode({"grant_type": GRANT_TYPE, "assertion": proof})
        connection.request("POST", TOKEN_PATH, form, {"content-type": "application/x-www-form-urlencoded"})
        answer = msgspec.json.decode(connection.getresponse().read(), type=dict[str, str | int])
        connection.close()
        return cls(
            host=address.hostname or "",
            port=address.port or 443,
            authority=instance.agent.certificate_authority,
            token=str(answer["access_token"]),
            content_type=series.format.content_type,
            encoding=series.format.encoding,
            batch_events=series.batch_events,
            bodies=series.bodies,
        )


class LoadError(Exception):
    """A delivery was not accepted as a whole."""


class Generators:
    """The processes; inside the block they deliver."""

    def __init__(self, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(_PROCESSES):
            ours, theirs = context.Pipe()
            self._pipes.append(ours)
            self._processes.append(context.Process(target=_generate, args=(load, theirs), daemon=True))

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        for pipe in self._pipes:
            self._hear(pipe)
        for pipe in self._pipes:
            pipe.send("go")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def stop(self) -> list[Delivery]:
        """Let each connection end with a whole delivery, and return all deliveries in the order of their ends.

        Raises:
            LoadError: A delivery was not accepted.
        """
        for pipe in self._pipes:
            pipe.send("stop")
        deliveries = [Delivery(*each) for pipe in self._pipes for each in self._hear(pipe)]
        return sorted(deliveries, key=lambda each: each.end)

    @staticmethod
    def _hear(pipe: Connection) -> list[Delivery]:
        if not pipe.poll(_TIMEOUT_SECONDS):
            raise LoadError("a load generator does not answer")
        said = pipe.recv()
        if isinstance(said, str):
            raise LoadError(said)
        assert isinstance(said, list)
        return said


def _generate(load: Load, parent: Connection) -> None:
    """Run one process of load: answer once it is ready, deliver from the word on to the next, and tell of it.

    Each connection is made by its first delivery: a gateway cuts off who connects and then is silent.
    """
    connections = [_connect(load.host, load.port, load.authority) for _ in range(_CONNECTIONS)]
    parent.send([])
    parent.recv()
    stop = threading.Event()
    deliveries: list[Delivery] = []
    problems: list[str] = []

    def run(connection: HTTPSConnection) -> None:
        try:
            while True:
                _deliver_epoch(load, connection, stop, deliveries)
                if stop.is_set():
                    return
        except (LoadError, OSError) as error:
            problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    parent.recv()
    stop.set()
    for thread in threads:
        thread.join()
    parent.send(problems[0] if problems else deliveries)


def _deliver_epoch(load: Load, connection: HTTPSConnection, stop: threading.Event, deliveries: list[Delivery]) -> None:
    headers = {
        "authorization": f"Bearer {load.token}",
        "content-type": load.content_type,
        "content-encoding": load.encoding,
        EPOCH_HEADER: str(new_epoch()),
    }
    for position, body in enumerate(load.bodies):
        first = position * load.batch_events + 1
        headers[RANGE_HEADER] = f"{first}-{first + load.batch_events - 1}"
        start = time.monotonic()
        connection.request("POST", EVENTS_PATH, body, headers)
        response = connection.getresponse()
        text = response.read()
        end = time.monotonic()
        if response.status != 200:
            raise LoadError(text.decode(errors="replace"))
        answer = msgspec.json.decode(text, type=Answer)
        if answer.duplicate or answer.rejections:
            raise LoadError("the gateway did not take a delivery as new and faultless")
        deliveries.append(Delivery(start, end))
        if stop.is_set():
            return


def _connect(host: str, port: int, authority: str) -> HTTPSConnection:
    return HTTPSConnection(host, port, context=tls_context(authority), timeout=_TIMEOUT_SECONDS)
