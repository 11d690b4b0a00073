from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from heliograph.insights.scope import QuestionError
from heliograph.insights.sql import SqlBounds, read_problems, run_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CANARY = "canary-5f2a"
DAYS = pa.table({"account": ["acme", "acme", "globex"], "events": [3, 4, 5]})
visible_to_replacement_scans = pa.table({"word": [CANARY]})


@pytest.fixture
def tables(tmp_path: Path) -> Mapping[str, ds.Dataset]:
    parquet.write_table(DAYS, tmp_path / "days.parquet")
    return {"user_days": ds.dataset([str(tmp_path / "days.parquet")], DAYS.schema, format="parquet")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a secret in files of several formats."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "secret.csv").write_text(f"word\n{CANARY}\n")
    (folder / "secret.json").write_text(f'{{"word": "{CANARY}"}}\n')
    parquet.write_table(pa.table({"word": [CANARY]}), folder / "secret.parquet")
    with duckdb.connect(folder / "secret.db") as connection:
        connection.execute(f"CREATE TABLE secret AS SELECT '{CANARY}' AS word")
    return folder


def test_a_query_of_any_form_is_answered(tables: Mapping[str, ds.Dataset]) -> None:
    for statement in (
        "SELECT account, sum(events)::BIGINT AS events FROM user_days GROUP BY account ORDER BY account",
        "WITH each AS (FROM user_days) SELECT account, sum(events)::BIGINT AS events FROM each GROUP BY 1 ORDER BY 1;",
        "FROM (VALUES ('acme', 7), ('globex', 5)) AS told(account, events) SEMI JOIN main.user_days USING (account)",
    ):
        result = run_sql(statement, tables)
        assert result.table.to_pylist() == [{"account": "acme", "events": 7}, {"account": "globex", "events": 5}]
        assert not result.cut
    assert run_sql("SHOW TABLES", tables).table["name"].to_pylist() == ["user_days"]
    assert run_sql("DESCRIBE user_days", tables).table["column_name"].to_pylist() == ["account", "events"]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'user_days'"
    assert run_sql(columns, tables).table.num_rows == 2


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT * FROM events", ["raw rows are closed", "user_days"]),
        ("SELECT 1 FROM user_days WHERE events > (SELECT count(*) FROM deliveries)", ["raw rows are closed"]),
        ("SELECT * FROM user_dais", ["There is no table 'user_dais' here. There are user_days."]),
        ("SELECT * FROM other.user_days", ["There is no table 'other.user_days'"]),
        ("SELECT nothing FROM user_days", ["nothing"]),
        ("SELEC 1", ["cannot be parsed", "SELEC"]),
        ("", ["Give one statement, not 0."]),
        ("SELECT 1; SELECT 2", ["Give one statement, not 2."]),
        ("DELETE FROM user_days", ["read-only"]),
        ("COPY user_days TO 'x.csv'", ["read-only"]),
        ("ATTACH 'x.db'", ["read-only"]),
        ("INSTALL httpfs", ["read-only"]),
        ("SET threads = 1", ["read-only"]),
        ("FROM read_parquet('x')", ["read_parquet", "no files or settings"]),
        ("SELECT write_log('x')", ["write_log is refused"]),
        ("SELECT " + "1 + " * 40_000 + "1", ["characters"]),
        ("SELECT CAST(account AS INTEGER) FROM user_days", ["Could not convert"]),
    ],
)
def test_what_is_not_run_says_why_and_what_to_do(
    tables: Mapping[str, ds.Dataset], statement: str, words: list[str]
) -> None:
    with pytest.raises(QuestionError) as error:
        run_sql(statement, tables)
    assert all(word in str(error.value) for word in words), error.value
    assert len(str(error.value).splitlines()) == 1


def test_what_takes_too_long_or_too_much_is_stopped(tables: Mapping[str, ds.Dataset]) -> None:
    endless = "SELECT count(*) FROM range(10000000000) AS one, range(1000) AS two WHERE one.range % 7 = two.range"
    with pytest.raises(QuestionError, match=r"more than 0\.2 seconds"):
        run_sql(endless, tables, SqlBounds(seconds=0.2))
    with pytest.raises(QuestionError, match="more than 64 MiB"):
        run_sql("SELECT list(range) FROM range(100000000)", tables, SqlBounds(memory_mib=64))
    result = run_sql("FROM range(100000000000)", tables, SqlBounds(rows=25_000))
    assert (result.table.num_rows, result.cut) == (25_000, True)
    assert not run_sql("FROM range(25000)", tables, SqlBounds(rows=25_000)).cut


SOURCES = [
    "'{path}'",
    '"{path}"',
    "read_csv('{path}')",
    "read_csv_auto('{path}')",
    "sniff_csv('{path}')",
    "read_text('{path}')",
    "read_blob('{path}')",
    "read_json('{path}')",
    "read_ndjson_objects('{path}')",
    "read_parquet(['{path}'])",
    "parquet_scan('{path}')",
    "parquet_metadata('{path}')",
    "read_duckdb('{path}', table_name := 'secret')",
    "glob('{path}*')",
    "query('FROM read_text(''{path}'')')",
    "query_table('{path}')",
    "json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{path}'')'))",
    "visible_to_replacement_scans",
    "duckdb_settings()",
    "duckdb_secrets()",
    "enable_logging(storage := 'file', storage_config := {{'path': '{path}.log'}})",
    "enable_profiling(save_location := '{path}.log')",
    "arrow_scan(0::POINTER, 0::POINTER, 0::POINTER)",
    "pandas_scan(0::POINTER)",
]
AROUND = [
    "SELECT * FROM {source}",
    "FROM {source}",
    "SELECT (SELECT count(*) FROM {source}) AS word",
    "WITH a AS MATERIALIZED (SELECT * FROM {source}) SELECT * FROM a",
    "SELECT * FROM user_days LEFT JOIN (FROM {source}) AS b ON true",
    "SELECT * FROM user_days, LATERAL (SELECT * FROM {source}) AS b",
    "SELECT account AS word FROM user_days UNION ALL SELECT * FROM {source}",
    "SELECT * FROM user_days WHERE EXISTS (FROM {source})",
    "SUMMARIZE (FROM {source})",
    "DESCRIBE SELECT * FROM {source}",
    "SELECT [x FOR x IN (SELECT list(b) FROM {source} AS b)] AS word",
    "EXPLAIN ANALYZE SELECT * FROM {source}",
    "COPY (SELECT * FROM {source}) TO '{path}.out'",
    "CREATE TABLE user_days AS FROM {source}",
    "CREATE MACRO range(x) AS TABLE FROM {source}",
    "PREPARE a AS FROM {source}",
    "PIVOT {source} ON word USING count(*)",
    "PIVOT_WIDER {source} ON word USING count(*)",
]
ALONE = [
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling = 'json'",
    "PRAGMA profiling_output = '{path}.log'",
    "ATTACH '{path}' AS a",
    "ATTACH '{path}.new'",
    "EXPORT DATABASE '{path}.folder'",
    "IMPORT DATABASE '{path}'",
    "INSTALL httpfs",
    "LOAD '{path}'",
    "CALL enable_logging()",
    "CREATE SECRET (TYPE s3)",
    "USE a",
    "DROP VIEW user_days",
    "INSERT INTO user_days VALUES ('{word}', 1)",
    "UPDATE user_days SET events = 0",
    "VACUUM",
    "CHECKPOINT",
]
LETTERS: list[Callable[[str], str]] = [str, str.upper, str.lower]
DISGUISES = ["{}", "/* */ {}", "-- a\n{}", "{};", "SELECT 1; {}", "{}; SELECT 1", "({})", "WITH range AS (SELECT 1) {}"]


@st.composite
def attempts(draw: st.DrawFn) -> str:
    """Draw a statement that tries to get at a file, a setting or a variable; `{path}` is where the secret lies."""
    if draw(st.booleans()):
        inner = draw(st.sampled_from(AROUND)).replace("{source}", draw(st.sampled_from(SOURCES)))
    else:
        inner = draw(st.sampled_from(ALONE))
    statement = draw(st.sampled_from(DISGUISES)).replace("{}", inner)
    # The path stays as it is: only the rest is written otherwise.
    letters: Callable[[str], str] = draw(st.sampled_from(LETTERS))
    return "{path}".join(letters(part) for part in statement.split("{path}"))


@given(attempts(), st.sampled_from(["csv", "json", "parquet", "db"]))
def test_no_statement_reads_or_writes_anything_but_the_tables(folder: Path, attempt: str, kind: str) -> None:
    statement = attempt.replace("{{", "{").replace("}}", "}").replace("{path}", str(folder / f"secret.{kind}"))
    before = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir())
    with pytest.raises(QuestionError):
        run_sql(statement, {"user_days": DAYS})
    assert sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()) == before


@given(st.text(max_size=80))
def test_whatever_is_typed_ends_in_rows_or_in_words(text: str) -> None:
    try:
        run_sql(text, {"user_days": DAYS}, SqlBounds(seconds=5, memory_mib=64, rows=10))
    except QuestionError as error:
        problems = error.problems
    else:
        return
    assert problems


def test_the_parser_alone_keeps_out_each_source_in_each_place() -> None:
    for source, around in itertools.product(SOURCES, AROUND):
        statement = around.replace("{source}", source).replace("{path}", "/x")
        assert read_problems(statement.replace("{{", "{").replace("}}", "}"), {"user_days": DAYS}), statement


def test_the_connection_alone_keeps_files_out_where_the_parser_is_passed_by(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.insights.sql.read_problems", lambda *_: [])
    for source in SOURCES[:18]:
        statement = f"FROM {source}".replace("{path}", str(folder / "secret.csv"))
        with pytest.raises(QuestionError):
            run_sql(statement, {"user_days": DAYS})


def test_names_are_told_apart_as_duckdb_tells_them() -> None:
    assert read_problems('SELECT * FROM "USER_DAYS" AS events', {"user_days": DAYS}) == []
    assert read_problems("WITH events AS (FROM user_days) FROM events", {"user_days": DAYS}) == []
    assert read_problems("FROM user_days WHERE account = 'events'", {"user_days": DAYS}) == []
