"""Who sends: an assertion that the instance's key signed becomes a token, and a token becomes a name.

An instance proves itself once in ten minutes or so with a JWT (RFC 7523), and gets a token that the gateway's own
key signed. Any gateway process with that key takes the token. A token that was verified once is looked up after
that, and compared with the registry's snapshot each time, so that a removed instance or key is out at once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heliograph import keys
from heliograph.consent.trust import verified
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.wire import ASSERTION_AUDIENCE, ASSERTION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.registry.snapshot import InstanceRecord, Snapshot
    from heliograph.settings import GatewaySettings

SKEW_SECONDS: Final = 300
"""How far the clocks of an instance and the gateway may differ."""
LONGEST_JWT: Final = 2_048
"""Characters; ours have about 400."""
LONGEST_NUMBER: Final = 64
"""Characters of an assertion's jti."""
ASSERTIONS_KEPT: Final = 100
"""Assertions of one instance that can be in their lives at once; the next is refused until the oldest ends."""
TOKENS_KEPT: Final = 10_000
"""Verified tokens held in memory; past it the oldest is verified again when it comes back."""

_ALGORITHM: Final = "EdDSA"
_TOKEN_TYPE: Final = "heliograph-token+jwt"  # noqa: S105 - a media type, not a secret
_END_OF_ERA: Final = 1 << 33
"""Seconds since 1970: some day in 2242. Larger numbers are no times."""
_jws: Final = jwt.PyJWS(algorithms=[_ALGORITHM])

_Claims = TypeVar("_Claims")


class AuthenticationError(RefusalError):
    """It is not known who sends; the refusal says what the sender may learn of why."""


class Token(NamedTuple):
    """An access token, and for how many seconds it is good."""

    token: str
    expires_in: int


class _AssertionClaims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str
    iat: float
    exp: float
    jti: str


class _TokenClaims(msgspec.Struct, frozen=True):
    sub: str
    exp: float
    key: str
    """Fingerprint of the key that the instance proved."""


class Authenticator:
    """Exchanges assertions for tokens, and tells from a token who sends.

    An assertion is taken once by each process, for as long as it lives; a process started afterwards or beside does
    not know of it. What could be gained by that is a token that the holder of the first one has already.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        signing_key: Ed25519PrivateKey,
        settings: GatewaySettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Make an authenticator.

        Args:
            snapshot: Gives the registry as it stands; see `heliograph.registry.view.RegistryView.snapshot`.
            signing_key: The gateway's own key, which signs tokens.
            settings: The life of a token is taken from here.
            now: Gives seconds since 1970 by the gateway's clock.
        """
        self._snapshot = snapshot
        self._signing_key = signing_key
        self._public_key = signing_key.public_key()
        self._token_seconds = settings.token_seconds
        self._now = now
        self._verified: dict[str, _TokenClaims] = {}
        self._used: dict[str, dict[str, float]] = {}
        # An unknown instance costs the time of a signature too, so that time does not tell which names exist.
        self._nobody = Ed25519PrivateKey.generate().public_key()

    def exchange(self, assertion: str) -> Token:
        """Return a token for the instance that signed `assertion`.

        Raises:
            RegistryUnavailableError: It cannot be known who is registered.
            AuthenticationError: With `Refusal.MALFORMED_ASSERTION`, `Refusal.UNKNOWN_INSTANCE_OR_KEY`,
                `Refusal.CLOCK_SKEW`, `Refusal.REPLAYED_ASSERTION` or `Refusal.TOO_MANY_ASSERTIONS`.
        """
        claims = _decode(assertion, _AssertionClaims)
        if claims is None:
            raise AuthenticationError(Refusal.MALFORMED_ASSERTION, "it does not decode as such a JWT")
        instance = self._signer(assertion, claims.sub)
        now = self._now()
        _check_form(claims)
        _check_clock(claims, now)
        self._check_first_use(claims, now)
        token = _TokenClaims(sub=instance.name, exp=int(now) + self._token_seconds, key=instance.fingerprint)
        signed = _jws.encode(
            msgspec.json.encode(token), self._signing_key, algorithm=_ALGORITHM, headers={"typ": _TOKEN_TYPE}
        )
        return Token(signed, self._token_seconds)

    def authenticate(self, authorization: str) -> str:
        """Return the name of the instance whose token the Authorization header carries.

        Args:
            authorization: The header, ``Bearer TOKEN``; empty when there is none.

        Raises:
            RegistryUnavailableError: It cannot be known who is registered.
            AuthenticationError: With `Refusal.INVALID_TOKEN`, `Refusal.TOKEN_EXPIRED` or
                `Refusal.UNKNOWN_INSTANCE_OR_KEY`.
        """
        claims = self._verified.get(authorization) or self._verify(authorization)
        if self._now() >= claims.exp:
            self._verified.pop(authorization, None)
            raise AuthenticationError(Refusal.TOKEN_EXPIRED)
        instance = self._snapshot().instances.get(claims.sub)
        if instance is None or instance.fingerprint != claims.key or not instance.active:
            raise AuthenticationError(Refusal.UNKNOWN_INSTANCE_OR_KEY)
        return instance.name

    def _signer(self, assertion: str, name: str) -> InstanceRecord:
        instance = self._snapshot().instances.get(name)
        key = self._nobody
        if instance is not None and instance.fingerprint:
            key = keys.parse_public_key(instance.public_key)
        if verified(assertion, key) is None or instance is None or not instance.active:
            raise AuthenticationError(Refusal.UNKNOWN_INSTANCE_OR_KEY)
        return instance

    def _check_first_use(self, claims: _AssertionClaims, now: float) -> None:
        ends = {number: end for number, end in self._used.get(claims.sub, {}).items() if end > now}
        if claims.jti in ends:
            raise AuthenticationError(Refusal.REPLAYED_ASSERTION)
        if len(ends) >= ASSERTIONS_KEPT:
            raise AuthenticationError(Refusal.TOO_MANY_ASSERTIONS)
        ends[claims.jti] = claims.exp + SKEW_SECONDS
        self._used[claims.sub] = ends

    def _verify(self, authorization: str) -> _TokenClaims:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationError(Refusal.INVALID_TOKEN, "there is no authorization header with a bearer token")
        claims = _decode(token, _TokenClaims, kind=_TOKEN_TYPE)
        if claims is None or verified(token, self._public_key) is None:
            raise AuthenticationError(Refusal.INVALID_TOKEN)
        if len(self._verified) >= TOKENS_KEPT:
            del self._verified[next(iter(self._verified))]
        self._verified[authorization] = claims
        return claims


def _decode(text: str, claims: type[_Claims], *, kind: str | None = None) -> _Claims | None:
    """Return the claims of a JWT, which are nobody's yet, or None if `text` is no JWT of this form."""
    if len(text) > LONGEST_JWT:
        return None
    try:
        decoded = _jws.decode_complete(text, options={"verify_signature": False})
        found = msgspec.json.decode(decoded["payload"], type=claims)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    header = decoded["header"]
    if header.get("alg") != _ALGORITHM or (kind is not None and header.get("typ") != kind):
        return None
    return found


def _check_form(claims: _AssertionClaims) -> None:
    faults = [
        fault
        for fault, is_so in (
            ("iss and sub differ", claims.iss != claims.sub),
            (f"aud is not {ASSERTION_AUDIENCE}", claims.aud != ASSERTION_AUDIENCE),
            (
                f"exp is not within {ASSERTION_SECONDS} seconds after iat",
                not 0 < claims.exp - claims.iat <= ASSERTION_SECONDS,
            ),
            ("iat is no time of this era", not 0 <= claims.iat < _END_OF_ERA),
            (
                f"jti is empty, or longer than {LONGEST_NUMBER} characters",
                not 0 < len(claims.jti) <= LONGEST_NUMBER,
            ),
        )
        if is_so
    ]
    if faults:
        raise AuthenticationError(Refusal.MALFORMED_ASSERTION, "; ".join(faults))


def _check_clock(claims: _AssertionClaims, now: float) -> None:
    if claims.iat - SKEW_SECONDS <= now < claims.exp + SKEW_SECONDS:
        return
    raise AuthenticationError(
        Refusal.CLOCK_SKEW,
        f"the instance's clock said {_words(claims.iat)}, the gateway's says {_words(now)}",
        now=int(now),
    )


def _words(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
