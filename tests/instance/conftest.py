"""What the instance's tests share."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ends import Ends
from heliograph.instance.outbox import EpochWriter
from product_database import ProductDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heliograph.demo.postgres import PostgresCluster

_numbers = itertools.count(1)


@pytest.fixture
def product(postgres: PostgresCluster) -> Iterator[ProductDatabase]:
    """A product's database with an empty `event_logs` table."""
    database = ProductDatabase(postgres, f"product_of_test_{next(_numbers)}")
    database.make()
    yield database
    database.drop()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    """Both ends of an account."""
    ends = Ends(tmp_path)
    yield ends
    ends.close()


@pytest.fixture
def writer(ends: Ends) -> Iterator[EpochWriter]:
    """Who writes to their outbox, in small segments."""
    writer = EpochWriter(ends.outbox, maximum_bytes=1 << 20, segment_bytes=2_000)
    yield writer
    writer.abandon()
