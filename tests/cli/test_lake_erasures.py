"""`heliograph lake erase` and `erasures`: ordered, carried out here or by the loader that runs, and shown."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from erasing import OTHER, Lake, read_rows
from harness import INSTANCE
from heliograph.cli import app
from heliograph.cli import lake as lake_verbs
from heliograph.cli import lake_erasures as verbs
from heliograph.lake import erasure
from heliograph.lake.erasure import Eraser
from heliograph.lake.tables import event_files
from heliograph.registry import erasures

if TYPE_CHECKING:
    from collections.abc import Iterator

ERASE = ("lake", "erase", "--account", "acme", "--since", "2026-01-01", "--reason", "agreement-1 revoked")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setattr(erasures, "MAXIMUM_AGE_SECONDS", 0.01)
    monkeypatch.setattr(erasure, "SETTLE_SECONDS", 0.01)
    with Lake(tmp_path) as made:
        for module in (verbs, lake_verbs):
            monkeypatch.setattr(module, "read_settings", lambda _: made.settings)
            plan = "read_plan" if hasattr(module, "read_plan") else "follow_plan"
            monkeypatch.setattr(module, plan, lambda _: made.vendor.plan)
            if hasattr(module, "use_logs"):
                monkeypatch.setattr(module, "use_logs", lambda: None)
        # Sent before now: the verbs look at the real clock.
        made.clock.advance(seconds=-1)
        made.send(INSTANCE, 1, 5)
        made.send(OTHER, 1, 3)
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_dry_run_counts_and_orders_nothing(lake: Lake) -> None:
    lake.load()
    result = run(*ERASE, "--dry-run")
    assert result.exit_code == 0
    assert "heliograph.events: 5 rows would go" in result.output
    assert len(read_rows(lake)) == 8
    assert "Nothing was ever ordered" in run("lake", "erasures").output


def test_where_no_loader_runs_it_is_carried_out_here(lake: Lake) -> None:
    result = run(*ERASE)
    assert result.exit_code == 0, result.output
    assert "erasure-1 is proved: 5 rows erased" in result.output
    assert {row["instance"] for row in read_rows(lake)} == {OTHER}
    assert "proved" in run("lake", "erasures").output
    (shown,) = json.loads(run("lake", "erasures", "--json").output)
    assert shown["order"]["reason"] == "agreement-1 revoked"
    assert shown["proof"]["rows"] == {INSTANCE: {"SearchSubmitted": 5}}
    line = next(line for line in run("lake", "status").output.splitlines() if INSTANCE in line)
    assert re.findall(r"\d+", line.replace(INSTANCE, "")) == ["0", "0", "5", "0"]
    lake.closes()


def test_where_a_loader_runs_it_is_waited_for(lake: Lake) -> None:
    stop = threading.Event()
    loader = lake.loader()
    eraser = Eraser(loader, lake.settings, lake.registry, wait=stop.wait)
    thread = threading.Thread(target=loader.run, args=(stop, eraser.round))
    thread.start()
    try:
        result = run(*ERASE)
    finally:
        stop.set()
        thread.join()
        loader.close()
    assert result.exit_code == 0, result.output
    assert "5 rows erased" in result.output
    lake.closes()


def test_what_is_left_is_said_and_the_order_stays_pending(lake: Lake) -> None:
    lake.load()
    copy = lake.folder / "lake" / "copy.parquet"
    copy.write_bytes(Path(event_files(lake.settings.lake)[0]).read_bytes())
    result = run(*ERASE)
    assert result.exit_code == 1
    assert f"{copy}: 5 rows" in result.output
    assert "copy.parquet" in run("lake", "erasures", "--json").output
    assert "pending: erasure-1" in run("lake", "erasures").output
    copy.unlink()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--account", "nobody"), "there is no account 'nobody'"),
        (("--instance", OTHER), "is of account 'other', not 'acme'"),
        (("--since", "2036-01-01"), "is in the future"),
        (("--reason", ""), "reason is empty"),
        (("--account", "nobody", "--dry-run"), "there is no account 'nobody'"),
    ],
)
def test_what_cannot_be_ordered_is_said_before_anything_is_done(lake: Lake, more: tuple[str, ...], said: str) -> None:
    result = run(*ERASE, *more)
    assert result.exit_code == 2
    assert said in result.output
    assert "Nothing was ever ordered" in run("lake", "erasures").output


def test_a_loader_that_ends_before_the_order_is_carried_out_is_replaced_here(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = lake.loader()
    looks: list[Any] = []

    def look_and_end(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            loader.close()
        time_sleep(min(seconds, 0.01))

    time_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", look_and_end)
    result = run(*ERASE)
    assert result.exit_code == 0, result.output
    assert len(looks) >= 3
    lake.closes()
