"""Speaking with the gateway: HTTPS with verified certificates, a short-lived token, and errors told apart.

The errors are a tree:

    TransportError                  the gateway did not take the delivery
    ├── UnreachableError            no answer, or one that says *later*: try again
    └── GatewayRefusalError         an answer that says no, with its problem
"""

from __future__ import annotations

import ssl
import time as clock
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
import msgspec

from heliograph.instance.identity import assertion
from heliograph.plan.canonical import MOST_BYTES
from heliograph.wire import (
    ABSENT_HEADER,
    ACCOUNT_PATH,
    ARROW,
    EPOCH_HEADER,
    ERASURES_PATH,
    EVENTS_PATH,
    GRANT_TYPE,
    KEYS_PATH,
    LEDGER_HEADER,
    PINGS_PATH,
    PLAN_HEADER,
    PLAN_PATH,
    POLICY_PATH,
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.settings import AgentSettings

_Kind = TypeVar("_Kind")
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_UNAUTHORIZED: Final = 401
_RENEW_SECONDS: Final = 30.0
"""A token is renewed this long before its end, so that it does not end on the way."""


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


def erasure_body(user_id: str) -> bytes:
    """Return the exact bytes of an order to erase a random id."""
    return msgspec.json.encode({"user_id": user_id})


def tls_context(certificate_authority: str) -> ssl.SSLContext:
    """Return what TLS must be: version 1.2 or newer, and a certificate that the authority signed for the host.

    Args:
        certificate_authority: A file with the certificates to trust (PEM); empty for the system's.
    """
    context = ssl.create_default_context(cafile=certificate_authority or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class GatewayClient:
    """One instance's conversation with its gateway.

    Args:
        settings: The gateway's address, and the certificates to trust.
        key: The instance's own key.
        now: The clock.
        transport: Replaces the network, in tests.
    """

    def __init__(
        self,
        settings: AgentSettings,
        key: Ed25519PrivateKey,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._instance = settings.instance
        self._key = key
        self._now = now
        self.clock_offset = timedelta()
        """The gateway's clock minus ours, once it told us that they differ."""
        self.built_by: str | None = None
        """The digest of the plan by which deliveries are built, once the vendor has told it."""
        self.ledger_head: str | None = None
        """The digest of the last entry in the instance's ledger when a delivery leaves."""
        self._token = ""
        self._token_until = 0.0
        self._client = httpx.Client(
            base_url=settings.gateway,
            verify=tls_context(settings.certificate_authority),
            timeout=settings.timeout_seconds,
            transport=transport,
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

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
        return self._authorized("GET", PLAN_PATH, {"accept-encoding": "identity"}, most=MOST_BYTES + 1)

    def keys(self) -> KeysAnswer:
        """Ask with which key the gateway signs, and how it follows from earlier ones; that proves nothing by itself.

        Raises:
            TransportError: See the tree of errors.
        """
        return _read(self._request("GET", KEYS_PATH, {}, None), KeysAnswer)

    def account(self) -> GatewayAccount:
        """Ask for the vendor's half of the loss account."""
        return _read(self._authorized("GET", ACCOUNT_PATH), GatewayAccount)

    def latest_receipt(self, epoch: int) -> Receipt | None:
        """Ask for the latest receipt of an epoch."""
        return self.account().latest.get(epoch)

    def deliver(self, *, epoch: int, first: int, last: int, absent: VerdictCounts, body: bytes) -> Answer:
        """Send one batch and return the gateway's answer, which it gives once the batch is on its disk.

        Raises:
            TransportError: See the tree of errors.
        """
        headers = {
            "content-type": ARROW,
            "content-encoding": "zstd",
            EPOCH_HEADER: str(epoch),
            RANGE_HEADER: f"{first}-{last}",
        }
        if self.built_by is not None:
            headers[PLAN_HEADER] = self.built_by
        if self.ledger_head is not None:
            headers[LEDGER_HEADER] = self.ledger_head
        if absent:
            headers[ABSENT_HEADER] = msgspec.json.encode(absent).decode()
        return _read(self._authorized("POST", EVENTS_PATH, headers, body), Answer)

    def send_ping(self, body: bytes) -> PingAnswer:
        """Send one ping and return the gateway's answer, which it gives once the ping is on its disk.

        Raises:
            TransportError: See the tree of errors.
        """
        return _read(self._authorized("POST", PINGS_PATH, {"content-type": "application/json"}, body), PingAnswer)

    def request_erasure(self, user_id: str) -> ErasureAnswer:
        """Ask the vendor to erase what is stored of a random id; asking again for the same is the same order.

        Raises:
            TransportError: See the tree of errors.
        """
        headers = {"content-type": "application/json"}
        return _read(self._authorized("POST", ERASURES_PATH, headers, erasure_body(user_id)), ErasureAnswer)

    def _authorized(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        most: int | None = None,
    ) -> bytes:
        if clock.monotonic() >= self._token_until:
            self._renew_token()
        try:
            return self._request(method, path, self._with_token(headers), body, most=most)
        except GatewayRefusalError as error:
            if error.problem.status != _UNAUTHORIZED:
                raise
        # The token may have ended early: the gateway's key or ours was changed. A new one settles it.
        self._renew_token()
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
            self.clock_offset = datetime.fromtimestamp(error.problem.now, UTC) - self._now()
            answer = self._exchange()
        self._token = answer.access_token
        self._token_until = clock.monotonic() + answer.expires_in - _RENEW_SECONDS

    def _exchange(self) -> _TokenAnswer:
        proof = assertion(self._key, self._instance, (self._now() + self.clock_offset).timestamp())
        form = httpx.QueryParams({"grant_type": GRANT_TYPE, "assertion": proof})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return _read(self._request("POST", TOKEN_PATH, headers, str(form).encode()), _TokenAnswer)

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, *, most: int | None = None
    ) -> bytes:
        try:
            if most is not None:
                with self._client.stream(method, path, headers=headers, content=body) as response:
                    if response.is_success:
                        return _read_at_most(response, most)
                    response.read()
            else:
                response = self._client.request(method, path, headers=headers, content=body)
        except httpx.RequestError as error:
            raise UnreachableError(f"the gateway does not answer: {type(error).__name__}: {error}") from error
        if response.is_success:
            return response.content
        problem = _problem(response)
        if response.status_code in _LATER:
            raise UnreachableError(f"the gateway says later: {problem.title}", _retry_after(response))
        raise GatewayRefusalError(problem)


def _read_at_most(response: httpx.Response, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size >= most:
            break
    return b"".join(parts)[:most]


def _read(content: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(
            "the answer is not one of a gateway that this agent knows; is agent.gateway the vendor's address, "
            "and is the agent of the vendor's version?"
        ) from error


def _problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(
            type="unknown", title=f"HTTP {response.status_code} without a reason.", status=response.status_code
        )


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(float(response.headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None
