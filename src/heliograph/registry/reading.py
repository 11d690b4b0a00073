"""From the registry's rows to a snapshot. A row that cannot be understood becomes a doubt, never an error."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from heliograph import keys
from heliograph.consent.deployment import Deployment
from heliograph.consent.records import VENDOR, Record, Unreadable
from heliograph.registry.chains import Chain, read_chains
from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Snapshot, is_active
from heliograph.registry.tables import accounts, changes, instances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row


def read_version(connection: Connection) -> int:
    """Return the registry's version."""
    return int(connection.execute(select(changes.c.version)).scalar_one())


def read_snapshot(connection: Connection) -> Snapshot:
    """Return everything, from one transaction, with every chain verified."""
    chains = read_chains(connection)
    found = {row.name: _account(row, chains) for row in connection.execute(select(accounts).order_by(accounts.c.name))}
    return Snapshot(
        version=read_version(connection),
        vendor=_records_of(VENDOR, chains.get(VENDOR))[0],
        accounts=found,
        instances={
            row.name: _instance(row, found.get(row.account))
            for row in connection.execute(select(instances).order_by(instances.c.name))
        },
    )


def _account(row: Row[tuple[str, str]], chains: Mapping[str, Chain]) -> AccountRecord:
    records, digests = _records_of(row.name, chains.get(row.name))
    added = _moment(row.added)
    if added is None:
        records = (*records, Unreadable(account=row.name, place=f"the row of account {row.name}", why="has no date"))
        digests = (*digests, "")
    return AccountRecord(name=row.name, added=added or _NEVER, records=records, digests=digests)


def _records_of(name: str, chain: Chain | None) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    if chain is None:
        # Not even the chain's beginning is there, so nobody knows what was in it.
        missing = Unreadable(account=name, place="the chain of records", why="is missing")
        return (missing,), ("",)
    return chain.records, tuple(entry.digest for entry in chain.entries)


def _instance(row: Row[tuple[str, str, str, str, str]], account: AccountRecord | None) -> InstanceRecord:
    added = _moment(row.added)
    deployment = next((kind for kind in Deployment if kind.value == row.deployment), None)
    return InstanceRecord(
        name=row.name,
        account=row.account,
        deployment=None if added is None else deployment,
        public_key=row.public_key,
        fingerprint=_fingerprint(row.public_key),
        active=account is None or is_active(account.records, row.name),
        added=added or _NEVER,
    )


_NEVER: Final = datetime.max.replace(tzinfo=UTC)


def _moment(stored: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stored).astimezone(UTC)
    except (ValueError, TypeError):
        return None


@functools.lru_cache(maxsize=1 << 16)
def _fingerprint(public_key: str) -> str:
    try:
        return keys.fingerprint(keys.parse_public_key(public_key))
    except ValueError:
        return ""
