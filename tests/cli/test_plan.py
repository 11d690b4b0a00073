"""`heliograph plan` and `heliograph config`, as a person meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.plan.load import load_plan
from heliograph.settings import Settings, load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
PLANS = ["plans/code-intelligence.yaml", "examples/commit-history.yaml"]


@pytest.fixture(autouse=True)
def working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def run(*words: str, environment: dict[str, str] | None = None) -> Result:
    return CliRunner(env=environment).invoke(app, words)


def words_of(text: str) -> str:
    """Return the words of a table in a line, without its frame."""
    return " ".join("".join(" " if letter in "│┃" else letter for letter in text).split())


def test_lint_tells_of_good_plans_what_they_hold_and_how_much_they_let_be_told() -> None:
    result = run("plan", "lint", "--strict", "--on", "2026-12-01", *PLANS)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = [line for line in result.stdout.splitlines() if "nothing to mend" in line]
    assert [line.split(":")[0] for line in lines] == PLANS
    assert "commit-history@1, 6 events, 6 features, 3 properties, digest " in lines[1]
    assert re.search(r"│ one SearchSubmitted +│ +\d+ │ +64 │ █+░+ \d+% │", result.stdout)
    assert re.search(r"│ all of a user's day +│ +[\d,]+ │ +50,000 │ █+░+ \d+% │", result.stdout)


def test_lint_without_a_path_takes_the_plan_of_the_settings() -> None:
    result = run("plan", "lint", "--on", "2026-12-01")
    assert result.exit_code == 0
    assert "plans/code-intelligence.yaml: code-intelligence@2" in result.stdout


def test_lint_tells_all_problems_of_all_plans_and_the_status_is_one(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text((REPOSITORY / PLANS[1]).read_text().replace("type: integer", "type: string"), encoding="utf-8")
    result = run("plan", "lint", "--on", "2026-12-01", str(bad), PLANS[0], "none.yaml")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert all(line.startswith(f"{bad}:") and "error format: " in line for line in lines[:6])
    assert lines[6] == f"{bad}: 6 errors; the plan cannot be used"
    assert lines[7].startswith(f"{PLANS[0]}: code-intelligence@2, ")
    assert lines[-2].startswith("none.yaml: error format: cannot be read")
    assert lines[-1] == "none.yaml: 1 error; the plan cannot be used"


def test_a_warning_of_lint_fails_only_if_that_is_asked_for(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    text = (
        (REPOSITORY / PLANS[1]).read_text().replace("owner: history", "owner: history\n    suppress: {expired: So.}", 1)
    )
    plan.write_text(text.replace("heliograph_plan: 1", "heliograph_plan: 2"), encoding="utf-8")
    for words, status in {("--on", "2026-12-01"): 0, ("--on", "2026-12-01", "--strict"): 1}.items():
        result = run("plan", "lint", *words, str(plan))
        assert result.exit_code == status
        assert "1 warning\n" in result.stdout
    assert run("plan", "lint", "--on", "soon", str(plan)).exit_code == 2


def test_lint_tells_programs_in_json(tmp_path: Path) -> None:
    result = run("plan", "lint", "--json", "--on", "2028-01-01", PLANS[0], "none.yaml")
    assert result.exit_code == 1
    shipped, missing = json.loads(result.stdout)
    assert {finding["rule"] for finding in shipped["findings"]} == {"expired"}
    assert shipped["budget"] == {"event_bits": 64.0, "user_day_bits": 50_000.0}
    assert 40 < shipped["bits"]["events"]["SearchSubmitted"] < shipped["bits"]["user_day"] < 50_000
    assert missing["findings"][0]["severity"] == "error"
    assert "bits" not in missing


def test_the_plan_of_the_settings_is_shown_by_feature() -> None:
    result = run("plan", "show")
    assert result.exit_code == 0
    plan = load_plan(PLANS[0])
    for word in [*plan.features, *plan.events, *plan.facts]:
        assert word in result.stdout


def test_another_plan_is_shown_by_its_file() -> None:
    result = run("plan", "show", PLANS[1])
    assert result.exit_code == 0
    assert "MergeCompleted" in result.stdout
    assert "SearchSubmitted" not in result.stdout


@pytest.mark.parametrize("words", [("SearchSubmitted",), (PLANS[0], "SearchSubmitted")])
def test_one_event_is_shown_in_full(words: tuple[str, ...]) -> None:
    result = run("plan", "show", *words)
    assert result.exit_code == 0
    shown = words_of(result.stdout)
    event = load_plan(PLANS[0]).events["SearchSubmitted"]
    for text in [
        event.description,
        "Core action.",
        event.owner,
        "milliseconds, 0 to 600,000, to the nearest 10",
        "true or false",
    ]:
        assert text in shown
    for word in [*event.outcomes, *event.properties]:
        assert word in shown


def test_a_plan_and_an_event_can_be_had_as_json() -> None:
    whole = json.loads(run("plan", "show", "--json").stdout)
    assert whole["events"]["goToDefinition"]["core"] is True
    event = json.loads(run("plan", "show", PLANS[1], "FileEdited", "--json").stdout)
    assert (event["name"], event["properties"]["files"]["type"]) == ("FileEdited", "integer")


def test_what_cannot_be_shown_is_explained() -> None:
    for words, said in [
        (
            ("SearchSubmited",),
            "code-intelligence@2 has no event `SearchSubmited`. Did you mean `SearchSubmitted`?",
        ),
        (("Zzzzzz",), "has no event `Zzzzzz`. `heliograph plan show` lists them."),
        (("none.yaml",), "none.yaml: cannot be read: No such file or directory."),
        (("a.yaml", "b", "c"), "3 words are given."),
    ]:
        result = run("plan", "show", *words)
        assert result.exit_code in (1, 2)
        assert said in result.stderr
        assert not result.stdout


def test_the_settings_in_force_are_shown_without_passwords() -> None:
    environment = {
        "HELIOGRAPH_GATEWAY_PORT": "9443",
        "HELIOGRAPH_EVENT_LOGS_DSN": "postgresql://reader:hunter2@db/product",
    }
    result = run("config", "show", environment=environment)
    assert result.exit_code == 0
    assert "port = 9443" in result.stdout
    assert 'dsn = "postgresql://reader:********@db/product"' in result.stdout
    assert "hunter2" not in result.output


def test_problems_of_settings_are_printed() -> None:
    result = run("config", "show", environment={"HELIOGRAPH_GATEWAY_PORT": "x", "HELIOGRAPH_LAKE_Y": "1"})
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "HELIOGRAPH_GATEWAY_PORT",
        "HELIOGRAPH_LAKE_Y",
    ]


def test_a_settings_file_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("config", "init").exit_code == 0
    assert load_settings("heliograph.toml", environment={}) == Settings()
    (tmp_path / "heliograph.toml").write_text("mine", encoding="utf-8")
    result = run("config", "init")
    assert result.exit_code == 1
    assert "heliograph.toml: is there already." in result.stderr
    assert (tmp_path / "heliograph.toml").read_text() == "mine"
    result = run("config", "init", "none/x.toml")
    assert result.exit_code == 1
    assert "none/x.toml: cannot be written: No such file or directory." in result.stderr


@pytest.mark.parametrize("verb", ["plan lint", "plan show", "config show", "config init"])
def test_help_teaches_with_an_example(verb: str) -> None:
    result = run(*verb.split(), "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
