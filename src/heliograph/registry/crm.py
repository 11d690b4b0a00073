"""What the CRM should say of each account, by the evidence, beside what it does say.

The CRM's account field *User Level Event Usage Data Analytics* mirrors whether an account may be collected from at
event level. The registry's evidence always wins: what the CRM says changes nothing here, and `changes` makes the CRM
say what the evidence does.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from heliograph.consent.agreement import Agreement
from heliograph.consent.level import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from heliograph.registry.snapshot import AccountRecord, Snapshot


class CrmError(Exception):
    """The CRM cannot be read or written; `problems` says all that is wrong, with remedies and without secrets."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says of one account at a moment."""

    account: str
    allowed: bool
    """Whether its contract, and the vendor's override of the account, allow events."""
    since: datetime
    """The moment from which this has been so without a gap, by what was recorded at the time."""
    agreement: Agreement | None
    """The agreement that allows events; None where they are not allowed."""
    reasons: tuple[str, ...]

    @property
    def day(self) -> date:
        """The day of `since`, in UTC, as the CRM has it."""
        return self.since.astimezone(UTC).date()


class CrmAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What the CRM says of one of its records."""

    reference: str
    """The CRM's own name of the record, by which it is written."""
    account: str | None
    """The registry's name of the account; None where the record names none."""
    allowed: bool | None
    """True at Yes, False at No; None where it says neither."""
    since: date | None
    """None where no date is given, or none that can be read."""


class Severity(enum.StrEnum):
    """How bad it is that the CRM and the evidence differ."""

    HIGH = "high"
    """Somebody may rely on a consent that is not there."""
    MEDIUM = "medium"
    """A consent that is there is not seen, and a withdrawal may not have reached the registry."""
    LOW = "low"
    """Nobody is misled about a consent: no alarm."""


class Standing(enum.StrEnum):
    """How the CRM's word on an account stands to the evidence: each finding has exactly one of these."""

    AGREES = "agrees"
    """Both say the same, since the same day; or the CRM does not say Yes of an account that is not known here."""
    STALE = "stale"
    """Both mean the same, but the CRM has another day, or neither Yes nor No."""
    CRM_SAYS_YES_WITHOUT_EVIDENCE = "crm_says_yes_without_evidence"
    """The CRM says Yes, and the account is known here, but no evidence allows events."""
    EVIDENCE_SAYS_YES_CRM_DOES_NOT = "evidence_says_yes_crm_does_not"
    """The evidence allows events, and the CRM says No or nothing."""
    UNKNOWN_IN_CRM = "unknown_in_crm"
    """An account of the registry has no record in the CRM."""
    UNKNOWN_HERE = "unknown_here"
    """The CRM says Yes of a record whose account the registry does not know."""

    @property
    def severity(self) -> Severity | None:
        """How bad it is; None where nothing differs."""
        return _SEVERITIES.get(self)

    @property
    def is_alarm(self) -> bool:
        """Whether somebody has to look at it."""
        return self.severity in {Severity.HIGH, Severity.MEDIUM}


_SEVERITIES: Final = {
    Standing.STALE: Severity.LOW,
    Standing.CRM_SAYS_YES_WITHOUT_EVIDENCE: Severity.HIGH,
    Standing.EVIDENCE_SAYS_YES_CRM_DOES_NOT: Severity.MEDIUM,
    Standing.UNKNOWN_IN_CRM: Severity.LOW,
    Standing.UNKNOWN_HERE: Severity.HIGH,
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One account, or one record of the CRM, with what both sides say of it."""

    standing: Standing
    record: CrmAccount | None
    """None where the CRM has none."""
    evidence: Evidence | None
    """None where the registry does not know the account."""

    @property
    def name(self) -> str:
        """The account, or the CRM's record where it names none."""
        if self.evidence is not None:
            return self.evidence.account
        return "" if self.record is None else self.record.account or f"record {self.record.reference}"

    @property
    def difference(self) -> str:
        """What both sides say, as one sentence."""
        return f"the CRM {_crm_says(self.record)}; {_evidence_says(self.evidence)}"

    @property
    def remedy(self) -> str:
        """What to do; empty where nothing is to be done."""
        agreement = self.evidence.agreement if self.evidence else None
        return _REMEDIES[self.standing].format(account=self.name, agreement=agreement.id if agreement else "")


_REMEDIES: Final = {
    Standing.AGREES: "",
    Standing.STALE: "`heliograph crm sync` writes it.",
    Standing.CRM_SAYS_YES_WITHOUT_EVIDENCE: (
        "No event is collected from it. Find out who said Yes, and on which document: if {account} agreed, record it "
        "with `heliograph registry agree {account}`; otherwise `heliograph crm sync` sets the CRM to No."
    ),
    Standing.EVIDENCE_SAYS_YES_CRM_DOES_NOT: (
        "Events may be collected from it. If {account} has withdrawn, `heliograph registry end {agreement}`; "
        "otherwise `heliograph crm sync` sets the CRM to Yes."
    ),
    Standing.UNKNOWN_IN_CRM: (
        "Give its record in the CRM the account name {account}; in a CSV file, `heliograph crm sync` adds it."
    ),
    Standing.UNKNOWN_HERE: (
        "No event is collected from it. Register it with `heliograph registry add-account`, or mend the account name "
        "of its record in the CRM; otherwise `heliograph crm sync` sets the CRM to No."
    ),
}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one record of the CRM is to say."""

    reference: str | None
    """The record; None for one that is to be added."""
    account: str | None
    allowed: bool
    since: date
    before: CrmAccount | None = None
    """What it says now."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a change."""

    change: Change
    problem: str | None = None
    """Why it was not written, and what to do; None: it was."""


class Crm(Protocol):
    """A CRM, or what stands in for one. Every method raises `CrmError` when nothing can be read or written."""

    @property
    def can_add(self) -> bool:
        """Whether records may be added: not in a CRM, whose accounts are made by others."""

    def read(self) -> list[CrmAccount]:
        """Return all records that name an account of ours, and all at Yes."""

    def write(self, changes: Sequence[Change]) -> list[Outcome]:
        """Carry out `changes`, of what was read before; return one outcome for each, in their order.

        A change that cannot be made keeps no other from being made.
        """

    def close(self) -> None:
        """Let go of connections."""


def evidence(snapshot: Snapshot, at: datetime) -> dict[str, Evidence]:
    """Return what the evidence in `snapshot` says at the moment `at`, for each account by name."""
    agreements = snapshot.agreements()
    found = {}
    for name, account in snapshot.accounts.items():
        word = snapshot.account_level(name, at)
        allowed = word.level is Level.EVENTS
        found[name] = Evidence(
            account=name,
            allowed=allowed,
            since=_since(snapshot, account, at, allowed=allowed),
            agreement=agreements.get(word.agreement or ""),
            reasons=word.reasons,
        )
    return found


def _since(snapshot: Snapshot, account: AccountRecord, at: datetime, *, allowed: bool) -> datetime:
    """Go back through the moments at which anything could have changed, for as long as nothing did."""
    # The account alone, since a past snapshot of all of them for each moment of each would take its time.
    alone = msgspec.structs.replace(snapshot, accounts={account.name: account}, instances={})
    since = at
    for moment in sorted({moment for moment in _moments(account) if moment <= at}, reverse=True):
        then = alone.as_of(moment)
        known = account.name in then.accounts
        if not known or (then.account_level(account.name, moment).level is Level.EVENTS) != allowed:
            break
        since = moment
    return since


def _moments(value: object) -> Iterator[datetime]:
    """Yield every moment that a record holds, of whatever kind it is: between two of them nothing changes."""
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _moments(getattr(value, field))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _moments(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _moments(item)


def compare(evidence: Mapping[str, Evidence], records: Iterable[CrmAccount]) -> list[Finding]:
    """Return how each record of the CRM, and each account that has none, stands to the evidence, by name."""
    findings = [
        Finding(standing=_standing(known, record), record=record, evidence=known)
        for record in records
        for known in [evidence.get(record.account or "")]
    ]
    named = {finding.evidence.account for finding in findings if finding.evidence is not None}
    findings += [
        Finding(standing=Standing.UNKNOWN_IN_CRM, record=None, evidence=known)
        for name, known in evidence.items()
        if name not in named
    ]
    return sorted(findings, key=lambda finding: (finding.name, finding.record.reference if finding.record else ""))


def _standing(known: Evidence | None, record: CrmAccount) -> Standing:
    if known is None:
        return Standing.UNKNOWN_HERE if record.allowed else Standing.AGREES
    if record.allowed and not known.allowed:
        return Standing.CRM_SAYS_YES_WITHOUT_EVIDENCE
    if known.allowed and not record.allowed:
        return Standing.EVIDENCE_SAYS_YES_CRM_DOES_NOT
    return Standing.AGREES if (record.allowed, record.since) == (known.allowed, known.day) else Standing.STALE


def changes(findings: Iterable[Finding], at: datetime, *, can_add: bool) -> list[Change]:
    """Return what makes the CRM say what the evidence does; a record of an unknown account is at No since `at`.

    Args:
        findings: From `compare`.
        at: The moment of the comparison.
        can_add: Whether accounts that the CRM does not have are added; see `Crm.can_add`.
    """
    wanted = []
    for finding in findings:
        known, record = finding.evidence, finding.record
        if finding.standing is Standing.AGREES or (record is None and not can_add):
            continue
        wanted.append(
            Change(
                reference=None if record is None else record.reference,
                account=known.account if known else record.account if record else None,
                allowed=known is not None and known.allowed,
                since=at.astimezone(UTC).date() if known is None else known.day,
                before=record,
            )
        )
    return wanted


def value_words(*, allowed: bool | None) -> str:
    """Return a value of the CRM in words: Yes, No, or neither."""
    return "neither Yes nor No" if allowed is None else "Yes" if allowed else "No"


def _crm_says(record: CrmAccount | None) -> str:
    if record is None:
        return "has no record of it"
    since = f" since {record.since}" if record.since else ", without a date"
    return f"says {value_words(allowed=record.allowed)}{'' if record.allowed is None else since}"


def _evidence_says(known: Evidence | None) -> str:
    if known is None:
        return "the registry does not know it"
    return f"the evidence says {value_words(allowed=known.allowed)} since {known.day}: {' '.join(known.reasons)}"
