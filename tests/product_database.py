"""A product's database for tests: the real table in a real PostgreSQL, its writers, and a source on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from heliograph.demo.history import CREATE_TABLE, INDEXES, READER, make_reader
from heliograph.instance.event_logs import Cursor, EventLogsSource, Round, decode_cursor, encode_cursor
from heliograph.instance.event_logs_table import grant_statement
from heliograph.plan.model import BooleanProperty, EventDefinition, IntegerProperty, MemberProperty, Plan
from heliograph.settings import EventLogsSettings

if TYPE_CHECKING:
    from heliograph.demo.postgres import PostgresCluster

LINGER = 5.0
TEMPLATE = "product_template"


def make_event(**differences: Any) -> EventDefinition:
    facts: dict[str, Any] = {
        "description": "A file was opened.",
        "feature": "files",
        "action": "open",
        "question": "Who opens files?",
        "owner": "files-team",
        "added": date(2026, 1, 1),
        "expires": "never",
        "properties": {
            "number": IntegerProperty(description="The row's id.", maximum=1 << 62),
            "language": MemberProperty(description="The language.", members=("python", "go")),
            "first": BooleanProperty(description="Whether it is the first."),
        },
    }
    return EventDefinition(**facts | differences)


PLAN = Plan(
    heliograph_plan=1,
    name="test",
    version=1,
    description="For tests.",
    sources=("BACKEND", "WEB"),
    features={"files": "Files."},
    events={"Opened": make_event(), "Failed": make_event(outcomes={"error": "It did not work."})},
)


@dataclass
class Clock:
    moment: datetime = datetime(2026, 10, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class ProductDatabase:
    """One database with an `event_logs` table."""

    cluster: PostgresCluster
    name: str
    clock: Clock = field(default_factory=Clock)
    connections: list[psycopg.Connection] = field(default_factory=list)
    sources: list[EventLogsSource] = field(default_factory=list)

    def make(self) -> None:
        with self.cluster.connect() as admin:
            if not admin.execute("SELECT FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchall():
                make_template(self.cluster, admin)
            admin.execute(f"CREATE DATABASE {self.name} TEMPLATE {TEMPLATE}")

    def drop(self) -> None:
        for source in self.sources:
            source.close()
        for connection in self.connections:
            connection.close()
        with self.cluster.connect() as admin:
            admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)")

    def connect(self) -> psycopg.Connection:
        """Return a connection with autocommit."""
        connection = self.cluster.connect(self.name)
        connection.execute("SET lock_timeout = '30s'")  # a test that waits for itself fails, and does not hang
        self.connections.append(connection)
        return connection

    def begin(self) -> psycopg.Connection:
        """Return a connection whose first statement begins a transaction."""
        connection = self.connect()
        connection.autocommit = False
        return connection

    def settings(self, **differences: Any) -> EventLogsSettings:
        facts: dict[str, Any] = {"dsn": self.cluster.dsn(self.name, user=READER), "linger_seconds": LINGER}
        return EventLogsSettings(**facts | differences)

    def source(self, plan: Plan = PLAN, **differences: Any) -> EventLogsSource:
        source = EventLogsSource(self.settings(**differences), plan, now=self.clock)
        self.sources.append(source)
        return source


def make_template(cluster: PostgresCluster, admin: psycopg.Connection) -> None:
    """Make the database that all others are copies of: that takes a tenth of the time."""
    make_reader(admin)
    admin.execute(f"CREATE DATABASE {TEMPLATE}")
    with cluster.connect(TEMPLATE) as owner:
        owner.execute(CREATE_TABLE)
        for index in INDEXES:
            owner.execute(index)
        owner.execute(grant_statement("event_logs", READER))


def next_id(writer: psycopg.Connection) -> int:
    row = writer.execute("SELECT nextval('event_logs_id_seq')").fetchone()
    assert row is not None
    return int(row[0])


def insert(writer: psycopg.Connection, number: int | None = None, **columns: Any) -> int:
    """Insert a row and return its id, which its property `number` holds too."""
    number = next_id(writer) if number is None else number
    facts: dict[str, Any] = {
        "id": number,
        "name": "Opened",
        "url": "https://product.example/private-url-canary",
        "user_id": 7,
        "anonymous_user_id": "6dd6d13a-8b76-4b0b-9f5d-0e43f4a6a5d7",
        "source": "BACKEND",
        "argument": '{"note": "private-argument-canary"}',
        "public_argument": f'{{"number": {number}}}',
        "version": "5.3.1",
        "timestamp": "2026-10-01T10:00:00Z",
        "insert_id": f"insert-{number}",
    } | columns
    writer.execute(
        sql.SQL("INSERT INTO event_logs ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, facts)), sql.SQL(", ").join([sql.Placeholder()] * len(facts))
        ),
        list(facts.values()),
    )
    return number


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["number"] for event in events]


@dataclass
class Reading:
    """A source that is read on and on, as the agent does: the cursor survives only in its encoded form."""

    database: ProductDatabase
    source: EventLogsSource
    checkpoint: bytes = encode_cursor(Cursor())
    taken: list[int] = field(default_factory=list)

    @property
    def cursor(self) -> Cursor:
        return decode_cursor(self.checkpoint)

    def read(self, after_seconds: float = 1.0) -> list[int]:
        """Advance the clock and read one round; return the rows' numbers."""
        self.database.clock.advance(after_seconds)
        found = self.round()
        return numbers(found.events)

    def round(self) -> Round:
        found = self.source.read(self.cursor)
        self.checkpoint = encode_cursor(found.cursor)
        self.taken += numbers(found.events)
        return found

    def restart(self) -> None:
        self.source.close()
        self.source = self.database.source()

    def settle(self) -> None:
        """Read until nothing is missing any more."""
        for _ in range(500):
            if not self.read(LINGER + 1) and not self.cursor.holes:
                return
        raise AssertionError(f"still missing: {self.cursor}")
