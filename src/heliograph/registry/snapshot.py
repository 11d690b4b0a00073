"""What the registry says, as one immutable value: every question about consent is answered from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from heliograph.consent.agreement import Agreement, Amendment, Recorded
from heliograph.consent.chain import genesis
from heliograph.consent.contract import contract_level
from heliograph.consent.deployment import Deployment, deployment_level
from heliograph.consent.level import AT_THE_VENDOR, Decision, Level, Party, resolve
from heliograph.consent.records import Activation, Override, Record, of_kind


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A customer, with everything that was recorded about what it agreed to."""

    name: str
    added: datetime
    records: tuple[Record, ...] = ()
    """The account's chain, verified: whatever is wrong with it stands in it as an `Unreadable`."""
    digests: tuple[str, ...] = ()
    """Of each of `records`; empty where there is no record."""


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One installation of the product."""

    name: str
    account: str
    deployment: Deployment | None
    """None when what is stored names none, which decides for `Level.OFF`."""
    public_key: str
    fingerprint: str
    """Of the public key; empty when what is stored is no key, and then nobody can sign as this instance."""
    active: bool
    """By the last record of it; True when there is none."""
    added: datetime


class Permission(msgspec.Struct, frozen=True):
    """What an instance may send, and for whom what it sends counts."""

    account: str
    """Empty where the instance is unknown."""
    decision: Decision
    evidence: str | None = None
    """Digest of the account's chain of records, from which the decision follows; None where there is no account."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The registry as it stood at one version."""

    version: int
    accounts: Mapping[str, AccountRecord]
    instances: Mapping[str, InstanceRecord]
    vendor: tuple[Record, ...] = ()
    """The vendor's own chain, verified as those of accounts are."""

    def agreements(self) -> dict[str, Agreement]:
        """Return all agreements by id, ended ones included."""
        return {
            record.id: record
            for account in self.accounts.values()
            for record in account.records
            if isinstance(record, Agreement)
        }

    def amendments(self) -> dict[str, Amendment]:
        """Return all amendments by id."""
        return {
            amendment.id: amendment
            for account in self.accounts.values()
            for amendment in of_kind(account.records, Amendment)
        }

    def level(self, name: str, at: datetime) -> Decision:
        """Return what the vendor's side lets the instance `name` send at the moment `at`."""
        instance = self.instances.get(name)
        if instance is None:
            return Decision(Level.OFF, (f"No instance {name!r} is registered: nothing may leave.",))
        if not instance.active:
            return Decision(Level.OFF, (f"The instance {name!r} is deactivated: nothing may leave.",))
        return resolve(AT_THE_VENDOR, self.words(instance, at))

    def permission(self, name: str, at: datetime) -> Permission:
        """Return the level of the instance `name` at the moment `at`, with its account."""
        instance = self.instances.get(name)
        if instance is None:
            return Permission("", self.level(name, at))
        return Permission(instance.account, self.level(name, at), self.head(instance.account))

    def next_change(self, name: str, at: datetime) -> datetime | None:
        """Return the first moment after `at` at which `permission` of the instance `name` may differ; None: never.

        What is recorded differs at no moments but those that the records name.
        """
        instance = self.instances.get(name)
        account = self.accounts.get(instance.account) if instance else None
        records = (*self.vendor, *(account.records if account else ()))
        values = (value for record in records for value in msgspec.structs.astuple(record))
        return min((value for value in values if isinstance(value, datetime) and value > at), default=None)

    def account_level(self, name: str, at: datetime) -> Decision:
        """Return what the contract and an override of the account `name` allow at `at`, whatever its instances."""
        account = self.accounts.get(name)
        if account is None:
            return Decision(Level.OFF, (f"No account {name!r} is registered: nothing may leave.",))
        return resolve((Party.CONTRACT, Party.OVERRIDE), self.account_words(account, None, at))

    def head(self, account: str) -> str:
        """Return the digest of the last record of `account`, or its chain's genesis when there is none.

        Whoever notes it can ask later whether all up to it is still as it was.
        """
        known = self.accounts.get(account)
        digests = known.digests if known else ()
        # From the end, as it is asked for at every delivery.
        return next((digest for digest in reversed(digests) if digest), None) or genesis(account)

    def words(self, instance: InstanceRecord, at: datetime) -> dict[Party, Decision]:
        """Return what each party at the vendor's side says of `instance`; whoever is missing is unknown."""
        account = self.accounts.get(instance.account)
        if account is None:
            return {}
        return {
            **self.account_words(account, instance.name, at),
            Party.DEPLOYMENT: deployment_level(instance.deployment, self.vendor, at),
        }

    def account_words(self, account: AccountRecord, instance: str | None, at: datetime) -> dict[Party, Decision]:
        """Return what is said of `account`, and of its instance of this name, whatever its deployment."""
        return {
            Party.CONTRACT: contract_level(account.records, at),
            Party.OVERRIDE: _override_level(account.records, instance),
        }

    def as_of(self, moment: datetime) -> Snapshot:
        """Return what was recorded up to `moment`, for questions about the past.

        Accounts, instances and records from later are left out. What cannot be verified stays: it may have been
        there. Of an instance's key only the present one is known.
        """
        accounts = {name: _as_of(account, moment) for name, account in self.accounts.items() if account.added <= moment}
        return Snapshot(
            version=self.version,
            vendor=tuple(record for record in self.vendor if _was_recorded_by(record, moment)),
            accounts=accounts,
            instances={
                name: msgspec.structs.replace(instance, active=is_active(accounts[instance.account].records, name))
                for name, instance in self.instances.items()
                if instance.added <= moment and instance.account in accounts
            },
        )


def is_active(records: tuple[Record, ...], instance: str) -> bool:
    """Tell whether the records of its account let `instance` in: the last of them decides."""
    return next(
        (record.active for record in reversed(of_kind(records, Activation)) if record.instance == instance), True
    )


def _as_of(account: AccountRecord, moment: datetime) -> AccountRecord:
    kept = [place for place, record in enumerate(account.records) if _was_recorded_by(record, moment)]
    return msgspec.structs.replace(
        account,
        records=tuple(account.records[place] for place in kept),
        digests=tuple(account.digests[place] for place in kept if account.digests),
    )


def _was_recorded_by(record: Record, moment: datetime) -> bool:
    return not isinstance(record, Recorded) or record.recorded <= moment


def _override_level(records: tuple[Record, ...], instance: str | None) -> Decision:
    last = {record.instance: record for record in of_kind(records, Override)}
    standing = [
        (kind, last[target])
        for kind, target in (("account", None), ("instance", instance))[: 1 if instance is None else 2]
        if target in last and last[target].level is not Level.EVENTS
    ]
    if not standing:
        return Decision(Level.EVENTS, ("The vendor has not narrowed it.",))
    level = min(override.level for _, override in standing)
    reasons = (
        f"The vendor has narrowed this {kind} to {override.level}: {override.reason}." for kind, override in standing
    )
    return Decision(level, tuple(reasons))
