"""The loader's account: whatever it leaves out, or takes twice, is named with its range."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import INSTANCE, Vendor, as_arrow, deliver, event, zstd
from heliograph.difference import Difference, Differing
from heliograph.gateway.log_entries import Entry
from heliograph.lake import loader as loader_module
from heliograph.lake.delivery_rows import delivery_rows
from heliograph.lake.gathering import gathered
from heliograph.lake.loader import Loader
from heliograph.lake.metrics import LoaderMetric
from heliograph.lake.report import count_events, find_differences
from heliograph.lake.standing import read_standings
from heliograph.wire import ARROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    """A gateway that has taken three deliveries of one epoch: 1 to 3, 4 to 6, and 7 to 9."""
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        for first in (1, 4, 7):
            events = [event(number, duration_ms=number) for number in range(first, first + 3)]
            deliver(http, zstd(as_arrow(events)), epoch=5, numbers=(first, first + 2), content_type=ARROW)
    return vendor


def load(vendor: Vendor) -> list[tuple[str, Difference]]:
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, vendor.plan)
    while loader.load_round():
        pass
    loader.close()
    return loader.account.differences


def restart_gateway(vendor: Vendor) -> None:
    with vendor.running():  # a new segment begins, with the gateway's account at its head
        pass


def test_a_log_that_is_loaded_as_it_is_adds_up_over_restarts(vendor: Vendor) -> None:
    assert load(vendor) == []
    restart_gateway(vendor)
    assert load(vendor) == []


def test_rows_that_are_lost_on_the_way_are_named(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(events: pa.Table, entry: Entry, schema: pa.Schema) -> pa.Table:
        return delivery_rows(events.slice(1) if entry.receipt.first == 4 else events, entry, schema)

    monkeypatch.setattr(loader_module, "delivery_rows", planted)
    [(instance, difference)] = load(vendor)
    assert instance == INSTANCE
    assert difference == Difference(kind=Differing.STORED, epoch=5, first=4, last=6, names={"SearchSubmitted": 1})


def test_rows_that_are_doubled_in_a_commit_are_named(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "gathered", lambda tables, schema: gathered([*tables, tables[0]], schema))
    [(_, difference)] = load(vendor)
    assert (difference.kind, difference.epoch, difference.first, difference.last) == (Differing.STORED, 5, 1, 9)
    assert difference.names == {"SearchSubmitted": -3}


@pytest.mark.parametrize("left_out", [4, 7], ids=["in the middle", "at the end"])
def test_a_delivery_that_is_passed_over_is_named(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, left_out: int
) -> None:
    restart_gateway(vendor)
    entries = Loader._entries

    def planted(self: Loader) -> Iterator[Any]:
        for place, entry, body in entries(self):
            if not isinstance(entry, Entry) or entry.receipt.first != left_out:
                yield place, entry, body

    monkeypatch.setattr(Loader, "_entries", planted)
    differences = load(vendor)
    assert {each.kind for _, each in differences} == {Differing.SKIPPED}
    assert {(each.epoch, each.first, each.last) for _, each in differences} == {(5, left_out, left_out + 2)}


def test_the_lake_is_held_against_what_the_gateway_accepted(vendor: Vendor) -> None:
    load(vendor)
    settings = vendor.settings
    events = count_events(settings.lake)
    assert find_differences(read_standings(settings), events, {}) == []
    with vendor.running(), vendor.http() as http:  # not loaded yet: no difference
        deliver(http, zstd(as_arrow([event(10)])), epoch=5, numbers=(10, 10), content_type=ARROW)
    [log] = logs = read_standings(settings)
    assert (log.log, log.total(), log.waiting) == ("", 9, 1)
    assert find_differences(logs, events, {}) == []
    planted = {INSTANCE: {"SearchSubmitted": 7}}
    assert find_differences(logs, planted, {INSTANCE: {"SearchSubmitted": 1}}) == [
        f"{INSTANCE}: SearchSubmitted: 9 accepted, 7 in the lake, 1 erased"
    ]
    assert find_differences(logs, planted, {INSTANCE: {"SearchSubmitted": 2}}) == []


def test_the_loaders_metrics_are_in_a_file_and_tell_how_far_it_is(vendor: Vendor) -> None:
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, vendor.plan)
    stop = threading.Event()
    rounds: list[int] = []

    def between() -> None:
        rounds.append(len(rounds))
        loader.monitor._next = 0.0  # as if time had passed
        if len(rounds) == 3:
            stop.set()

    loader._settings = msgspec.structs.replace(vendor.settings.lake, commit_seconds=0.001)
    loader.run(stop, between)
    loader.close()
    text = (Path(vendor.settings.lake.warehouse) / "metrics.prom").read_text()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["heliograph_loader_events_total", "SearchSubmitted"] == 9
    assert found["heliograph_loader_commit_seconds_count",] == 1
    assert found["heliograph_loader_lag_seconds",] == 0
    assert found["heliograph_loader_waiting_segments",] == 1
    assert found["heliograph_loader_account_differences_total",] == 0
    assert {each.metric for each in LoaderMetric} <= {key[0].removesuffix("_count") for key in found} | {
        "heliograph_loader_ping_rows_total"
    }
