"""What Alembic runs: the steps, in the transaction in which the registry is opened."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
