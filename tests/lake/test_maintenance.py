"""Maintenance: the rows of a lake stay what they are, whatever is done to its files."""

from __future__ import annotations

import json
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.types import StringType

from erasing import Lake
from harness import INSTANCE, SMALL_PLAN, definition, random_id
from heliograph.lake import commits
from heliograph.lake import turns as turns_module
from heliograph.lake.commits import CommitConflictError, commit
from heliograph.lake.exclusion import BusyError, Exclusion
from heliograph.lake.loader import Loader
from heliograph.lake.maintenance import layout as layout_module
from heliograph.lake.maintenance import retention as retention_module
from heliograph.lake.maintenance.expiry import outdated_snapshots
from heliograph.lake.maintenance.inventory import inventory_table, take_inventory
from heliograph.lake.maintenance.layout import LayoutError
from heliograph.lake.maintenance.retention import count_retired
from heliograph.lake.marts.tables import ACTIVE_DAYS, USER_DAYS, State, make_mart, read_raw_from
from heliograph.lake.report import count_events
from heliograph.lake.storage import local_path
from heliograph.lake.tables import NAMESPACE, event_files, event_schema, open_catalog
from heliograph.lake.writers import embedded as embedded_module
from heliograph.plan.model import BooleanProperty, IntegerProperty, Plan
from keeping import BEGIN, KeptLake, row

if TYPE_CHECKING:
    from pyiceberg.table import Transaction


@pytest.fixture
def lake(tmp_path: Path) -> KeptLake:
    return KeptLake(tmp_path)


def fill(lake: KeptLake, files: int = 5, rows: int = 4) -> None:
    for file in range(files):
        lake.append(row(file * rows + n, user=n % 3, day=n) for n in range(1, rows + 1))


def stored(lake: KeptLake) -> set[str]:
    return {str(path) for path in Path(lake.settings.warehouse).rglob("*.parquet")}


def test_compaction_makes_one_file_of_many_with_the_same_rows_in_the_order_of_questions(lake: KeptLake) -> None:
    fill(lake)
    before = lake.rows()
    [done] = lake.keeper().compact()
    assert (done.files_before, done.files_after, done.rows, done.left_out) == (5, 1, 20, 0)
    assert lake.rows() == before
    [file] = event_files(lake.settings)
    rows = pq.read_table(file, partitioning=None).to_pylist()
    assert rows == sorted(rows, key=lambda each: (each["instance"], each["time"], each["sequence"]))
    assert len(stored(lake)) == 6, "whoever has begun to read goes on with the files of before"


def test_a_compacted_file_says_of_most_users_that_it_has_none_of_them_and_of_none_that_it_has(lake: KeptLake) -> None:
    for first in (0, 50):
        lake.append(row(n, user=2 * n) for n in range(first, first + 50))  # the even ones: bounds exclude no odd one
    lake.keeper().compact()
    [file] = event_files(lake.settings)
    with duckdb.connect() as connection:
        excluded = [
            connection.execute(
                "select bool_and(bloom_filter_excludes) from parquet_bloom_probe(?, 'user_id', ?)",
                [file, random_id(user)],
            ).fetchall()[0][0]
            for user in range(100)
        ]
    assert not any(excluded[::2])
    assert sum(excluded[1::2]) > 40


def test_a_partition_with_few_files_is_left_alone_and_each_month_is_one(tmp_path: Path) -> None:
    lake = KeptLake(tmp_path, compact_files=3)
    for month in (0, 40):
        for n in range(1, 4 if month else 3):
            lake.append([row(100 * month + n, day=month)])
    before = lake.rows()
    [done] = lake.keeper().compact()
    assert (done.files_before, done.files_after) == (3, 1)
    assert lake.rows() == before
    assert len(event_files(lake.settings)) == 3
    [again] = lake.keeper().compact()
    assert again.files_before == 0


def test_files_that_are_large_enough_are_not_rewritten_again_and_none_becomes_too_large(tmp_path: Path) -> None:
    lake = KeptLake(tmp_path, file_rows=10)
    lake.append(row(n) for n in range(1, 8))
    for n in range(8, 20):
        lake.append([row(n)])
    before = lake.rows()
    lake.keeper().compact()
    sizes = sorted(task.file.record_count for task in lake.newest().scan().plan_files())
    assert max(sizes) == 10
    assert lake.rows() == before
    lake.keeper().compact(everything=True)
    assert max(task.file.record_count for task in lake.newest().scan().plan_files()) <= 10
    assert lake.rows() == before


@pytest.mark.parametrize("most", [3, 1 << 50])
def test_a_row_that_stands_twice_is_left_out_once_and_told(
    lake: KeptLake, capsys: pytest.CaptureFixture[str], most: int
) -> None:
    lake.append([row(1), row(2), row(2, epoch=2), row(2, instance="other")])
    lake.append([row(2), row(3, sequence=most)])
    [done] = lake.keeper().compact()
    assert done.left_out == 1
    assert sum(lake.rows().values()) == 5
    assert max(lake.rows().values()) == 1
    assert "rows stood twice in the lake" in capsys.readouterr().out


def test_all_tables_of_the_namespace_are_kept_whoever_made_them(lake: KeptLake) -> None:
    schema = pa.schema([("account", pa.string()), ("day", pa.date32()), ("events", pa.int64())])
    table = open_catalog(lake.settings).create_table(f"{NAMESPACE}.some_days", schema)
    rows = [{"account": "acme", "day": date(2026, 10, n), "events": n} for n in range(1, 6)]
    for each in rows:
        table.append(pa.Table.from_pylist([each], schema))
    done = {each.table: each for each in lake.keeper().compact()}
    assert done[f"{NAMESPACE}.some_days"].files_before == 5
    table.refresh()
    assert table.scan().to_arrow().to_pylist() == rows


def test_rows_of_one_key_of_a_mart_are_added_up_and_its_sums_stay_what_they_are(lake: KeptLake) -> None:
    mart = make_mart(open_catalog(lake.settings), USER_DAYS, State(digest="", until=None))
    keys = {"account": "acme", "instance": "one", "day": date(2026, 10, 1), "name": "SearchSubmitted"}
    for n in range(1, 5):
        rows = [{**keys, "user_id": user, "events": n} for user in (None, "a", "b" if n > 1 else "c")]
        mart.append(pa.Table.from_pylist(rows, USER_DAYS.schema))
    done = {each.table: each for each in lake.keeper().compact()}[USER_DAYS.table]
    assert (done.files_before, done.rows, done.added_up) == (4, 4, 8)
    mart.refresh()
    assert {each["user_id"]: each["events"] for each in mart.scan().to_arrow().to_pylist()} == {
        None: 10,
        "a": 10,
        "b": 9,
        "c": 1,
    }


def test_sets_of_features_of_one_key_of_a_mart_are_united(lake: KeptLake) -> None:
    mart = make_mart(open_catalog(lake.settings), ACTIVE_DAYS, State(digest="", until=None))
    keys = {"account": "acme", "instance": "one", "user_id": "a", "day": date(2026, 10, 1)}
    for page, features in ((0, 0b001), (0, 0b101), (1, 0b010), (0, 0b001), (1, -(2**63))):
        rows = [{**keys, "page": page, "features": features, "events": 1}]
        mart.append(pa.Table.from_pylist(rows, ACTIVE_DAYS.schema))
    done = {each.table: each for each in lake.keeper().compact()}[ACTIVE_DAYS.table]
    assert (done.rows, done.added_up) == (2, 3)
    mart.refresh()
    found = {each["page"]: (each["features"], each["events"]) for each in mart.scan().to_arrow().to_pylist()}
    assert found == {0: (0b101, 3), 1: (0b010 - 2**63, 2)}


def test_what_is_appended_to_a_mart_lies_in_groups_of_rows_that_are_as_small_as_it_asks(lake: KeptLake) -> None:
    mart = make_mart(open_catalog(lake.settings), USER_DAYS, State(digest="", until=None))
    rows = pa.table({"day": pa.array([date(2026, 10, 1)] * 65_537), "name": ["Searched"] * 65_537})
    commit(mart, lambda transaction: transaction.append(rows))
    [file] = [task.file for task in mart.scan().plan_files()]
    assert pq.read_metadata(local_path(file.file_path)).num_row_groups == 2


LARGE = BooleanProperty(description="Whether it is.")
LINES = IntegerProperty(description="How many.", maximum=1_000)


def later_plan(version: int, **properties: Any) -> Plan:
    """The small plan with one more event."""
    events = {**SMALL_PLAN.events, "Opened": definition("search", properties=properties)}
    return msgspec.structs.replace(SMALL_PLAN, version=version, events=events)


def test_files_of_three_versions_of_the_plan_become_one_and_older_events_have_nothing_of_the_newer_columns(
    lake: KeptLake,
) -> None:
    lake.append([row(1), row(2)])
    lake.widen(later_plan(2, large=LARGE))
    lake.append([row(3, large=True), row(4)])
    lake.keeper().compact()
    lake.widen(later_plan(3, large=LARGE, lines=LINES))
    lake.append([row(5, large=False, lines=7)])
    before = lake.rows()
    lake.keeper().compact()
    assert lake.rows() == before
    [file] = event_files(lake.settings)
    told = {each["sequence"]: (each["large"], each["lines"]) for each in pq.read_table(file).to_pylist()}
    assert told == {1: (None, None), 2: (None, None), 3: (True, None), 4: (None, None), 5: (False, 7)}
    assert pq.read_schema(file).field("lines").metadata[b"PARQUET:field_id"], "engines find columns by their ids"
    lake.later = timedelta(days=1)
    lake.keeper().expire()
    assert lake.rows() == before
    assert stored(lake) == {file}


def test_a_lake_of_an_earlier_version_loses_its_ids_of_sessions_and_nothing_else(lake: KeptLake) -> None:
    with lake.table.update_schema() as update:
        update.add_column("session_id", StringType())
    lake.table.refresh()
    lake.append([row(1, session_id=random_id(1_001)), row(2)])
    assert "session_id" in pq.read_schema(event_files(lake.settings)[0]).names
    lake.widen(SMALL_PLAN)  # as every loader does when it begins
    lake.append([row(3), row(4)])
    before = lake.rows()
    assert count_events(lake.settings) == {"one": {"SearchSubmitted": 4}}
    assert lake.keeper().compact()[0].rows == 4
    assert lake.rows() == before
    [file] = event_files(lake.settings)
    assert set(pq.read_schema(file).names) == set(event_schema(SMALL_PLAN).names)


def test_a_snapshot_stays_until_it_has_been_replaced_for_as_long_as_a_question_may_take(lake: KeptLake) -> None:
    fill(lake)
    lake.later = timedelta(days=30)
    fresh = lake.keeper().expire()
    assert fresh[0].snapshots == 4, "the newest was replaced by none, however old it is"
    reading = set(event_files(lake.settings))
    lake.later = timedelta()
    lake.keeper().compact()
    assert lake.keeper().expire()[0].files == 0
    assert reading <= stored(lake), "what was the newest a moment ago may be read right now"
    lake.later = timedelta(seconds=lake.settings.keep_snapshots_seconds + 5)
    [foreseen] = lake.keeper(dry_run=True).expire()
    [done] = lake.keeper().expire()
    assert foreseen == done
    assert done.snapshots == 1
    assert stored(lake) == set(event_files(lake.settings))


def test_it_counts_when_a_snapshot_was_replaced_and_not_when_it_was_made(lake: KeptLake) -> None:
    ages = {1: (None, 10_000), 2: (1, 9_000), 3: (2, 1)}
    now = lake.now()
    snapshots = [
        SimpleNamespace(
            snapshot_id=number, parent_snapshot_id=parent, timestamp_ms=int((now.timestamp() - age) * 1_000)
        )
        for number, (parent, age) in ages.items()
    ]
    table: Any = SimpleNamespace(
        metadata=SimpleNamespace(snapshots=snapshots, refs={"main": SimpleNamespace(snapshot_id=3)})
    )
    assert outdated_snapshots(table, lake.settings, now) == {1}, "the second was the newest a second ago"


def test_an_orphan_goes_once_it_is_old_enough_that_nobody_can_be_about_to_commit_it(lake: KeptLake) -> None:
    fill(lake)
    orphan = Path(event_files(lake.settings)[0]).with_name("orphan.parquet")
    orphan.write_bytes(b"a commit that never came")
    assert lake.keeper().clean()[0].files == 0
    lake.later = timedelta(seconds=lake.settings.orphan_seconds + 5)
    before = lake.rows()
    assert lake.keeper(dry_run=True).clean()[0].files == 1
    assert orphan.exists()
    assert lake.keeper().clean()[0].files == 1
    assert not orphan.exists()
    assert lake.rows() == before


def test_rows_of_days_before_the_bound_go_from_each_class_and_how_many_events_that_were_stays_known(
    tmp_path: Path,
) -> None:
    lake = KeptLake(tmp_path, retain_events_days=30, retain_marts_days=60)
    today = lake.now().date()
    old, new = (today - BEGIN.date()).days - 40, (today - BEGIN.date()).days - 2
    lake.append([row(1, day=old), row(2, day=old)])
    lake.append([row(3, day=old), row(4, day=new)])
    lake.append([row(5, day=new)])
    schema = pa.schema([("instance", pa.string()), ("day", pa.date32())])
    days = open_catalog(lake.settings).create_table(f"{NAMESPACE}.some_days", schema)
    days.append(
        pa.Table.from_pylist([{"instance": "one", "day": today - timedelta(days=n)} for n in (40, 59, 61, 70)], schema)
    )
    [foreseen, _] = lake.keeper(dry_run=True).retain()
    [events, marts] = lake.keeper().retain()
    assert (foreseen.rows, events.rows, marts.rows) == (3, 3, 2)
    assert count_events(lake.settings) == {"one": {"SearchSubmitted": 2}}
    assert count_retired(lake.settings) == {"one": {"SearchSubmitted": 3}}
    assert read_raw_from(lake.newest()) == today - timedelta(days=30), "marts of earlier days cannot be made anew"
    days.refresh()
    assert len(days.scan().to_arrow()) == 2
    assert not [name for name in lake.newest().properties if name.startswith("heliograph.retired.")]
    lake.later = timedelta(seconds=lake.settings.keep_snapshots_seconds + 5)
    lake.keeper().expire()
    assert stored(lake) >= set(event_files(lake.settings))
    assert not [file for file in stored(lake) if "/events/" in file and file not in event_files(lake.settings)]


@pytest.mark.parametrize("step", ["replace_files", "settle", "commit"])
def test_retention_that_is_killed_at_any_step_counts_each_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lake = KeptLake(tmp_path, retain_events_days=1)
    lake.append([row(1), row(2)])
    lake.append([row(3)])

    class KilledError(BaseException):
        """Stands for the end of the process."""

    for after in (False, True):
        really = getattr(retention_module, step)

        def die(*arguments: Any, really: Any = really, after: bool = after, **named: Any) -> None:
            if after:
                really(*arguments, **named)
            raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(retention_module, step, die)
            patch.setattr("heliograph.lake.maintenance.upkeep.settle", retention_module.settle)
            with pytest.raises(KilledError):
                lake.keeper().retain()
        here = sum(count_events(lake.settings).get("one", {}).values())
        assert here + sum(count_retired(lake.settings).get("one", {}).values()) == 3
    lake.keeper().retain()
    assert count_events(lake.settings) == {}
    assert count_retired(lake.settings) == {"one": {"SearchSubmitted": 3}}


def test_what_was_rewritten_meanwhile_by_somebody_else_does_not_come_back(
    lake: KeptLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    really = layout_module.write_file

    def write_file(*arguments: Any) -> Any:
        new = really(*arguments)
        lake.newest().delete("sequence = 3")  # an erasure commits while the new file is not committed yet
        return new

    monkeypatch.setattr(embedded_module, "write_file", write_file)
    [done] = lake.keeper().compact()
    assert done.overtaken == 1
    assert sum(lake.rows().values()) == 19
    assert not [file for file in stored(lake) if "-kept" in file], "what must not come in is not left lying about"
    monkeypatch.undo()
    lake.keeper().compact()
    assert sum(lake.rows().values()) == 19
    assert len(event_files(lake.settings)) == 1


def test_what_the_loader_commits_meanwhile_stays_and_compaction_commits_beside_it(
    lake: KeptLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    really = layout_module.write_file

    def write_file(*arguments: Any) -> Any:
        new = really(*arguments)
        lake.append([row(1_000)])
        return new

    monkeypatch.setattr(embedded_module, "write_file", write_file)
    [done] = lake.keeper().compact()
    assert (done.files_before, done.overtaken) == (5, 0)
    assert sum(lake.rows().values()) == 21
    assert len(event_files(lake.settings)) == 2


def test_a_file_that_does_not_hold_what_was_written_is_noticed_before_it_replaces_others(
    lake: KeptLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    before, files = lake.rows(), event_files(lake.settings)
    really = pq.ParquetWriter.write_table
    monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda self, rows, **more: really(self, rows.slice(1), **more))
    with pytest.raises(LayoutError, match="does not hold what was written"):
        lake.keeper().compact()
    assert event_files(lake.settings) == files
    assert lake.rows() == before


def test_a_commit_that_others_overtake_is_made_anew_and_one_whose_ground_has_moved_is_not(
    lake: KeptLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = lake.newest(), lake.newest()
    commit(first, lambda it: it.set_properties({"place": "1"}), relying_on={"place": None})
    with pytest.raises(CommitConflictError, match="somebody else has changed place"):
        commit(second, lambda it: it.set_properties({"place": "2"}), relying_on={"place": None}, wait=lambda _: None)
    third = lake.newest()
    lake.append([row(1)])

    def change(transaction: Transaction) -> None:
        transaction.append(pa.Table.from_pylist([row(2)], third.schema().as_arrow()))
        transaction.set_properties({"a": "b"})

    commit(third, change, relying_on={"place": "1"}, wait=lambda _: None)
    assert sum(lake.rows().values()) == 2
    assert lake.newest().properties["place"] == "1"
    monkeypatch.setattr(
        "pyiceberg.catalog.sql.SqlCatalog.commit_table",
        lambda *_: (_ for _ in ()).throw(CommitFailedException("others came first")),
    )
    monkeypatch.setattr(commits, "_ATTEMPTS", 2)
    with pytest.raises(CommitConflictError, match="others committed to it first"):
        commit(lake.newest(), lambda it: it.set_properties({"place": "3"}), wait=lambda _: None)


def test_maintenance_waits_for_an_erasure_and_an_erasure_for_the_piece_of_work_before_it(lake: KeptLake) -> None:
    fill(lake)
    exclusion = Exclusion(lake.settings, wait=lambda _: None)
    with exclusion.erasing(), pytest.raises(BusyError, match="somebody else is at work"):
        lake.keeper().compact()
    with exclusion.rewriting():
        with pytest.raises(BusyError), exclusion.erasing(seconds=1):
            pass
        with pytest.raises(BusyError), exclusion.rewriting(seconds=1):
            pass
    with exclusion.erasing():
        pass
    assert lake.keeper().compact()[0].files_before == 5


def test_an_erasure_does_not_begin_to_delete_while_maintenance_is_writing_a_file(tmp_path: Path) -> None:
    with Lake(tmp_path) as vendor:
        vendor.send(INSTANCE, 1, 3)
        vendor.load()
        vendor.order()
        with Exclusion(vendor.settings.lake).rewriting():
            # The log needs some time of its own; for maintenance it would wait for minutes.
            [problem] = vendor.carry_out(wait=lambda seconds: time.sleep(0.01) if seconds > 0.06 else None)
            assert "somebody else is at work" in problem
            assert count_events(vendor.settings.lake) == {INSTANCE: {"SearchSubmitted": 3}}
        assert vendor.carry_out() == []
        assert count_events(vendor.settings.lake) == {}


def test_an_erasure_and_the_loaders_of_other_logs_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "_SECONDS", 0.0)
    with Lake(tmp_path) as vendor:
        vendor.send(INSTANCE, 1, 3)
        loader = vendor.loader(log="east")
        with Exclusion(vendor.settings.lake).erasing(), pytest.raises(BusyError):
            loader.load_round()  # what it writes would be taken for a remain before it is committed
        while loader.load_round():
            pass
        loader.close()
        assert count_events(vendor.settings.lake) == {INSTANCE: {"SearchSubmitted": 3}}


def test_a_loader_that_others_overtake_each_time_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lake(tmp_path) as vendor:
        vendor.send(INSTANCE, 1, 3)
        loader, stop, really = vendor.loader(commit_seconds=0.001), threading.Event(), Loader.load_round
        rounds = iter([CommitConflictError("others came first")])

        def load_round(self: Loader) -> int:
            if (error := next(rounds, None)) is not None:
                raise error
            stop.set()
            return really(self)

        monkeypatch.setattr(Loader, "load_round", load_round)
        loader.run(stop)
        loader.close()
        assert "the lake was busy" in capsys.readouterr().out
        assert count_events(vendor.settings.lake) == {INSTANCE: {"SearchSubmitted": 3}}


def test_the_inventory_tells_files_bytes_and_what_maintenance_would_do(lake: KeptLake) -> None:
    fill(lake)
    [found] = take_inventory(lake.settings, lake.now())
    assert (found.rows, found.files, found.to_compact, found.snapshots, found.outdated) == (20, 5, 5, 5, 0)
    assert found.bytes == sum(Path(file).stat().st_size for file in event_files(lake.settings))
    assert found.stored_files > 5
    assert inventory_table([found]).row_count == 1
    assert json.loads(msgspec.json.encode(found))["bytes_per_row"] == round(found.bytes / 20, 2)


def test_upkeep_leaves_one_file_one_snapshot_and_no_orphans_once_time_has_passed(lake: KeptLake) -> None:
    fill(lake)
    before = lake.rows()
    lake.keeper().upkeep()
    lake.later = timedelta(days=2)
    lake.keeper().upkeep()
    [found] = take_inventory(lake.settings, lake.now())
    assert (found.files, found.snapshots, found.to_compact) == (1, 1, 0)
    assert lake.rows() == before
    names = sorted(path.name for path in Path(lake.settings.warehouse).rglob("events/**/*") if path.is_file())
    assert len([name for name in names if not name.endswith(".metadata.json")]) <= 4, names


def test_a_lake_that_is_not_there_needs_nothing_and_is_not_made(tmp_path: Path) -> None:
    made = KeptLake(tmp_path / "other")
    made.settings = msgspec.structs.replace(
        made.settings, warehouse=str(tmp_path / "none"), catalog=f"sqlite:///{tmp_path}/none/catalog.db"
    )
    assert made.keeper().upkeep().compacted == []
    assert not (tmp_path / "none" / "catalog.db").exists()
