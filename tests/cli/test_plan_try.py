"""`heliograph plan try`: what an event becomes, by the code that handles real ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app

if TYPE_CHECKING:
    from pathlib import Path

PLAN = """
heliograph_plan: 2
name: trial
version: 3
description: It.
sources: [web]
features: {search: Searching.}
events:
  Searched:
    description: A user searched.
    feature: search
    action: search
    question: How many?
    owner: search
    added: 2026-01-01
    expires: never
    properties:
      kind: {description: Its kind., type: member, members: [literal, "7"]}
      duration_ms: {description: Time., type: duration, maximum: 60000, precision: 100}
      results: {description: Results., type: count, buckets: [0, 1, 10, 100]}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN, encoding="utf-8")
    return file


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", "try", *words, "--plan", "plan.yaml"])


def tried(*words: str) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code in (0, 1), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert (found["sent"] is not None) is (result.exit_code == 0)
    return found


def test_what_leaves_is_what_the_exporter_would_send(plan: Path) -> None:
    found = tried("Searched", "duration_ms=4321", "results=37", "kind=7", "session=s-1", "source=web", "version=5.3.1")
    assert found["verdict"] == "accepted"
    assert found["recorded"].items() >= {"user": "42", "session": "s-1", "duration_ms": 4321, "results": 37}.items()
    sent = found["sent"]
    assert sent.items() >= {"duration_ms": 4300, "results": 10, "kind": "7", "outcome": "ok"}.items()
    assert len(sent["user_id"]) == 32
    assert found["left_out"] == {"session": "stays on the instance"}
    assert {"42", "s-1"}.isdisjoint(map(str, sent.values()))
    assert found["changed"].keys() == {"user", "duration_ms", "results"}
    assert found["lake"].items() >= {"plan": "trial@3", "duration_ms": 4300, "user_id": sent["user_id"]}.items()
    assert found["ping"] == {
        "active_users.day": 1,
        "active_users.week": 1,
        "active_users.month": 1,
        "features.search.users": 1,
        "features.search.events": 1,
    }
    assert found["off"] is None


def test_what_the_plan_does_not_declare_is_left_out_with_the_reason(plan: Path) -> None:
    result = run("Searched", "query=private")
    assert result.exit_code == 0
    found = tried("Searched", "query=private")
    assert found["left_out"] == {"query": "not declared, left out"}
    assert "private" not in json.dumps([found["sent"], found["lake"]])
    assert next(line for line in result.stdout.splitlines() if "query" in line).split()[-2:] == ["left", "out"]


@pytest.mark.parametrize(
    ("words", "verdict", "field"),
    [
        (("Searched", "duration_ms=60001"), "invalid_property", "duration_ms"),
        (("Searched", "kind=private"), "invalid_property", "kind"),
        (("Searched", "outcome=private"), "invalid_envelope", "outcome"),
        (("Looked",), "undeclared_event", None),
        (("Searched", "instance=private"), "unrecordable", None),
        (("private name",), "unrecordable", None),
    ],
)
def test_what_does_not_leave_gets_its_verdict_and_a_skeleton_without_its_value(
    plan: Path, words: tuple[str, ...], verdict: str, field: str | None
) -> None:
    found = tried(*words)
    assert found["verdict"] == found["skeleton"]["verdict"] == verdict
    assert found["skeleton"].get("field") == field
    assert "private" not in json.dumps(found["skeleton"])
    shown = run(*words).stdout
    assert "it does not leave" in shown
    assert ("at fault" in shown) is (field is not None)


def test_an_event_of_nobody_moves_no_number_of_the_ping(plan: Path) -> None:
    found = tried("Searched", "user=none", "outcome=none")
    assert found["ping"] == {}
    assert {"user_id", "outcome"}.isdisjoint(found["sent"])
    assert "At level critical: nothing, as it is nobody's" in run("Searched", "user=none").stdout


def test_nothing_is_left_behind_and_no_outbox_of_the_instance_is_touched(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert run("Searched").exit_code == 0
    assert not list(scratch.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.yaml", "scratch"]


def test_where_the_vendors_packages_are_not_installed_the_wire_alone_is_shown(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert tried("Searched")["lake"] is None
    result = run("Searched")
    assert result.exit_code == 0
    assert "In the lake: not shown" in result.stdout


def test_all_words_that_are_no_value_are_told_at_once(plan: Path) -> None:
    result = run("Searched", "kind", "=7", "user=1")
    assert result.exit_code == 2
    assert [line.split(" is no ")[0] for line in result.stderr.splitlines()] == ["'kind'", "'=7'"]
