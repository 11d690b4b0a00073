"""Trial links: a customer engineer makes one, a prospect accepts the Terms on its page, once.

A link's address holds a random token, of which only the SHA-256 is kept: whoever reads the database cannot accept for
anybody.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import func, insert, select, update

from heliograph.consent.agreement import Route, text_problems
from heliograph.event import format_time
from heliograph.registry import checks
from heliograph.registry.trial_tables import trial_links

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Row

    from heliograph.consent.agreement import Agreement
    from heliograph.registry.store import Registry
    from heliograph.registry.terms import Terms
    from heliograph.settings import TrialsSettings

TOKEN_BYTES: Final = 32
PATH: Final = "/trial/"
"""The path of a link's page, up to the token."""
LONGEST_DAYS: Final = 366

_ADDRESS: Final = re.compile(r"https://[^/?#@\s]+")
_ID_PREFIX: Final = "trial-"
_ID: Final = re.compile(r"trial-([1-9][0-9]{0,8})")


def address_problems(settings: TrialsSettings) -> list[str]:
    """Return what keeps links from beginning with the public address; empty: nothing."""
    if _ADDRESS.fullmatch(settings.public_address):
        return []
    return ["trials.public_address: give https://, a host, and a port if need be, with nothing behind it"]


class LinkState(enum.StrEnum):
    """What can be done with a link."""

    OPEN = "open"
    """It can be accepted."""
    ACCEPTED = "accepted"
    """It was accepted, and there is an agreement."""
    EXPIRED = "expired"
    """Nobody accepted it in time."""
    REVOKED = "revoked"
    """It was taken back before anybody accepted it."""


class TrialLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link as recorded."""

    id: str
    account: str
    days: int
    """How long the trial lasts once it is accepted."""
    created_by: str
    """A role or a team."""
    created: datetime
    expires: datetime
    """The first moment at which it cannot be accepted any more."""
    accepted: datetime | None = None
    agreement: str | None = None
    """Id of the agreement that its acceptance made."""
    revoked: datetime | None = None
    revoked_because: str | None = None

    def state(self, at: datetime) -> LinkState:
        """Return what can be done with it at the moment `at`."""
        if self.accepted is not None:
            return LinkState.ACCEPTED
        if self.revoked is not None:
            return LinkState.REVOKED
        return LinkState.OPEN if at < self.expires else LinkState.EXPIRED


class LinkUnusableError(Exception):
    """The link cannot be accepted; nothing was recorded."""

    def __init__(self, link: TrialLink | None, state: LinkState | None) -> None:
        super().__init__("there is no such link" if state is None else f"the link is {state}")
        self.link = link
        """None when there is none with this token."""
        self.state = state


class TermsChangedError(Exception):
    """The Terms that were shown are not those in force; nothing was recorded."""


class TrialLinks:
    """The links of a registry. All methods may be called from any thread.

    Args:
        registry: Where they are recorded, with the agreements that they lead to.
        random_bytes: Makes tokens.

    Every method raises `RegistryError` with all that is wrong with its arguments, or `RegistryUnavailableError`.
    """

    def __init__(self, registry: Registry, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._registry = registry
        self._random_bytes = random_bytes

    def create(self, account: str, *, days: int, created_by: str, expires: datetime) -> tuple[TrialLink, str]:
        """Make a link for `account`, and return it with its token, which is told this once.

        Args:
            account: Whom the trial is for; registered already.
            days: How long the trial lasts once it is accepted, from 1 to `LONGEST_DAYS`.
            created_by: The role or team that asks for it.
            expires: The first moment at which it cannot be accepted any more, with a time zone.
        """
        token = base64.urlsafe_b64encode(self._random_bytes(TOKEN_BYTES)).rstrip(b"=").decode()
        with self._registry.transaction() as transaction:
            zone = _check_zone(expires)
            checks.raise_any(
                [
                    *checks.check_account(transaction.snapshot, account),
                    *text_problems("created by", created_by),
                    *_check_days(days),
                    *(zone or _check_expiry(expires, transaction.now)),
                ]
            )
            last = transaction.connection.scalar(select(func.max(trial_links.c.number)))
            number = (last or 0) + 1
            transaction.connection.execute(
                insert(trial_links).values(
                    number=number,
                    token_digest=_digest(token),
                    account=account,
                    days=days,
                    created_by=created_by,
                    created=format_time(transaction.now),
                    expires=format_time(expires),
                )
            )
        link = TrialLink(
            id=f"{_ID_PREFIX}{number}",
            account=account,
            days=days,
            created_by=created_by,
            created=transaction.now,
            expires=expires,
        )
        return link, token

    def find(self, token: str) -> TrialLink | None:
        """Return the link with this token, or None if there is none."""
        with self._registry.read_transaction() as connection:
            return _find(connection, token)

    def all(self) -> list[TrialLink]:
        """Return all links in the order in which they were made."""
        with self._registry.read_transaction() as connection:
            return [_link(row) for row in connection.execute(select(trial_links).order_by(trial_links.c.number))]

    def accept(self, token: str, *, shown_digest: str, terms: Terms) -> tuple[TrialLink, Agreement]:
        """Record that the Terms were accepted, as an agreement and with the link, in one transaction.

        Args:
            token: From the link's address.
            shown_digest: SHA-256 of the Terms that were shown.
            terms: The Terms in force, which must be those.

        Raises:
            LinkUnusableError: The link is unknown, expired, revoked, or was accepted before.
            TermsChangedError: Other Terms were shown.
        """
        with self._registry.transaction() as transaction:
            link = _find(transaction.connection, token)
            state = None if link is None else link.state(transaction.now)
            if link is None or state is not LinkState.OPEN:
                raise LinkUnusableError(link, state)
            if not hmac.compare_digest(shown_digest.encode(), terms.digest.encode()):
                raise TermsChangedError
            agreement = transaction.append_agreement(
                link.account,
                route=Route.TRIAL_ENGINEER,
                document=f"acceptance page, {link.id}",
                terms_version=terms.version,
                terms_digest=terms.digest,
                recorded_by=link.created_by,
                effective_to=transaction.now + timedelta(days=link.days),
            )
            _change(transaction.connection, link.id, accepted=format_time(transaction.now), agreement=agreement.id)
        return msgspec.structs.replace(link, accepted=agreement.recorded, agreement=agreement.id), agreement

    def revoke(self, link: str, *, reason: str) -> None:
        """Take the link with the id `link` back, so that nobody can accept it any more."""
        with self._registry.transaction() as transaction:
            found = _find_by_id(transaction.connection, link)
            checks.raise_any([*text_problems("reason", reason), *_check_open(link, found, transaction.now)])
            _change(transaction.connection, link, revoked=format_time(transaction.now), revoked_because=reason)


def _change(connection: Connection, link: str, **values: str) -> None:
    connection.execute(update(trial_links).values(**values).where(trial_links.c.number == _number(link)))


def _number(link: str) -> int:
    """Return the number in a link's id; 0, which no link has, when it is none."""
    found = _ID.fullmatch(link)
    return int(found[1]) if found else 0


def _find_by_id(connection: Connection, link: str) -> TrialLink | None:
    row = connection.execute(select(trial_links).where(trial_links.c.number == _number(link))).one_or_none()
    return None if row is None else _link(row)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _find(connection: Connection, token: str) -> TrialLink | None:
    """Return the link with this token; how long it takes tells nothing of any token that there is.

    What is looked up is a digest, whose bytes nobody can choose.
    """
    digest = _digest(token)
    row = connection.execute(select(trial_links).where(trial_links.c.token_digest == digest)).one_or_none()
    held = "" if row is None else row.token_digest
    return _link(row) if hmac.compare_digest(held, digest) and row is not None else None


def _link(row: Row[tuple[object, ...]]) -> TrialLink:
    return TrialLink(
        id=f"{_ID_PREFIX}{row.number}",
        account=row.account,
        days=row.days,
        created_by=row.created_by,
        created=datetime.fromisoformat(row.created),
        expires=datetime.fromisoformat(row.expires),
        accepted=_moment(row.accepted),
        agreement=row.agreement,
        revoked=_moment(row.revoked),
        revoked_because=row.revoked_because,
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _check_zone(expires: datetime) -> list[str]:
    if expires.tzinfo is not None:
        return []
    return [f"expires {expires.isoformat()} has no time zone: give it in UTC"]


def _check_days(days: int) -> list[str]:
    return [] if 1 <= days <= LONGEST_DAYS else [f"days is {days}: a trial lasts from 1 to {LONGEST_DAYS} days"]


def _check_expiry(expires: datetime, now: datetime) -> list[str]:
    return [] if expires > now else [f"expires {expires.isoformat()} has passed: nobody could accept it"]


def _check_open(name: str, link: TrialLink | None, now: datetime) -> list[str]:
    if link is None:
        return [f"there is no link {name!r}: `heliograph trial list` shows all"]
    state = link.state(now)
    if state is LinkState.OPEN:
        return []
    if state is LinkState.ACCEPTED:
        return [f"{name} was accepted: end what came of it with `heliograph registry end {link.agreement} --reason …`"]
    return [f"{name} is {state} already"]
