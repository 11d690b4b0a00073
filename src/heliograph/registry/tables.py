"""The registry's tables. They hold what was recorded; what follows from it is computed, never stored.

`agreements` and `overrides` are append-only: nothing in this package updates or deletes a row of theirs.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, String, Table, Text

metadata: Final = MetaData()

changes: Final = Table(
    "changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="Always 1: the table has one row."),
    Column("version", Integer, nullable=False, comment="Counts the writing transactions."),
)

accounts: Final = Table(
    "accounts",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("added", String(27), nullable=False, comment="RFC 3339 in UTC, as all times here."),
)

instances: Final = Table(
    "instances",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("deployment", String(20), nullable=False),
    Column("public_key", Text, nullable=False, comment="base64 of the SubjectPublicKeyInfo."),
    Column("active", Boolean, nullable=False),
    Column("added", String(27), nullable=False),
)

agreements: Final = Table(
    "agreements",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("body", Text, nullable=False, comment="JSON of an agreement, or of the ending of one."),
)

overrides: Final = Table(
    "overrides",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("account", ForeignKey("accounts.name"), comment="Either this or the instance is given."),
    Column("instance", ForeignKey("instances.name")),
    Column("level", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded", String(27), nullable=False),
)
