"""From the registry's rows to a snapshot. A row that cannot be understood becomes a doubt, never an error."""

from __future__ import annotations

import functools
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec
from sqlalchemy import select

from heliograph import keys
from heliograph.consent.agreement import Agreement, Ending, Record, Unreadable
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Override, Snapshot
from heliograph.registry.tables import accounts, agreements, changes, instances, overrides

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def read_version(connection: Connection) -> int:
    """Return the registry's version."""
    return int(connection.execute(select(changes.c.version)).scalar_one())


def read_snapshot(connection: Connection, on_premises_decision: str) -> Snapshot:
    """Return everything, from one transaction."""
    records = _grouped((record.account, record) for record in read_records(connection))
    standing = _grouped(
        (("account", row.account) if row.account is not None else ("instance", row.instance), _override(row))
        for row in connection.execute(select(overrides).order_by(overrides.c.number))
    )
    return Snapshot(
        version=read_version(connection),
        on_premises_decision=on_premises_decision,
        accounts={
            row.name: AccountRecord(
                name=row.name,
                added=datetime.fromisoformat(row.added),
                records=records.get(row.name, ()),
                overrides=standing.get(("account", row.name), ()),
            )
            for row in connection.execute(select(accounts).order_by(accounts.c.name))
        },
        instances={
            row.name: InstanceRecord(
                name=row.name,
                account=row.account,
                deployment=next((kind for kind in Deployment if kind.value == row.deployment), None),
                public_key=row.public_key,
                fingerprint=_fingerprint(row.public_key),
                active=row.active,
                added=datetime.fromisoformat(row.added),
                overrides=standing.get(("instance", row.name), ()),
            )
            for row in connection.execute(select(instances).order_by(instances.c.name))
        },
    )


def read_records(connection: Connection) -> list[Record]:
    """Return all agreements and endings in the order in which they were recorded."""
    return [_record(row) for row in connection.execute(select(agreements).order_by(agreements.c.number))]


def _record(row: Row[tuple[int, str, str]]) -> Record:
    doubt = Unreadable(account=row.account, place=f"record {row.number} of the agreements")
    try:
        record = msgspec.json.decode(row.body, type=Agreement | Ending)
    except (msgspec.DecodeError, UnicodeError):
        return doubt
    return record if record.account == row.account else doubt


def _override(row: Row[tuple[int, str | None, str | None, str, str, str]]) -> Override:
    return Override(level=Level.parse(row.level), reason=row.reason, recorded=datetime.fromisoformat(row.recorded))


@functools.lru_cache(maxsize=1 << 16)
def _fingerprint(public_key: str) -> str:
    try:
        return keys.fingerprint(keys.parse_public_key(public_key))
    except ValueError:
        return ""


def _grouped(pairs: Iterable[tuple[_Key, _Value]]) -> dict[_Key, tuple[_Value, ...]]:
    groups: defaultdict[_Key, list[_Value]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return {key: tuple(values) for key, values in groups.items()}
