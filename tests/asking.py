"""What the tests of the questions share: the types of their fixtures, and the ids of users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import ibis
import pyarrow as pa

from heliograph.insights.scope import Scope
from heliograph.insights.tables import Tables

if TYPE_CHECKING:
    from pathlib import Path

Row: TypeAlias = dict[str, Any]
MakeTable: TypeAlias = Callable[[Iterable[Mapping[str, Any]]], pa.Table]
"""Fills rows in to the lake's columns: `at` is the time in ISO form, `user` a word that stands for a random id."""
MakeEvents: TypeAlias = Callable[[Iterable[Mapping[str, Any]]], ibis.Table]
"""Opens such rows as the lake's events."""
MakeTables: TypeAlias = Callable[[Iterable[Mapping[str, Any]]], Tables]
"""Opens such rows as the lake's tables."""
MakeScope: TypeAlias = Callable[..., Scope]
"""Makes a scope from its last day in ISO form; asked long after unless `now` is given."""
AskSource: TypeAlias = Callable[[str], list[tuple[Any, ...]]]
"""Runs plain SQL on the history as it is: the view `source` has instance, name, user_id and `time` in naive UTC."""


def user_id(word: str) -> str:
    """Return the random id that stands for a user in these tests."""
    return word.encode().hex().rjust(32, "0")


def word_of(user: str) -> str:
    """Return the word that `user_id` was given."""
    return bytes.fromhex(user).strip(b"\0").decode()


def rows_of(table: ibis.Table) -> list[Row]:
    """Run a table expression and return its rows."""
    rows: list[Row] = table.to_pyarrow().to_pylist()
    return rows


def write_history(history: Path, file: Path) -> None:
    """Write the history as the lake would hold it, with a random-looking id for each user of each instance."""
    with duckdb.connect() as connection:
        connection.sql("SET TimeZone = 'UTC'")
        connection.sql(
            f"""
            COPY (
              SELECT instance, split_part(instance, '-', 1) AS account, 1::BIGINT AS epoch, id AS sequence, name,
                     timestamp::TIMESTAMP AS time, md5(instance || ':' || user_id) AS user_id, 'ok' AS outcome
              FROM '{history}' ORDER BY instance, user_id, time
            ) TO '{file}' (FORMAT parquet)
            """
        )
