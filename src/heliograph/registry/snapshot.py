"""What the registry says, as one immutable value: every question about consent is answered from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from heliograph.consent.agreement import Agreement, Ending, Record, contract_level
from heliograph.consent.deployment import Deployment, deployment_level
from heliograph.consent.level import AT_THE_VENDOR, Decision, Level, Party, resolve


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's narrowing of an account or an instance; the one recorded last stands."""

    level: Level | None
    """None when what is stored names no level, which decides for `Level.OFF`."""
    reason: str
    recorded: datetime


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A customer, with everything that was recorded about what it agreed to."""

    name: str
    added: datetime
    records: tuple[Record, ...] = ()
    overrides: tuple[Override, ...] = ()


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
    added: datetime
    overrides: tuple[Override, ...] = ()


class Permission(msgspec.Struct, frozen=True):
    """What an instance may send, and for whom what it sends counts."""

    account: str
    """Empty where the instance is unknown."""
    decision: Decision


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The registry as it stood at one version."""

    version: int
    on_premises_decision: str
    accounts: Mapping[str, AccountRecord]
    instances: Mapping[str, InstanceRecord]

    def agreements(self) -> dict[str, Agreement]:
        """Return all agreements by id, ended ones included."""
        return {
            record.id: record
            for account in self.accounts.values()
            for record in account.records
            if isinstance(record, Agreement)
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
        return Permission("" if instance is None else instance.account, self.level(name, at))

    def words(self, instance: InstanceRecord, at: datetime) -> dict[Party, Decision]:
        """Return what each party at the vendor's side says of `instance`; whoever is missing is unknown."""
        account = self.accounts.get(instance.account)
        if account is None:
            return {}
        return {
            Party.CONTRACT: contract_level(account.records, at),
            Party.OVERRIDE: _override_level(account, instance),
            Party.DEPLOYMENT: deployment_level(instance.deployment, on_premises_decision=self.on_premises_decision),
        }

    def as_of(self, moment: datetime) -> Snapshot:
        """Return what was recorded up to `moment`, for questions about the past.

        Agreements, overrides, accounts and instances recorded later are left out. Whether an instance is
        active, its key, and the deployment policy have no history: they are as of this snapshot.
        """
        return msgspec.structs.replace(
            self,
            accounts={
                name: msgspec.structs.replace(
                    account,
                    records=tuple(record for record in account.records if _recorded_by(record, moment)),
                    overrides=_recorded_until(account.overrides, moment),
                )
                for name, account in self.accounts.items()
                if account.added <= moment
            },
            instances={
                name: msgspec.structs.replace(instance, overrides=_recorded_until(instance.overrides, moment))
                for name, instance in self.instances.items()
                if instance.added <= moment
            },
        )


def _override_level(account: AccountRecord, instance: InstanceRecord) -> Decision:
    standing = [
        (target, overrides[-1])
        for target, overrides in (("account", account.overrides), ("instance", instance.overrides))
        if overrides and overrides[-1].level is not Level.EVENTS
    ]
    if not standing:
        return Decision(Level.EVENTS, ("The vendor has not narrowed it.",))
    level = min(override.level or Level.OFF for _, override in standing)
    reasons = (
        f"The vendor has narrowed this {target} to {override.level or 'a level that is not known'}: {override.reason}."
        for target, override in standing
    )
    return Decision(level, tuple(reasons))


def _recorded_until(overrides: tuple[Override, ...], moment: datetime) -> tuple[Override, ...]:
    return tuple(override for override in overrides if override.recorded <= moment)


def _recorded_by(record: Record, moment: datetime) -> bool:
    return not isinstance(record, Agreement | Ending) or record.recorded <= moment
