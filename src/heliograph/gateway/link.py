"""The way between a worker and the writer: questions and answers over a pair of connected sockets.

The pair is made before the worker is started and has no name, so that nobody else can speak on it; whichever end dies,
the other reads the end. Both ends are given streams, and do not ask what is under them: a simulation gives them its
own, in memory. A message is a prefix of three little-endian 32-bit numbers (the question's number, the lengths
of header and body), a header in MessagePack, and for a question that appends the body as it is to be stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import msgspec
import structlog

from heliograph import spans
from heliograph.gateway.account import Account
from heliograph.gateway.log import LogFullError
from heliograph.gateway.log_entries import Entry, PingEntry
from heliograph.gateway.writer import OutOfOrderError, Standing, SupersededError
from heliograph.wire import PingReceipt

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from heliograph.gateway.log_entries import Stored
    from heliograph.gateway.writer import Writer

MOST_HEADER_BYTES: Final = 1 << 28
"""An account with as many epochs as are kept in mind is a third of that."""
MOST_BODY_BYTES: Final = 1 << 30
_PREFIX: Final = struct.Struct("<III")
_BUFFER_BYTES: Final = 1 << 20
_NUMBERS: Final = 1 << 32
_log: Final = structlog.get_logger("heliograph.gateway")


class _Message(msgspec.Struct, frozen=True, tag_field="what", omit_defaults=True):
    pass


class Ready(_Message, frozen=True, tag="ready"):
    """A worker takes connections from now on; nobody answers that."""


class Closed(_Message, frozen=True, tag="closed"):
    """A connection of the worker has ended; nobody answers that."""


class _AskStanding(_Message, frozen=True, tag="standing"):
    instance: str
    epoch: int
    exporter: str = ""


class _AskPing(_Message, frozen=True, tag="ping"):
    instance: str


class _AskAccount(_Message, frozen=True, tag="account"):
    instance: str


class _AskAppend(_Message, frozen=True, tag="append"):
    entry: Entry | PingEntry
    trace: str = ""
    """See `heliograph.spans.traceparent`."""


class _TellStanding(_Message, frozen=True, tag="standing"):
    standing: Standing


class _TellPing(_Message, frozen=True, tag="ping"):
    receipt: PingReceipt | None


class _TellAccount(_Message, frozen=True, tag="account"):
    account: Account


class _TellDone(_Message, frozen=True, tag="done"):
    pass


class _TellFailed(_Message, frozen=True, tag="failed"):
    why: str


_Question: TypeAlias = Ready | Closed | _AskStanding | _AskPing | _AskAccount | _AskAppend
_Answer: TypeAlias = _TellStanding | _TellPing | _TellAccount | _TellDone | _TellFailed
_FAILURES: Final[dict[str, type[Exception]]] = {
    "out of order": OutOfOrderError,
    "superseded": SupersededError,
    "full": LogFullError,
    "failed": OSError,
}
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_question: Final = msgspec.msgpack.Decoder[_Question](_Question).decode
_decode_answer: Final = msgspec.msgpack.Decoder[_Answer](_Answer).decode


class LinkError(Exception):
    """The other end does not speak this protocol."""


class Sender(Protocol):
    """What an end of a link needs of its way out: an `asyncio.StreamWriter` is one."""

    def writelines(self, data: Iterable[bytes], /) -> None:
        """Send; what cannot go yet waits in memory. Nothing is sent once the other end has gone."""

    def is_closing(self) -> bool:
        """Tell whether the way is closed, or about to be."""

    def close(self) -> None:
        """Close the way: the other end reads the end behind what was sent."""

    async def wait_closed(self) -> None:
        """Return once it is closed.

        Raises:
            OSError: The other end had gone before.
        """


def _pack(number: int, header: bytes, body: bytes) -> list[bytes]:
    return [_PREFIX.pack(number, len(header), len(body)), header, body]


async def _read(stream: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    number, header_bytes, body_bytes = _PREFIX.unpack(await stream.readexactly(_PREFIX.size))
    if header_bytes > MOST_HEADER_BYTES or body_bytes > MOST_BODY_BYTES:
        raise LinkError
    header = await stream.readexactly(header_bytes)
    return number, header, await stream.readexactly(body_bytes) if body_bytes else b""


class RemoteWriter:
    """The writer as a worker in another process sees it: a `heliograph.gateway.writer.Writer`.

    Args:
        reader: On which the writer's answers come.
        sender: On which it is asked.
    """

    def __init__(self, reader: asyncio.StreamReader, sender: Sender) -> None:
        self._reader = reader
        self._sender = sender
        self._waiting: dict[int, asyncio.Future[_Answer]] = {}
        self._number = 0
        self.ended: Final = asyncio.get_running_loop().create_task(self._hear())
        """Done once the writer's process has ended."""

    @classmethod
    async def connect(cls, link: socket.socket) -> RemoteWriter:
        """Return the writer at the other end of a connected socket."""
        return cls(*await asyncio.open_connection(sock=link, limit=_BUFFER_BYTES))

    async def standing(self, instance: str, epoch: int, exporter: str = "") -> Standing:
        """See `Writer.standing`."""
        answer = await self._ask(_AskStanding(instance, epoch, exporter))
        assert isinstance(answer, _TellStanding)  # noqa: S101 - what that question is answered
        return answer.standing

    async def latest_ping(self, instance: str) -> PingReceipt | None:
        """See `Writer.latest_ping`."""
        answer = await self._ask(_AskPing(instance))
        assert isinstance(answer, _TellPing)  # noqa: S101 - as above
        return answer.receipt

    async def append(self, entry: Stored, body: bytes) -> None:
        """See `Writer.append`."""
        await self._ask(_AskAppend(entry, spans.traceparent()), body)

    async def account(self, instance: str) -> Account:
        """See `Writer.account`."""
        answer = await self._ask(_AskAccount(instance))
        assert isinstance(answer, _TellAccount)  # noqa: S101 - as above
        return answer.account

    def close(self) -> None:
        """Let go of the writer."""
        self._sender.close()

    def tell(self, message: Ready | Closed) -> None:
        """Tell what nobody answers; nothing, once the writer's process has ended."""
        if not self.ended.done():
            self._sender.writelines(_pack(0, _encode(message), b""))

    async def _ask(self, question: _Question, body: bytes = b"") -> _Answer:
        if self.ended.done():
            raise OSError("the writer has ended")
        self._number = self._number % (_NUMBERS - 1) + 1
        number = self._number
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._sender.writelines(_pack(number, _encode(question), body))
        try:
            answer: _Answer = await answered
        finally:
            self._waiting.pop(number, None)
        if isinstance(answer, _TellFailed):
            raise _FAILURES[answer.why]
        return answer

    async def _hear(self) -> None:
        try:
            while True:
                number, header, _ = await _read(self._reader)
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():  # else: whoever asked has gone
                    waiting.set_result(_decode_answer(header))
        except (OSError, EOFError):
            return
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(OSError("the writer has ended"))


class WriterService:
    """The writer's end of one worker's link, or of the links of several.

    Args:
        writer: Who answers.
        heard: Called with what a worker tells without a question.
    """

    def __init__(self, writer: Writer, heard: Callable[[Ready | Closed], None]) -> None:
        self._writer = writer
        self._heard = heard
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, link: socket.socket) -> None:
        """Answer until the worker ends; what it has asked for is still carried out."""
        await self.answer(*await asyncio.open_connection(sock=link, limit=_BUFFER_BYTES))

    async def answer(self, reader: asyncio.StreamReader, sender: Sender) -> None:
        """Answer on a connection that is open, as `serve` does."""
        try:
            while True:
                number, header, body = await _read(reader)
                question = _decode_question(header)
                if isinstance(question, Ready | Closed):
                    self._heard(question)
                    continue
                task = asyncio.get_running_loop().create_task(self._serve_one(number, question, body, sender))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (OSError, EOFError):
            return
        except (LinkError, msgspec.DecodeError) as error:
            _log.error("a worker is of another version", error=type(error).__name__)
        finally:
            sender.close()
            with contextlib.suppress(OSError):
                await sender.wait_closed()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _serve_one(self, number: int, question: _Question, body: bytes, sender: Sender) -> None:
        try:
            answer = await self._answer(question, body)
        except tuple(_FAILURES.values()) as error:
            answer = _TellFailed(next(why for why, kind in _FAILURES.items() if isinstance(error, kind)))
        except Exception as error:  # noqa: BLE001 - without an answer the worker would wait for ever
            _log.error("failed", path="?", error=type(error).__name__, at="writer")
            answer = _TellFailed("failed")
        if not sender.is_closing():
            sender.writelines(_pack(number, _encode(answer), b""))

    async def _answer(self, question: _Question, body: bytes) -> _Answer:
        match question:
            case _AskStanding():
                return _TellStanding(await self._writer.standing(question.instance, question.epoch, question.exporter))
            case _AskPing():
                return _TellPing(await self._writer.latest_ping(question.instance))
            case _AskAccount():
                return _TellAccount(await self._writer.account(question.instance))
            case _AskAppend():
                with spans.within(question.trace):
                    await self._writer.append(question.entry, body)
        return _TellDone()
