"""The agent's metrics and its word on itself: in files, true to the account, and never on a socket."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from harness import SMALL_PLAN, Vendor
from heliograph.cli import app
from heliograph.consent.level import Level
from heliograph.event import Verdict
from heliograph.instance.exporter import Exporter
from heliograph.instance.metrics import AgentMetric, read_metrics
from heliograph.instance.monitor import SECONDS, Monitor, is_alive, read_standing, reason_of
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayRefusalError, UnreachableError
from heliograph.settings import AgentSettings, RecorderSettings, Settings
from heliograph.wire import Problem
from test_once import DirectGateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def parsed(text: bytes | str) -> dict[tuple[str, ...], float]:
    """Values by metric and labels."""
    text = text if isinstance(text, str) else text.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        agent=AgentSettings(state=str(tmp_path / "agent"), batch_events=7),
        recorder=RecorderSettings(outbox=str(tmp_path / "outbox")),
    )


@pytest.fixture
def state(settings: Settings, tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "agent")
    yield state
    state.close()


def test_metrics_tell_every_outcome_by_name_and_what_is_pending(
    settings: Settings, state: State, tmp_path: Path
) -> None:
    gateway = DirectGateway(tmp_path / "log")
    exporter = Exporter(
        agent=settings.agent,
        recorder=settings.recorder,
        plan=SMALL_PLAN,
        state=state,
        client=gateway,  # type: ignore[arg-type] # stands for it
        now=lambda: NOW,
    )
    writer = EpochWriter(tmp_path / "outbox", maximum_bytes=1 << 20, segment_bytes=600)
    for number in range(10):
        name = "PageViewed" if number % 2 else "Unheard"
        writer.append([{"name": name, "time": NOW - timedelta(seconds=90 - number)}])
    writer.note_dropped({"PageViewed": {Verdict.OUTBOX_FULL: 3}}, recorded={"PageViewed": 5, "Unheard": 5})
    exporter.deliver_round()
    found = parsed(read_metrics(settings, state, None, NOW).text())
    assert found["heliograph_agent_events_total", "PageViewed", "accepted"] == 3
    assert found["heliograph_agent_events_total", "(undeclared)", "undeclared_event"] == 4
    assert found["heliograph_agent_pending_events",] == 3
    assert found["heliograph_agent_oldest_pending_seconds",] == 83
    exporter.deliver_round()
    found = parsed(read_metrics(settings, state, None, NOW).text())
    assert found["heliograph_agent_events_total", "PageViewed", "outbox_full"] == 3
    assert found["heliograph_agent_recorded_events_total", "PageViewed"] == 8
    assert found["heliograph_agent_pending_events",] == found["heliograph_agent_oldest_pending_seconds",] == 0
    assert found["heliograph_agent_account_differences_total",] == 0
    assert found["heliograph_agent_outbox_bytes",] < found["heliograph_agent_outbox_bound_bytes",]
    assert found["heliograph_agent_delivered_timestamp_seconds",] == NOW.timestamp()
    writer.note_dropped({}, recorded={"PageViewed": 6, "Unheard": 5})  # a lost event
    exporter.deliver_round()
    found = parsed(read_metrics(settings, state, None, NOW).text())
    assert found["heliograph_agent_account_differences_total",] == 1
    assert found["heliograph_agent_account_unexplained_events", "PageViewed"] == 1
    writer.abandon()
    gateway.log.close()


class Clock:
    now = NOW
    ticks = 0.0


def test_how_the_agent_stands_is_said_each_minute_and_when_it_changes(
    settings: Settings, state: State, tmp_path: Path
) -> None:
    clock = Clock()
    monitor = Monitor(settings, state, now=lambda: clock.now, ticks=lambda: clock.ticks)
    folder = tmp_path / "agent"

    def look(error: Exception | None = None) -> tuple[int, str]:
        clock.now += timedelta(seconds=1)
        monitor.look(Level.EVENTS, error=error, doubts=["expired"], clock_offset=timedelta(seconds=7))
        standing = read_standing(folder)
        assert standing is not None
        return standing.failures, standing.reason

    assert look() == (0, "none")
    assert look(UnreachableError("no answer")) == (1, "unreachable")
    assert look(UnreachableError("no answer")) == (1, "unreachable")  # not a minute yet
    clock.ticks += SECONDS
    assert look(UnreachableError("no answer")) == (3, "unreachable")
    assert look() == (0, "none")
    found = parsed((folder / "metrics.prom").read_bytes())
    assert found["heliograph_agent_level",] == 2
    assert found["heliograph_agent_failures", "none"] == 0
    assert found["heliograph_agent_doubt", "expired"] == 1
    assert found["heliograph_agent_clock_offset_seconds",] == 7
    assert found["heliograph_agent_checked_timestamp_seconds",] == clock.now.timestamp()
    assert (folder / "metrics.prom").stat().st_mode & 0o777 == 0o644


def test_why_a_round_failed_is_a_word_of_a_list_and_nothing_that_a_server_made_up() -> None:
    problem = Problem(type="not_permitted", title="", status=403)
    assert reason_of(GatewayRefusalError(problem)) == "not_permitted"
    assert reason_of(GatewayRefusalError(Problem(type='"} evil 1\n', title="", status=400))) == "unknown"
    assert reason_of(OSError("full")) == "disk"


def test_a_disk_that_takes_no_metrics_keeps_nothing_from_being_sent(
    settings: Settings, state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = Settings(agent=AgentSettings(state=str(tmp_path / "agent"), metrics_file=str(tmp_path / "no" / "file")))
    monitor = Monitor(elsewhere, state, now=lambda: NOW, ticks=lambda: 0.0)
    for error in (None, OSError("full"), None):
        monitor.look(Level.EVENTS, error=error, clock_offset=timedelta())
    assert capsys.readouterr().out.count("the metrics cannot be written") == 1


def test_the_agent_is_alive_as_long_as_it_holds_its_state(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    assert not is_alive(folder)
    state = State(folder)
    assert is_alive(folder)
    state.close()
    assert not is_alive(folder)


def test_status_prints_metrics_and_says_whether_the_agent_runs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    file = tmp_path / "instance.toml"
    file.write_text(
        f'[agent]\nstate = "{tmp_path}/agent"\nlevel = "off"\nmetrics_file = "{tmp_path}/m.prom"\n'
        f'[recorder]\noutbox = "{tmp_path}/outbox"\n'
    )
    State(tmp_path / "agent").close()
    run = CliRunner()
    shown = run.invoke(app, ["--config", str(file), "agent", "status", "--prometheus"])
    assert shown.exit_code == 0
    assert parsed(shown.stdout)["heliograph_agent_pending_events",] == 0
    plain = run.invoke(app, ["--config", str(file), "agent", "status"])
    assert plain.exit_code == 0
    assert "No agent runs with this state" in plain.stderr
    as_json = run.invoke(app, ["--config", str(file), "agent", "status", "--json"])
    assert json.loads(as_json.stdout)["recorded_names"] == {}
    compared = run.invoke(app, ["--config", str(file), "agent", "status", "--compare"])
    assert compared.exit_code == 2
    assert "nobody is asked" in compared.stderr


def test_both_ends_are_compared_over_the_network(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder).running() as vendor:
        settings = vendor.agent_settings(tmp_path / "instance")
        State(tmp_path / "instance" / "agent").close()
        file = tmp_path / "instance.toml"
        agent = settings.agent
        file.write_text(
            f'[agent]\nstate = "{agent.state}"\ngateway = "{agent.gateway}"\ninstance = "{agent.instance}"\n'
            f'certificate_authority = "{agent.certificate_authority}"\nkey = "{agent.key}"\n'
            f'[recorder]\noutbox = "{settings.recorder.outbox}"\n'
        )
        shown = CliRunner().invoke(app, ["--config", str(file), "agent", "status", "--compare", "--json"])
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["comparison"] == {
        "rows": [],
        "differences": [],
        "explained": [],
        "undecided": 0,
    }


def test_every_metric_of_the_agent_says_what_it_is() -> None:
    for each in AgentMetric:
        assert each.metric.startswith("heliograph_agent_")
        assert each.about.endswith(".")
