"""Brings the registry's tables up to date when it is opened; the steps are in `heliograph.registry.migrations`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from heliograph.registry.errors import RegistryError

if TYPE_CHECKING:
    from sqlalchemy import Connection

NEWEST: Final = "3"
"""The revision that this program writes and reads."""
BASELINE: Final = "1"
"""What version 0.1.0 made, which did not say so in its database."""


def upgrade(connection: Connection) -> None:
    """Make the tables, or bring them up to `NEWEST`, in a writer's transaction.

    Raises:
        RegistryError: A newer version of the program has written this registry.
    """
    revision = _revision(connection)
    if revision == NEWEST:
        return
    # Alembic takes longer to import than a whole look at the registry.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        problem = "registry.url: a newer version of Heliograph has written this registry"
        versions = f"its revision is {revision!r}, and this program knows them up to {NEWEST!r}"
        raise RegistryError([f"{problem} ({versions}): update this program; nothing was changed"])
    if revision is None and inspect(connection).has_table("accounts"):
        command.stamp(config, BASELINE)
    command.upgrade(config, NEWEST)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)
