"""Trials that a sign-up site reports by signed messages, each recorded once."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta
from sqlalchemy import insert, select

from heliograph.consent.agreement import DIGEST_PATTERN, LONGEST_TEXT, Route
from heliograph.event import INSTANCE_PATTERN, format_time
from heliograph.registry.sign_up_problems import SignUpRefusal, SignUpRefusedError
from heliograph.registry.terms import was_published
from heliograph.registry.trial_tables import sign_ups
from heliograph.registry.trials import LONGEST_DAYS
from heliograph.registry.webhook import TOLERANCE

if TYPE_CHECKING:
    from heliograph.registry.store import Registry
    from heliograph.registry.transaction import Transaction
    from heliograph.registry.webhook import Message

RECORDED_BY: Final = "sign-up site"

_OLDEST_YEAR: Final = 2000
"""Before it, no moment is meant; and its arithmetic is safe."""


class SignUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a message: what was accepted on the sign-up site, and when."""

    account: Annotated[str, Meta(pattern=rf"\A(?:{INSTANCE_PATTERN.pattern})\Z", max_length=63)]
    """The customer; added when it is new."""
    terms_version: Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]
    terms_digest: Annotated[str, Meta(pattern=rf"\A(?:{DIGEST_PATTERN.pattern})\Z")]
    """SHA-256 of the Terms, in lower-case hexadecimal."""
    accepted_at: Annotated[datetime, Meta(tz=True)]
    days: Annotated[int, Meta(ge=1, le=LONGEST_DAYS)] | None = None
    """How long the trial lasts; None: as the vendor's settings say."""


class SignUpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded of a message."""

    account: str
    agreement: str
    terms_version: str
    terms_digest: str
    effective_from: datetime
    effective_to: datetime


_decode: Final = msgspec.json.Decoder(SignUp).decode
_decode_answer: Final = msgspec.json.Decoder(SignUpAnswer).decode


class SignUps:
    """Records sign-ups. Its method may be called from any thread.

    Args:
        registry: Where they become agreements.
        days: How long a trial lasts whose sign-up does not say.
    """

    def __init__(self, registry: Registry, *, days: int) -> None:
        self._registry = registry
        self._days = days

    def record(self, message: Message) -> tuple[SignUpAnswer, bool]:
        """Record a message, once: a repetition gets the first answer.

        Returns:
            What was recorded, and whether that was now.

        Raises:
            SignUpRefusedError: It is not a sign-up that can be recorded.
            RegistryUnavailableError: The database does not answer.
        """
        digest = hashlib.sha256(message.body).hexdigest()
        with self._registry.transaction() as transaction:
            query = select(sign_ups.c.body_digest, sign_ups.c.answer).where(sign_ups.c.message == message.id)
            if first := transaction.connection.execute(query).one_or_none():
                if not hmac.compare_digest(first.body_digest, digest):
                    raise SignUpRefusedError(SignUpRefusal.MESSAGE_REUSED)
                return _decode_answer(first.answer), False
            answer = self._append(transaction, message.id, _read(message.body))
            transaction.connection.execute(
                insert(sign_ups).values(
                    message=message.id,
                    body_digest=digest,
                    answer=msgspec.json.encode(answer).decode(),
                    received=format_time(transaction.now),
                )
            )
        return answer, True

    def _append(self, transaction: Transaction, message: str, sign_up: SignUp) -> SignUpAnswer:
        if not was_published(transaction, version=sign_up.terms_version, digest=sign_up.terms_digest):
            raise SignUpRefusedError(SignUpRefusal.UNKNOWN_TERMS)
        begin, end = self._term(sign_up, transaction.now)
        if sign_up.account not in transaction.snapshot.accounts:
            transaction.add_account(sign_up.account)
        agreement = transaction.append_agreement(
            sign_up.account,
            route=Route.TRIAL_SIGNUP,
            document=f"sign-up message {message}",
            terms_version=sign_up.terms_version,
            terms_digest=sign_up.terms_digest,
            recorded_by=RECORDED_BY,
            effective_from=begin,
            effective_to=end,
        )
        return SignUpAnswer(
            account=sign_up.account,
            agreement=agreement.id,
            terms_version=sign_up.terms_version,
            terms_digest=sign_up.terms_digest,
            effective_from=begin,
            effective_to=end,
        )

    def _term(self, sign_up: SignUp, now: datetime) -> tuple[datetime, datetime]:
        if sign_up.accepted_at.year >= _OLDEST_YEAR and sign_up.accepted_at <= now + TOLERANCE:
            begin = sign_up.accepted_at.astimezone(UTC)
            end = begin + timedelta(days=sign_up.days or self._days)
            if end > now:
                return begin, end
        raise SignUpRefusedError(SignUpRefusal.BAD_ACCEPTANCE_TIME)


def _read(body: bytes) -> SignUp:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignUpRefusedError(SignUpRefusal.MALFORMED_BODY, _what_is_wrong(error)) from None


def _what_is_wrong(error: Exception) -> str:
    """Return what the decoder says, but for names that were sent."""
    said = str(error)
    return "there is a field that no sign-up has" if "unknown field" in said else said
