"""Agreements: the evidence that an account allowed event-level collection, or that it did not.

What they allow at a moment is in `heliograph.consent.contract`; the other kinds of record are in
`heliograph.consent.records`.
"""

from __future__ import annotations

import enum
import re
from datetime import datetime
from typing import Annotated, Final

import msgspec

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


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record"):
    """What every record says of itself. A field that is not known here may narrow, so it makes a record unreadable."""

    recorded: Moment
    """When it was recorded, by the clock of the machine that did so."""
    recorded_by: str
    """The role or team that recorded it; not necessarily a person."""


class Agreement(Recorded, frozen=True, kw_only=True, tag="agreement"):
    """One agreement as recorded; it is never changed afterwards, only amended or ended by further records."""

    id: str
    account: str
    route: Route
    document: str
    """Reference of the signed document or the accepted page."""
    terms_version: str
    terms_digest: str
    """SHA-256 of the Terms as agreed, in hexadecimal."""
    effective_from: Moment
    effective_to: Moment | None = None
    """The first moment at which it no longer holds; None: open."""
    redline: str | None = None
    """What a redline or carve-out of event-level rights says; it vetoes events while in force."""


class Amendment(Recorded, frozen=True, kw_only=True, tag="amendment"):
    """A change to an agreement, from a moment on; what it does not name stays as it was."""

    id: str
    account: str
    agreement: str
    """Id of the agreement that it changes."""
    document: str
    """Reference of the signed amendment."""
    effective: Moment
    """The first moment at which it holds."""
    terms_version: str | None = None
    terms_digest: str | None = None
    """Other Terms, and their SHA-256: both or neither."""
    effective_to: Moment | None = None
    """Another end of the agreement, earlier or later: the first moment at which it no longer holds."""
    redline: str | None = None
    """A redline or carve-out that it adds; it vetoes events while the agreement is in force."""
    lifts_redline: bool = False
    """Whether it lifts the redlines of this agreement that were recorded before it, and hold when it begins."""


class Ending(Recorded, frozen=True, kw_only=True, tag="ending"):
    """The end of an agreement: a record of its own, so that what was agreed stays readable. It is final."""

    recorded_by: str = "not kept by version 0.1.0"
    agreement: str
    account: str
    reason: str
    effective: Moment
    """The first moment at which the agreement no longer holds."""


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
    problems = [
        *text_problems("document", agreement.document),
        *text_problems("terms version", agreement.terms_version),
        *text_problems("recorded by", agreement.recorded_by),
        *_redline_problems(agreement.redline),
        *_digest_problems(agreement.terms_digest),
    ]
    if has_no_term(agreement):
        problems.append(
            f"effective to {agreement.effective_to} is not after effective from "
            f"{agreement.effective_from}: it would never be in force"
        )
    return problems


def has_no_term(agreement: Agreement) -> bool:
    """Tell whether the dates of `agreement` contradict each other, so that they do not say when it holds."""
    return agreement.effective_to is not None and agreement.effective_to <= agreement.effective_from


def amendment_problems(amendment: Amendment) -> list[str]:
    """Return everything that keeps `amendment` from being evidence; empty: nothing."""
    problems = [
        *text_problems("document", amendment.document),
        *text_problems("recorded by", amendment.recorded_by),
        *_redline_problems(amendment.redline),
    ]
    if (amendment.terms_version is None) != (amendment.terms_digest is None):
        problems.append("other Terms need both their version and their digest: give both, or neither")
    if amendment.terms_version is not None:
        problems += text_problems("terms version", amendment.terms_version)
    if amendment.terms_digest is not None:
        problems += _digest_problems(amendment.terms_digest)
    if amendment.redline is not None and amendment.lifts_redline:
        problems.append("it adds a redline and lifts the earlier ones: record two amendments, in their order")
    if contradicts_itself(amendment):
        problems.append(
            f"effective to {amendment.effective_to} is before effective {amendment.effective}: "
            "an amendment cannot end an agreement before it holds itself"
        )
    changes = (amendment.terms_version, amendment.terms_digest, amendment.effective_to, amendment.redline)
    if changes == (None, None, None, None) and not amendment.lifts_redline:
        problems.append("it changes nothing: give other Terms, another end, a redline, or lift one")
    return problems


def contradicts_itself(amendment: Amendment) -> bool:
    """Tell whether the dates of `amendment` contradict each other, so that they do not say from when it holds."""
    return amendment.effective_to is not None and amendment.effective_to < amendment.effective


def _redline_problems(redline: str | None) -> list[str]:
    return [] if redline is None else text_problems("redline", redline)


def _digest_problems(digest: str) -> list[str]:
    if DIGEST_PATTERN.fullmatch(digest):
        return []
    problem = f"terms digest {digest!r} is not a SHA-256 in lower-case hexadecimal"
    return [f"{problem}: take the first word that `sha256sum TERMS-FILE` prints"]
