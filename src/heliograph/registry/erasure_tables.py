"""The registry's tables of erasures: orders and proofs for good, and what is kept only while an order is pending."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Integer, String, Table, Text

from heliograph.registry.tables import metadata

erasures: Final = Table(
    "erasures",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("body", Text, nullable=False, comment="JSON of an order, or of the proof that it was carried out."),
)
"""Append-only."""

pending_erasures: Final = Table(
    "pending_erasures",
    metadata,
    Column("number", ForeignKey("erasures.number"), primary_key=True, autoincrement=False),
    Column("instance", String(63), comment="The instance, where one user is to be erased."),
    Column("user_digest", String(64)),
    Column("user_id", String(32), comment="The user's random id: here alone, and gone once the order is proved."),
    Column("step", Text, nullable=False, comment="What is being done, in words."),
    Column("problem", Text, comment="Why the last attempt did not succeed."),
)
