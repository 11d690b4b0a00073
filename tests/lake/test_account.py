"""The loader's account: whatever it leaves out, or takes twice, is named with its range."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from harness import INSTANCE, Vendor, as_arrow, deliver, event, zstd
from heliograph.cli import app
from heliograph.difference import Difference, Differing
from heliograph.gateway.log_entries import Entry
from heliograph.lake import loader as loader_module
from heliograph.lake.delivery_rows import delivery_rows
from heliograph.lake.differences import LakeDifferences
from heliograph.lake.gathering import gathered
from heliograph.lake.loader import Loader
from heliograph.lake.metrics import LoaderMetric
from heliograph.lake.report import compare, count_events, find_differences
from heliograph.lake.standing import read_standings
from heliograph.lake.tables import find_events
from heliograph.settings import PlanSettings, commented_file
from heliograph.wire import ARROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

NONE = LakeDifferences(None)
"""Nothing that a loader has found, and nothing that was said."""


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
    assert find_differences(compare(read_standings(settings), events, {}), NONE) == []
    with vendor.running(), vendor.http() as http:  # not loaded yet: no difference
        deliver(http, zstd(as_arrow([event(10)])), epoch=5, numbers=(10, 10), content_type=ARROW)
    [log] = logs = read_standings(settings)
    assert (log.log, log.total(), log.waiting) == ("", 9, 1)
    assert find_differences(compare(logs, events, {}), NONE) == []
    planted = {INSTANCE: {"SearchSubmitted": 7}}
    assert find_differences(compare(logs, planted, {INSTANCE: {"SearchSubmitted": 1}}), NONE) == [
        f"{INSTANCE}: SearchSubmitted: 9 accepted, 7 in the lake, 1 erased"
    ]
    assert find_differences(compare(logs, planted, {INSTANCE: {"SearchSubmitted": 2}}), NONE) == []


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


def run(vendor: Vendor, *words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["--config", str(settings_file(vendor)), "lake", *words])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def settings_file(vendor: Vendor) -> Path:
    folder = Path(vendor.settings.lake.warehouse).parent
    (folder / "plan.json").write_bytes(vendor.plan.canonical())
    file = folder / "heliograph.toml"
    file.write_text(
        commented_file(msgspec.structs.replace(vendor.settings, plan=PlanSettings(file=str(folder / "plan.json"))))
    )
    return file


def alarm(vendor: Vendor) -> float:
    """What a loader that has begun just now tells."""
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, vendor.plan)
    loader.monitor.look(loader._table, loader.place, loader.account, caught_up=True)
    loader.close()
    text = (Path(vendor.settings.lake.warehouse) / "metrics.prom").read_text()
    name = LoaderMetric.OPEN_DIFFERENCES.metric
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def lose_an_event(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Let the loader lose the first event of the delivery that begins so."""

    def losing(events: pa.Table, entry: Entry, schema: pa.Schema) -> pa.Table:
        rows = delivery_rows(events, entry, schema)
        return rows.slice(1) if entry.receipt.first == first else rows

    monkeypatch.setattr(loader_module, "delivery_rows", losing)


def test_what_a_loader_has_found_is_kept_until_it_is_explained_and_what_differs_later_is_an_alarm_again(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = ("explain-difference", INSTANCE, "--by", "operations", "--reason", "the disk of [node-3] was replaced")
    assert "nothing differs" in run(vendor, *word, status=2)
    lose_an_event(monkeypatch, 4)
    load(vendor)
    assert (alarm(vendor), alarm(vendor)) == (1, 1)
    told = run(vendor, "status", status=1)
    assert "numbers 4 to 6: stored (SearchSubmitted -1)" in told
    assert "SearchSubmitted: 9 accepted, 8 in the lake, 0 erased" in told
    assert "--by" in run(vendor, "explain-difference", INSTANCE, "--reason", "x", status=2)
    assert "the disk of [node-3]" in run(vendor, *word)
    assert alarm(vendor) == 0
    assert "the disk of [node-3]" in run(vendor, "status")
    assert "nothing differs" in run(vendor, *word, status=2)
    with vendor.running(), vendor.http() as http:
        events = [event(number, duration_ms=number) for number in range(10, 13)]
        deliver(http, zstd(as_arrow(events)), epoch=5, numbers=(10, 12), content_type=ARROW)
    lose_an_event(monkeypatch, 10)
    load(vendor)
    assert alarm(vendor) == 1
    told = run(vendor, "status", status=1)
    assert "numbers 10 to 12: stored" in told
    assert "numbers 4 to 6" not in told.partition("The account differs")[2]
    run(vendor, *word)
    found = LakeDifferences(find_events(vendor.settings.lake))
    assert [(each.by, each.names, len(each.ranges)) for each in found.words] == [
        ("operations", {"SearchSubmitted": 1}, 1),
        ("operations", {"SearchSubmitted": 2}, 1),
    ]
    run(vendor, "status")


def test_a_loader_that_dies_before_its_commit_has_found_nothing_twice(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_an_event(monkeypatch, 4)
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, vendor.plan)
    with monkeypatch.context() as patch:
        patch.setattr(loader_module, "commit", die)
        with pytest.raises(InterruptedError):
            loader.load_round()
    assert loader.load_round() == 8
    loader.close()
    assert LakeDifferences(find_events(vendor.settings.lake)).open_count(INSTANCE) == 1


def die(*_: Any, **__: Any) -> None:
    raise InterruptedError


def test_a_word_that_was_changed_explains_nothing_and_none_is_added_to_it(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_an_event(monkeypatch, 4)
    load(vendor)
    word = ("explain-difference", INSTANCE, "--by", "operations", "--reason", "the disk was replaced")
    run(vendor, *word)
    table = find_events(vendor.settings.lake)
    assert table is not None
    changed = table.properties["heliograph.explained"].replace("the disk", "no disk")
    table.transaction().set_properties({"heliograph.explained": changed}).commit_transaction()
    assert "line 1 was changed" in run(vendor, "status", status=1)
    assert "line 1 was changed" in run(vendor, *word, status=2)
    assert alarm(vendor) == 1
