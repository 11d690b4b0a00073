from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from harness import INSTANCE, SMALL_PLAN, Vendor, as_lines, deliver, event, zstd
from heliograph.engines import EmbeddedEngine
from heliograph.event import UNDECLARED, Verdict
from heliograph.insights.tables import defined_tables, kept_tables
from heliograph.lake.loader import Loader
from heliograph.lake.loader_locks import LoaderRunningError
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.report import count_repeated
from heliograph.lake.storage import connect
from heliograph.lake.tables import event_files
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARTS = ("user_days", "user_feature_days", "session_parts", "instance_days")


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


def test_a_second_loader_of_the_same_log_does_not_start(gateways: Gateways) -> None:
    loader = gateways.loader(0)
    with pytest.raises(LoaderRunningError, match="another loader is at work"):
        gateways.loader(0)
    loader.close()
