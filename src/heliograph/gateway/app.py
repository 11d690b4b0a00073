"""The gateway as an ASGI application: addresses, and how errors are told.

What happens to events is in `intake`, and to pings in `pings`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec
import structlog

from heliograph import spans
from heliograph.gateway.fairness import Allowances, Bodies
from heliograph.gateway.intake import id_of
from heliograph.gateway.metrics import METERS, GatewayMetric
from heliograph.gateway.pings import MOST_PING_BYTES
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.gateway.readiness import key_is_there, log_has_room, readiness
from heliograph.gateway.writer import writer_of
from heliograph.registry.errors import RegistryUnavailableError
from heliograph.wire import (
    ACCOUNT_PATH,
    ERASURES_PATH,
    EVENTS_PATH,
    GRANT_TYPE,
    HEALTH_PATH,
    JSON,
    KEYS_PATH,
    PINGS_PATH,
    PLAN_PATH,
    POLICY_PATH,
    PROBLEM,
    READY_PATH,
    TOKEN_PATH,
    Answer,
    KeysAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from heliograph.gateway.authentication import Authenticator
    from heliograph.gateway.erasures import ErasureDesk
    from heliograph.gateway.intake import Intake, Permissions
    from heliograph.gateway.log import Log
    from heliograph.gateway.pings import PingIntake
    from heliograph.gateway.plans import PlanInForce
    from heliograph.gateway.policies import PolicySigner
    from heliograph.gateway.readiness import Readiness
    from heliograph.gateway.writer import Writer
    from heliograph.settings import GatewaySettings

_MOST_TOKEN_BYTES: Final = 8 << 10
_MOST_ERASURE_BYTES: Final = 1 << 10
_WRITER_SECONDS: Final = 2.0
_encode: Final = msgspec.json.Encoder().encode
_log: Final = structlog.get_logger("heliograph.gateway")


@dataclass(slots=True)
class Request:
    """One HTTP request: its headers by lower-case name, and a way to read its body."""

    method: str
    headers: dict[str, str]
    receive: Callable[[], Awaitable[dict[str, Any]]]
    settings: GatewaySettings
    delivery: str | None = None
    """By what name the logs know the delivery that it is, once that is known."""

    def size(self, most: int) -> int:
        """Return how large the body says that it is; `most` if it does not say.

        Raises:
            RefusalError: It is larger than `most` bytes.
        """
        size = int(self.headers.get("content-length", most))
        if size > most:
            raise RefusalError(Refusal.BODY_TOO_LARGE, f"the limit is {most:,} bytes")
        return size

    async def body(self, most: int) -> bytes:
        """Return the body, read no further than `most` bytes.

        Raises:
            RefusalError: It is larger, or too slow, or the client went away.
        """
        self.size(most)
        clock = asyncio.get_running_loop().time
        start = clock()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout_at(start + self._seconds(size)) as limit:
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise RefusalError(Refusal.DAMAGED_BODY, "the connection ended before the body did")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise RefusalError(Refusal.BODY_TOO_LARGE, f"the limit is {most:,} bytes")
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
                    limit.reschedule(start + self._seconds(size))
        except TimeoutError:
            raise RefusalError(Refusal.TOO_SLOW, f"{size:,} bytes in {clock() - start:.0f} seconds") from None

    def _seconds(self, size: int) -> float:
        """Return how long the body may take until more than `size` bytes of it are there."""
        settings = self.settings
        return min(settings.head_seconds + size / settings.slowest_bytes_per_second, settings.body_seconds)


class Written(NamedTuple):
    """An answer in JSON that is written already."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]


class Gateway:
    """The application; any number of requests at once, all in one thread."""

    def __init__(
        self,
        *,
        intake: Intake,
        pings: PingIntake,
        authenticator: Authenticator,
        permissions: Permissions,
        log: Log | Writer,
        policies: PolicySigner,
        keys: Callable[[], KeysAnswer],
        settings: GatewaySettings,
        erasures: ErasureDesk,
        plans: PlanInForce,
        registry_answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self._intake = intake
        self._pings = pings
        self._erasures = erasures
        self._plans = plans
        self._authenticator = authenticator
        self._permissions = permissions
        self._writer = writer_of(log)
        self._policies = policies
        self._keys = keys
        self._settings = settings
        self._allowances = Allowances(
            requests=settings.instance_requests_per_second, size=settings.instance_bytes_per_second
        )
        self._bodies = Bodies(most_bytes=settings.maximum_pending_bytes, most_of_one=settings.instance_bodies)
        self._registry_answers = registry_answers
        self._routes: dict[str, tuple[str, Callable[[Request], Awaitable[Any]]]] = {
            EVENTS_PATH: ("POST", self.take_events),
            PINGS_PATH: ("POST", self.take_ping),
            TOKEN_PATH: ("POST", self.exchange_token),
            POLICY_PATH: ("GET", self.tell_policy),
            PLAN_PATH: ("GET", self.tell_plan),
            ACCOUNT_PATH: ("GET", self.tell_account),
            KEYS_PATH: ("GET", self.tell_keys),
            ERASURES_PATH: ("POST", self.order_erasure),
            HEALTH_PATH: ("GET", self.tell_health),
            READY_PATH: ("GET", self.tell_readiness),
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI 3)."""
        path = scope["path"] if scope["path"] in self._routes else "?"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope["method"], headers, receive, self._settings)
        try:
            answer = await self._handle(request, scope["path"])
            written = answer if isinstance(answer, Written) else Written(200, _encode(answer), [])
            content_type, outcome = JSON, "duplicate" if isinstance(answer, Answer) and answer.duplicate else "ok"
        except Exception as error:  # noqa: BLE001 - the last line: the client gets an answer, the log no values
            refused = _refused(error, path, request.delivery)
            written, content_type = self._told(refused, path), PROBLEM
            outcome = refused.refusal.code if isinstance(error, RefusalError | RegistryUnavailableError) else "failed"
        METERS.count(GatewayMetric.REQUESTS, path=path, outcome=outcome)
        await send(
            {
                "type": "http.response.start",
                "status": written.status,
                "headers": [
                    (b"content-type", content_type.encode()),
                    (b"content-length", str(len(written.body)).encode()),
                    *written.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": written.body})

    def _told(self, error: RefusalError, path: str) -> Written:
        """Return a refusal as the client is told of it."""
        problem = error.to_problem()
        headers: list[tuple[bytes, bytes]] = []
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        if error.refusal is Refusal.TOO_SLOW:
            headers.append((b"connection", b"close"))
        if error.refusal is Refusal.METHOD_NOT_ALLOWED:
            headers.append((b"allow", self._routes[path][0].encode()))
        return Written(problem.status, _encode(problem), headers)

    async def _handle(self, request: Request, path: str) -> Any:
        route = self._routes.get(path)
        if route is None:
            raise RefusalError(Refusal.NOT_FOUND)
        self._plans.look()
        method, handler = route
        if request.method != method:
            raise RefusalError(Refusal.METHOD_NOT_ALLOWED, f"{path} takes {method}")
        return await handler(request)

    def _instance(self, request: Request) -> str:
        return self._authenticator.authenticate(request.headers.get("authorization", ""))

    async def take_events(self, request: Request) -> Any:
        """Take a delivery in."""
        instance = self._instance(request)
        request.delivery = id_of(instance, request.headers)
        most = self._settings.maximum_body_bytes
        with (
            spans.span("intake", request.headers.get(spans.HEADER, ""), delivery=request.delivery or "?"),
            self._admitted(instance, request.size(most)),
        ):
            body = await request.body(most)
            METERS.count(GatewayMetric.BYTES, len(body))
            return await self._intake.take(instance, request.headers, body)

    async def take_ping(self, request: Request) -> Any:
        """Take a ping in."""
        instance = self._instance(request)
        with self._admitted(instance, request.size(MOST_PING_BYTES)):
            return await self._pings.take(instance, request.headers, await request.body(MOST_PING_BYTES))

    def _admitted(self, instance: str, size: int) -> AbstractContextManager[None]:
        """Decide, before a byte of the body is read, whether an instance may deliver so much now."""
        self._allowances.take(instance, size)
        return self._bodies.hold(instance, size)

    async def exchange_token(self, request: Request) -> Any:
        """Give a short-lived token for an assertion that the instance signed (RFC 7523)."""
        form = parse_qs((await request.body(_MOST_TOKEN_BYTES)).decode("latin-1"))
        if form.get("grant_type") != [GRANT_TYPE] or len(form.get("assertion", [])) != 1:
            raise RefusalError(Refusal.MALFORMED_ASSERTION, f"a form with grant_type={GRANT_TYPE} and one assertion")
        token, seconds = self._authenticator.exchange(form["assertion"][0])
        METERS.count(GatewayMetric.TOKENS)
        return {"access_token": token, "token_type": "Bearer", "expires_in": seconds}

    async def tell_policy(self, request: Request) -> Any:
        """Tell an instance what it may send, as far as the vendor's side decides."""
        instance = self._instance(request)
        return self._policies.answer(instance, self._permissions(instance))

    async def tell_plan(self, request: Request) -> Any:
        """Tell an instance the plan that its policy names: whoever may ask for the one may ask for the other."""
        self._instance(request)
        checks = self._plans.checks()
        tag = f'"{checks.digest}"'
        held = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
        if not held.isdisjoint({tag, "*"}):
            return Written(304, b"", [(b"etag", tag.encode())])
        return Written(200, checks.content, [(b"etag", tag.encode())])

    async def tell_keys(self, request: Request) -> Any:  # noqa: ARG002 - a handler's signature
        """Tell anyone with which key the gateway signs, and how it follows from earlier ones."""
        return self._keys()

    async def tell_account(self, request: Request) -> Any:
        """Tell an instance the vendor's half of its loss account."""
        instance = self._instance(request)
        try:
            return await self._writer.account(instance)
        except OSError as error:
            raise RefusalError(Refusal.UNAVAILABLE, "the log does not answer") from error

    async def order_erasure(self, request: Request) -> Any:
        """Record that a user of the instance is to be erased; no level keeps an instance from that."""
        instance = self._instance(request)
        return await self._erasures.order(instance, await request.body(_MOST_ERASURE_BYTES))

    async def tell_health(self, request: Request) -> Any:  # noqa: ARG002 - a handler's signature
        """Tell that the gateway answers."""
        return {"status": "ok"}

    async def tell_readiness(self, request: Request) -> Any:  # noqa: ARG002 - a handler's signature
        """Tell whether a delivery could be taken now, and what to do if not."""
        found = self.readiness(writer=await self._writer_answers())
        return Written(200 if found.ready else 503, _encode(found), [])

    def readiness(self, *, writer: bool) -> Readiness:
        """Tell whether a delivery could be taken now, where it is known of the writer whether it answers."""
        return readiness(
            registry=self._registry_answers(),
            log=log_has_room(self._settings),
            writer=writer,
            signing_key=key_is_there(self._settings),
            plan=bool(self._plans.checks().names),
        )

    async def _writer_answers(self) -> bool:
        try:
            async with asyncio.timeout(_WRITER_SECONDS):
                await self._writer.latest_ping("")
        except (OSError, TimeoutError):
            return False
        return True


def _refused(error: Exception, path: str, delivery: str | None) -> RefusalError:
    """Return what the client is told of an error, and log it."""
    named = {} if delivery is None else {"delivery": delivery}
    if isinstance(error, RefusalError):
        _log.info("refused", path=path, reason=error.refusal.code, **named)
        return error
    if isinstance(error, RegistryUnavailableError):
        _log.error("refused", path=path, reason="registry unavailable", **named)
        return RefusalError(Refusal.UNAVAILABLE, "the registry does not answer")
    _log.error("failed", path=path, error=type(error).__name__, at=_place(error), **named)
    return RefusalError(Refusal.UNAVAILABLE)


def _place(error: Exception) -> str:
    """Return where an unexpected error was raised, without any of the values at hand."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
