"""Every metric on every engine, held to the identities of its definition and to a second reading of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from conformance.engines import DuckDBEngine, Engine
from conformance.histories import PLAN
from heliograph.lake.tables import PING_SCHEMA, event_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINES: dict[str, Callable[[], Engine]] = {"duckdb": lambda: DuckDBEngine(PLAN, event_schema(PLAN), PING_SCHEMA)}


@pytest.fixture(scope="session", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn; it holds no history yet."""
    with closing(ENGINES[request.param]()) as engine:
        yield engine
