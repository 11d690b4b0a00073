"""The registry's tables. They hold what was recorded; what follows from it is computed, never stored.

`records` is append-only: triggers in the database refuse to change or delete a row, and digests show it if somebody
gets around them. The tables are made by the migrations in `heliograph.registry.migrations`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, MetaData, String, Table, Text

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
    Column("added", String(27), nullable=False),
)

records: Final = Table(
    "records",
    metadata,
    Column("chain", String(63), primary_key=True, comment="An account; empty: the vendor's own."),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="Counts from 1 in its chain."),
    Column("body", LargeBinary, nullable=False, comment="JSON in UTF-8; it is hashed as it is."),
    Column("previous", String(64), nullable=False, comment="Digest of the record before, or the chain's genesis."),
    Column("digest", String(64), nullable=False, comment="See heliograph.consent.chain."),
)

chains: Final = Table(
    "chains",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("length", Integer, nullable=False),
    Column("digest", String(64), nullable=False, comment="Of the last record, or the chain's genesis."),
)

pending_erasures: Final = Table(
    "pending_erasures",
    metadata,
    Column("erasure", String(63), primary_key=True, comment="The order's id; the order itself is a record."),
    Column("instance", String(63), comment="The instance, where one user is to be erased."),
    Column("user_digest", String(64)),
    Column("user_id", String(32), comment="The user's random id: here alone, and gone once the order is proved."),
    Column("step", Text, nullable=False, comment="What is being done, in words."),
    Column("problem", Text, comment="Why the last attempt did not succeed."),
)
"""What is kept only while an order is pending."""
