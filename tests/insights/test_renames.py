"""Reports of a renamed event: one history, whatever the event was called when it was stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from asking import rows_of, user_id
from heliograph.cli import app
from heliograph.lake.marts.definitions import under_present_names
from heliograph.lake.tables import event_schema, open_events
from heliograph.settings import LakeSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from asking import MakeEvents
    from heliograph.plan.model import Plan

QUESTIONS = [
    ("searches", "--user", user_id("ann"), "--month", "2026-03"),
    ("multi-feature-sessions",),
    ("active",),
    ("pings",),
]
RENAMES = {"SearchSubmitted": ("SearchStarted", "Searched"), "goToDefinition": ("DefinitionJump",)}


def renamed(plan: Plan) -> Plan:
    events = {
        name: msgspec.structs.replace(event, renamed_from=RENAMES.get(name, ())) for name, event in plan.events.items()
    }
    return msgspec.structs.replace(plan, version=2, events=events)


def stored(plan: Plan, names: tuple[str, ...]) -> pa.Table:
    """Thirty days of three users, of which each third has a name of its own for the same search."""
    rows: list[dict[str, Any]] = [
        {
            "instance": "acme-east",
            "account": "acme",
            "epoch": 1,
            "sequence": 1,
            "name": name,
            "time": datetime(2026, 3, 1, 9, tzinfo=UTC).replace(tzinfo=None) + timedelta(days=day),
            "user_id": user_id(user),
            "received": datetime(2026, 4, 2, tzinfo=UTC).replace(tzinfo=None),
            "outcome": "ok",
            "pattern_type": "regexp",
        }
        for user in ("ann", "bob", "cid")
        for day in range(30)
        for name in (names[day // 10], "goToDefinition" if day > 15 else names[-1])
    ]
    return pa.Table.from_pylist(rows, event_schema(plan))


@pytest.fixture
def answers(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The answers to all questions, asked of a real lake with these rows under the plan with the renames."""

    def ask(table: pa.Table, folder: str) -> dict[str, Any]:
        lake = LakeSettings(warehouse=str(tmp_path / folder), catalog=f"sqlite:///{tmp_path / folder / 'catalog.db'}")
        open_events(lake, plan).append(table)
        monkeypatch.setattr("heliograph.cli.asking.read_settings", lambda _: Settings(lake=lake))
        monkeypatch.setattr("heliograph.cli.asking.read_plan", lambda _: renamed(plan))
        found = {}
        for question in QUESTIONS:
            result = CliRunner().invoke(app, ["ask", *question, "--json"])
            assert result.exit_code == 0, result.output
            found[question[0]] = json.loads(result.stdout)
        return found

    return ask


def test_questions_see_earlier_rows_under_the_present_name(plan: Plan, answers: Any) -> None:
    mixed = answers(stored(plan, ("SearchStarted", "Searched", "SearchSubmitted", "DefinitionJump")), "mixed")
    as_now = answers(stored(plan, ("SearchSubmitted", "SearchSubmitted", "SearchSubmitted", "goToDefinition")), "now")
    assert mixed == as_now
    assert {"pattern_type": "regexp", "events": 30} in mixed["searches"]["rows"]


def test_a_plan_without_renames_leaves_the_table_as_it_is(plan: Plan, make_events: MakeEvents) -> None:
    events = make_events([{"user": "ann", "at": "2026-03-01T09:00"}])
    assert under_present_names(events, plan) is events


def test_a_name_that_an_event_has_now_is_not_taken_from_it(plan: Plan, make_events: MakeEvents) -> None:
    rows = [{"user": "ann", "at": "2026-03-01T09:00", "name": name} for name in ("SignedIn", "Searched", "Other")]
    wrong = msgspec.structs.replace(plan.events["SearchSubmitted"], renamed_from=("Searched", "SignedIn"))
    seen = under_present_names(
        make_events(rows), msgspec.structs.replace(plan, events=plan.events | {"SearchSubmitted": wrong})
    )
    assert [row["name"] for row in rows_of(seen)] == ["SignedIn", "SearchSubmitted", "Other"]
