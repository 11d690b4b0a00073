"""What is made from a plan: the table of it, its files, and the verb."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

import documents
from generating import EVERYTHING, FOLDER, made
from heliograph.cli import app
from heliograph.plan.generate import ARTEFACTS
from heliograph.plan.line_schema import line_schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = "docs/generated.md"
PLAN = str(documents.REPOSITORY / FOLDER / "everything.yaml")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", "generate", *words])


@pytest.mark.parametrize("name", ARTEFACTS)
def test_what_is_made_is_what_the_file_holds(name: str, golden: Callable[[str, str], None]) -> None:
    artefact = ARTEFACTS[name]
    golden(f"{FOLDER}/everything{artefact.suffix}", made(artefact.make, EVERYTHING))


@pytest.mark.parametrize("name", ARTEFACTS)
def test_the_verb_prints_it_and_writes_it_and_knows_it_again(name: str, tmp_path: Path) -> None:
    artefact, file = ARTEFACTS[name], tmp_path / f"made{ARTEFACTS[name].suffix}"
    assert run(name, PLAN).stdout == artefact.make(EVERYTHING)
    assert run(name, PLAN, "--output", str(file)).exit_code == 0
    assert file.read_text(encoding="utf-8") == artefact.make(EVERYTHING)
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    assert run(name, PLAN, "--output", str(file), "--check").exit_code == 0


def test_a_file_that_differs_or_is_missing_fails_the_check_and_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "events.py"
    result = run("python", PLAN, "--output", str(file), "--check")
    assert result.exit_code == 1
    assert f"{file}: cannot be read: No such file or directory. Make it anew: " in result.stderr
    file.write_text("mine", encoding="utf-8")
    result = run("python", PLAN, "--output", str(file), "--check")
    assert result.exit_code == 1
    assert f"{file}: differs from what everything@3 (digest {EVERYTHING.digest()[:12]}) gives." in result.stderr
    assert file.read_text(encoding="utf-8") == "mine"


def test_mistakes_are_told_with_what_to_do(tmp_path: Path) -> None:
    for words, said in (
        (("pyton",), "There is no artefact `pyton`. Did you mean `python`?"),
        (("cobol",), "There is no artefact `cobol`. They are python, "),
        (("python", PLAN, "--check"), "--check compares with a file, and none is given."),
        (("python", "none.yaml"), "none.yaml: cannot be read"),
        (("python", PLAN, "--output", str(tmp_path / "none" / "x.py")), "x.py: cannot be written: No such file"),
    ):
        result = run(*words)
        assert result.exit_code in (1, 2)
        assert said in result.stderr
        assert not result.stdout


@pytest.mark.parametrize("name", ARTEFACTS)
def test_it_says_from_which_plan_it_was_made_and_not_to_edit_it(name: str) -> None:
    text = re.sub(r"\s*\*?\s+", " ", ARTEFACTS[name].make(EVERYTHING))
    assert "version 3" in text
    if name == "amplitude":  # which has no room for a remark
        assert EVERYTHING.digest()[:12] in text
    else:
        assert f"digest {EVERYTHING.digest()}. Do not edit" in text
        assert f"`heliograph plan generate {name}`" in text


def test_the_schema_of_a_line_is_that_of_the_gateway() -> None:
    schema = json.loads(ARTEFACTS["line-schema"].make(EVERYTHING))
    assert schema.pop("$comment")
    assert schema == json.loads(json.dumps(line_schema(EVERYTHING)))


def test_the_page_has_each_artefact_in_its_own_words() -> None:
    rows = [line for line in documents.read(PAGE).splitlines() if line.startswith("| [`")]
    assert rows == [
        f"| [`{each.name}`](#{each.name}) | {each.about} | `{each.suffix}` |" for each in ARTEFACTS.values()
    ]
    headings = re.findall(r"^## (.+)$", documents.read(PAGE), re.MULTILINE)
    assert headings == list(ARTEFACTS)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_the_excerpts_of_the_page_are_of_what_is_made(name: str) -> None:
    blocks = re.findall(r"```\w+\n(.*?)```", documents.section(PAGE, name), re.DOTALL)
    excerpts = [block for block in blocks if "from product.events import" not in block]
    assert excerpts or name == "dictionary-html"
    assert not [excerpt for excerpt in excerpts if excerpt not in ARTEFACTS[name].make(EVERYTHING)]
