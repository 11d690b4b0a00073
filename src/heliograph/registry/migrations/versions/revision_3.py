"""What is kept while an erasure is pending, and the tables of trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "pending_erasures",
        sa.Column("erasure", sa.String(63), primary_key=True),
        sa.Column("instance", sa.String(63)),
        sa.Column("user_digest", sa.String(64)),
        sa.Column("user_id", sa.String(32)),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("problem", sa.Text),
    )
    op.create_table(
        "terms",
        sa.Column("version", sa.String(500), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, index=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("published", sa.String(27), nullable=False),
    )
    op.create_table(
        "trial_links",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("token_digest", sa.String(64), nullable=False, unique=True),
        sa.Column("account", sa.String(63), sa.ForeignKey("accounts.name"), nullable=False),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("expires", sa.String(27), nullable=False),
        sa.Column("accepted", sa.String(27)),
        sa.Column("agreement", sa.Text, unique=True),
        sa.Column("revoked", sa.String(27)),
        sa.Column("revoked_because", sa.Text),
        sa.CheckConstraint("(accepted IS NULL) = (agreement IS NULL)", name="trial_link_accepted_with_agreement"),
        sa.CheckConstraint("accepted IS NULL OR revoked IS NULL", name="trial_link_accepted_or_revoked"),
    )
    op.create_table(
        "sign_ups",
        sa.Column("message", sa.String(128), primary_key=True),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("received", sa.String(27), nullable=False),
    )
