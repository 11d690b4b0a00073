"""The table as it is reached: gently, with the least rights, and with errors that say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import structlog
from psycopg import sql

from heliograph.demo.history import READER
from heliograph.instance.event_logs import Cursor, EventLogsSource, SourceError
from heliograph.instance.event_logs_table import COLUMNS, EventLogsTable, connect_gently, grant_statement
from heliograph.settings import EventLogsSettings
from product_database import PLAN, Reading, insert, numbers

if TYPE_CHECKING:
    from product_database import ProductDatabase

DOCUMENT = Path(__file__).parents[2] / "docs" / "event-logs.md"


def problem(product: ProductDatabase, **differences: Any) -> str:
    """Return what the source says is wrong."""
    with pytest.raises(SourceError) as caught:
        product.source(**differences).read(Cursor())
    return str(caught.value)


def test_rights_on_the_columns_are_enough_and_others_are_refused(product: ProductDatabase) -> None:
    insert(product.connect())
    assert numbers(product.source().read(Cursor()).events) == [1]
    with psycopg.connect(product.settings().dsn) as reader:
        for column in ("url", "argument", "insert_id", "device_id", "*"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction():
                reader.execute(f"SELECT {column} FROM event_logs")


def test_the_documented_statements_are_enough(product: ProductDatabase) -> None:
    [statements] = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert grant_statement("event_logs", "heliograph") in " ".join(statements.split())
    owner = product.connect()
    insert(owner)
    own = statements.replace("product", product.name)
    assert "'...'" in own
    try:
        owner.execute(own.replace("'...'", "'secret'"))
        dsn = product.cluster.dsn(product.name, user="heliograph")
        assert numbers(product.source(dsn=dsn).read(Cursor()).events) == [1]
    finally:
        owner.execute("DROP OWNED BY heliograph")
        owner.execute("DROP ROLE heliograph")


def test_private_columns_are_never_named(product: ProductDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    original = EventLogsTable._fetch

    def listen(table: EventLogsTable, query: sql.Composed, parameters: Any) -> Any:
        said.append(query.as_string())
        return original(table, query, parameters)

    monkeypatch.setattr(EventLogsTable, "_fetch", listen)
    reading = Reading(product, product.source())
    insert(product.connect())
    reading.read()
    reading.settle()
    assert any("FROM unnest" in each for each in said)
    for statement in said:
        words = set(re.findall(r"\w+", statement))
        assert words.isdisjoint({"url", "argument", "insert_id", "referrer", "device_id", "client", "first_source_url"})
        assert "*" not in statement.replace("found.*", "")


def test_canaries_of_private_columns_are_in_no_event(product: ProductDatabase) -> None:
    writer = product.connect()
    for _ in range(3):
        insert(writer)
    assert "canary" not in str(product.source().read(Cursor()))


@pytest.mark.parametrize("rows", [0, 3, 20_000])
def test_a_round_is_one_range_of_the_primary_key(product: ProductDatabase, rows: int) -> None:
    product.connect().execute(
        "INSERT INTO event_logs (name, timestamp, insert_id) "
        "SELECT 'Opened', now(), n::text FROM generate_series(1, %s) AS n",
        (rows,),
    )
    product.connect().execute("ANALYZE event_logs")
    with connect_gently(product.settings()) as connection:
        table = EventLogsTable(connection, "event_logs")
        for query, parameters in (
            (table.range_query, (rows // 2, 100)),
            (table.holes_query, ([-5, 10, rows // 2], [-1, 20, rows + 5], 100, 100)),
        ):
            plan = "\n".join(line for (line,) in connection.execute(sql.SQL("EXPLAIN ") + query, parameters).fetchall())
            assert "Index Scan using event_logs_pkey" in plan
            assert "Index Cond" in plan
            assert not re.search("Seq Scan|Sort|Bitmap|Hash|Merge", plan), plan


def test_the_session_can_write_nothing_and_waits_for_nothing_long(product: ProductDatabase) -> None:
    with connect_gently(product.settings(statement_timeout_seconds=2.5)) as connection:
        shown: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE more ()")
    assert connection.autocommit
    assert {
        name: shown[name]
        for name in ("application_name", "statement_timeout", "lock_timeout", "default_transaction_read_only")
    } == {
        "application_name": "heliograph",
        "statement_timeout": "2500",
        "lock_timeout": "1000",
        "default_transaction_read_only": "on",
    }


def test_options_of_the_connection_string_stay(product: ProductDatabase) -> None:
    dsn = f"{product.settings().dsn} options='-c search_path=other -c statement_timeout=1h'"
    with connect_gently(product.settings(dsn=dsn)) as connection:
        found = connection.execute("SELECT current_setting('search_path'), current_setting('statement_timeout')")
        assert found.fetchone() == ("other", "5s")


def test_the_table_may_be_in_another_schema_and_have_another_name(product: ProductDatabase) -> None:
    owner = product.connect()
    insert(owner)
    owner.execute('CREATE SCHEMA "Odd ""one"; ALTER TABLE event_logs SET SCHEMA "Odd ""one"')
    owner.execute(f'ALTER TABLE "Odd ""one".event_logs RENAME TO "Log"; GRANT USAGE ON SCHEMA "Odd ""one" TO {READER}')
    assert numbers(product.source(table='"Odd ""one"."Log"').read(Cursor()).events) == [1]


def test_a_missing_table_is_said_with_the_database(product: ProductDatabase) -> None:
    said = problem(product, table="public.no_such_table")
    assert "public.no_such_table" in said
    assert product.name in said
    assert "event_logs.table" in said


@pytest.mark.parametrize("name", ["", "a b", "'; drop table event_logs", "a.b.c.d", "\x00"])
def test_a_name_that_is_none_is_refused(product: ProductDatabase, name: str) -> None:
    assert "event_logs.table" in problem(product, table=name)


def test_all_missing_columns_and_wrong_types_are_said_at_once(product: ProductDatabase) -> None:
    product.connect().execute(
        "ALTER TABLE event_logs DROP COLUMN version, DROP COLUMN source, ALTER user_id TYPE text, "
        "ALTER timestamp TYPE text"
    )
    said = problem(product).splitlines()
    assert len(said) == 4
    assert all(any(f"column {name}" in line for line in said) for name in ("version", "source", "user_id", "timestamp"))


def test_missing_rights_are_said_with_the_statement_that_grants_them(product: ProductDatabase) -> None:
    owner = product.connect()
    owner.execute(f"REVOKE SELECT (source, version) ON event_logs FROM {READER}")
    said = problem(product)
    assert "source, version" in said
    assert f"GRANT SELECT ({', '.join(COLUMNS)}) ON event_logs TO {READER}" in said
    owner.execute(said.split("run: ")[1])
    product.source().read(Cursor())


def test_rights_that_are_taken_away_meanwhile_are_said_likewise(product: ProductDatabase) -> None:
    source = product.source()
    source.read(Cursor())
    product.connect().execute(f"REVOKE SELECT (source) ON event_logs FROM {READER}")
    with pytest.raises(SourceError, match="GRANT SELECT"):
        source.read(Cursor())


def test_a_schema_without_rights_is_said(product: ProductDatabase) -> None:
    product.connect().execute("CREATE SCHEMA closed; ALTER TABLE event_logs SET SCHEMA closed")
    assert "closed" in problem(product, table="closed.event_logs")


def test_a_table_without_an_index_on_its_ids_is_refused(product: ProductDatabase) -> None:
    product.connect().execute("ALTER TABLE event_logs DROP CONSTRAINT event_logs_pkey")
    assert "unique index" in problem(product)


def test_ids_that_count_downwards_are_refused(product: ProductDatabase) -> None:
    product.connect().execute("ALTER SEQUENCE event_logs_id_seq INCREMENT -1 MINVALUE -100")
    assert "downwards" in problem(product)


def test_rows_hidden_by_a_policy_are_an_error_and_not_skipped(product: ProductDatabase) -> None:
    product.connect().execute("ALTER TABLE event_logs ENABLE ROW LEVEL SECURITY")
    assert "row-level security" in problem(product)


def test_a_standby_is_refused(product: ProductDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    original = EventLogsTable._fetch

    def pretend(table: EventLogsTable, query: sql.Composed, parameters: Any) -> Any:
        # A real standby would take a second server; the question that is asked is the real one.
        if "pg_is_in_recovery()" in query.as_string():
            return [(True, *found[1:]) for found in original(table, query, parameters)]
        return original(table, query, parameters)

    monkeypatch.setattr(EventLogsTable, "_fetch", pretend)
    assert "address of the primary" in problem(product)


def test_a_sequence_with_a_cache_is_warned_of(product: ProductDatabase) -> None:
    product.connect().execute("ALTER SEQUENCE event_logs_id_seq CACHE 50")
    with structlog.testing.capture_logs() as logs:
        product.source().read(Cursor())
    assert [(log["log_level"], log["cache"]) for log in logs] == [("warning", 50)]


def test_ids_of_no_sequence_are_warned_of(product: ProductDatabase) -> None:
    product.connect().execute("ALTER TABLE event_logs ALTER id DROP DEFAULT; DROP SEQUENCE event_logs_id_seq")
    with structlog.testing.capture_logs() as logs:
        product.source().read(Cursor())
    assert ["sequence" in log["event"] for log in logs] == [True]


def test_a_table_that_went_back_is_warned_of_where_that_can_be_known(product: ProductDatabase) -> None:
    owner = product.connect()
    insert(owner)
    with structlog.testing.capture_logs() as logs:
        product.source().read(Cursor(high=7))
    assert logs == []
    owner.execute(f"GRANT SELECT ON SEQUENCE event_logs_id_seq TO {READER}")
    with structlog.testing.capture_logs() as logs:
        product.source().read(Cursor(high=1))
        product.source().read(Cursor(high=7))
    assert [(log["last_given"], log["read"]) for log in logs] == [(1, 7)]


def test_an_ordinary_sequence_is_no_cause_for_a_warning(product: ProductDatabase) -> None:
    with structlog.testing.capture_logs() as logs:
        product.source().read(Cursor())
    assert logs == []


def test_a_statement_that_takes_too_long_is_cancelled_and_nothing_is_lost(
    product: ProductDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = product.begin(), product.connect()
    insert(late)
    insert(early)
    reading = Reading(product, product.source(statement_timeout_seconds=0.2))
    reading.read()
    late.commit()
    insert(early)
    original = EventLogsTable.read_range

    def sleep(table: EventLogsTable, high: int, limit: int) -> Any:
        table._fetch(sql.SQL("SELECT pg_sleep(60)"), ())
        return original(table, high, limit)

    with monkeypatch.context() as slow:
        slow.setattr(EventLogsTable, "read_range", sleep)
        with pytest.raises(SourceError, match=r"statement timeout.*event_logs\.rows.*0\.2"):
            reading.read()
    assert reading.read() == [1, 3]
    reading.settle()
    assert reading.taken == [2, 1, 3]


def test_a_table_that_is_locked_by_a_migration_is_waited_for(product: ProductDatabase) -> None:
    reading = Reading(product, product.source())
    insert(product.connect())
    migration = product.begin()
    migration.execute("LOCK TABLE event_logs")
    with pytest.raises(SourceError, match="locked"):
        reading.read()
    migration.execute("ALTER TABLE event_logs ADD COLUMN more text")
    migration.commit()
    assert reading.read() == [1]


def test_a_migration_between_two_rounds_does_not_matter(product: ProductDatabase) -> None:
    reading = Reading(product, product.source())
    writer = product.connect()
    for number in range(1, 9):
        insert(writer)
        assert reading.read() == [number]
        writer.execute(f"ALTER TABLE event_logs ADD COLUMN more_{number} text")


def test_a_connection_that_is_lost_is_made_again(product: ProductDatabase) -> None:
    reading = Reading(product, product.source())
    writer = product.connect()
    insert(writer)
    reading.read()
    writer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heliograph'")
    insert(writer)
    with pytest.raises(SourceError, match="lost"):
        reading.read()
    assert reading.read() == [2]


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    settings = EventLogsSettings(dsn="host=/nonexistent dbname=product user=reader password=hunter2")
    with pytest.raises(SourceError, match=r"product at /nonexistent.*event_logs\.dsn") as caught:
        EventLogsSource(settings, PLAN).read(Cursor())
    assert "hunter2" not in str(caught.value)


def test_a_connection_string_that_is_none_is_not_repeated() -> None:
    settings = EventLogsSettings(dsn="postgresql//reader:hunter2@host")
    with pytest.raises(SourceError, match="postgresql://ROLE") as caught:
        EventLogsSource(settings, PLAN).read(Cursor())
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
