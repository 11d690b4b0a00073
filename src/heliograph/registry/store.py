"""The registry on its database: SQLite by default, PostgreSQL when several gateways share it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec
from sqlalchemy import create_engine, event, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from heliograph import keys
from heliograph.consent.agreement import Agreement, Ending, Route, agreement_problems, text_problems
from heliograph.event import format_time
from heliograph.registry import checks, reading
from heliograph.registry.errors import RegistryError, RegistryUnavailableError
from heliograph.registry.tables import accounts, agreements, changes, instances, metadata, overrides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from heliograph.consent.deployment import Deployment
    from heliograph.consent.level import Decision, Level
    from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Snapshot
    from heliograph.settings import RegistrySettings

_LOCK: Final = 0x48454C49
"""PostgreSQL's advisory lock of the registry's writers; any number that nobody else uses."""

_SQLITE_WAIT_SECONDS: Final = 10
_SQLITE_PAUSE_SECONDS: Final = 0.01

Target = Literal["account", "instance"]


def utc_now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


class Registry:
    """Accounts, instances, agreements and overrides. All methods may be called from any thread.

    Writers exclude each other, and each counts up the version in its own transaction. Every method raises
    `RegistryError` with all that is wrong with its arguments, or `RegistryUnavailableError` when the
    database does not answer.
    """

    def __init__(self, engine: Engine, *, on_premises_decision: str, now: Callable[[], datetime]) -> None:
        postgresql = engine.dialect.name == "postgresql"
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="REPEATABLE READ") if postgresql else engine
        self._writing = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        self._on_premises_decision = on_premises_decision
        self._now = now
        self._latest: Snapshot | None = None

    @classmethod
    def open(cls, settings: RegistrySettings, *, now: Callable[[], datetime] = utc_now) -> Self:
        """Open the registry that `settings` name; make its tables if they are not there."""
        try:
            engine = create_engine(settings.url, pool_pre_ping=True)
        except (SQLAlchemyError, ImportError) as error:
            examples = "sqlite:///registry.db or postgresql+psycopg://user@host/database"
            problem = f"registry.url: {error}; give an SQLAlchemy URL such as {examples}"
            raise RegistryError([problem]) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        registry = cls(engine, on_premises_decision=settings.on_premises, now=now)
        try:
            registry._make_tables()
        except BaseException:
            registry.close()
            raise
        return registry

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def version(self) -> int:
        """Return a number that every change makes larger: one row of one table, cheap to ask for often."""
        with self._read() as connection:
            return reading.read_version(connection)

    def snapshot(self) -> Snapshot:
        """Return the registry as it stands; the same object for as long as nothing has changed."""
        with self._read() as connection:
            if self._latest is None or self._latest.version != reading.read_version(connection):
                self._latest = reading.read_snapshot(connection, self._on_premises_decision)
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

    def add_account(self, name: str) -> None:
        """Add a customer."""
        with self.transaction() as transaction:
            transaction.add_account(name)

    def add_instance(self, name: str, *, account: str, deployment: Deployment, public_key: str) -> None:
        """Add an instance of `account`; `public_key` is what ``heliograph agent key`` prints on it."""
        with self._write() as (connection, before):
            checks.raise_any(
                [
                    *checks.check_new_instance(before, name),
                    *checks.check_account(before, account),
                    *checks.check_key(before, name, public_key),
                ]
            )
            connection.execute(
                insert(instances).values(
                    name=name,
                    account=account,
                    deployment=deployment.value,
                    public_key=_on_one_line(public_key),
                    active=True,
                    added=format_time(self._now()),
                )
            )

    def replace_key(self, name: str, public_key: str) -> None:
        """Give the instance `name` another key; gateways then refuse what the old one vouches for."""
        with self._write() as (connection, before):
            checks.raise_any([*checks.check_instance(before, name), *checks.check_key(before, name, public_key)])
            new = update(instances).values(public_key=_on_one_line(public_key))
            connection.execute(new.where(instances.c.name == name))

    def set_active(self, name: str, *, active: bool) -> None:
        """Let the instance `name` in, or keep it out without forgetting it."""
        with self._write() as (connection, before):
            checks.raise_any(checks.check_instance(before, name))
            connection.execute(update(instances).values(active=active).where(instances.c.name == name))

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

    def end_agreement(self, agreement: str, *, reason: str, effective: datetime | None = None) -> Ending:
        """Record that the agreement with the id `agreement` ends; by default now."""
        with self._write() as (connection, before):
            checks.raise_any(
                [
                    *checks.check_agreement(before, agreement),
                    *text_problems("reason", reason),
                    *checks.check_zone("effective", effective),
                ]
            )
            now = self._now()
            ending = Ending(
                agreement=agreement,
                account=before.agreements()[agreement].account,
                reason=reason,
                recorded=now,
                effective=effective or now,
            )
            _append_record(connection, _next_number(connection, agreements), ending)
            return ending

    def set_override(self, target: str, level: Level, *, reason: str, kind: Target | None = None) -> Target:
        """Narrow the account or instance `target` to `level`; `Level.EVENTS` narrows nothing any more.

        Args:
            target: Name of an account or of an instance.
            level: The widest level left to it.
            reason: Why, in words for the customer's admin as well.
            kind: Which of the two it is; needed only where both have this name.

        Returns:
            What was narrowed.
        """
        with self._write() as (connection, before):
            found: list[Target] = []
            if target in before.accounts and kind != "instance":
                found.append("account")
            if target in before.instances and kind != "account":
                found.append("instance")
            checks.raise_any([*checks.check_target(target, found), *text_problems("reason", reason)])
            connection.execute(
                insert(overrides).values(
                    number=_next_number(connection, overrides),
                    level=level.value,
                    reason=reason,
                    recorded=format_time(self._now()),
                    **{found[0]: target},
                )
            )
            return found[0]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a writing transaction: all of what is done in the block is recorded, or nothing if it raises."""
        with self._write() as (connection, before):
            yield Transaction(connection, before, self._on_premises_decision, self._now)

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Begin a transaction that reads one state of the tables."""
        with self._read() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _unavailable_on_failure(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[tuple[Connection, Snapshot]]:
        with self._alone() as connection:
            yield connection, reading.read_snapshot(connection, self._on_premises_decision)
            connection.execute(update(changes).values(version=changes.c.version + 1))

    def _make_tables(self) -> None:
        with self._alone() as connection:
            metadata.create_all(connection)
            if connection.scalar(select(changes.c.version)) is None:
                connection.execute(insert(changes).values(id=1, version=0))

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        with _unavailable_on_failure(), self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            yield connection


class Transaction:
    """A writing transaction of the registry, alone among its writers; see `Registry.transaction`.

    Its methods raise `RegistryError`, which undoes the transaction if it leaves the block.
    """

    def __init__(
        self, connection: Connection, before: Snapshot, on_premises_decision: str, now: Callable[[], datetime]
    ) -> None:
        self.connection: Final = connection
        """For tables of the caller's own."""
        self.now: Final = now()
        self.snapshot = before
        """What is registered, with the accounts that this transaction has added."""
        self._on_premises_decision = on_premises_decision

    def add_account(self, name: str) -> None:
        """Add a customer."""
        checks.raise_any(checks.check_new_account(self.snapshot, name))
        self.connection.execute(insert(accounts).values(name=name, added=format_time(self.now)))
        self.snapshot = reading.read_snapshot(self.connection, self._on_premises_decision)

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
        """Record an agreement; see `Registry.add_agreement`."""
        number = _next_number(self.connection, agreements)
        agreement = Agreement(
            id=f"agreement-{number}",
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
        zones = [
            *checks.check_zone("effective from", effective_from),
            *checks.check_zone("effective to", effective_to),
        ]
        checks.raise_any([*checks.check_account(self.snapshot, account), *(zones or agreement_problems(agreement))])
        _append_record(self.connection, number, agreement)
        return agreement


@contextmanager
def _unavailable_on_failure() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise RegistryUnavailableError(
            [f"the registry's database does not answer: {cause}; look at registry.url and at the database"]
        ) from error


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own transactions begin at the first write; ours begin where they are opened.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_SQLITE_WAIT_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    _write_ahead(connection)


def _write_ahead(connection: DBAPIConnection) -> None:
    """Let readers and a writer work at once. SQLite does not wait for its lock here, so we do."""
    give_up = time.monotonic() + _SQLITE_WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(_SQLITE_PAUSE_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _next_number(connection: Connection, table: Table) -> int:
    last = connection.scalar(select(func.max(table.c.number)))
    return 1 if last is None else int(last) + 1


def _append_record(connection: Connection, number: int, record: Agreement | Ending) -> None:
    body = msgspec.json.encode(record, order="deterministic").decode()
    connection.execute(insert(agreements).values(number=number, account=record.account, body=body))


def _on_one_line(public_key: str) -> str:
    return keys.public_key_text(keys.parse_public_key(public_key))
