"""Pings in the lake: every number once, in long form, however the loader died between its two tables."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness import INSTANCE, Vendor, as_lines, deliver, event
from heliograph.cli import app
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import PingEntry
from heliograph.gateway.log_reading import RELEASED, segments
from heliograph.lake import loader as loader_module
from heliograph.lake.durability import sync_snapshot
from heliograph.lake.loader import Loader
from heliograph.lake.pings import PingTable
from heliograph.lake.places import read_place
from heliograph.lake.report import count_events, count_pings, count_repeated
from heliograph.lake.tables import PING_SCHEMA, ping_files
from heliograph.wire import NDJSON, PingReceipt
from pinging import DAY, make_ping, ping_fields, tell

if TYPE_CHECKING:
    import httpx


class Killed(BaseException):
    """The loader is gone."""


def new_loader(vendor: Vendor, **lake: Any) -> Loader:
    return Loader(vendor.settings.gateway, msgspec.structs.replace(vendor.settings.lake, **lake), vendor.plan)


def load_rest(loader: Loader) -> int:
    total = 0
    while rows := loader.load_round():
        total += rows
    return total


def load_all(vendor: Vendor, **lake: Any) -> int:
    loader = new_loader(vendor, **lake)
    total = load_rest(loader)
    loader.close()
    return total


def rows(vendor: Vendor, query: str = "from pings order by all") -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute(f"create view pings as from read_parquet({ping_files(vendor.settings.lake)!r})")
        table: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return table


def days(vendor: Vendor) -> list[date]:
    """The days of all rows that tell of the month's users: one for each ping."""
    return [row["day"] for row in rows(vendor, "from pings where key = 'month' order by day")]


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


class Sender:
    """Sends events and pings in turn, each of which says which one it is."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.events = self.pings = 0

    def send(self, kinds: str) -> None:
        for kind in kinds:
            if kind == "e":
                self.events += 1
                numbers = (self.events, self.events)
                sent = deliver(
                    self._http, as_lines([event(self.events)]), numbers=numbers, content_type=NDJSON, encoding=""
                )
            else:
                sent = tell(self._http, ping_fields(DAY + timedelta(days=self.pings)))
                self.pings += 1
            assert sent.status_code == 200, sent.text


def assert_all_is_there_once(vendor: Vendor, sender: Sender) -> None:
    assert days(vendor) == [DAY + timedelta(days=number) for number in range(sender.pings)]
    assert count_pings(vendor.settings.lake) == ({INSTANCE: sender.pings} if sender.pings else {})
    assert len(rows(vendor)) == 7 * sender.pings
    assert count_events(vendor.settings.lake) == (
        {INSTANCE: {"SearchSubmitted": sender.events}} if sender.events else {}
    )
    assert count_repeated(vendor.settings.lake) == 0


def test_a_ping_is_stored_number_by_number_with_what_allowed_it(vendor: Vendor) -> None:
    with vendor.running(), vendor.http() as http:
        assert tell(http, ping_fields()).status_code == 200
    assert load_all(vendor) == 7
    found = rows(vendor)
    assert list(found[0]) == PING_SCHEMA.names
    for row in found:
        received = row.pop("received")
        assert abs(datetime.now(UTC).replace(tzinfo=None) - received) < timedelta(minutes=1)
        constants = {name: row.pop(name) for name in ("instance", "account", "day", "plan", "agent", "agreement")}
        assert constants == {
            "instance": INSTANCE,
            "account": "acme",
            "day": DAY,
            "plan": "small@1",
            "agent": "0.1.0",
            "agreement": vendor.agreement,
        }
    assert [tuple(row.values()) for row in found] == [
        ("active_users", "day", 12, None, False),
        ("active_users", "month", 31, None, False),
        ("active_users", "week", 30, None, False),
        ("feature_events", "pages", None, None, True),
        ("feature_events", "search", 240, None, False),
        ("feature_users", "pages", None, None, True),
        ("feature_users", "search", 11, None, False),
    ]


def append(vendor: Vendor, *entries: tuple[date, dict[str, Any]]) -> None:
    """Put pings into the log, as a gateway that has accepted them does."""
    gateway = vendor.settings.gateway
    log = Log(Path(gateway.log), segment_bytes=gateway.segment_bytes, maximum_bytes=gateway.maximum_log_bytes)
    for day, fields in entries:
        receipt = PingReceipt(instance=INSTANCE, day=day, digest="", agreement=None, received=0)
        body = msgspec.json.encode(make_ping(day, **fields))
        asyncio.run(log.append(PingEntry(receipt=receipt, account="acme"), body))
    log.close()


def test_facts_of_every_type_have_their_columns(vendor: Vendor) -> None:
    largest = 2**53 - 1
    facts = {"version": "5.3.1", "managed": True, "air_gapped": False, "seats": largest, "hosts": {"a": 2, "b": 0}}
    append(vendor, (DAY, {"facts": facts}))
    load_all(vendor)
    query = "select key, value, word, suppressed, agreement from pings where measure = 'fact' order by key"
    assert [tuple(row.values()) for row in rows(vendor, query)] == [
        ("air_gapped", None, "false", False, None),
        ("hosts.a", 2, None, False, None),
        ("hosts.b", 0, None, False, None),
        ("managed", None, "true", False, None),
        ("seats", largest, None, False, None),
        ("version", None, "5.3.1", False, None),
    ]


def test_a_ping_that_the_log_holds_twice_is_in_the_lake_once(vendor: Vendor) -> None:
    append(vendor, (DAY, {}), (DAY, {}), (DAY + timedelta(days=1), {}))
    load_all(vendor)
    append(vendor, (DAY + timedelta(days=1), {}), (DAY + timedelta(days=2), {}))
    load_all(vendor)
    assert days(vendor) == [DAY + timedelta(days=number) for number in range(3)]


KILL_POINTS = (
    "before the pings are committed",
    "while the pings are committed",
    "between the two commits",
    "before the events are synced",
    "before the release",
)


def kill_at(point: str, patch: pytest.MonkeyPatch) -> None:
    """Let the next round die at `point`."""

    def die(*_: Any) -> None:
        raise Killed

    def die_at_second_call(function: Any) -> Any:
        calls = itertools.count()

        def called(*arguments: Any) -> Any:
            if next(calls):
                raise Killed
            return function(*arguments)

        return called

    if point == KILL_POINTS[0]:
        patch.setattr(PingTable, "commit", die)
    elif point == KILL_POINTS[1]:
        patch.setattr("heliograph.lake.pings.place_property", die)  # rows are written, and not yet committed
    elif point == KILL_POINTS[2]:
        patch.setattr(loader_module, "place_property", die)
    elif point == KILL_POINTS[3]:
        patch.setattr(loader_module, "sync_snapshot", die_at_second_call(sync_snapshot))
    else:
        patch.setattr(loader_module, "write_atomically", die)


@pytest.mark.parametrize("commit_rows", [1, 1_000])
@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_loader_killed_at_any_point_between_its_tables_loads_everything_once(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, point: str, commit_rows: int
) -> None:
    with vendor.running(), vendor.http() as http:
        sender = Sender(http)
        sender.send("ep")
        load_all(vendor)
        sender.send("epepe")
        loader = new_loader(vendor, commit_rows=commit_rows)
        with monkeypatch.context() as patch:
            kill_at(point, patch)
            with pytest.raises(Killed):
                load_rest(loader)
        loader.close()
        sender.send("ppe")
        load_all(vendor, commit_rows=2)
        assert_all_is_there_once(vendor, sender)


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_loader_that_goes_on_after_an_error_between_its_tables_loads_everything_once(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with vendor.running(), vendor.http() as http:
        sender = Sender(http)
        sender.send("pep")
        loader = new_loader(vendor)
        with monkeypatch.context() as patch:
            kill_at(point, patch)
            with pytest.raises(Killed):
                load_rest(loader)
        sender.send("ep")
        load_rest(loader)
        loader.close()
        assert_all_is_there_once(vendor, sender)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(
        st.tuples(st.text("ep", max_size=6), st.sampled_from([None, *KILL_POINTS]), st.sampled_from([1, 3, 8, 1_000])),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_comes_and_wherever_the_loader_dies_each_row_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, str | None, int]]
) -> None:
    vendor = Vendor(tmp_path_factory.mktemp("vendor"), segment_bytes=4_096)
    with vendor.running(), vendor.http() as http:
        sender = Sender(http)
        for kinds, point, commit_rows in history:
            sender.send(kinds)
            loader = new_loader(vendor, commit_rows=commit_rows)
            with pytest.MonkeyPatch.context() as patch:
                if point is not None:
                    kill_at(point, patch)
                with suppress(Killed):
                    load_rest(loader)
            loader.close()
        load_all(vendor)
        if sender.pings:
            assert_all_is_there_once(vendor, sender)


def test_a_segment_is_released_only_when_both_tables_have_passed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)
    with vendor.running(), vendor.http() as http:
        sender = Sender(http)
        sender.send("pe" * 15)
        assert len(segments(tmp_path / "log")) > 3
        for point in KILL_POINTS[:3]:
            loader = new_loader(vendor)
            with monkeypatch.context() as patch:
                kill_at(point, patch)
                with pytest.raises(Killed):
                    load_rest(loader)
            loader.close()
            assert (tmp_path / "log" / RELEASED).read_text() == "0"
        loader = new_loader(vendor)
        assert loader.load_round() == 15
        assert int((tmp_path / "log" / RELEASED).read_text()) == segments(tmp_path / "log")[-1]
        assert read_place(loader._pings.table) >= loader._place
        loader.close()
        sender.send("pe" * 30)
        load_all(vendor)
        assert_all_is_there_once(vendor, sender)


def test_a_log_without_pings_makes_no_commit_of_their_table(vendor: Vendor) -> None:
    with vendor.running(), vendor.http() as http:
        sender = Sender(http)
        load_all(vendor)
        sender.send("ee")
        loader = new_loader(vendor)
        before = loader._pings.table.metadata_location
        assert loader.load_round() == 2
        loader._pings.table.refresh()
        assert loader._pings.table.metadata_location == before
        loader.close()


def test_the_files_of_pings_are_forced_to_disk_before_the_events_are_committed(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(loader_module, "sync_snapshot", lambda table: synced.append(table.name()[-1]))
    with vendor.running(), vendor.http() as http:
        Sender(http).send("pe")
    load_all(vendor)
    assert synced == ["deliveries", "pings", "events"]


def test_the_command_line_tells_of_pings_at_both_places(vendor: Vendor, tmp_path: Path) -> None:
    config = tmp_path / "vendor.toml"
    config.write_text(
        f'[gateway]\nlog = "{vendor.settings.gateway.log}"\n'
        f'[lake]\nwarehouse = "{vendor.settings.lake.warehouse}"\ncatalog = "{vendor.settings.lake.catalog}"\n'
    )
    with vendor.running(), vendor.http() as http:
        Sender(http).send("epp")
    load_all(vendor)

    def shown(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["--config", str(config), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    counted = msgspec.json.decode(shown("lake", "status", "--json"))
    [log] = counted.pop("logs")
    assert (log["log"], log["accepted"], log["waiting"]) == ("", {INSTANCE: {"SearchSubmitted": 1}}, 0)
    assert counted == {
        "events": {INSTANCE: {"SearchSubmitted": 1}},
        "pings": {INSTANCE: 2},
        "erased": {},
        "retired": {},
        "differences": [],
        "explained": [],
    }
    [line] = [line for line in shown("lake", "status").splitlines() if INSTANCE in line]
    assert line.replace("│", " ").split() == [INSTANCE, "1", "1", "0", "2"]
    latest = (DAY + timedelta(days=1)).isoformat()
    assert f"the latest ping is of {latest}" in shown("gateway", "account")
    assert msgspec.json.decode(shown("gateway", "account", "--json"))[INSTANCE]["ping"]["day"] == latest


def test_no_pings_and_no_lake_at_all_are_no_errors(vendor: Vendor) -> None:
    assert count_pings(vendor.settings.lake) == {}
    assert load_all(vendor) == 0
    assert count_pings(vendor.settings.lake) == {}
