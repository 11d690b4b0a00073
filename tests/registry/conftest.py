"""Registries for tests: each test that takes `registry_url` or `registry` runs on every database supported."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.conninfo import conninfo_to_dict

from heliograph.keys import public_key_text
from heliograph.registry.store import Registry
from heliograph.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heliograph.demo.postgres import PostgresCluster


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = datetime(2026, 10, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_time(self, **units: float) -> datetime:
        self.now += timedelta(**units)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    name = f"registry_{secrets.token_hex(8)}"
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    where = conninfo_to_dict(cluster.dsn(name))
    return f"postgresql+psycopg://{where['user']}@/{name}?host={quote(str(where['host']))}"


@pytest.fixture
def registry(registry_url: str, clock: Clock) -> Iterator[Registry]:
    with Registry.open(RegistrySettings(url=registry_url), now=clock) as registry:
        yield registry


@pytest.fixture
def new_key() -> Callable[[], str]:
    """Return a maker of public keys, one line each."""
    return lambda: public_key_text(Ed25519PrivateKey.generate())
