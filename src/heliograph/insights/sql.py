"""Read-only SQL on the marts and the pings, in DuckDB. Raw events are not to be reached from here: raw stays closed.

Two walls keep a statement in. `read_problems` has DuckDB's own parser say what the statement is, and lets through one
query that names nothing but the tables that are offered: no file, no function that reads or writes one, no setting. And
the connection that runs it has its access to files and extensions taken away for good before it sees the statement: the
tables are Arrow data sets that were opened outside.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import duckdb
import msgspec
import pyarrow as pa
from msgspec import Meta

from heliograph.insights.scope import QuestionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow.dataset as ds

LONGEST: Final = 100_000
"""Characters of a statement."""
_PORTION: Final = 10_000
"""Rows that are read at once."""
CLOSED: Final = frozenset({"events", "deliveries"})
"""Tables of the lake that are never offered."""
TABLE_FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series"})
"""What may stand in FROM beside tables: all that neither reads nor writes anything."""
REFUSED_FUNCTIONS: Final = frozenset({"sleep_ms", "write_log", "setseed", "nextval", "setval", "getvariable"})
"""Functions of DuckDB that do something beside computing."""
_CATALOGS: Final = frozenset({"information_schema"})
_SETTINGS: Final = (
    # Times in the lake are naive UTC.
    "SET TimeZone = 'UTC'",
    # Otherwise a name that is no table would be looked up among the variables of this program.
    "SET python_enable_replacements = false",
    "SET autoload_known_extensions = false",
    "SET autoinstall_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_TREES: Final = duckdb.connect()
"""Parses; it has no table, and runs no statement of anyone."""


class SqlBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one statement may take."""

    seconds: Annotated[float, Meta(gt=0)] = 60.0
    memory_mib: Annotated[int, Meta(ge=64)] = 2048
    rows: Annotated[int, Meta(ge=1)] = 100_000
    """Rows that are returned; the rest is left out."""


class SqlResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement gave."""

    table: pa.Table
    cut: bool
    """Whether there were more rows than `SqlBounds.rows`."""


def run_sql(statement: str, tables: Mapping[str, ds.Dataset | pa.Table], bounds: SqlBounds | None = None) -> SqlResult:
    """Run one query and return its rows.

    Args:
        statement: In DuckDB's SQL. `DESCRIBE user_days` and `SHOW TABLES` are queries, too.
        tables: What it may read, by name.
        bounds: What it may take.

    Raises:
        QuestionError: It is not one query, names something else than `tables`, takes more than `bounds`, or DuckDB
            cannot run it.
    """
    bounds = bounds or SqlBounds()
    if problems := read_problems(statement, tables):
        raise QuestionError(problems)
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute(f"SET memory_limit = '{bounds.memory_mib}MiB'")
        for setting in _SETTINGS:
            connection.execute(setting)
        with _told_plainly(bounds), _interrupted_after(bounds.seconds, connection):
            return _read(connection.sql(statement).to_arrow_reader(_PORTION), bounds.rows)


def read_problems(statement: str, tables: Mapping[str, Any]) -> list[str]:
    """Return what keeps a statement from being run: all of it, with remedies; nothing for one that may run."""
    if len(statement) > LONGEST:
        return [f"The statement has {len(statement):,} characters; {LONGEST:,} are the most."]
    tree = _parse(statement)
    if isinstance(tree, str):
        return [tree]
    named = _Named()
    named.find(tree)
    offered = ", ".join(sorted(tables))
    problems = [_closed(name) for name in sorted(named.tables & CLOSED - tables.keys() - named.defined)]
    unknown = named.tables - tables.keys() - named.defined - CLOSED
    problems += [f"There is no table {name!r} here. There are {offered}." for name in sorted(unknown)]
    problems += [
        f"The function {name} is not for FROM here: SQL reads {offered}, and no files or settings."
        for name in sorted(named.table_functions - TABLE_FUNCTIONS)
    ]
    problems += [f"The function {name} is refused." for name in sorted(named.functions & REFUSED_FUNCTIONS)]
    return problems


def _closed(name: str) -> str:
    return (
        f"{name!r} is not open to SQL: raw rows are closed, and what may be counted of them is in the marts. Ask "
        "`user_days` for counts by user, day and event, `session_parts` for sessions, or heliograph ask for a metric."
    )


class _Named:
    """Collects the names that a parsed statement uses."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.defined: set[str] = set()
        """By WITH, in the statement itself."""
        self.table_functions: set[str] = set()
        self.functions: set[str] = set()

    def find(self, tree: Any) -> None:
        """Go through a part of the tree, without recursion: a statement can be nested more deeply than Python likes."""
        left = [tree]
        while left:
            node = left.pop()
            if isinstance(node, list):
                left += node
            elif isinstance(node, dict):
                self._take(node)
                left += node.values()

    def _take(self, node: dict[str, Any]) -> None:
        match node.get("type"):
            case "BASE_TABLE":
                self._take_table(node)
            case "TABLE_FUNCTION":
                self.table_functions.add(str(node["function"].get("function_name")).lower())
        if "function_name" in node:
            self.functions.add(str(node["function_name"]).lower())
        if isinstance(ctes := node.get("cte_map"), dict):
            self.defined.update(str(each["key"]).lower() for each in ctes.get("map", ()))

    def _take_table(self, node: dict[str, Any]) -> None:
        path = [str(part).lower() for part in (node.get("catalog_name"), node.get("schema_name")) if part]
        name = str(node["table_name"]).lower()
        if path in ([], ["main"]):
            self.tables.add(name)
        elif path[-1] not in _CATALOGS:
            self.tables.add(".".join([*path, name]))


def _parse(statement: str) -> Any:
    """Return the tree of one query, or what is wrong with it."""
    try:
        [(text,)] = _TREES.cursor().execute("SELECT json_serialize_sql(?)", [statement]).fetchall()
        answer = json.loads(text)
    except (duckdb.Error, UnicodeError, json.JSONDecodeError, RecursionError):
        return "The statement cannot be parsed."
    if answer.get("error"):
        if answer.get("error_type") == "not implemented":
            return (
                "Only queries are run, such as SELECT, FROM … SELECT, DESCRIBE and SHOW TABLES; SQL is read-only here."
            )
        return f"The statement cannot be parsed: {_first_line(answer.get('error_message', ''))}"
    if len(statements := answer.get("statements", ())) != 1:
        return f"Give one statement, not {len(statements)}."
    return statements[0]


@contextmanager
def _interrupted_after(seconds: float, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _told_plainly(bounds: SqlBounds) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        problem = (
            f"It took more than {bounds.seconds:g} seconds, and was stopped. Ask for fewer days, or raise --seconds."
        )
    except duckdb.OutOfMemoryException:
        problem = f"It needs more than {bounds.memory_mib:,} MiB. Ask for fewer days or columns, or raise --memory-mib."
    except (duckdb.Error, pa.ArrowException) as error:
        problem = _first_line(str(error))
    else:
        return
    raise QuestionError([problem])


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "DuckDB does not say why."


def _read(reader: pa.RecordBatchReader, most: int) -> SqlResult:
    batches, left = [], most
    for batch in reader:
        batches.append(batch.slice(0, left))
        if batch.num_rows > left:
            return SqlResult(table=pa.Table.from_batches(batches, reader.schema), cut=True)
        left -= batch.num_rows
    return SqlResult(table=pa.Table.from_batches(batches, reader.schema), cut=False)
