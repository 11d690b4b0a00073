"""One table of records, in a hash chain for each account and one for the vendor, instead of three places.

What was recorded is carried over in its order: agreements and endings byte by byte, overrides and deactivations as
records of their kinds. A row that cannot be understood is carried over too, and stays a doubt.
"""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op

from heliograph.consent.chain import Head, empty, next_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

revision = "2"
down_revision = "1"

_BEFORE = "not kept by version 0.1.0"


def upgrade() -> None:
    """Make the tables, carry everything over, and drop what held it before."""
    connection = op.get_bind()
    chains, records = _make_tables()
    accounts = [row.name for row in connection.execute(sa.text("SELECT name FROM accounts ORDER BY name"))]
    for chain in ("", *accounts):
        head = empty(chain)
        for body in _bodies(connection, chain):
            link = next_link(chain, head, body)
            connection.execute(records.insert().values(chain=chain, **link._asdict()))
            head = Head(link.number, link.digest)
        connection.execute(chains.insert().values(name=chain, **head._asdict()))
    _guard(connection.dialect.name)
    op.drop_table("overrides")
    op.drop_table("agreements")
    op.drop_column("instances", "active")
    op.execute("UPDATE changes SET version = version + 1")


def _make_tables() -> tuple[sa.Table, sa.Table]:
    records = op.create_table(
        "records",
        sa.Column("chain", sa.String(63), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    chains = op.create_table(
        "chains",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    return chains, records


def _bodies(connection: sa.Connection, account: str) -> Iterator[bytes]:
    """Return all records of an account in the order in which they were made."""
    sources = (_activations(connection, account), _agreements(connection, account), _overrides(connection, account))
    # A clock may have been set back: each source keeps its own order whatever its times say.
    in_order = (_never_back(source) for source in sources)
    return (body for _, body in heapq.merge(*in_order, key=lambda pair: pair[0]))


def _never_back(pairs: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    latest = ""
    for recorded, body in pairs:
        latest = max(latest, recorded)
        yield latest, body


def _agreements(connection: sa.Connection, account: str) -> Iterator[tuple[str, bytes]]:
    query = "SELECT body FROM agreements WHERE account = :account ORDER BY number"
    for row in connection.execute(sa.text(query), {"account": account}):
        yield _recorded(row.body), row.body.encode("utf-8", "surrogateescape")


def _recorded(body: str) -> str:
    """Return when a record says that it was made, in the form in which times sort as text; empty: it does not say."""
    try:
        recorded = json.loads(body)["recorded"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    # RFC 3339 in UTC, without a fraction where it is 0.
    return recorded.replace("Z", "").ljust(20, ".").ljust(26, "0") + "Z" if isinstance(recorded, str) else ""


def _overrides(connection: sa.Connection, account: str) -> Iterator[tuple[str, bytes]]:
    query = (
        "SELECT overrides.* FROM overrides LEFT JOIN instances ON overrides.instance = instances.name "
        "WHERE coalesce(overrides.account, instances.account) = :account ORDER BY overrides.number"
    )
    for row in connection.execute(sa.text(query), {"account": account}):
        override = {"record": "override", "account": account, "level": row.level, "reason": row.reason}
        target = {} if row.instance is None else {"instance": row.instance}
        yield row.recorded, _encode(**override, **target, recorded=row.recorded)


def _activations(connection: sa.Connection, account: str) -> Iterator[tuple[str, bytes]]:
    # Since when it is kept out was not kept. That it always was lets nothing leave in any answer about the past.
    active = sa.column("active", sa.Boolean)
    table = sa.table("instances", sa.column("name"), sa.column("account"), sa.column("added"), active)
    query = sa.select(table).where(table.c.account == account, sa.not_(active)).order_by(table.c.added, table.c.name)
    for row in connection.execute(query):
        activation = {"record": "activation", "account": account, "instance": row.name, "active": False}
        reason = "deactivated before the registry kept reasons; since when is not known"
        yield row.added, _encode(**activation, reason=reason, recorded=row.added)


def _encode(**fields: Any) -> bytes:
    return json.dumps({**fields, "recorded_by": _BEFORE}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogateescape"
    )


def _guard(dialect: str) -> None:
    """Let the database itself refuse to change or delete a record."""
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change_of_records() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'records are only ever added to'; END $$"
        )
        op.execute(
            "CREATE TRIGGER records_are_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON records "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_records()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER records_refuse_{change.lower()} BEFORE {change} ON records "
            "BEGIN SELECT RAISE(ABORT, 'records are only ever added to'); END"
        )
