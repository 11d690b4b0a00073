"""The registry on its database: SQLite by default, PostgreSQL when several gateways share it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Self

from sqlalchemy import insert, update

from heliograph import keys
from heliograph.consent.agreement import Agreement, Amendment, Ending, Route
from heliograph.consent.records import VENDOR, Activation, DeploymentDecision, Override, Record, Stored
from heliograph.event import format_time
from heliograph.registry import chains, checks, reading
from heliograph.registry.database import Database
from heliograph.registry.tables import changes, instances
from heliograph.registry.transaction import Transaction
from heliograph.registry.upgrade import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from heliograph.consent.chain import Link
    from heliograph.consent.deployment import Deployment
    from heliograph.consent.level import Decision, Level
    from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Snapshot
    from heliograph.settings import RegistrySettings

Target = Literal["account", "instance"]

NOT_STATED: Final = "not stated"
"""Stands for who recorded something, or why, where the caller does not say."""


def utc_now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


class Registry:
    """Accounts, instances, and the chains of records about them. All methods may be called from any thread.

    Writers exclude each other, and each counts up the version in its own transaction. Every method raises
    `RegistryError` with all that is wrong with its arguments, or `RegistryUnavailableError` when the
    database does not answer.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._latest: Snapshot | None = None

    @classmethod
    def open(cls, settings: RegistrySettings, *, now: Callable[[], datetime] = utc_now) -> Self:
        """Open the registry that `settings` name; make its tables, or bring them up to date, if need be."""
        database = Database(settings.url)
        try:
            with database.write() as connection:
                upgrade(connection)
        except BaseException:
            database.close()
            raise
        return cls(database, now=now)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def version(self) -> int:
        """Return a number that every change makes larger: one row of one table, cheap to ask for often."""
        with self._database.read() as connection:
            return reading.read_version(connection)

    def snapshot(self) -> Snapshot:
        """Return the registry as it stands; the same object for as long as nothing has changed."""
        with self._database.read() as connection:
            if self._latest is None or self._latest.version != reading.read_version(connection):
                self._latest = reading.read_snapshot(connection)
            return self._latest

    def accounts(self) -> list[AccountRecord]:
        """Return all accounts by name."""
        return list(self.snapshot().accounts.values())

    def instances(self) -> list[InstanceRecord]:
        """Return all instances by name."""
        return list(self.snapshot().instances.values())

    def instance(self, name: str) -> InstanceRecord | None:
        """Return the instance `name`, or None if there is none."""
        return self.snapshot().instances.get(name)

    def level(self, name: str, at: datetime) -> Decision:
        """Return what the vendor's side lets the instance `name` send at `at`; see `Snapshot.level`."""
        return self.snapshot().level(name, at)

    def records(self, chain: str) -> tuple[Record, ...]:
        """Return all records of an account, or of the vendor (`VENDOR`), in their order.

        An `Unreadable` stands in the place of each that cannot be relied on, and of an account that is not known.
        """
        return self.chain(chain).records

    def chain(self, name: str) -> chains.Chain:
        """Return a chain, read and verified now, with everything that is wrong with it."""
        with self._database.read() as connection:
            read = chains.read_chains(connection, name)
            return read.get(name) or chains.read_chain(name, [], None)

    def chains(self) -> dict[str, chains.Chain]:
        """Return all chains by name, read and verified now, also those of no account."""
        with self._database.read() as connection:
            expected = (VENDOR, *reading.read_snapshot(connection).accounts)
            found = chains.read_chains(connection)
            return {name: chains.read_chain(name, [], None) for name in expected if name not in found} | found

    def append_record(self, chain: str, record: Stored) -> Link:
        """Add a record of any kind to the chain of an account, or of the vendor (`VENDOR`)."""
        with self.transaction() as transaction:
            return transaction.append_to(chain, record)

    def add_account(self, name: str) -> None:
        """Add a customer."""
        with self.transaction() as transaction:
            transaction.add_account(name)

    def add_instance(self, name: str, *, account: str, deployment: Deployment, public_key: str) -> None:
        """Add an instance of `account`; `public_key` is what ``heliograph agent key`` prints on it."""
        with self.transaction() as transaction:
            checks.raise_any(
                [
                    *checks.check_new_instance(transaction.snapshot, name),
                    *checks.check_account(transaction.snapshot, account),
                    *checks.check_key(transaction.snapshot, name, public_key),
                ]
            )
            transaction.connection.execute(
                insert(instances).values(
                    name=name,
                    account=account,
                    deployment=deployment.value,
                    public_key=_on_one_line(public_key),
                    added=format_time(transaction.now),
                )
            )

    def replace_key(self, name: str, public_key: str) -> None:
        """Give the instance `name` another key; gateways then refuse what the old one vouches for."""
        with self.transaction() as transaction:
            checks.raise_any(
                [
                    *checks.check_instance(transaction.snapshot, name),
                    *checks.check_key(transaction.snapshot, name, public_key),
                ]
            )
            new = update(instances).values(public_key=_on_one_line(public_key))
            transaction.connection.execute(new.where(instances.c.name == name))

    def set_active(
        self, name: str, *, active: bool, reason: str = NOT_STATED, recorded_by: str = NOT_STATED
    ) -> Activation:
        """Record that the instance `name` is let in, or kept out without being forgotten."""
        with self.transaction() as transaction:
            checks.raise_any(checks.check_instance(transaction.snapshot, name))
            activation = Activation(
                account=transaction.snapshot.instances[name].account,
                instance=name,
                active=active,
                reason=reason,
                recorded=transaction.now,
                recorded_by=recorded_by,
            )
            return transaction.append(activation)

    def add_agreement(
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
        """Record for good what `account` agreed to; see `Agreement`. By default it holds from now on."""
        with self.transaction() as transaction:
            return transaction.append_agreement(
                account,
                route=route,
                document=document,
                terms_version=terms_version,
                terms_digest=terms_digest,
                recorded_by=recorded_by,
                effective_from=effective_from,
                effective_to=effective_to,
                redline=redline,
            )

    def amend_agreement(
        self,
        agreement: str,
        *,
        document: str,
        recorded_by: str,
        terms_version: str | None = None,
        terms_digest: str | None = None,
        effective_to: datetime | None = None,
        redline: str | None = None,
        lifts_redline: bool = False,
        effective: datetime | None = None,
    ) -> Amendment:
        """Record for good how the agreement with the id `agreement` changes; see `Amendment`. By default from now."""
        with self.transaction() as transaction:
            checks.raise_any(checks.check_agreement(transaction.snapshot, agreement))
            now = transaction.now
            amendment = Amendment(
                id=checks.next_id("amendment", transaction.snapshot.amendments()),
                account=transaction.snapshot.agreements()[agreement].account,
                agreement=agreement,
                document=document,
                recorded_by=recorded_by,
                recorded=now,
                effective=effective or now,
                terms_version=terms_version,
                terms_digest=None if terms_digest is None else terms_digest.lower(),
                effective_to=effective_to,
                redline=redline,
                lifts_redline=lifts_redline,
            )
            return transaction.append(amendment)

    def end_agreement(
        self, agreement: str, *, reason: str, effective: datetime | None = None, recorded_by: str = NOT_STATED
    ) -> Ending:
        """Record that the agreement with the id `agreement` ends; by default now."""
        with self.transaction() as transaction:
            checks.raise_any(checks.check_agreement(transaction.snapshot, agreement))
            now = transaction.now
            ending = Ending(
                agreement=agreement,
                account=transaction.snapshot.agreements()[agreement].account,
                reason=reason,
                recorded=now,
                recorded_by=recorded_by,
                effective=effective or now,
            )
            return transaction.append(ending)

    def set_override(
        self, target: str, level: Level, *, reason: str, kind: Target | None = None, recorded_by: str = NOT_STATED
    ) -> Target:
        """Narrow the account or instance `target` to `level`; `Level.EVENTS` narrows nothing any more.

        Args:
            target: Name of an account or of an instance.
            level: The widest level left to it.
            reason: Why, in words for the customer's admin as well.
            kind: Which of the two it is; needed only where both have this name.
            recorded_by: The role or team that records it.

        Returns:
            What was narrowed.
        """
        with self.transaction() as transaction:
            found: list[Target] = []
            if target in transaction.snapshot.accounts and kind != "instance":
                found.append("account")
            if target in transaction.snapshot.instances and kind != "account":
                found.append("instance")
            checks.raise_any(checks.check_target(target, found))
            is_account = found == ["account"]
            override = Override(
                account=target if is_account else transaction.snapshot.instances[target].account,
                instance=None if is_account else target,
                level=level,
                reason=reason,
                recorded=transaction.now,
                recorded_by=recorded_by,
            )
            transaction.append(override)
            return found[0]

    def decide_deployment(
        self, level: Level, *, document: str, reason: str, recorded_by: str, effective: datetime | None = None
    ) -> DeploymentDecision:
        """Record what on-premises instances may send from `effective` on, by default from now on."""
        with self.transaction() as transaction:
            now = transaction.now
            decision = DeploymentDecision(
                level=level,
                document=document,
                reason=reason,
                effective=effective or now,
                recorded=now,
                recorded_by=recorded_by,
            )
            return transaction.append(decision)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a writing transaction: all of what is done in the block is recorded, or nothing if it raises."""
        with self._database.write() as connection:
            yield Transaction(connection, reading.read_snapshot(connection), self._now())
            connection.execute(update(changes).values(version=changes.c.version + 1))

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Begin a transaction that reads one state of the tables."""
        with self._database.read() as connection:
            yield connection

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Begin a transaction that writes to tables of which no snapshot tells, so that nobody has to read one anew."""
        with self._database.write() as connection:
            yield connection

    def forget_deleted(self) -> None:
        """Let no byte of deleted rows stay in SQLite's files; PostgreSQL's own vacuum does that there."""
        self._database.forget_deleted()


def _on_one_line(public_key: str) -> str:
    return keys.public_key_text(keys.parse_public_key(public_key))
