"""A writing transaction of the registry, for modules that record more than one thing at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import insert

from heliograph.consent.agreement import Agreement, Route
from heliograph.consent.records import Stored, chain_of
from heliograph.event import format_time
from heliograph.registry import chains, checks, reading
from heliograph.registry.tables import accounts

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from heliograph.consent.chain import Link
    from heliograph.registry.snapshot import Snapshot

_Stored = TypeVar("_Stored", bound=Stored)


class Transaction:
    """Alone among the registry's writers; see `heliograph.registry.store.Registry.transaction`.

    Its methods raise `RegistryError`, which undoes the transaction if it leaves the block.
    """

    def __init__(self, connection: Connection, before: Snapshot, now: datetime) -> None:
        self.connection: Final = connection
        """For tables of the caller's own."""
        self.now: Final = now
        self.snapshot = before
        """What is registered, with the accounts that this transaction has added."""

    def add_account(self, name: str) -> None:
        """Add a customer."""
        checks.raise_any(checks.check_new_account(self.snapshot, name))
        self.connection.execute(insert(accounts).values(name=name, added=format_time(self.now)))
        chains.begin(self.connection, name)
        self.snapshot = reading.read_snapshot(self.connection)

    def append(self, record: _Stored) -> _Stored:
        """Add a record to the chain that it belongs to."""
        self.append_to(chain_of(record), record)
        return record

    def append_to(self, chain: str, record: Stored) -> Link:
        """Add a record to the chain of this name, which has to be its own."""
        checks.raise_any(checks.check_record(self.snapshot, chain, record))
        return chains.append(self.connection, chain, record)

    def append_agreement(
        self,
        account: str,
        *,
        route: Route,
        document: str,
        terms_version: str,
        terms_digest: str,
        recorded_by: str,
        effective_from: datetime | None = None,
        effective_to: datetime | None = None,
        redline: str | None = None,
    ) -> Agreement:
        """Record an agreement; see `heliograph.registry.store.Registry.add_agreement`."""
        agreement = Agreement(
            id=checks.next_id("agreement", self.snapshot.agreements()),
            account=account,
            route=route,
            document=document,
            terms_version=terms_version,
            terms_digest=terms_digest.lower(),
            recorded_by=recorded_by,
            recorded=self.now,
            effective_from=effective_from or self.now,
            effective_to=effective_to,
            redline=redline,
        )
        return self.append(agreement)
