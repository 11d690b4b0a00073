"""The explanation of a decision: who says what, and every record that it rests on, in plain words."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from heliograph.consent.agreement import Agreement, Amendment, Ending, Recorded
from heliograph.consent.contract import standings, state_words
from heliograph.consent.deployment import standing_decision
from heliograph.consent.level import Decision, Level, Party
from heliograph.consent.records import VENDOR, Activation, DeploymentDecision, Override, Record, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heliograph.registry.chains import Chain
    from heliograph.registry.snapshot import Snapshot

_IN_FORCE: Final = "in force"
_LATER: Final = "not yet in force"
_REPLACED: Final = "replaced"


class ExplainedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a chain, as people read it."""

    number: int | None
    """In its chain; None where there is no record that could be read and verified."""
    recorded: datetime | None
    recorded_by: str
    digest: str
    words: str
    """What it says, with its evidence."""
    state: str
    """What becomes of it at the moment in question, such as "in force"."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account or an instance may send what it may."""

    name: str
    kind: Literal["account", "instance"]
    at: datetime
    level: Level
    agreement: str | None
    """The agreement that allows events, if they are allowed."""
    reasons: tuple[str, ...]
    parties: dict[str, Decision]
    """What each who has a say at the vendor's side says; empty where nobody is asked, as nothing is known."""
    account: str
    """Empty where it is not known."""
    records: tuple[ExplainedRecord, ...]
    """The account's chain up to this moment."""
    vendor_records: tuple[ExplainedRecord, ...]
    """The vendor's own chain up to this moment, where it decides too."""
    head: str
    """Digest of the last of `records`."""


def explain_account(snapshot: Snapshot, chains: Mapping[str, Chain], name: str, at: datetime) -> Explanation:
    """Return why the account `name` may send what it may at `at`, whatever its instances.

    Args:
        snapshot: The registry; as of an earlier moment, to explain what was decided then.
        chains: The chains of the account and of the vendor, as far as there are any.
        name: The account.
        at: The moment in question, with a time zone.
    """
    decision = snapshot.account_level(name, at)
    account = snapshot.accounts.get(name)
    parties = {} if account is None else snapshot.account_words(account, None, at)
    return _explanation(snapshot, chains, decision, parties, name=name, kind="account", account=name, at=at)


def explain_instance(snapshot: Snapshot, chains: Mapping[str, Chain], name: str, at: datetime) -> Explanation:
    """Return why the instance `name` may send what it may at `at`; see `explain_account`."""
    decision = snapshot.level(name, at)
    instance = snapshot.instances.get(name)
    parties = snapshot.words(instance, at) if instance is not None and instance.active else {}
    account = "" if instance is None else instance.account
    return _explanation(snapshot, chains, decision, parties, name=name, kind="instance", account=account, at=at)


def _explanation(
    snapshot: Snapshot,
    chains: Mapping[str, Chain],
    decision: Decision,
    parties: Mapping[Party, Decision],
    *,
    name: str,
    kind: Literal["account", "instance"],
    account: str,
    at: datetime,
) -> Explanation:
    return Explanation(
        name=name,
        kind=kind,
        at=at,
        level=decision.level,
        agreement=decision.agreement,
        reasons=decision.reasons,
        parties={str(party): word for party, word in parties.items()},
        account=account,
        records=_explained(chains.get(account), at) if account in snapshot.accounts else (),
        vendor_records=_explained(chains.get(VENDOR), at) if kind == "instance" else (),
        head=snapshot.head(account) if account in snapshot.accounts else "",
    )


def _explained(chain: Chain | None, at: datetime) -> tuple[ExplainedRecord, ...]:
    if chain is None:
        return ()
    entries = [entry for entry in chain.entries if entry.was_recorded_by(at)]
    records = tuple(entry.record for entry in entries)
    states = _states(records, at)
    return tuple(
        ExplainedRecord(
            number=None if entry.link is None else entry.link.number,
            recorded=entry.record.recorded if isinstance(entry.record, Recorded) else None,
            recorded_by=entry.record.recorded_by if isinstance(entry.record, Recorded) else "",
            digest=entry.digest,
            words=record_words(entry.record),
            state=state,
        )
        for entry, state in zip(entries, states, strict=True)
    )


def _states(records: tuple[Record, ...], at: datetime) -> list[str]:
    """Return what becomes of each record at `at`, beside all others of its chain."""
    by_id = {standing.agreement.id: standing for standing in standings(records, at)}
    decision = standing_decision(records, at)
    last = {_target(record): record for record in records if isinstance(record, Override | Activation)}

    def state(record: Record) -> str:
        if isinstance(record, Unreadable):
            return "cannot be relied on"
        if isinstance(record, Agreement):
            return state_words(by_id[record.id], at)
        if isinstance(record, Override | Activation):
            return _IN_FORCE if last[_target(record)] is record else _REPLACED
        if isinstance(record, Amendment) and record.agreement in by_id and not by_id[record.agreement].holds:
            return f"{record.agreement} is not in force"
        effective = getattr(record, "effective", record.recorded)
        is_replaced = isinstance(record, DeploymentDecision) and record is not decision
        return _LATER if effective > at else _REPLACED if is_replaced else _IN_FORCE

    return [state(record) for record in records]


def _target(record: Override | Activation) -> tuple[type, str | None]:
    return type(record), record.instance


def record_words(record: Record) -> str:
    """Return what `record` says, in plain words and with its evidence."""
    return _WORDS.get(type(record), _plain_words)(record)


def _agreement_words(record: Agreement) -> str:
    until = f" to {_day(record.effective_to)}" if record.effective_to else ""
    redline = f"; redline: “{record.redline}”" if record.redline is not None else ""
    cited = f"{record.route.words} {record.document}, {_terms(record.terms_version, record.terms_digest)}"
    return f"{record.id}: {cited}, from {_day(record.effective_from)}{until}{redline}"


def _amendment_words(record: Amendment) -> str:
    changes = "; ".join(_changes(record))
    return f"{record.id} to {record.agreement}: {record.document}, from {_day(record.effective)}: {changes}"


def _changes(amendment: Amendment) -> list[str]:
    changes = []
    if amendment.terms_version is not None and amendment.terms_digest is not None:
        changes.append(_terms(amendment.terms_version, amendment.terms_digest))
    if amendment.effective_to is not None:
        changes.append(f"ends on {_day(amendment.effective_to)}")
    if amendment.redline is not None:
        changes.append(f"redline: “{amendment.redline}”")
    if amendment.lifts_redline:
        changes.append("lifts the redlines before it")
    return changes


def _ending_words(record: Ending) -> str:
    return f"{record.agreement} ends on {_day(record.effective)}: {record.reason}"


def _override_words(record: Override) -> str:
    what = "account" if record.instance is None else f"instance {record.instance}"
    narrowed = "not narrowed any more" if record.level is Level.EVENTS else f"narrowed to {record.level}"
    return f"{what} {narrowed}: {record.reason}"


def _activation_words(record: Activation) -> str:
    return f"instance {record.instance} {'let in' if record.active else 'kept out'}: {record.reason}"


def _decision_words(record: DeploymentDecision) -> str:
    may = f"on-premises instances may send at most {record.level}, from {_day(record.effective)}"
    return f"{record.document}: {may}: {record.reason}"


def _unreadable_words(record: Unreadable) -> str:
    return record.doubt


def _terms(version: str, digest: str) -> str:
    return f"Terms {version} (SHA-256 {digest[:8]}…)"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _plain_words(record: Recorded) -> str:
    """Return what a record says for which nobody has written a sentence: its kind and its fields."""
    fields = msgspec.to_builtins(record)
    kind = str(fields.pop("record")).replace("_", " ")
    said = (f"{name.replace('_', ' ')} {value}" for name, value in fields.items() if not name.startswith("recorded"))
    return f"{kind}: {', '.join(said)}"


_WORDS: Final[dict[type[Any], Callable[[Any], str]]] = {
    Agreement: _agreement_words,
    Amendment: _amendment_words,
    Ending: _ending_words,
    Override: _override_words,
    Activation: _activation_words,
    DeploymentDecision: _decision_words,
    Unreadable: _unreadable_words,
}
