"""What the agreements of an account allow at a moment: each as amended, then all of them together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from heliograph.consent.agreement import (
    Agreement,
    Amendment,
    Ending,
    agreement_problems,
    amendment_problems,
    contradicts_itself,
)
from heliograph.consent.level import Decision, Level
from heliograph.consent.records import Record, Unreadable, of_kind

if TYPE_CHECKING:
    from collections.abc import Iterable


class Standing(NamedTuple):
    """An agreement as amended and ended, at one moment."""

    agreement: Agreement
    amendments: tuple[Amendment, ...]
    """Those that hold, in the order in which they began."""
    terms_version: str
    terms_digest: str
    ends: datetime | None
    """The first moment at which it no longer holds, as far as is known at this moment; None: open."""
    redlines: tuple[str, ...]
    """What was struck and not put back, with where it says so; each vetoes events while the agreement holds."""
    doubts: tuple[str, ...]
    """Why it cannot be relied on, as beginnings of sentences; empty: it can."""
    holds: bool
    """Whether it is in force, or may be."""

    @property
    def words(self) -> str:
        """What it is and on which evidence, to quote in a sentence."""
        agreement = self.agreement
        since = f"from {agreement.effective_from:%Y-%m-%d}"
        until = f" to {self.ends:%Y-%m-%d}" if self.ends else ""
        amended = "".join(f", amended by {amendment.document}" for amendment in self.amendments)
        cited = f"{agreement.route.words} {agreement.document}{amended}, Terms {self.terms_version}, {since}{until}"
        return f"{agreement.id} ({cited})"


def state_words(standing: Standing, at: datetime) -> str:
    """Return what becomes of an agreement as it stands at the moment `at`, in a word or two."""
    if not standing.holds:
        return "not yet in force" if at < standing.agreement.effective_from else "ended"
    if standing.doubts:
        return "cannot be relied on"
    return "vetoes events" if standing.redlines else "in force"


def contract_level(records: Iterable[Record], at: datetime) -> Decision:
    """Return what the agreements of one account allow at the moment `at`.

    A record that cannot be read or verified, or evidence with a gap, decides for `Level.OFF`. Else a redline in
    force decides for `Level.CRITICAL`, whatever else was agreed; else one agreement in force, by any route,
    allows `Level.EVENTS`; else the contract does not reach events, and `Level.CRITICAL` is the default.

    Args:
        records: All records of the account, in the order in which they were made.
        at: The moment in question, with a time zone.
    """
    records = tuple(records)
    in_force = [standing for standing in standings(records, at) if standing.holds]
    doubts = [record.doubt for record in of_kind(records, Unreadable)]
    doubts += [f"{doubt}: nothing may leave." for doubt in _loose_ends(records)]
    doubts += [f"{doubt}: nothing may leave." for standing in in_force for doubt in standing.doubts]
    if doubts:
        return Decision(Level.OFF, tuple(doubts))
    vetoes = [f"{standing.words} vetoes events: {redline}." for standing in in_force for redline in standing.redlines]
    if vetoes:
        return Decision(Level.CRITICAL, tuple(vetoes))
    if in_force:
        latest = max(in_force, key=lambda standing: standing.agreement.effective_from)
        return Decision(Level.EVENTS, (f"{latest.words} allows events.",), latest.agreement.id)
    return Decision(Level.CRITICAL, (_why_none(records, at),))


def contract_doubts(records: Iterable[Record]) -> list[str]:
    """Return why the agreements among `records` could not be relied on at some moment, as beginnings of sentences."""
    records = tuple(records)
    at_the_end = standings(records, datetime.max.replace(tzinfo=UTC))
    return [*_loose_ends(records), *(doubt for standing in at_the_end for doubt in standing.doubts)]


def standings(records: tuple[Record, ...], at: datetime) -> list[Standing]:
    """Return all agreements among `records` as they stand at the moment `at`, whether in force or not."""
    amendments: dict[str, list[Amendment]] = {}
    for amendment in of_kind(records, Amendment):
        amendments.setdefault(amendment.agreement, []).append(amendment)
    endings: dict[str, list[datetime]] = {}
    for ending in of_kind(records, Ending):
        endings.setdefault(ending.agreement, []).append(ending.effective)
    return [
        _standing(agreement, amendments.get(agreement.id, []), min(endings.get(agreement.id, []), default=None), at)
        for agreement in of_kind(records, Agreement)
    ]


def _standing(agreement: Agreement, amendments: list[Amendment], ended: datetime | None, at: datetime) -> Standing:
    begun = sorted((each for each in amendments if each.effective <= at), key=lambda amendment: amendment.effective)
    terms = (agreement.terms_version, agreement.terms_digest)
    term, doubts = agreement.effective_to, _gaps(agreement, amendments, at)
    for amendment in begun:
        if amendment.terms_version is not None and amendment.terms_digest is not None:
            terms = (amendment.terms_version, amendment.terms_digest)
        if amendment.effective_to is not None:
            doubts += _contradictions(agreement, term, amendment)
            term = amendment.effective_to
    ends = [moment for moment in (term, ended) if moment is not None]
    return Standing(
        agreement=agreement,
        amendments=tuple(begun),
        terms_version=terms[0],
        terms_digest=terms[1],
        ends=min(ends, default=None),
        redlines=_redlines(agreement, amendments, at),
        doubts=tuple(doubts),
        holds=(ended is None or at < ended)
        and (_may_hold(agreement, amendments, at) if doubts else _is_within(agreement.effective_from, at, term)),
    )


def _gaps(agreement: Agreement, amendments: list[Amendment], at: datetime) -> list[str]:
    doubts = [f"The evidence of {agreement.id} has a gap, {problem}" for problem in agreement_problems(agreement)]
    return doubts + [
        f"The evidence of {amendment.id}, an amendment to {agreement.id}, has a gap, {problem}"
        for amendment in amendments
        if amendment.effective <= at or contradicts_itself(amendment)
        for problem in amendment_problems(amendment)
    ]


def _contradictions(agreement: Agreement, term: datetime | None, amendment: Amendment) -> list[str]:
    """Return how an amendment that gives `agreement` another end contradicts what held before, with the end `term`."""
    problems = []
    if term is not None and amendment.effective >= term:
        problems.append(f"{agreement.id} had ended when it begins")
    if amendment.effective_to is not None and amendment.effective_to <= agreement.effective_from:
        problems.append(f"{agreement.id} would end before it begins")
    return [f"The dates of {amendment.id} contradict each other, {problem}" for problem in problems]


def _may_hold(agreement: Agreement, amendments: list[Amendment], at: datetime) -> bool:
    """Tell whether an agreement that cannot be relied on may be in force, whichever of its dates is right."""
    terms = [agreement.effective_to, *(each.effective_to for each in amendments if each.effective_to is not None)]
    known = [term for term in terms if term is not None]
    last = max(known) if len(known) == len(terms) else None
    if last is not None and any(term <= agreement.effective_from for term in known):
        return True  # dates that contradict each other do not say when a veto begins
    return _is_within(agreement.effective_from, at, last)


def _is_within(start: datetime, at: datetime, end: datetime | None) -> bool:
    return start <= at and (end is None or at < end)


def _redlines(agreement: Agreement, amendments: list[Amendment], at: datetime) -> tuple[str, ...]:
    """Return the redlines that hold at `at`.

    A lift takes away what was recorded before it and holds when it begins: it puts nothing back that is struck later.
    """
    standing: list[tuple[datetime | None, str]] = []
    if agreement.redline is not None:
        standing.append((None, f"“{agreement.redline}”"))
    for amendment in amendments:
        if amendment.lifts_redline and amendment.effective <= at:
            standing = [each for each in standing if each[0] is not None and each[0] > amendment.effective]
        if amendment.redline is not None:
            standing.append((amendment.effective, f"“{amendment.redline}” ({amendment.document})"))
    return tuple(redline for since, redline in standing if since is None or since <= at)


def _loose_ends(records: tuple[Record, ...]) -> list[str]:
    """Return what shows that the records do not belong together: an id given twice, or of nothing before it."""
    known: set[str] = set()
    doubts = []
    for record in records:
        if isinstance(record, Agreement):
            if record.id in known:
                doubts.append(f"Two agreements have the id {record.id}")
            known.add(record.id)
        elif isinstance(record, Amendment | Ending) and record.agreement not in known:
            what = f"The amendment {record.id}" if isinstance(record, Amendment) else "An ending"
            doubts.append(f"{what} is of {record.agreement}, which was not recorded before it")
    return doubts


def _why_none(records: tuple[Record, ...], at: datetime) -> str:
    ends = [ending for ending in of_kind(records, Ending) if ending.effective <= at]
    if ends:
        last = max(ends, key=lambda ending: ending.effective)
        return f"No agreement is in force ({last.agreement} has ended: {last.reason}): critical telemetry only."
    return "No agreement is in force: critical telemetry only."
