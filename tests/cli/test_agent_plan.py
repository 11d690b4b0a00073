"""`heliograph agent plan`: by which plan an instance sends, and what the last update changed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from harness import SMALL_PLAN
from heliograph.cli import app
from heliograph.instance.plan_updates import PlanUpdates
from heliograph.instance.state import State
from updating import CELL_RUN, changed, write_plan

if TYPE_CHECKING:
    from pathlib import Path

LATER = changed(without=("PageViewed",), CellRun=CELL_RUN)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "instance.toml"
    file.write_text("")
    return file


def run(settings: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["--config", str(settings), "agent", "plan", *words])
    return result.exit_code, result.output


def hear(folder: Path) -> None:
    with closing(State(folder / "agent")) as state:
        plans = PlanUpdates(state.plans, None, pinned=False, now=lambda: datetime(2026, 11, 1, 12, tzinfo=UTC))
        plans.take(SMALL_PLAN)
        plans.take(LATER)


def test_the_admin_reads_what_the_last_update_lets_leave(settings: Path, tmp_path: Path) -> None:
    hear(tmp_path)
    status, output = run(settings)
    assert status == 0
    assert "small@2, the vendor's plan, since 2026-11-01 12:00:00 UTC" in output
    assert "may leave now: CellRun" in output
    assert "may leave no more: PageViewed" in output
    status, output = run(settings, "--json")
    report = json.loads(output)
    assert (report["plan"], report["changes"]["declared"]) == ("small@2", ["CellRun"])
    status, output = run(settings, "--history")
    assert ("small@1" in output, "small@2" in output) == (True, True)


def test_each_plan_can_be_written_down_and_compared(settings: Path, tmp_path: Path) -> None:
    hear(tmp_path)
    now, before = tmp_path / "now.yaml", tmp_path / "before.yaml"
    assert run(settings, "--write", str(now))[0] == 0
    assert run(settings, "--write", str(before), "--before", "1")[0] == 0
    assert now.read_bytes() == LATER.canonical()
    assert before.read_bytes() == SMALL_PLAN.canonical()
    assert "already" in run(settings, "--write", str(now))[1]
    assert "2 of the vendor's" in run(settings, "--write", str(tmp_path / "third"), "--before", "2")[1]
    result = CliRunner().invoke(app, ["plan", "diff", str(before), str(now)])
    assert "CellRun" in result.output


def test_by_a_limit_the_admin_reads_what_both_declare(settings: Path, tmp_path: Path) -> None:
    hear(tmp_path)
    write_plan(tmp_path / "own.yaml", SMALL_PLAN)
    settings.write_text('[plan]\nfile = "own.yaml"\n[agent]\nplan_updates = "pinned"\n')
    output = run(settings)[1]
    assert "as far as this instance's own plan.file declares the same" in output
    assert "events that may leave: SearchSubmitted, goToDefinition\n" in output


def test_before_the_vendors_plan_was_heard_the_verb_says_so(settings: Path, tmp_path: Path) -> None:
    assert "no agent has run" in run(settings)[1]
    State(tmp_path / "agent").close()
    write_plan(tmp_path / "own.yaml", SMALL_PLAN)
    settings.write_text('[plan]\nfile = "own.yaml"\n')
    assert "small@1, this instance's own file, until the vendor's plan is heard" in run(settings)[1]
