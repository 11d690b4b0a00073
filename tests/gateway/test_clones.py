"""Two exporters with one identity, as after a machine was cloned: told apart, refused, told, and nothing twice."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
from typer.testing import CliRunner

from harness import Vendor, as_lines, deliver, event, zstd
from heliograph.cli import app
from heliograph.instance.agent import Agent
from heliograph.instance.recorder import Recorder
from heliograph.instance.transport import SupersededError
from heliograph.settings import PlanSettings, Settings, commented_file
from heliograph.wire import AFTER_HEADER, EXPORTER_HEADER, NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOPPED = "another agent sends for this instance: this one stops until it is started again"


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder).running() as vendor:
        yield vendor


class Stop(threading.Event):
    """Is set by the first who waits for it."""

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is None  # who has stopped waits for nothing else
        self.set()
        return True


def record(settings: Settings, number: int) -> None:
    with closing(Recorder(settings.recorder)) as recorder:
        for _ in range(number):
            recorder.record("PageViewed", user=7)


def agent(vendor: Vendor, settings: Settings) -> Agent:
    return Agent(settings, vendor.plan)


def clone(settings: Settings, vendor: Vendor, original: Path, folder: Path) -> Settings:
    shutil.copytree(original, folder)
    return vendor.agent_settings(folder)


def stored_numbers(vendor: Vendor) -> list[tuple[int, int]]:
    """Every number in the log, with its epoch."""
    receipts = [entry.receipt for entry, _ in vendor.entries()]
    return [(each.epoch, number) for each in receipts for number in range(each.first, each.last + 1)]


def status(vendor: Vendor, settings: Settings, folder: Path) -> tuple[int, str]:
    plan = folder / "plan.json"
    plan.write_bytes(vendor.plan.canonical())
    file = folder / "heliograph.toml"
    file.write_text(commented_file(msgspec.structs.replace(settings, plan=PlanSettings(file=str(plan)))))
    found = CliRunner().invoke(app, ["--config", str(file), "agent", "status"])
    return found.exit_code, found.output


def test_of_a_cloned_machine_the_one_that_was_superseded_stops_and_nothing_is_stored_twice(
    vendor: Vendor, tmp_path: Path
) -> None:
    original = tmp_path / "original"
    settings = vendor.agent_settings(original)
    record(settings, 20)
    with closing(agent(vendor, settings)) as first:
        first.run(threading.Event(), until_drained=True)
        record(settings, 5)  # not sent yet when the machine is cloned
        copy = clone(settings, vendor, original, tmp_path / "copy")
        with closing(agent(vendor, copy)) as second, structlog.testing.capture_logs() as messages:
            second.run(threading.Event(), until_drained=True)
            record(copy, 3)
            second.run(threading.Event(), until_drained=True)
            before = stored_numbers(vendor)
            with pytest.raises(SupersededError, match="cloned"):
                first.round()
            record(settings, 3)
            first.run(Stop())
        assert stored_numbers(vendor) == before
    assert len(before) == len(set(before)) == 28
    assert [message["event"] for message in messages].count(STOPPED) == 1
    assert [message["event"] for message in messages].count("two exporters send for one instance") == 2
    code, text = status(vendor, settings, original)
    assert code == 1
    assert "cloned" in text
    assert status(vendor, copy, tmp_path / "copy")[0] == 0


def test_an_agent_that_is_started_again_is_simply_the_newer_one(vendor: Vendor, tmp_path: Path) -> None:
    settings = vendor.agent_settings(tmp_path / "instance")
    for _ in range(3):
        record(settings, 5)
        with closing(agent(vendor, settings)) as each:
            each.run(threading.Event(), until_drained=True)
    assert len(set(stored_numbers(vendor))) == 15
    assert status(vendor, settings, tmp_path / "instance")[0] == 0


def test_a_stopped_agent_that_is_started_again_sends_and_says_no_more_that_it_stopped(
    vendor: Vendor, tmp_path: Path
) -> None:
    settings = vendor.agent_settings(tmp_path / "instance")
    record(settings, 5)
    with closing(agent(vendor, settings)) as first:
        first.run(threading.Event(), until_drained=True)
        with vendor.http() as other:
            deliver_as(other, "f" * 32, 1, epoch=77)
        record(settings, 5)
        first.run(threading.Event(), until_drained=True)
    assert status(vendor, settings, tmp_path / "instance")[0] == 1
    with closing(agent(vendor, settings)) as again:
        again.run(threading.Event(), until_drained=True)
    assert status(vendor, settings, tmp_path / "instance")[0] == 0
    assert len(set(stored_numbers(vendor))) == 11


def deliver_as(http: Any, exporter: str, number: int, *, epoch: int = 1) -> Any:
    http.headers[EXPORTER_HEADER] = exporter
    return deliver(http, zstd(as_lines([event(number)])), epoch=epoch, numbers=(number, number), content_type=NDJSON)


def test_a_superseded_one_is_told_so_whatever_it_sends_also_after_a_restart_of_the_gateway(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        assert deliver_as(http, "a" * 32, 1).is_success
        assert deliver_as(http, "b" * 32, 1).json()["duplicate"]  # nothing of it is stored: it takes nobody's place
        assert deliver_as(http, "a" * 32, 2).is_success
        assert deliver_as(http, "b" * 32, 3).is_success
        assert deliver_as(http, "a" * 32, 4).json()["type"] == "superseded_exporter"
        assert deliver_as(http, "a" * 32, 3).json()["type"] == "superseded_exporter"
    with vendor.running(), vendor.http() as http:
        problem = deliver_as(http, "a" * 32, 4)
        assert (problem.status_code, problem.json()["type"]) == (409, "superseded_exporter")
        assert "cloned" in problem.json()["remedy"]
        assert deliver_as(http, "", 4).is_success  # a client that does not name itself
        for bad in ("x", "A" * 32, "a" * 33, "a" * 31 + "\n"[:0] + "g"):
            assert deliver_as(http, bad, 5).json()["type"] == "bad_header"
        for bad in ("x", "a" * 33, ",", "a" * 32 + ",", ",".join(["a" * 32] * 33)):
            http.headers[AFTER_HEADER] = bad
            assert deliver_as(http, "c" * 32, 5).json()["type"] == "bad_header"


def test_what_comes_late_of_one_that_died_before_it_was_heard_does_not_stop_the_one_that_lives(
    vendor: Vendor, tmp_path: Path
) -> None:
    settings = vendor.agent_settings(tmp_path / "instance")
    record(settings, 5)
    with closing(agent(vendor, settings)) as died:
        died._state.senders.write()  # as with what it sends first, which is on its way when it dies
        name = died._client.exporter
    with closing(agent(vendor, settings)) as lives:
        lives.run(threading.Event(), until_drained=True)
        with vendor.http() as http:
            assert deliver_as(http, name, 1, epoch=77).json()["type"] == "superseded_exporter"
        record(settings, 3)
        lives.run(threading.Event(), until_drained=True)
    assert len(set(stored_numbers(vendor))) == 8
    assert status(vendor, settings, tmp_path / "instance")[0] == 0
