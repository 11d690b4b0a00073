"""Speaking with the gateway: HTTPS with verified certificates, a short-lived token, and errors told apart.

The errors are a tree:

    TransportError                  the gateway did not take the delivery
    ├── UnreachableError            no answer, none of the gateway's, or one that says *later*: try again
    │   └── StandstillError         it refuses one event after another
    └── GatewayRefusalError         the gateway's answer says no, with its problem and what it asks for
        └── SupersededError         another agent, which began later, sends for this instance

Which answer is which stands in `heliograph.instance.answers`. No redirect is followed: events go to the address that
is set, or nowhere.
"""

from __future__ import annotations

import secrets
import time as clock
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
import msgspec
import structlog

from heliograph import spans
from heliograph.instance.answers import FOREIGN, Action, action_of
from heliograph.instance.bandwidth import Bandwidth
from heliograph.instance.gateway_clock import GatewayClock
from heliograph.instance.https import http_client
from heliograph.instance.identity import assertion
from heliograph.instance.pauses import asked_seconds
from heliograph.plan.canonical import MOST_BYTES
from heliograph.wire import (
    ABSENT_HEADER,
    ACCOUNT_PATH,
    AFTER_HEADER,
    ARROW,
    EPOCH_HEADER,
    ERASURES_PATH,
    EVENTS_PATH,
    EXPORTER_HEADER,
    GRANT_TYPE,
    JSON,
    KEYS_PATH,
    LEDGER_HEADER,
    PINGS_PATH,
    PLAN_HEADER,
    PLAN_PATH,
    POLICY_PATH,
    PROBLEM,
    RANGE_HEADER,
    TOKEN_PATH,
    Answer,
    Counts,
    ErasureAnswer,
    KeysAnswer,
    PingAnswer,
    PolicyAnswer,
    Problem,
    Receipt,
    VerdictCounts,
    delivery_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.settings import AgentSettings

_Kind = TypeVar("_Kind")
_SUPERSEDED: Final = "superseded_exporter"
_MOST_ANSWER_BYTES: Final = 1 << 20
_MOST_ACCOUNT_BYTES: Final = 256 << 20
"""The latest receipt of each epoch, of which the gateway keeps a hundred thousand at most."""
_RENEW_SECONDS: Final = 30.0
"""A token is renewed this long before its end, so that it does not end on the way."""
_log: Final = structlog.get_logger("heliograph.agent")


class GatewayAccount(msgspec.Struct, frozen=True):
    """The vendor's half of an instance's loss account, as the gateway tells it."""

    accepted: Counts
    rejected: VerdictCounts
    absent: VerdictCounts
    latest: dict[int, Receipt]


class _TokenAnswer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float


class TransportError(Exception):
    """The gateway did not take the delivery."""


class UnreachableError(TransportError):
    """There was no answer, or one that says *later*: try again.

    Attributes:
        retry_after: Seconds that the gateway asked to wait; None when it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GatewayRefusalError(TransportError):
    """The gateway answered no; `problem` says why and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title} {problem.detail} {problem.remedy}".replace("  ", " ").strip())
        self.problem = problem

    @property
    def action(self) -> Action:
        """What it asks for."""
        return action_of(self.problem)


class StandstillError(UnreachableError):
    """The gateway refuses whatever it gets: nothing goes on but single requests with long pauses."""


class SupersededError(GatewayRefusalError):
    """Another agent, which began later, sends for this instance: this one must not go on."""


def erasure_body(user_id: str) -> bytes:
    """Return the exact bytes of an order to erase a random id."""
    return msgspec.json.encode({"user_id": user_id})


class GatewayClient:
    """One instance's conversation with its gateway.

    Args:
        settings: The gateway's address, and the certificates to trust.
        key: The instance's own key.
        now: The clock.
        ticks: Seconds by a clock that nobody sets.
        bandwidth: How fast bodies leave; by the settings if None.
        transport: Replaces the network, in tests.
        exporter: By which the gateway tells this process from another with the same key: 32 hexadecimal digits, drawn
            by default.

    Raises:
        ProxySettingError: The proxy cannot be used as it is set.
    """

    def __init__(
        self,
        settings: AgentSettings,
        key: Ed25519PrivateKey,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        ticks: Callable[[], float] = clock.monotonic,
        bandwidth: Bandwidth | None = None,
        transport: httpx.BaseTransport | None = None,
        exporter: str | None = None,
    ) -> None:
        self.exporter: Final = exporter or secrets.token_hex(16)
        """The id of this process, which every delivery names."""
        self.after: Sequence[str] = ()
        """The ids of those that sent before it. They are named until something of this one was stored."""
        self._instance = settings.instance
        self._key = key
        self._ticks = ticks
        self._clock = GatewayClock(now, ticks)
        self._seconds = settings.timeout_seconds
        self._bandwidth = bandwidth or Bandwidth(settings.bytes_per_second, ticks=ticks)
        self.built_by: str | None = None
        """The digest of the plan by which deliveries are built, once the vendor has told it."""
        self.ledger_head: str | None = None
        """The digest of the last entry in the instance's ledger when a delivery leaves."""
        self._token = ""
        self._token_until = 0.0
        self._client = http_client(settings, transport)

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    @property
    def clock_offset(self) -> timedelta:
        """The gateway's clock minus ours, once it told us that they differ."""
        return self._clock.offset

    def clock_was_set(self) -> bool:
        """Tell whether our clock was set since the gateway last agreed with it; it is then asked again."""
        if not self._clock.was_set():
            return False
        self._token_until = 0.0  # only for a token does it look at our clock
        return True

    def policy(self) -> PolicyAnswer:
        """Ask what this instance may send.

        Raises:
            TransportError: See the tree of errors.
        """
        return _read(self._authorized("GET", POLICY_PATH), PolicyAnswer)

    def plan(self) -> bytes:
        """Ask for the plan that the policy names; what comes proves nothing by itself, and is cut off where it is long.

        Raises:
            TransportError: See the tree of errors.
        """
        return self._authorized("GET", PLAN_PATH, most=MOST_BYTES + 1)

    def keys(self) -> KeysAnswer:
        """Ask with which key the gateway signs, and how it follows from earlier ones; that proves nothing by itself.

        Raises:
            TransportError: See the tree of errors.
        """
        return _read(self._request("GET", KEYS_PATH, {}, None), KeysAnswer)

    def account(self) -> GatewayAccount:
        """Ask for the vendor's half of the loss account."""
        return _read(self._authorized("GET", ACCOUNT_PATH, most=_MOST_ACCOUNT_BYTES), GatewayAccount)

    def latest_receipt(self, epoch: int) -> Receipt | None:
        """Ask for the latest receipt of an epoch."""
        return self.account().latest.get(epoch)

    def deliver(self, *, epoch: int, first: int, last: int, absent: VerdictCounts, body: bytes) -> Answer:
        """Send one batch and return the gateway's answer, which it gives once the batch is on its disk.

        Raises:
            TransportError: See the tree of errors.
        """
        headers = self._delivery_headers(epoch, first, last, absent)
        delivery = delivery_id(self._instance, epoch, first, last)
        try:
            with spans.span("request", delivery=delivery):
                traced = {spans.HEADER: parent} if (parent := spans.traceparent()) else {}
                content = self._authorized("POST", EVENTS_PATH, headers | traced, body, repeat=False)
                answer = _read(content, Answer)
            receipt = answer.receipt
            if receipt is not None and (receipt.epoch, receipt.first, receipt.last) != (epoch, first, last):
                raise UnreachableError("the answer is about another delivery: does something on the way keep answers?")
        except TransportError as error:
            _log.warning("not delivered", delivery=delivery, epoch=epoch, first=first, last=last, why=str(error))
            raise
        if not answer.duplicate:
            self.after = ()
        _log.info("delivered", delivery=delivery, epoch=epoch, first=first, last=last, repeated=answer.duplicate)
        return answer

    def _delivery_headers(self, epoch: int, first: int, last: int, absent: VerdictCounts) -> dict[str, str]:
        headers = {
            "content-type": ARROW,
            "content-encoding": "zstd",
            EPOCH_HEADER: str(epoch),
            RANGE_HEADER: f"{first}-{last}",
            EXPORTER_HEADER: self.exporter,
        }
        if self.built_by is not None:
            headers[PLAN_HEADER] = self.built_by
        if self.ledger_head is not None:
            headers[LEDGER_HEADER] = self.ledger_head
        if self.after:
            headers[AFTER_HEADER] = ",".join(self.after)
        if absent:
            headers[ABSENT_HEADER] = msgspec.json.encode(absent).decode()
        return headers

    def send_ping(self, body: bytes) -> PingAnswer:
        """Send one ping and return the gateway's answer, which it gives once the ping is on its disk.

        Raises:
            TransportError: See the tree of errors.
        """
        return _read(self._authorized("POST", PINGS_PATH, {"content-type": JSON}, body), PingAnswer)

    def request_erasure(self, user_id: str) -> ErasureAnswer:
        """Ask the vendor to erase what is stored of a random id; asking again for the same is the same order.

        Raises:
            TransportError: See the tree of errors.
        """
        headers = {"content-type": JSON}
        return _read(self._authorized("POST", ERASURES_PATH, headers, erasure_body(user_id)), ErasureAnswer)

    def _authorized(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        most: int = _MOST_ANSWER_BYTES,
        repeat: bool = True,
    ) -> bytes:
        """Send a request with a token; one that has ended early is renewed, and the request repeated if it may be."""
        if self._ticks() >= self._token_until:
            self._renew_token()
        try:
            return self._request(method, path, self._with_token(headers), body, most=most)
        except GatewayRefusalError as error:
            if error.action is not Action.RENEW:
                raise
        # The token may have ended early: the gateway's key or ours was changed. A new one settles it.
        self._renew_token()
        if not repeat:  # a receipt by a key that nobody has vouched for yet would be no proof
            raise UnreachableError("the gateway's key or ours was changed: what may leave is asked again first")
        return self._request(method, path, self._with_token(headers), body, most=most)

    def _with_token(self, headers: dict[str, str] | None) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} | (headers or {})

    def _renew_token(self) -> None:
        try:
            answer = self._exchange()
        except GatewayRefusalError as error:
            if error.problem.now is None:
                raise
            # Our clock is wrong. The key proves who we are, not the clock: use the gateway's for the proof.
            self._clock.learn(datetime.fromtimestamp(error.problem.now, UTC))
            answer = self._exchange()
        self._clock.confirm()
        self._token = answer.access_token
        self._token_until = self._ticks() + answer.expires_in - _RENEW_SECONDS

    def _exchange(self) -> _TokenAnswer:
        proof = assertion(self._key, self._instance, self._clock.now().timestamp())
        form = httpx.QueryParams({"grant_type": GRANT_TYPE, "assertion": proof})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return _read(self._request("POST", TOKEN_PATH, headers, str(form).encode()), _TokenAnswer)

    def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        *,
        most: int = _MOST_ANSWER_BYTES,
    ) -> bytes:
        try:
            with self._client.stream(method, path, headers=headers, content=self._content(body, headers)) as response:
                content = self._read_at_most(response, most)
        except httpx.ProxyError as error:
            raise UnreachableError(f"the proxy does not let us through: {error}") from error
        except httpx.RequestError as error:
            raise UnreachableError(f"the gateway does not answer: {type(error).__name__}: {error}") from error
        if response.is_success:
            return content
        problem = _problem(response, content)
        refusal = (SupersededError if problem.type == _SUPERSEDED else GatewayRefusalError)(problem)
        if refusal.action is Action.REPEAT or (problem.type == FOREIGN and path != EVENTS_PATH):
            asked = asked_seconds(response.headers.get("retry-after"), self._clock.now())
            raise UnreachableError(f"the gateway says later: {problem.title}", asked)
        raise refusal

    def _content(self, body: bytes | None, headers: dict[str, str]) -> bytes | Iterator[bytes] | None:
        if body is None or not self._bandwidth.is_limited:
            return body
        headers["content-length"] = str(len(body))  # else it would go in chunks, and the gateway not know how much
        return self._bandwidth.pieces(body)

    def _read_at_most(self, response: httpx.Response, most: int) -> bytes:
        """Read an answer as far as it is of use, whatever stands at the other end: so much, and for so long."""
        if response.headers.get("content-encoding", "identity") != "identity":  # we asked for none: it may be a bomb
            return b""
        until = self._ticks() + self._seconds
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size >= most:
                break
            if self._ticks() > until:
                raise UnreachableError("the gateway does not answer: its answer takes too long")
        return b"".join(parts)[:most]


def _read(content: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(
            "the answer is not one of a gateway that this agent knows; is agent.gateway the vendor's address, "
            "and is the agent of the vendor's version?"
        ) from error


def _problem(response: httpx.Response, content: bytes) -> Problem:
    """Return the gateway's problem, or one that says that something else has answered."""
    if response.headers.get("content-type", "").partition(";")[0].strip() == PROBLEM:
        try:
            return msgspec.json.decode(content, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return Problem(
        type=FOREIGN,
        title=f"HTTP {response.status_code} without a reason, as from a proxy and no gateway.",
        status=response.status_code,
    )
