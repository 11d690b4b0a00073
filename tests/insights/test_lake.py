from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet

from heliograph.insights.questions import QUESTIONS
from heliograph.insights.resolve import latest_day
from heliograph.insights.tables import defined_tables
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.tables import open_events
from heliograph.lake.transactions import begin
from heliograph.settings import LakeSettings
from opened import events_table

if TYPE_CHECKING:
    from pathlib import Path

    from asking import MakeScope, MakeTable
    from heliograph.plan.model import Plan


def test_files_from_before_a_property_was_declared_are_read_with_nulls(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table([{"user": "ann", "at": "2026-01-01T09:00", "pattern_type": "regexp", "duration_ms": 7}])
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    parquet.write_table(table.drop_columns(["duration_ms"]), old)
    parquet.write_table(table, new)
    both = events_table([str(old), str(new)], table.schema).to_pyarrow()
    assert both.schema.names == table.schema.names
    assert sorted(both["duration_ms"].to_pylist(), key=str) == [7, None]
    only_old = events_table([str(old)], table.schema).to_pyarrow()
    assert only_old["duration_ms"].to_pylist() == [None]
    assert only_old.schema.field("duration_ms").type == pa.int64()


def test_folders_named_as_partitions_add_no_columns(make_table: MakeTable, tmp_path: Path) -> None:
    table = make_table([{"user": "ann", "at": "2026-01-01T09:00"}])
    folder = tmp_path / "instance=other" / "month=2026-01"
    folder.mkdir(parents=True)
    parquet.write_table(table, folder / "events.parquet")
    read = events_table([str(folder / "events.parquet")], table.schema).to_pyarrow()
    assert read.schema.names == table.schema.names
    assert read["instance"].to_pylist() == ["one"]


def test_an_empty_lake_is_an_empty_table_that_every_question_answers(
    plan: Plan, make_table: MakeTable, make_scope: MakeScope
) -> None:
    events = events_table([], make_table([]).schema)
    tables = defined_tables(events, plan)
    assert latest_day(tables.instance_days) is None
    for question in QUESTIONS:
        particular = {"user": "0" * 32, "month": "2026-10"} if question.verb == "searches" else {}
        answer = question.answer(tables, plan, make_scope("2026-10-31"), **particular)
        assert answer.table.num_rows == 0
        assert answer.notes


def test_files_of_events_are_read_by_their_first_times_and_their_rows_are_counted(
    plan: Plan, make_table: MakeTable, tmp_path: Path
) -> None:
    settings = LakeSettings(warehouse=str(tmp_path), catalog=f"sqlite:///{tmp_path}/catalog.db")
    table = open_events(settings, plan)
    days = ("2026-03-02", "2026-01-05", "2026-01-31", "2026-02-03")
    for day in days:
        with begin(table) as transaction:
            transaction.append(
                make_table([{"user": "ann", "at": f"{day}T09:00"}, {"user": "bob", "at": f"{day}T10:00"}])
            )
    events = read_lake(settings, plan)["events"]
    firsts = [parquet.read_table(file)["time"][0].as_py().date().isoformat() for file in events.files]
    assert firsts == sorted(days)
    assert events.rows == 2 * len(days)
