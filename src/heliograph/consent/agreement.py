"""Agreements: the evidence that an account allowed event-level collection, or that it did not."""

from __future__ import annotations

import enum
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from heliograph.consent.level import Decision, Level

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST_PATTERN: Final = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 in lower-case hexadecimal."""
LONGEST_TEXT: Final = 500
"""Characters of a reference, a label or a redline; they are quoted in reasons."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Route(enum.StrEnum):
    """The four ways in which an account can agree to event-level collection."""

    TRIAL_SIGNUP = "trial_signup"
    """A trial requested through the sign-up site, and so under the Cloud Terms."""
    ORDER_FORM = "order_form"
    """An existing customer's order form with the updated Cloud Terms."""
    NEW_CONTRACT = "new_contract"
    """A new customer's contract with the updated Cloud Terms."""
    TRIAL_ENGINEER = "trial_engineer"
    """A trial led by a customer engineer, accepted on a page that shows the Terms."""

    @property
    def words(self) -> str:
        """The route in plain words."""
        return _ROUTE_WORDS[self]


_ROUTE_WORDS: Final = {
    Route.TRIAL_SIGNUP: "trial through sign-up",
    Route.ORDER_FORM: "order form",
    Route.NEW_CONTRACT: "new contract",
    Route.TRIAL_ENGINEER: "trial led by a customer engineer",
}


class Agreement(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="agreement"):
    """One agreement as recorded; it is never changed afterwards, only ended by an `Ending`."""

    id: str
    account: str
    route: Route
    document: str
    """Reference of the signed document or the accepted page."""
    terms_version: str
    terms_digest: str
    """SHA-256 of the Terms as agreed, in hexadecimal."""
    recorded_by: str
    """The role or team that recorded it; not necessarily a person."""
    recorded: Moment
    effective_from: Moment
    effective_to: Moment | None = None
    """The first moment at which it no longer holds; None: open."""
    redline: str | None = None
    """What a redline or carve-out of event-level rights says; it vetoes events while in force."""


class Ending(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="ending"):
    """The end of an agreement: a record of its own, so that what was agreed stays readable."""

    agreement: str
    account: str
    reason: str
    recorded: Moment
    effective: Moment
    """The first moment at which the agreement no longer holds."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A stored record that cannot be understood. It may be a redline, so it allows nothing."""

    account: str
    place: str
    """Which record it is, in words."""


Record = Agreement | Ending | Unreadable


def text_problems(field: str, text: str) -> list[str]:
    """Return what is wrong with a `text` that people wrote, to be quoted in a sentence; empty: nothing."""
    problems = []
    if not text.strip():
        problems.append(f"{field} is empty: give it")
    if len(text) > LONGEST_TEXT:
        problems.append(f"{field} has {len(text)} characters: at most {LONGEST_TEXT} are kept")
    if not text.isprintable():
        problems.append(f"{field} holds line breaks or control characters: write it on one line")
    return problems


def agreement_problems(agreement: Agreement) -> list[str]:
    """Return everything that keeps `agreement` from being evidence; empty: nothing."""
    texts = {
        "document": agreement.document,
        "terms version": agreement.terms_version,
        "recorded by": agreement.recorded_by,
    }
    if agreement.redline is not None:
        texts["redline"] = agreement.redline
    problems = [problem for field, text in texts.items() for problem in text_problems(field, text)]
    if not DIGEST_PATTERN.fullmatch(agreement.terms_digest):
        problems.append(
            f"terms digest {agreement.terms_digest!r} is not a SHA-256 in lower-case hexadecimal: "
            "take the first word that `sha256sum TERMS-FILE` prints"
        )
    if agreement.effective_to is not None and agreement.effective_to <= agreement.effective_from:
        problems.append(
            f"effective to {agreement.effective_to.isoformat()} is not after effective from "
            f"{agreement.effective_from.isoformat()}: it would never be in force"
        )
    return problems


def last_moment(agreement: Agreement, records: Iterable[Record]) -> datetime | None:
    """Return the first moment at which `agreement` no longer holds, by its own term or by an ending among `records`."""
    ends = [record.effective for record in records if isinstance(record, Ending) and record.agreement == agreement.id]
    if agreement.effective_to is not None:
        ends.append(agreement.effective_to)
    return min(ends, default=None)


def contract_level(records: Iterable[Record], at: datetime) -> Decision:
    """Return what the agreements of one account allow at the moment `at`.

    A record that cannot be understood, or evidence with a gap, decides for `Level.OFF`. Else a redline in
    force decides for `Level.CRITICAL`, whatever else was agreed; else one agreement in force, by any route,
    allows `Level.EVENTS`; else the contract does not reach events, and `Level.CRITICAL` is the default.

    Args:
        records: All records of the account, in the order in which they were made.
        at: The moment in question, with a time zone.
    """
    records = list(records)
    doubts = [f"The {record.place} cannot be read" for record in records if isinstance(record, Unreadable)]
    in_force = [agreement for agreement in _unended(records, at) if _may_hold(agreement, at)]
    doubts += [
        f"The evidence of {agreement.id} has a gap, {problem}"
        for agreement in in_force
        for problem in agreement_problems(agreement)
    ]
    if doubts:
        return Decision(Level.OFF, tuple(f"{doubt}: nothing may leave." for doubt in doubts))
    vetoes = [agreement for agreement in in_force if agreement.redline is not None]
    if vetoes:
        reasons = (f"{veto.id} ({_cite(veto)}) vetoes events: “{veto.redline}”." for veto in vetoes)
        return Decision(Level.CRITICAL, tuple(reasons))
    if in_force:
        latest = max(in_force, key=lambda agreement: agreement.effective_from)
        return Decision(Level.EVENTS, (f"{latest.id} ({_cite(latest)}) allows events.",), latest.id)
    return Decision(Level.CRITICAL, (_why_none(records, at),))


def _unended(records: list[Record], at: datetime) -> list[Agreement]:
    ended = {record.agreement for record in records if isinstance(record, Ending) and record.effective <= at}
    return [record for record in records if isinstance(record, Agreement) and record.id not in ended]


def _may_hold(agreement: Agreement, at: datetime) -> bool:
    if agreement.effective_to is None:
        return agreement.effective_from <= at
    if agreement.effective_to <= agreement.effective_from:
        return True  # dates that contradict each other do not say when a veto begins
    return agreement.effective_from <= at < agreement.effective_to


def _cite(agreement: Agreement) -> str:
    since = f"from {agreement.effective_from:%Y-%m-%d}"
    until = f" to {agreement.effective_to:%Y-%m-%d}" if agreement.effective_to else ""
    return f"{agreement.route.words} {agreement.document}, Terms {agreement.terms_version}, {since}{until}"


def _why_none(records: list[Record], at: datetime) -> str:
    ends = [record for record in records if isinstance(record, Ending) and record.effective <= at]
    if ends:
        last = max(ends, key=lambda ending: ending.effective)
        return f"No agreement is in force ({last.agreement} has ended: {last.reason}): critical telemetry only."
    return "No agreement is in force: critical telemetry only."
