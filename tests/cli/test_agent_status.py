"""`heliograph agent status`, while delivery stands still."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from heliograph.cli import app
from heliograph.instance.standstill import Standstill
from heliograph.instance.state import State

if TYPE_CHECKING:
    import pytest

PLAN_FILE = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"


def test_status_tells_since_when_and_why_delivery_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_PLAN_FILE", str(PLAN_FILE))
    with closing(State(tmp_path / "agent")) as state:
        standstill = Standstill(state.connection, lambda: datetime(2026, 11, 1, 9, 30, tzinfo=UTC))
        standstill.begin("bad_columns")
    told = CliRunner().invoke(app, ["agent", "status"])
    assert told.exit_code == 0
    assert "delivery stands still since 2026-11-01 09:30:00 UTC: bad_columns" in " ".join(told.output.split())
    with closing(State(tmp_path / "agent")) as state:
        Standstill(state.connection, lambda: datetime.now(UTC)).end()
    assert "stands still" not in CliRunner().invoke(app, ["agent", "status"]).output
