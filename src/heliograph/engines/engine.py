"""What every engine does: open Parquet files as tables that Ibis computes with."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol, Self

import msgspec
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    import ibis


class EngineError(Exception):
    """An engine cannot be had, or cannot be reached; `problems` says all that is wrong, with remedies."""

    def __init__(self, *problems: str) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(problems))


class Stored(msgspec.Struct, frozen=True):
    """One table as it is stored: the Parquet files of one snapshot, and the columns that it has."""

    files: tuple[str, ...]
    """Paths, or URLs of an object store; files from before a column was added lack it."""
    columns: pa.Schema
    """In Arrow's types; times are naive, in UTC."""
    file_column: str = ""
    """A column that rows get besides, where the engine is this process: the number of the file that each is in. None,
    if it is empty."""
    rows: int | None = None
    """How many there are; None: nobody has counted them."""


class Files(Protocol):
    """How an engine comes to files that are elsewhere; `heliograph.lake.storage.Storage` is one."""

    def open(self, location: str) -> IO[bytes]:
        """Open a file for reading."""

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a connection of DuckDB read the files."""


class Engine(Protocol):
    """One connection to an engine. Times are naive UTC: no zone of a machine or a session is ever read."""

    def open(self, stored: Mapping[str, Stored]) -> dict[str, ibis.Table]:
        """Return tables by name, all of them in one connection, so that they can be joined.

        Returns:
            For each of `stored` all its columns, in its order and types; null where a file lacks one. No file makes an
            empty table.
        """

    def close(self) -> None:
        """Let go of the connection; its tables can be read no more."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *about: object) -> None: ...
