"""What the instance's tests share."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from product_database import ProductDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.demo.postgres import PostgresCluster

_numbers = itertools.count(1)


@pytest.fixture
def product(postgres: PostgresCluster) -> Iterator[ProductDatabase]:
    """A product's database with an empty `event_logs` table."""
    database = ProductDatabase(postgres, f"product_of_test_{next(_numbers)}")
    database.make()
    yield database
    database.drop()
