"""The tables of version 0.1.0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.execute("INSERT INTO changes (id, version) VALUES (1, 0)")
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("added", sa.String(27), nullable=False),
    )
    op.create_table(
        "instances",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("account", sa.String(63), sa.ForeignKey("accounts.name"), nullable=False),
        sa.Column("deployment", sa.String(20), nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("added", sa.String(27), nullable=False),
    )
    op.create_table(
        "agreements",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account", sa.String(63), sa.ForeignKey("accounts.name"), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "overrides",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account", sa.String(63), sa.ForeignKey("accounts.name")),
        sa.Column("instance", sa.String(63), sa.ForeignKey("instances.name")),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded", sa.String(27), nullable=False),
    )
