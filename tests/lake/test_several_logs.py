from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from harness import ACCOUNT, INSTANCE, SMALL_PLAN, USER, Vendor, as_lines, deliver, event, zstd
from heliograph.cli import app
from heliograph.engines import EmbeddedEngine
from heliograph.event import UNDECLARED, Verdict
from heliograph.insights.tables import defined_tables, kept_tables
from heliograph.lake import report
from heliograph.lake.differences import LakeDifferences
from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from heliograph.lake.loader_locks import LoaderRunningError
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.report import compare, count_erased, count_events, count_repeated, find_differences
from heliograph.lake.standing import read_standings, total
from heliograph.lake.storage import connect
from heliograph.lake.tables import (
    DELIVERIES,
    DELIVERY_SCHEMA,
    NAMESPACE,
    are_deliveries,
    delivery_files,
    event_files,
    find_catalog,
    open_catalog,
)
from heliograph.registry.erasures import order
from heliograph.settings import LakeSettings
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.demo.postgres import PostgresCluster

MARTS = ("user_days", "user_feature_days", "active_days", "session_parts", "session_spans", "instance_days")

NONE = LakeDifferences(None)
"""Nothing that a loader has found, and nothing that was said."""


class Gateways:
    """Two gateways, each with its log, which one lake is filled from."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.vendors = []
        for log in "ab":
            (folder / log).mkdir()
            vendor = Vendor(folder / log)
            lake = replace(
                vendor.settings.lake,
                log=log,
                warehouse=str(folder / "lake"),
                catalog=f"sqlite:///{folder / 'lake' / 'catalog.db'}",
                erasure_grace_seconds=0.001,
            )
            vendor.settings = replace(vendor.settings, lake=lake)
            stack.enter_context(vendor.running())
            self.vendors.append(vendor)
        self.lake = self.vendors[0].settings.lake
        self._clients = [stack.enter_context(vendor.http()) for vendor in self.vendors]

    def send(self, gateway: int, first: int, last: int, *, lost: int = 0) -> None:
        """Deliver a range, of which so many first numbers are told to be lost."""
        events = [event(number) for number in range(first + lost, last + 1)]
        absent = {UNDECLARED: {Verdict.LOST.value: lost}} if lost else None
        body = zstd(as_lines(events))
        answer = deliver(self._clients[gateway], body, numbers=(first, last), content_type=NDJSON, absent=absent)
        assert answer.status_code == 200, answer.text

    def loader(self, gateway: int) -> Loader:
        settings = self.vendors[gateway].settings
        return Loader(settings.gateway, settings.lake, SMALL_PLAN)

    def load(self, gateway: int) -> None:
        loader = self.loader(gateway)
        loader.load_round()
        loader.close()

    def erase(self, gateway: int, user: str) -> None:
        """Have all that arrived of a user so far erased."""
        vendor = self.vendors[gateway]
        later = datetime.now(UTC) + timedelta(minutes=1)
        with closing(vendor.registry()) as registry:
            whose: dict[str, Any] = {"account": ACCOUNT, "instance": INSTANCE, "user_id": user, "since": None}
            order(registry, **whose, reason="asked", recorded_by="support", now=datetime.now(UTC))
            loader = self.loader(gateway)
            eraser = Eraser(loader, vendor.settings, registry, now=lambda: later)
            assert eraser.carry_out(eraser.due()) == []
            loader.close()

    def config(self, gateway: int) -> str:
        """The path of a settings file."""
        settings = self.vendors[gateway].settings
        file = Path(settings.gateway.log).parent / "vendor.toml"
        lake = {name: getattr(settings.lake, name) for name in ("warehouse", "catalog", "log")}
        file.write_text(
            f'[gateway]\nlog = "{settings.gateway.log}"\n[registry]\nurl = "{settings.registry.url}"\n[lake]\n'
            + "".join(f'{name} = "{value}"\n' for name, value in lake.items())
        )
        return str(file)

    def numbers(self) -> list[int]:
        """What the lake holds of the instance, in order."""
        with connect(self.lake) as connection:
            query = "select sequence from read_parquet($files) where instance = $instance order by all"
            given: dict[str, Any] = {"files": event_files(self.lake), "instance": INSTANCE}
            return [number for (number,) in connection.execute(query, given).fetchall()]


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Gateways]:
    with ExitStack() as stack:
        yield Gateways(tmp_path, stack)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_two_logs_hold_of_one_epoch_is_in_the_lake_once_in_whatever_order_they_are_loaded(
    gateways: Gateways, order: tuple[int, int]
) -> None:
    gateways.send(0, 1, 40)
    gateways.send(1, 1, 20)  # whose acknowledgement was lost: a load balancer took the repetition elsewhere
    gateways.send(1, 21, 60)
    gateways.send(1, 61, 70)
    for gateway in order:
        loader = gateways.loader(gateway)
        loader.load_round()
        assert loader.account.differences == []
        loader.close()
    assert gateways.numbers() == list(range(1, 71))
    assert count_repeated(gateways.lake) == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_an_epoch_that_is_spread_over_two_gateways_nothing_is_left_out(
    gateways: Gateways, order: tuple[int, int]
) -> None:
    gateways.send(0, 1, 30)
    gateways.send(1, 1, 50, lost=30)  # the other gateway knows nothing of these, and the instance has them no more
    gateways.send(0, 31, 60, lost=20)
    for gateway in order:
        loader = gateways.loader(gateway)
        loader.load_round()
        loader.close()
    assert gateways.numbers() == list(range(1, 61))


def test_the_account_of_all_logs_closes_by_name_wherever_it_is_asked(gateways: Gateways) -> None:
    settings = gateways.vendors[0].settings
    gateways.send(0, 1, 40)
    gateways.send(1, 1, 20)  # which the other has, too
    gateways.send(1, 21, 60)
    gateways.load(0)
    [known] = read_standings(settings)
    assert (known.log, known.total(), known.waiting) == ("a", 40, 0)
    assert known.latest is not None
    gateways.load(1)
    gateways.send(1, 61, 65)
    for vendor in gateways.vendors:
        logs = read_standings(vendor.settings)
        assert [(each.log, each.total(), total(each.elsewhere)) for each in logs] == [("a", 40, 0), ("b", 60, 40)]
        assert find_differences(compare(logs, count_events(gateways.lake), {}), NONE) == []
    other = {"b": Path(gateways.vendors[1].settings.gateway.log)}
    assert [each.waiting for each in read_standings(settings)] == [0, None]
    assert [each.waiting for each in read_standings(settings, other)] == [0, 5]
    planted = {INSTANCE: {"SearchSubmitted": 59}}
    for folders in ({}, other):
        [line] = find_differences(compare(read_standings(settings, folders), planted, {}), NONE)
        assert line == f"{INSTANCE}: SearchSubmitted: 60 accepted, 59 in the lake, 0 erased"


def test_status_tells_each_log_and_all_of_them_and_fails_where_an_event_is_missing(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateways.send(0, 1, 40)
    gateways.send(1, 1, 60)
    for gateway in (0, 1):
        gateways.load(gateway)
    gateways.send(1, 61, 65)
    config = gateways.config(0)

    def told(*more: str, status: int = 0) -> list[list[str]]:
        result = CliRunner().invoke(app, ["--config", config, "lake", "status", *more])
        assert result.exit_code == status, result.output
        return [line.replace("│", " ").split() for line in result.stdout.splitlines()]

    lines = told()
    [of_a, of_b, of_all] = [line for line in lines if line[:1] in (["a"], ["b"], ["all"])]
    assert (of_a[2:5], of_b[2:5], of_all) == (["40", "0", "0"], ["60", "40", "?"], ["all", "100", "40", "?"])
    assert [line for line in lines if line[:2] == [INSTANCE, "60"]]
    of_all = told("--log", f"b={gateways.vendors[1].settings.gateway.log}")[-2]
    assert of_all == ["all", "100", "40", "5"]
    result = CliRunner().invoke(app, ["--config", config, "lake", "status", "--log", "b"])
    assert (result.exit_code, "NAME=FOLDER" in result.output) == (2, True)
    monkeypatch.setattr(report, "count_events", lambda _: {INSTANCE: {"SearchSubmitted": 59}})
    told(status=1)


def test_a_table_of_deliveries_from_before_logs_had_names_is_widened_and_goes_on(gateways: Gateways) -> None:
    catalog = open_catalog(gateways.lake, make=True)
    catalog.create_namespace_if_not_exists(NAMESPACE)
    before = pa.schema(list(DELIVERY_SCHEMA)[:14])
    table = catalog.create_table(DELIVERIES, before)
    table.append(pa.Table.from_pylist([{"instance": "old-1", "epoch": 1, "first": 1, "last": 2}], before))
    [old] = delivery_files(gateways.lake)
    gateways.send(0, 1, 40)
    gateways.load(0)
    [new] = {*delivery_files(gateways.lake)} - {old}
    assert [are_deliveries(pq.read_schema(file).names) for file in (old, new)] == [True, True]
    assert not are_deliveries(DELIVERY_SCHEMA.names[:13])
    assert not are_deliveries(DELIVERY_SCHEMA.names[1:])
    [standing] = read_standings(gateways.vendors[1].settings)[:1]
    assert (standing.log, standing.total()) == ("a", 40)


def test_what_was_erased_does_not_come_back_from_another_log_and_the_account_says_so(gateways: Gateways) -> None:
    gateways.send(0, 1, 40)
    gateways.load(0)
    gateways.erase(0, USER)
    assert event_files(gateways.lake) == []
    gateways.send(1, 1, 30)
    gateways.load(1)
    gateways.send(1, 31, 60)  # the last ones arrived after the order, and stay
    gateways.load(1)
    assert gateways.numbers() == list(range(41, 61))
    for vendor in gateways.vendors:
        erased = count_erased(gateways.vendors[0].settings)
        assert erased == {INSTANCE: {"SearchSubmitted": 40}}
        assert (
            find_differences(compare(read_standings(vendor.settings), count_events(gateways.lake), erased), NONE) == []
        )


def test_two_loaders_take_turns_and_marts_are_those_of_all_events(gateways: Gateways) -> None:
    loaders = [gateways.loader(number) for number in (0, 1)]
    sent = 0
    for number in range(3):
        for gateway, loader in enumerate(loaders):
            gateways.send(gateway, number * 10 + 1, number * 10 + 10)
            sent += loader.load_round()
    assert sent == 30, "the second to come has nothing new"
    assert gateways.numbers() == list(range(1, 31))
    with EmbeddedEngine() as engine:
        opened = engine.open(read_lake(gateways.lake, SMALL_PLAN))
        assert set(MARTS) <= set(opened)
        kept, defined = kept_tables(opened, SMALL_PLAN), defined_tables(opened["events"], SMALL_PLAN)
        for name in ("user_days", "user_feature_days", "instance_days"):
            counts = [getattr(tables, name).events.sum().to_pyarrow().as_py() for tables in (kept, defined)]
            assert counts[0] == counts[1], name
    for loader in loaders:
        loader.close()


def test_loaders_that_begin_in_the_same_moment_make_one_catalog(postgres: PostgresCluster, tmp_path: Path) -> None:
    barrier = Barrier(8)

    def begin(lake: LakeSettings) -> bool:
        barrier.wait()
        catalogs = open_catalog(lake, make=True), find_catalog(lake)
        for each in catalogs:
            if each is not None:
                each.engine.dispose()
        return None not in catalogs

    for number in range(4):
        name = f"catalog_{number}"
        with postgres.connect() as admin:
            admin.execute(f"create database {name}")
        where = conninfo_to_dict(postgres.dsn(name))
        url = f"postgresql+psycopg://{where['user']}@/{name}?host={quote(str(where['host']))}"
        lakes = [LakeSettings(warehouse=str(tmp_path), catalog=url, log=log) for log in "abcdefgh"]
        with ThreadPoolExecutor(len(lakes)) as pool:
            assert all(pool.map(begin, lakes))
    gc.collect()  # what nobody has closed fails this test, and not the next one


def test_a_second_loader_of_the_same_log_does_not_start(gateways: Gateways) -> None:
    loader = gateways.loader(0)
    with pytest.raises(LoaderRunningError, match="another loader is at work"):
        gateways.loader(0)
    loader.close()
