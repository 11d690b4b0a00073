"""`heliograph plan diff`, as a reviewer and a pipeline meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app

FOLDER = Path(__file__).resolve().parents[1] / "plan" / "diff"
OLD, NEW, BREAKING = (str(FOLDER / f"{name}.yaml") for name in ("old", "new", "breaking"))


def run(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["plan", "diff", *words], input=given)


@pytest.mark.parametrize(("options", "ending"), [((), "txt"), (("--customer",), "md"), (("--json",), "json")])
def test_each_output_is_the_reviewed_one(options: tuple[str, ...], ending: str) -> None:
    result = run(OLD, NEW, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (FOLDER / f"new.{ending}").read_text(encoding="utf-8")


def test_what_breaks_ends_with_one_whatever_is_asked() -> None:
    for options in ((), ("--check",), ("--customer",), ("--json",)):
        assert run(OLD, BREAKING, *options).exit_code == 1


def test_a_check_ends_with_three_where_anything_is_newly_collected() -> None:
    assert run(OLD, NEW, "--check").exit_code == 3
    assert run(OLD, OLD, "--check").exit_code == 0


@pytest.mark.parametrize("words", [("-", NEW), (OLD, "-")])
def test_either_plan_can_come_by_standard_input(words: tuple[str, str]) -> None:
    given = Path(OLD if words[0] == "-" else NEW).read_text(encoding="utf-8")
    result = run(*words, "--json", given=given)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((FOLDER / "new.json").read_text(encoding="utf-8"))


def test_the_problems_of_both_plans_are_told_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(OLD).read_text(encoding="utf-8").replace("type: boolean", "type: string"), encoding="utf-8")
    result = run(str(bad), "none.yaml")
    assert result.exit_code == 1
    assert "Free text has no type" in result.stderr
    assert "none.yaml: cannot be read" in result.stderr
    assert not result.stdout
    wrong = run("-", NEW, given="no: plan")
    assert wrong.exit_code == 1
    assert "standard input:" in wrong.stderr


def test_what_cannot_be_meant_is_explained() -> None:
    for words, said in [(("-", "-"), "not both"), ((OLD, NEW, "--json", "--customer"), "not both")]:
        result = run(*words)
        assert result.exit_code == 2
        assert said in result.stderr
