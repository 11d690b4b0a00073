"""The loader: what the gateway accepted is in the lake once, whatever happened to the loader or the log."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import INSTANCE, SMALL_PLAN, USER, Vendor, as_arrow, as_lines, definition, deliver, event, zstd
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import segments
from heliograph.gateway.plans import PlanInForce
from heliograph.lake import loader as loader_module
from heliograph.lake.loader import Loader
from heliograph.lake.loader_locks import LoaderRunningError
from heliograph.lake.report import count_events, count_repeated
from heliograph.lake.tables import ColumnTypeError, event_files, event_schema, open_catalog
from heliograph.plan.model import BooleanProperty, IntegerProperty, MemberProperty, NumberProperty, Plan
from heliograph.wire import ARROW, NDJSON, Receipt
from updating import changed, followed, write_plan

if TYPE_CHECKING:
    from heliograph.settings import Settings


def load_all(loader: Loader) -> int:
    total = 0
    while rows := loader.load_round():
        total += rows
    loader.close()
    return total


def new_loader(vendor: Vendor, plan: Plan | None = None, **lake: Any) -> Loader:
    section = msgspec.structs.replace(vendor.settings.lake, **lake)
    return Loader(vendor.settings.gateway, section, plan or vendor.plan)


def rows(settings: Settings, query: str = "select * from events order by epoch, sequence") -> list[dict[str, Any]]:
    files = event_files(settings.lake)
    with duckdb.connect() as connection:
        reading = f"read_parquet({files!r}, union_by_name = true, hive_partitioning = false)"
        connection.execute(f"create view events as select * from {reading}")
        table: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return table


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


def test_a_stored_row_holds_the_event_and_what_allowed_it(vendor: Vendor) -> None:
    sent = event(1, session_id=USER, outcome="ok", version="5.3.1", source="web", pattern_type="regexp", duration_ms=41)
    with vendor.running(), vendor.http() as http:
        for epoch, (content_type, encode) in enumerate(((ARROW, as_arrow), (NDJSON, as_lines)), 1):
            deliver(http, zstd(encode([sent])), epoch=epoch, numbers=(1, 1), content_type=content_type)
    assert load_all(new_loader(vendor)) == 2
    first, second = rows(vendor.settings)
    assert first | {"epoch": 2, "received": None} == second | {"received": None}
    received = first.pop("received")
    assert abs(datetime.now(UTC).replace(tzinfo=None) - received).total_seconds() < 60
    assert first == {
        "instance": INSTANCE,
        "account": "acme",
        "epoch": 1,
        "sequence": 1,
        "name": "SearchSubmitted",
        "time": datetime(2026, 10, 1, 12),  # noqa: DTZ001 - the lake keeps UTC without a zone
        "user_id": USER,
        "outcome": "ok",
        "version": "5.3.1",
        "source": "web",
        "actor": None,
        "agreement": vendor.agreement,
        "plan": "small@1",
        "pattern_type": "regexp",
        "duration_ms": 41,
        "share": None,
        "exact": None,
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Vendor(tmp_path_factory.mktemp("vendor")).running() as vendor, vendor.http() as http:
        yield vendor, http, iter(range(1, 1_000_000))


times = st.datetimes(datetime(1970, 1, 1), datetime(2026, 11, 1)).map(lambda t: t.isoformat() + "Z")  # noqa: DTZ001
offsets = st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 1)).map(lambda t: t.isoformat() + "+05:30")  # noqa: DTZ001
events = st.fixed_dictionaries(
    {"name": st.just("SearchSubmitted"), "time": times | offsets},
    optional={
        "user_id": st.just(USER),
        "duration_ms": st.integers(0, 600_000),
        "share": st.floats(0, 1) | st.integers(0, 1),
        "exact": st.booleans(),
        "pattern_type": st.sampled_from(["literal", "regexp"]),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(events, min_size=1, max_size=5), min_size=1, max_size=3))
def test_both_formats_end_as_the_same_rows_with_nothing_changed(
    running: Any, batches: list[list[dict[str, Any]]]
) -> None:
    vendor, http, epochs = running
    used = []
    for content_type, encode in ((ARROW, as_arrow), (NDJSON, as_lines)):
        epoch = next(epochs)
        used.append(epoch)
        sequence = 0
        for batch in batches:
            numbered = [{**event(sequence + n), "user_id": None, **each} for n, each in enumerate(batch, 1)]
            numbered = [{k: v for k, v in each.items() if v is not None} for each in numbered]
            numbers = (sequence + 1, sequence + len(batch))
            assert (
                deliver(
                    http, zstd(encode(numbered)), epoch=epoch, numbers=numbers, content_type=content_type
                ).status_code
                == 200
            )
            sequence += len(batch)
    load_all(new_loader(vendor))
    found = [
        rows(vendor.settings, f"select * exclude (epoch, received) from events where epoch = {epoch} order by sequence")
        for epoch in used
    ]
    assert found[0] == found[1]
    flat = [each for batch in batches for each in batch]
    for row, each in zip(found[0], flat, strict=True):
        moment = datetime.fromisoformat(each["time"]).astimezone(UTC).replace(tzinfo=None)
        assert row["time"] == moment
        for key in ("user_id", "duration_ms", "share", "exact", "pattern_type"):
            assert row[key] == each.get(key)


def test_a_loader_killed_before_or_after_its_commit_loads_each_event_once(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with vendor.running(), vendor.http() as http:
        for n in range(1, 31):
            deliver(http, zstd(as_lines([event(n)])), numbers=(n, n), content_type=NDJSON)
    load_all(new_loader(vendor, commit_rows=7))  # a first part, and then deaths at every step of what follows
    with vendor.running(), vendor.http() as http:
        for n in range(31, 61):
            deliver(http, zstd(as_lines([event(n)])), numbers=(n, n), content_type=NDJSON)
    for step in ("gathered", "sync_snapshot", "write_atomically"):
        with monkeypatch.context() as patch:
            loader = new_loader(vendor, commit_rows=7)
            patch.setattr(loader_module, step, die)
            with pytest.raises(Killed):
                loader.load_round()
            loader.close()
    load_all(new_loader(vendor, commit_rows=7))
    assert [row["sequence"] for row in rows(vendor.settings)] == list(range(1, 61))
    assert count_repeated(vendor.settings.lake) == 0


@pytest.mark.parametrize("step", ["gathered", "sync_snapshot", "write_atomically"])
def test_a_loader_that_goes_on_after_an_error_loads_each_event_once(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "no")

    with vendor.running(), vendor.http() as http:
        for n in range(1, 21):
            deliver(http, zstd(as_lines([event(n)])), numbers=(n, n), content_type=NDJSON)
    loader = new_loader(vendor, commit_rows=7)
    with monkeypatch.context() as patch:
        patch.setattr(loader_module, step, fail)
        with pytest.raises(OSError, match="no"):
            loader.load_round()
    load_all(loader)
    assert [row["sequence"] for row in rows(vendor.settings)] == list(range(1, 21))


def test_a_second_loader_at_the_same_log_or_the_same_lake_does_not_start(vendor: Vendor, tmp_path: Path) -> None:
    first = new_loader(vendor)
    elsewhere = msgspec.structs.replace(vendor.settings.gateway, log=str(tmp_path / "other-log"))
    for gateway, lake in (
        (vendor.settings.gateway, {"warehouse": str(tmp_path / "other"), "catalog": "sqlite://"}),
        (elsewhere, {}),
    ):
        with pytest.raises(LoaderRunningError, match="another loader"):
            Loader(gateway, msgspec.structs.replace(vendor.settings.lake, **lake), vendor.plan)
    first.close()
    new_loader(vendor).close()


def _receipt(first: int, last: int) -> Receipt:
    return Receipt(
        instance=INSTANCE,
        epoch=1,
        first=first,
        last=last,
        accepted={"SearchSubmitted": last - first + 1},
        rejected={},
        absent={},
        digest="",
        agreement="agreement-1",
        received=0,
    )


def test_what_the_log_holds_twice_or_overlapping_is_in_the_lake_once(vendor: Vendor) -> None:
    gateway = vendor.settings.gateway
    log = Log(Path(gateway.log), segment_bytes=gateway.segment_bytes, maximum_bytes=gateway.maximum_log_bytes)
    for first, last in ((1, 3), (1, 3), (2, 5), (6, 6)):
        body = as_lines([event(n) for n in range(first, last + 1)])
        entry = Entry(
            receipt=_receipt(first, last), account="acme", plan="small@1", content_type=NDJSON, content_encoding=""
        )
        asyncio.run(log.append(entry, body))
    log.close()
    load_all(new_loader(vendor))
    assert [row["sequence"] for row in rows(vendor.settings)] == [1, 2, 3, 4, 5, 6]
    assert count_repeated(vendor.settings.lake) == 0


def test_only_segments_that_are_in_the_lake_are_used_again(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path, segment_bytes=8_192)
    folder = Path(vendor.settings.gateway.log)
    with vendor.running(), vendor.http() as http:
        sent = 0
        for _ in range(4):
            for _ in range(40):
                sent += 1
                assert deliver(
                    http, zstd(as_lines([event(sent)])), numbers=(sent, sent), content_type=NDJSON
                ).is_success
            before = len(segments(folder))
            load_all(new_loader(vendor))
        assert before < 12  # they did not pile up
    load_all(new_loader(vendor))
    assert [row["sequence"] for row in rows(vendor.settings)] == list(range(1, sent + 1))
    assert count_events(vendor.settings.lake) == {INSTANCE: {"SearchSubmitted": sent}}


@pytest.mark.parametrize("left", [0, 1])
def test_a_log_that_was_lost_or_put_back_from_an_old_copy_goes_on_into_the_lake(left: int, tmp_path: Path) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)
    start = datetime.now(UTC)

    def send(epoch: int, hours: int) -> None:
        with vendor.running(now=lambda: start + timedelta(hours=hours)), vendor.http() as http:
            for number in range(1, 30):
                line = as_lines([event(number)])
                response = deliver(http, line, epoch=epoch, numbers=(number, number), content_type=NDJSON, encoding="")
                assert response.status_code == 200

    send(epoch=1, hours=0)
    log = tmp_path / "log"
    assert len(segments(log)) > 3
    load_all(new_loader(vendor))
    for path in sorted(log.iterdir())[left:]:
        path.unlink()
    send(epoch=2, hours=1)
    load_all(new_loader(vendor))
    send(epoch=3, hours=2)
    load_all(new_loader(vendor))
    assert count_events(vendor.settings.lake) == {INSTANCE: {"SearchSubmitted": 3 * 29}}
    assert count_repeated(vendor.settings.lake) == 0


def test_a_plan_that_grows_widens_the_lake_and_keeps_what_is_there(vendor: Vendor) -> None:
    with vendor.running(), vendor.http() as http:
        deliver(http, zstd(as_lines([event(1, duration_ms=1)])), numbers=(1, 1), content_type=NDJSON)
    load_all(new_loader(vendor))
    depth = IntegerProperty(description="How deep.", maximum=9)
    wider = msgspec.structs.replace(
        SMALL_PLAN, version=2, events={**SMALL_PLAN.events, "Dived": definition("pages", properties={"depth": depth})}
    )
    vendor.plan = wider
    with vendor.running(), vendor.http() as http:
        body = zstd(as_lines([event(2, "Dived", depth=4)]))
        assert deliver(http, body, numbers=(2, 2), content_type=NDJSON).status_code == 200
    load_all(new_loader(vendor))
    assert [(row["plan"], row["duration_ms"], row["depth"]) for row in rows(vendor.settings)] == [
        ("small@1", 1, None),
        ("small@2", None, 4),
    ]
    assert {
        field.name for field in open_catalog(vendor.settings.lake).load_table("heliograph.events").schema().fields
    } == {*event_schema(wider).names}


def test_an_empty_log_and_no_lake_at_all_are_no_errors(vendor: Vendor) -> None:
    assert count_events(vendor.settings.lake) == {}
    assert count_repeated(vendor.settings.lake) == 0
    assert load_all(new_loader(vendor)) == 0
    assert count_events(vendor.settings.lake) == {}


def test_who_only_looks_makes_no_catalog_that_the_loader_would_find_half_made(vendor: Vendor) -> None:
    lake = Path(vendor.settings.lake.warehouse)
    assert event_files(vendor.settings.lake) == []
    assert not lake.exists()
    lake.mkdir()
    assert event_files(vendor.settings.lake) == []
    with closing(sqlite3.connect(lake / "catalog.db")) as catalog:
        assert catalog.execute("select count(*) from sqlite_master").fetchone() == (0,)
    new_loader(vendor)
    assert event_files(vendor.settings.lake) == []


LINES = definition("pages", properties={"lines": IntegerProperty(description="L.", maximum=9)})
WORDS = definition(
    "pages",
    properties={
        "word": MemberProperty(description="W.", members=("one", "2026-10-01")),
        "part": NumberProperty(description="P.", maximum=9.0),
        "whole": BooleanProperty(description="B."),
    },
)


@pytest.mark.parametrize("content_type", [ARROW, NDJSON])
def test_plans_that_follow_each_other_in_one_segment_load_whatever_the_loader_knows(
    vendor: Vendor, tmp_path: Path, content_type: str
) -> None:
    plans = [SMALL_PLAN, changed(PageViewed=LINES), changed(PageViewed=WORDS)]
    values: list[dict[str, Any]] = [{}, {"lines": 3}, {"word": "2026-10-01", "part": 1.0, "whole": True}]
    for number, (plan, fields) in enumerate(zip(plans, values, strict=True), 1):
        sent = [event(number, "PageViewed", **fields)]
        body = zstd(as_arrow(sent, plan) if content_type == ARROW else as_lines(sent))
        with vendor.running(plan=PlanInForce(plan)), vendor.http() as http:
            answer = deliver(http, body, numbers=(number, number), content_type=content_type).json()
        assert answer["receipt"]["accepted"] == {"PageViewed": 1}
    # Its file has the second of them when it starts, and never the third.
    file = tmp_path / "plan.yaml"
    write_plan(file, SMALL_PLAN)
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, followed(file))
    write_plan(file, plans[1])
    assert load_all(loader) == 3
    found = rows(vendor.settings)
    assert [row["lines"] for row in found] == [None, 3, None]
    assert [(row["word"], row["part"], row["whole"]) for row in found] == [(None, None, None)] * 2 + [
        ("2026-10-01", 1.0, True)
    ]


def test_a_plan_that_would_give_a_column_another_type_is_refused_and_a_mended_one_loads_on(
    vendor: Vendor, tmp_path: Path
) -> None:
    load_all(new_loader(vendor))
    retyped = definition("pages", properties={"share": MemberProperty(description="S.", members=("half",))})
    others = changed(without=("SearchSubmitted",), PageViewed=retyped)
    with pytest.raises(ColumnTypeError, match=r"share \(double, and now string\).*another name"):
        new_loader(vendor, others)
    file = tmp_path / "plan.yaml"
    write_plan(file, SMALL_PLAN)
    with closing(Loader(vendor.settings.gateway, vendor.settings.lake, followed(file))) as loader:
        write_plan(file, others)
        with vendor.running(), vendor.http() as http:
            deliver(http, zstd(as_lines([event(1, share=0.5)])), numbers=(1, 1), content_type=NDJSON)
        assert loader.load_round() == 1, "the plan that cannot be used changes nothing"
        write_plan(file, changed(PageViewed=LINES))
        loader.load_round()
        assert "lines" in loader._schema.names
    assert [row["share"] for row in rows(vendor.settings)] == [0.5]


def test_each_file_of_a_commit_is_on_disk_before_the_catalog_names_it(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vendor.running(), vendor.http() as http:
        deliver(http, zstd(as_lines([event(1)])), numbers=(1, 1), content_type=NDJSON)
    synced: set[int] = set()
    really = os.fsync

    def fsync(descriptor: int) -> None:
        really(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(loader_module, "sync_snapshot", lambda _: None)  # what is done after the commit comes too late
        load_all(new_loader(vendor))
    written = [path for path in Path(vendor.settings.lake.warehouse).rglob("*") if path.suffix != ".db"]
    files = [path for path in written if path.is_file() and path.name != "loader.lock"]
    assert {path.suffix for path in files} == {".avro", ".json", ".parquet"}
    assert all(path.stat().st_ino in synced for path in files)
    assert all(path.parent.stat().st_ino in synced for path in files)
