"""The registry's database: how it is opened, and how reading and writing transactions begin."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, event, func, select
from sqlalchemy.exc import SQLAlchemyError

from heliograph.registry.errors import RegistryError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

_LOCK: Final = 0x48454C49
"""PostgreSQL's advisory lock of the registry's writers; any number that nobody else uses."""

_SQLITE_WAIT_SECONDS: Final = 10
_SQLITE_PAUSE_SECONDS: Final = 0.01


class Database:
    """Transactions on the database at a URL: any number that read, and one that writes.

    Both raise `RegistryUnavailableError` when the database does not answer.
    """

    def __init__(self, url: str) -> None:
        try:
            engine = create_engine(url, pool_pre_ping=True)
        except (SQLAlchemyError, ImportError) as error:
            examples = "sqlite:///registry.db or postgresql+psycopg://user@host/database"
            problem = f"registry.url: {error}; give an SQLAlchemy URL such as {examples}"
            raise RegistryError([problem]) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        postgresql = engine.dialect.name == "postgresql"
        self.engine: Final[Engine] = engine
        self._reading = engine.execution_options(isolation_level="REPEATABLE READ") if postgresql else engine
        self._writing = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database."""
        with _unavailable_on_failure(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that excludes all others that write."""
        with _unavailable_on_failure(), self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    def forget_deleted(self) -> None:
        """Let no byte of deleted rows stay in SQLite's files; PostgreSQL's own vacuum does that there."""
        if self.engine.dialect.name == "sqlite":
            with _unavailable_on_failure(), self.engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None  # noqa: S101 - a connection that is open has one
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


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
    # A damaged text is read as it is, so that it costs one account its verification, and no other.
    connection.text_factory = _text
    connection.execute(f"PRAGMA busy_timeout = {_SQLITE_WAIT_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    _write_ahead(connection)


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


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
