"""A simulated network between agent and gateway: requests and answers are lost, come late, twice, or out of order."""

from __future__ import annotations

import asyncio
import enum
import hashlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import pyarrow as pa
import zstandard

from heliograph.wire import EVENTS_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

KEPT: Final = 12


class Fate(enum.Enum):
    """What becomes of one request."""

    ARRIVES = "arrives"
    LOST = "is lost"
    ANSWER_LOST = "arrives, and its answer is lost"
    TWICE = "arrives twice at once"
    TWICE_LATER = "arrives twice, one after the other"
    DELAYED = "is delayed"


class Sent(NamedTuple):
    """A request as it left."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    moment: datetime

    @property
    def digest(self) -> str:
        """SHA-256 of its body."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def values(self) -> frozenset[int]:
        """The unique values of its events."""
        return values_of(self.body) if self.path == EVENTS_PATH else frozenset()


class Told(NamedTuple):
    """An answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def values_of(body: bytes) -> frozenset[int]:
    """Return the unique values of a delivery's events."""
    with pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)) as stream:
        table = stream.read_all()
    return frozenset(table.column("duration_ms").to_pylist()) if "duration_ms" in table.column_names else frozenset()


class Network(httpx.BaseTransport):
    """The way to one gateway.

    Args:
        ask: Gives the gateway requests that arrive at the same time, and returns its answer to the last; raises
            `httpx.TransportError` when it is not there, or dies.
        now: A clock.
    """

    def __init__(self, ask: Callable[[list[Sent]], Told], now: Callable[[], datetime]) -> None:
        self._ask = ask
        self._now = now
        self.is_partitioned = False
        self.fates: deque[Fate] = deque()
        """Of the next deliveries of events."""
        self.delayed: list[Sent] = []
        self.earlier: deque[Sent] = deque(maxlen=KEPT)
        """Deliveries that may arrive once more."""
        self._reached: set[str] = set()
        """Which bodies have reached the gateway at least once."""
        self.left: dict[str, str] = {}
        """The digests of all deliveries that have left the instance, whatever became of them, with their ranges."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        sent = Sent(request.method, request.url.path, headers, request.read(), self._now())
        if self.is_partitioned:
            raise httpx.ConnectError("there is no way to the gateway", request=request)
        fate = Fate.ARRIVES
        if sent.path == EVENTS_PATH:
            fate = self.fates.popleft() if self.fates else fate
            self.earlier.append(sent)
            which = f"{headers['heliograph-epoch']}: {headers['heliograph-range']}"
            self.left[sent.digest] = which
        if fate is Fate.DELAYED:
            self.delayed.append(sent)
        if fate in {Fate.DELAYED, Fate.LOST}:
            raise httpx.ReadTimeout("the request is lost", request=request)
        if fate is Fate.TWICE_LATER:
            self._answer([sent])
        told = self._answer([sent] * (2 if fate is Fate.TWICE else 1))
        if fate is Fate.ANSWER_LOST:
            raise httpx.ReadTimeout("the answer is lost", request=request)
        return httpx.Response(told.status, headers=told.headers, content=told.body)

    def arrive(self, *sent: Sent) -> int | None:
        """Let requests arrive at once that nobody waits for any more; return the status of the answer to the last."""
        try:
            return self._answer(list(sent)).status
        except httpx.TransportError:
            return None

    def _answer(self, requests: list[Sent]) -> Told:
        self._reached |= {sent.digest for sent in requests}
        return self._ask(requests)

    def cut_off(self, moment: datetime) -> None:
        """Let no request from before a moment reach the gateway for the first time: no connection lives that long."""
        for waiting in (self.delayed, self.earlier):
            late = [sent for sent in waiting if sent.moment > moment or sent.digest in self._reached]
            waiting.clear()
            waiting.extend(late)


async def ask_all(app: Any, requests: Sequence[Sent], died: asyncio.Future[None]) -> list[Told]:
    """Give an ASGI application requests at the same time.

    Raises:
        httpx.ReadError: It died meanwhile.
    """
    tasks = [asyncio.ensure_future(ask_one(app, sent)) for sent in requests]
    everything = asyncio.gather(*tasks)
    try:
        await asyncio.wait([asyncio.ensure_future(everything), died], return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
        if died.done():
            raise httpx.ReadError("the connection was reset")
        return everything.result()
    finally:
        if not everything.done():
            everything.cancel()
            await asyncio.wait(tasks)


async def ask_one(app: Any, sent: Sent) -> Told:
    """Give an ASGI application one request."""
    received: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent.body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        received.append(message)

    scope = {
        "type": "http",
        "method": sent.method,
        "path": sent.path,
        "query_string": b"",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.headers.items()],
    }
    await app(scope, receive, send)
    start, *parts = received
    return Told(start["status"], start["headers"], b"".join(part["body"] for part in parts))
