"""`heliograph plan new`, by options and at a real terminal."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.plan.load import load_plan
from heliograph.plan.model import CountProperty, DurationProperty, MemberProperty
from terminal import Terminal

REPOSITORY = Path(__file__).resolve().parents[2]
OPTIONS = {
    "--event": "ReleaseTagged",
    "--feature": "delivery",
    "--description": "An author tagged a release.",
    "--question": "Do people release what they wrote?",
    "--owner": "delivery",
}
MORE = [
    "--outcome", "ok: The tag is there.", "--outcome", "refused: It was not allowed.", "--core",
    "--property", "wait_ms duration maximum=60000 precision=10: Time that it took.",
    "--property", "size count buckets=0,1,10: Commits in it.",
    "--property", "style member members=major,minor,on: Its style.",
]  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "plan.yaml"
    shutil.copy(REPOSITORY / "examples" / "commit-history.yaml", file)
    return file


def run(*words: str, **options: str | None) -> Result:
    chosen = {**OPTIONS, **{f"--{key}": value for key, value in options.items()}}
    flat = [word for option, value in chosen.items() if value is not None for word in (option, value)]
    return CliRunner().invoke(app, ["plan", "new", *words, *flat])


def test_all_options_make_the_event_that_they_say(plan: Path) -> None:
    before = load_plan(plan)
    result = run(str(plan), *MORE)
    assert result.exit_code == 0, result.output
    after = load_plan(plan)
    event = after.events["ReleaseTagged"]
    assert after.version == before.version + 1
    assert (event.core, event.action, event.outcomes["refused"]) == (True, "release tagged", "It was not allowed.")
    today = datetime.now(UTC).date()
    assert isinstance(event.expires, date)
    assert timedelta(days=364) <= event.expires - today <= timedelta(days=365)
    assert event.properties == {
        "wait_ms": DurationProperty(description="Time that it took.", maximum=60000, precision=10),
        "size": CountProperty(description="Commits in it.", buckets=(0, 1, 10)),
        "style": MemberProperty(description="Its style.", members=("major", "minor", "on")),
    }
    assert f"{plan.name}: ReleaseTagged is in" in result.stdout


def test_a_dry_run_shows_the_difference_and_writes_nothing(plan: Path) -> None:
    before = plan.read_bytes()
    result = run(str(plan), "--dry-run")
    assert result.exit_code == 0
    assert "+version: 2\n" in result.stdout
    assert "+  ReleaseTagged:\n" in result.stdout
    assert plan.read_bytes() == before
    assert [path.name for path in plan.parent.iterdir()] == ["plan.yaml"]


@pytest.mark.parametrize(
    ("options", "words", "said"),
    [
        ({"event": "CommitPushed"}, (), "--event: `CommitPushed` stands twice"),
        ({"event": "Not a name"}, (), "--event: `Not a name` is not an event's name"),
        ({"feature": "delivry"}, (), "--feature: `delivry` is not one of the plan's features. Did you mean"),
        ({"owner": "ann@example.org"}, (), "--owner: `ann@example.org` is an address. Name the team"),
        ({"expires": "soon"}, (), "--expires: it is no day. Write `never`, or a day such as 2027-06-30."),
        ({"expires": "2020-01-01"}, (), "is not after the day it was added"),
        ({"description": " "}, (), "--description: it is blank"),
        ({}, ("--outcome", "Bad: It."), "--outcome: `Bad` is not an outcome"),
        ({}, ("--outcome", "bad"), "is no KEY: MEANING"),
        ({}, ("--property", "query string: It."), "--property query: `string` is no type. Free text has none"),
        ({}, ("--property", "files boolean: It."), "`files` is `boolean` here and `integer` elsewhere"),
        ({}, ("--property", "size integer most=3: It."), "--property size: integer has no most"),
        ({}, ("--property", "size integer maximum=x: It."), "--property size: Expected `int`"),
        ({}, ("--property", "size"), "is not of the form `NAME TYPE FIELD=VALUE...: MEANING`"),
    ],
)  # fmt: skip
def test_what_cannot_stand_is_told_with_the_reason_and_nothing_is_written(
    plan: Path, options: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    before = plan.read_bytes()
    result = run(str(plan), *words, **options)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert plan.read_bytes() == before


def test_without_a_terminal_all_that_is_missing_is_told_at_once(plan: Path) -> None:
    result = run(str(plan), owner=None, question=None)
    assert result.exit_code == 2
    assert [line.partition(" ")[0] for line in result.stderr.splitlines()] == ["--question", "--owner"]


def test_a_plan_begins_from_nothing_and_is_never_written_over(plan: Path) -> None:
    words = ("--plan", "mine", "--about", "What people do: all of it.", "--source", "web", "--source", "cli")
    result = run(*words, feature="delivery: Handing work in.")
    assert result.exit_code == 0, result.output
    made = load_plan("mine.yaml")
    assert (made.label, made.sources, made.features) == ("mine@1", ("web", "cli"), {"delivery": "Handing work in."})
    assert run(*words).exit_code == 1
    assert run("--plan", "No Name", "--about", "It.").exit_code == 1


def test_a_plan_that_does_not_load_is_left_alone(plan: Path) -> None:
    plan.write_text(plan.read_text(encoding="utf-8").replace("type: integer", "type: string"), encoding="utf-8")
    result = run(str(plan))
    assert result.exit_code == 1
    assert "Free text has no type" in result.stderr


def test_at_a_terminal_bad_answers_are_asked_again_with_the_reason(plan: Path) -> None:
    at = Terminal(["plan", "new", "plan.yaml"], plan.parent)
    at.answer("Event name", "CommitPushed")
    at.answer("No: `CommitPushed` stands twice", "ReleaseTagged")
    at.answer("Feature (", "delivry")
    at.answer("Did you mean `delivery`?", "delivery")
    at.answer("What happened", "An author tagged a release.")
    at.answer("What did the user do", "")
    at.answer("Which question", "Do people release what they wrote?")
    at.answer("Which team", "ann@example.org")
    at.answer("Name the team", "delivery")
    at.answer("Until when", "")
    at.answer("Property, as in", "query")
    at.answer("Type (", "string")
    at.answer("What it says", "It.")
    at.expect("Free text has none")
    at.answer("Property, as in", "wait_ms")
    at.answer("Type (", "")
    at.answer("Maximum", "60000")
    at.answer("Precision", "")
    at.answer("What it says", "Time that it took.")
    at.answer("Property, as in", "")
    at.expect("+  ReleaseTagged:")
    at.answer("Write this?", "y")
    assert at.end() == 0
    event = load_plan(plan).events["ReleaseTagged"]
    assert event.properties == {
        "wait_ms": DurationProperty(description="Time that it took.", maximum=60000, precision=10)
    }
    assert (event.action, event.owner) == ("release tagged", "delivery")


def test_interrupted_at_a_question_it_leaves_the_file_as_it_was(plan: Path) -> None:
    before = plan.read_bytes()
    at = Terminal(["plan", "new", "plan.yaml"], plan.parent)
    at.answer("Event name", "ReleaseTagged")
    at.expect("Feature (")
    at.interrupt()
    assert at.end() != 0
    assert plan.read_bytes() == before
    assert [path.name for path in plan.parent.iterdir()] == ["plan.yaml"]
