"""The tables of trials, beside the registry's. They hold what was recorded; the state of a link is computed from it.

No token, secret, name of a person or address of anybody is in them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, LargeBinary, String, Table, Text

from heliograph.registry.tables import metadata

__all__ = ["metadata", "sign_ups", "terms", "trial_links"]

terms: Final = Table(
    "terms",
    metadata,
    Column("version", String(500), primary_key=True, comment="The label: one text for good."),
    Column("digest", String(64), nullable=False, index=True, comment="SHA-256 of the content, in hexadecimal."),
    Column("content", LargeBinary, nullable=False, comment="The file as it was published, byte for byte."),
    Column("published", String(27), nullable=False, comment="RFC 3339 in UTC, as all times here."),
)

trial_links: Final = Table(
    "trial_links",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("token_digest", String(64), nullable=False, unique=True, comment="SHA-256 of the token, in hexadecimal."),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("days", Integer, nullable=False, comment="How long the trial lasts once it is accepted."),
    Column("created_by", Text, nullable=False, comment="A role or a team."),
    Column("created", String(27), nullable=False),
    Column("expires", String(27), nullable=False, comment="The first moment at which it cannot be used."),
    Column("accepted", String(27)),
    Column("agreement", Text, unique=True, comment="Id of the agreement that its acceptance made."),
    Column("revoked", String(27)),
    Column("revoked_because", Text),
    CheckConstraint("(accepted IS NULL) = (agreement IS NULL)", name="trial_link_accepted_with_agreement"),
    CheckConstraint("accepted IS NULL OR revoked IS NULL", name="trial_link_accepted_or_revoked"),
)

sign_ups: Final = Table(
    "sign_ups",
    metadata,
    Column("message", String(128), primary_key=True, comment="The webhook-id of the message."),
    Column("body_digest", String(64), nullable=False, comment="SHA-256 of the message's body, in hexadecimal."),
    Column("answer", Text, nullable=False, comment="What was answered first, as JSON."),
    Column("received", String(27), nullable=False),
)
