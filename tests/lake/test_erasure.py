"""Erasure: what an order covers is gone from every byte that the vendor holds, and nothing else is."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erasing import OTHER, OTHERS_USER, Lake, read_rows, send
from harness import ACCOUNT, INSTANCE, USER
from heliograph.gateway.log import Log
from heliograph.gateway.log_reading import RELEASED, segment_path, segments
from heliograph.lake import erasure, rewriting
from heliograph.lake.erasure import Eraser
from heliograph.lake.proving import FOLDER
from heliograph.lake.report import count_erased, count_events
from heliograph.lake.tables import EVENTS, NAMESPACE, event_files, open_catalog
from heliograph.registry.erasures import pending, read_erasures

if TYPE_CHECKING:
    from collections.abc import Iterator

ANOTHER_USER = "00112233445566778899aabbccddeeff"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake(tmp_path) as made:
        yield made


def test_what_an_account_sent_since_a_date_is_erased_and_nothing_else(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.clock.advance(days=1)
    since = lake.clock()
    lake.send(INSTANCE, 6, 9)
    lake.send(OTHER, 1, 4)
    lake.load()
    before = read_rows(lake)
    lake.order(since=since)
    assert lake.carry_out() == []
    covered = [row for row in before if row["instance"] == INSTANCE and row["sequence"] > 5]
    assert len(covered) == 4
    assert read_rows(lake) == [row for row in before if row not in covered]
    assert count_erased(lake.settings) == {INSTANCE: {"SearchSubmitted": 4}}
    assert lake.proof().rows == {INSTANCE: {"SearchSubmitted": 4}}
    assert lake.proof().tables == {EVENTS: 4}
    lake.closes()


def test_of_one_instance_what_it_sent_is_erased_and_of_the_accounts_others_nothing(lake: Lake) -> None:
    lake.add_instance("acme-2", ACCOUNT)
    lake.send(INSTANCE, 1, 5)
    lake.send("acme-2", 1, 5, user=OTHERS_USER)
    lake.order(instance="acme-2")
    assert lake.carry_out() == []
    assert {row["instance"] for row in read_rows(lake)} == {INSTANCE}
    assert lake.places_of(OTHERS_USER) == []
    lake.closes()


def test_no_byte_of_a_user_is_left_in_any_file_of_the_vendor(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 50)
    lake.send(INSTANCE, 51, 60, user=ANOTHER_USER)
    lake.load()
    lake.send(INSTANCE, 61, 70)  # in the log alone
    before = read_rows(lake)
    lake.order(instance=INSTANCE, user_id=USER)
    held = {Path(place).suffix for place in lake.places_of(USER)}
    assert held >= {".log", ".parquet", ".db-wal"}
    assert any(place.endswith(".avro") for place in lake.places_of(USER[:15]))
    assert lake.carry_out() == []
    assert lake.places_of(USER) == []
    assert lake.places_of(USER[:15]) == []
    assert lake.places_of(ANOTHER_USER) != []
    assert read_rows(lake) == [row for row in before if row["user_id"] == ANOTHER_USER]
    assert lake.proof().rows == {INSTANCE: {"SearchSubmitted": 60}}
    assert all(each.user_id is None for each in pending(lake.registry))
    lake.closes()


def test_rows_without_a_user_and_users_of_other_instances_stay(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 3)
    lake.send(OTHER, 1, 3, user=USER)
    with lake.vendor.running(now=lake.clock), lake.http() as http:
        send(http, 4, 6, user=None)
    lake.order(instance=INSTANCE, user_id=USER)
    assert lake.carry_out() == []
    assert {(row["instance"], row["user_id"]) for row in read_rows(lake)} == {(INSTANCE, None), (OTHER, USER)}
    lake.closes()


def test_several_orders_are_carried_out_in_one_pass_and_a_row_counts_for_the_first_that_covers_it(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 10)
    lake.send(INSTANCE, 11, 15, user=ANOTHER_USER)
    lake.send(OTHER, 1, 5)
    lake.order(instance=INSTANCE, user_id=USER)
    lake.order(account=ACCOUNT)
    lake.order(account="other")
    assert lake.carry_out() == []
    proofs = [each.proof for each in read_erasures(lake.registry)]
    assert [sum(proof.tables.values()) for proof in proofs if proof] == [10, 5, 5]
    assert len({proof.digest for proof in proofs if proof}) == 1
    assert read_rows(lake) == []
    lake.closes()


def test_what_arrives_after_the_orders_last_moment_stays(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    made = lake.order().order
    lake.clock.moment = made.until
    lake.send(INSTANCE, 6, 10)  # accepted on what the gateway knew before
    assert lake.carry_out_now() == []
    assert len(lake.pending()) == 1
    lake.clock.advance(microseconds=1)
    lake.send(INSTANCE, 11, 15)
    assert lake.carry_out() == []
    assert [row["sequence"] for row in read_rows(lake)] == [11, 12, 13, 14, 15]
    lake.closes()


def test_what_was_erased_does_not_come_back_with_another_delivery_of_the_same_numbers(lake: Lake) -> None:
    for epoch in (1, 2):  # an order knows what the one before has erased
        lake.send(INSTANCE, 1, 5, epoch=epoch)
        lake.order()
        assert lake.carry_out() == []
    for generation in segments(lake.log):
        segment_path(lake.log, generation).unlink()
    (lake.log / RELEASED).unlink()
    lake.clock.advance(days=1)
    for epoch in (1, 2):
        lake.send(INSTANCE, 1, 5, epoch=epoch)  # the log was lost, and a sender begins anew
    lake.load()
    assert read_rows(lake) == []


def test_files_that_nothing_refers_to_are_deleted_and_those_of_the_newest_snapshot_stay(lake: Lake) -> None:
    for first in range(1, 50, 10):
        lake.send(INSTANCE, first, first + 9)
        lake.send(OTHER, first, first + 9)
        lake.load()
    folder = Path(event_files(lake.settings.lake)[0]).parents[1]
    (folder / "left-by-a-crash.parquet").write_bytes(b"PAR1 and no more")
    lake.order()
    assert lake.carry_out() == []
    table = open_catalog(lake.settings.lake).load_table(EVENTS)
    assert len(table.snapshots()) == 1
    on_disk = {str(path) for path in lake.folder.rglob("events/**/*.parquet")}
    assert on_disk == set(event_files(lake.settings.lake))
    assert not (folder / "left-by-a-crash.parquet").exists()
    assert lake.proof().files_removed > 5
    assert len(read_rows(lake)) == 50


def test_a_tag_that_keeps_an_older_snapshot_is_no_way_to_keep_what_was_erased(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.load()
    table = open_catalog(lake.settings.lake).load_table(EVENTS)
    newest = table.current_snapshot()
    assert newest is not None
    table.manage_snapshots().create_tag(newest.snapshot_id, "kept").create_branch(newest.snapshot_id, "aside").commit()
    lake.order(instance=INSTANCE, user_id=USER)
    assert lake.carry_out() == []
    assert lake.places_of(USER) == []


def test_a_matching_row_in_a_file_that_nothing_deletes_keeps_the_order_pending(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.send(OTHER, 1, 5)
    lake.load()
    elsewhere = lake.folder / "lake" / "copy of somebody" / "rows.parquet"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(Path(event_files(lake.settings.lake)[0]).read_bytes())
    lake.order()
    lake.order(instance=INSTANCE, user_id=USER)
    problems = lake.carry_out()
    assert len(problems) == 2
    assert all(f"{elsewhere}: " in problem and USER not in problem for problem in problems)
    assert "5 rows" in problems[0]
    assert [each.problem for each in pending(lake.registry)] == problems
    lake.closes()
    elsewhere.unlink()
    assert lake.carry_out() == []
    assert [each.proof is not None for each in read_erasures(lake.registry)] == [True, True]
    lake.closes()


def test_a_word_that_no_row_of_a_file_uses_any_more_keeps_the_order_pending(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.load()
    words = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int32()), pa.array([USER, ANOTHER_USER]))
    elsewhere = lake.folder / "lake" / "rows.parquet"
    pq.write_table(pa.table({"instance": [INSTANCE, INSTANCE], "user_id": words}), elsewhere, compression="zstd")
    assert pq.read_table(elsewhere).column("user_id").to_pylist() == [ANOTHER_USER, ANOTHER_USER]
    assert USER.encode() not in elsewhere.read_bytes()
    lake.order(instance=INSTANCE, user_id=USER)
    [problem] = lake.carry_out()
    assert f"{elsewhere}: the user's random id in a column's dictionary" in problem
    assert USER not in problem
    elsewhere.unlink()
    assert lake.carry_out() == []


@pytest.mark.parametrize(
    ("name", "content"), [("rows.parquet", b"PAR1 torn"), ("m0.avro", b"Obj\x01 torn"), ("notes.txt", USER.encode())]
)
def test_a_file_that_cannot_be_read_or_names_the_user_keeps_the_order_pending(
    lake: Lake, name: str, content: bytes
) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.load()
    (lake.folder / "lake" / name).write_bytes(content)
    lake.order(instance=INSTANCE, user_id=USER)
    assert [name in problem for problem in lake.carry_out()] == [True]


def _recycle(lake: Lake) -> None:
    """Have segments used again, so that old bytes lie behind their ends."""
    sent = 0
    for _ in range(3):
        with lake.vendor.running(now=lake.clock), lake.http() as http:
            for _ in range(30):
                send(http, sent + 1, sent + 20)
                sent += 20
        lake.load()


def test_old_bytes_behind_the_end_of_a_recycled_segment_are_found_when_nothing_scrubs_and_are_gone_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lake(tmp_path, segment_bytes=16 << 10) as lake:
        _recycle(lake)
        lake.order(instance=INSTANCE, user_id=USER)
        begin = Log._begin_segment

        def begin_in_a_used_file(self: Any, need: int) -> None:
            self._scrub_generation = lambda: -1
            begin(self, need)
            del self._scrub_generation

        with monkeypatch.context() as patch:
            patch.setattr(Log, "_begin_segment", begin_in_a_used_file)
            patch.setattr(erasure, "_SCRUBS", 1)
            problems = lake.carry_out()
        assert "the log still holds some of it" in problems[0]
        assert "no delivery of this segment" in problems[0]
        assert lake.carry_out() == []
        assert lake.places_of(USER) == []
        lake.closes()


def test_who_goes_on_sending_a_user_keeps_that_order_alone_waiting(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.order(instance=INSTANCE, user_id=ANOTHER_USER)
    lake.order(instance=INSTANCE, user_id=USER)
    real = Eraser._scrub
    sent = [5]

    def scrub_and_receive(self: Eraser, newest: int) -> None:
        real(self, newest)
        lake.send(INSTANCE, sent[-1] + 1, sent[-1] + 1, user=ANOTHER_USER)
        sent.append(sent[-1] + 1)

    with monkeypatch.context() as patch:
        patch.setattr(Eraser, "_scrub", scrub_and_receive)
        patch.setattr(erasure, "_SCRUBS", 2)
        (problem,) = lake.carry_out()
    assert problem.startswith("erasure-1: it is not all gone: the log still holds some of it, ")
    assert [each.proof is not None for each in read_erasures(lake.registry)] == [False, True]
    assert lake.carry_out() == []
    lake.closes()


def test_what_several_attempts_erase_is_added_up(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise rewriting.ErasureError("no")

    lake.send(INSTANCE, 1, 5)
    lake.order(instance=INSTANCE, user_id=USER)
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "forget_past", fail)
        assert lake.carry_out() == ["no"]
    assert count_erased(lake.settings) == {INSTANCE: {"SearchSubmitted": 5}}
    lake.closes()
    lake.send(INSTANCE, 6, 8)
    assert lake.carry_out() == []
    assert lake.proof().tables == {EVENTS: 8}
    lake.closes()


def test_others_who_write_meanwhile_make_it_count_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.load()
    lake.order()
    real = rewriting.find_matches
    rows = pq.read_table(event_files(lake.settings.lake)[0])

    def find_and_be_overtaken(table: Any, *how: Any) -> Any:
        found = real(table, *how)
        if found.files and not overtaken:
            overtaken.append(True)
            open_catalog(lake.settings.lake).load_table(EVENTS).append(rows.slice(0, 1))
        return found

    overtaken: list[bool] = []
    monkeypatch.setattr(rewriting, "find_matches", find_and_be_overtaken)
    assert lake.carry_out() == []
    assert overtaken
    assert read_rows(lake) == []
    assert lake.proof().tables == {EVENTS: 6}


def test_a_table_that_is_always_overtaken_keeps_the_order_pending(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.load()
    lake.order()

    monkeypatch.setattr(rewriting, "replace_files", lambda *_, **__: False)
    assert "Only the loader may write" in lake.carry_out()[0]
    assert len(read_rows(lake)) == 5


def _mart(lake: Lake, name: str, rows: pa.Table) -> None:
    open_catalog(lake.settings.lake).create_table(f"{NAMESPACE}.{name}", rows.schema).append(rows)


def _mart_rows(lake: Lake, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        open_catalog(lake.settings.lake).load_table(f"{NAMESPACE}.{name}").scan().to_arrow().to_pylist()
    )
    return rows


def test_every_table_of_the_lake_loses_what_it_has_of_an_order(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)  # on 2026-10-01, and received now
    lake.load()
    days = [date(2026, 9, 30), date(2026, 10, 1), date(2026, 10, 2)]
    whose = [INSTANCE, INSTANCE, OTHER]
    accounts = [ACCOUNT, ACCOUNT, "other"]
    users = [USER, ANOTHER_USER, USER]
    moments = [lake.clock().replace(tzinfo=None) - timedelta(days=9), *[lake.clock().replace(tzinfo=None)] * 2]
    _mart(lake, "people", pa.table({"instance": whose, "user_id": users, "day": days}))
    _mart(lake, "arrivals", pa.table({"account": accounts, "received": pa.array(moments, pa.timestamp("us"))}))
    _mart(lake, "totals", pa.table({"account": accounts, "n": [1, 2, 3]}))
    _mart(lake, "calendar", pa.table({"day": days}))

    lake.order(instance=INSTANCE, user_id=USER)
    assert lake.carry_out() == []
    assert [row["user_id"] for row in _mart_rows(lake, "people")] == [ANOTHER_USER, USER]
    assert lake.proof().tables == {EVENTS: 5, f"{NAMESPACE}.people": 1}
    assert len(_mart_rows(lake, "arrivals")) == len(_mart_rows(lake, "totals")) == 3

    lake.send(INSTANCE, 6, 8)
    _mart(lake, "more_days", pa.table({"instance": whose, "day": days}))
    lake.order(since=lake.clock() - timedelta(days=3))
    assert lake.carry_out() == []
    assert [row["day"] for row in _mart_rows(lake, "more_days")] == [days[0], days[2]]
    assert len(_mart_rows(lake, "arrivals")) == 2
    assert [row["account"] for row in _mart_rows(lake, "totals")] == ["other"]
    assert len(_mart_rows(lake, "calendar")) == 3


def test_a_proof_names_every_file_that_was_looked_through(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.send(OTHER, 1, 5)
    lake.load()
    lake.order()
    assert lake.carry_out() == []
    proof = lake.proof()
    listing = lake.folder / "lake" / FOLDER / f"{proof.digest}.sha256"
    assert hashlib.sha256(listing.read_bytes()).hexdigest() == proof.digest
    lines = listing.read_text().splitlines()
    assert len(lines) == proof.files_scanned
    assert all(any(file in line for line in lines) for file in event_files(lake.settings.lake))
    data = [line for line in lines if line.endswith(".parquet")]
    checked = subprocess.run(
        ["sha256sum", "--check"], input="\n".join(data), text=True, capture_output=True, check=True
    )
    assert checked.stdout.count(": OK") == len(data) == 8  # events, deliveries, and six marts


def test_destinations_are_told_before_it_is_proved(lake: Lake) -> None:
    told = []

    class Elsewhere:
        def erase(self, order: Any, user_id: str | None) -> None:
            told.append((order.id, user_id, len(lake.pending())))
            if len(told) == 1:
                raise rewriting.ErasureError("elsewhere: it does not answer")

    lake.send(INSTANCE, 1, 5)
    lake.order(instance=INSTANCE, user_id=USER)
    assert lake.carry_out(destinations=[Elsewhere()]) == ["elsewhere: it does not answer"]
    assert lake.carry_out(destinations=[Elsewhere()]) == []
    assert told == [("erasure-1", USER, 1)] * 2


def test_an_order_before_anything_was_ever_stored_is_proved(lake: Lake) -> None:
    lake.order()
    assert lake.carry_out() == []
    assert lake.proof().tables == {}


def test_an_account_without_instances_has_nothing_to_erase(lake: Lake) -> None:
    lake.send(INSTANCE, 1, 5)
    lake.load()
    _mart(lake, "days", pa.table({"instance": [INSTANCE], "day": [date(2026, 10, 1)]}))
    lake.registry.add_account("empty")
    lake.order(account="empty")
    assert lake.carry_out() == []
    assert len(read_rows(lake)) == 5
    assert len(_mart_rows(lake, "days")) == 1


def test_deliveries_and_a_following_loader_go_on_during_an_erasure_and_lose_and_double_nothing(lake: Lake) -> None:
    stop = threading.Event()
    sent = {INSTANCE: 0, OTHER: 0}

    def deliver_on(instance: str) -> None:
        with lake.http(instance) as http:
            while not stop.is_set():
                send(http, sent[instance] + 1, sent[instance] + 20, user=USER if instance == INSTANCE else OTHERS_USER)
                sent[instance] += 20

    def wait_for(condition: Any) -> None:
        while not condition():
            assert all(thread.is_alive() for thread in threads)
            time.sleep(0.01)

    loader = lake.loader(commit_seconds=0.05)
    eraser = lake.eraser(loader, wait=stop.wait)
    threads = [
        threading.Thread(target=loader.run, args=(stop, eraser.round)),
        *(threading.Thread(target=deliver_on, args=(name,)) for name in sent),
    ]
    with lake.vendor.running(now=lake.clock):
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: min(sent.values()) > 200 and len(count_events(lake.settings.lake)) == 2)
            made = lake.order().order
            lake.clock.advance(seconds=5)
            reached = dict(sent)
            wait_for(lambda: all(sent[name] > reached[name] + 40 for name in sent))
            lake.clock.advance(minutes=1)
            wait_for(lambda: lake.proof() is not None)
            reached = dict(sent)
            wait_for(lambda: all(sent[name] > reached[name] + 40 for name in sent))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    loader.close()
    lake.load()
    lake.closes()
    rows = read_rows(lake)
    until = made.until.replace(tzinfo=None)
    assert all(row["received"] > until for row in rows if row["instance"] == INSTANCE)
    kept = [row["sequence"] for row in rows if row["instance"] == INSTANCE]
    assert kept == list(range(lake.proof().rows[INSTANCE]["SearchSubmitted"] + 1, sent[INSTANCE] + 1))
    assert [row["sequence"] for row in rows if row["instance"] == OTHER] == list(range(1, sent[OTHER] + 1))


def test_the_loader_looks_about_once_a_second_and_waits_after_a_failure(lake: Lake) -> None:
    moment = [0.0]
    loader = lake.loader()
    eraser = lake.eraser(loader, monotonic=lambda: moment[0])
    (lake.folder / "lake" / "torn.parquet").write_bytes(b"torn")
    eraser.round()
    lake.order()
    lake.clock.advance(minutes=1)
    eraser.round()
    assert lake.pending()[0].problem is None
    moment[0] = 1.0
    eraser.round()
    assert lake.pending()[0].problem
    (lake.folder / "lake" / "torn.parquet").unlink()
    moment[0] = 60.0
    eraser.round()
    assert lake.pending()
    moment[0] = 62.0
    eraser.round()
    assert not lake.pending()
    loader.close()


def test_times_have_a_zone_in_the_record(lake: Lake) -> None:
    made = lake.order(since=datetime(2026, 1, 1, tzinfo=UTC)).order
    assert read_erasures(lake.registry)[0].order == made
