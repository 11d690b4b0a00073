"""The Python that is made from a plan, under the real type checker, and recording."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings

import heliograph
from generating import ANY_PLAN, EVERYTHING, SHIPPED, made, plans
from heliograph.plan.generate.python import python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from heliograph.plan.model import Plan

USES = """\
from datetime import UTC, datetime, timedelta
from typing import Literal

import events

text = input()
event_name: str = text

events.search_submitted(user=42, session="s", outcome="ok", pattern_type="regexp", duration_ms=timedelta(seconds=1))
events.search_submitted(anonymous="a", filter_count=7, share=0.5, ratio=3, case_sensitive=True, result_count=10)
events.search_submitted(user=None, outcome=None, language="c++", time=datetime.now(UTC), source="web", actor="operator")
events.search_submitted_twice(outcome="failed", class_="import", lambda_=3, str=True)  # E: deprecated
events.int_(language="fr")
events.delete()

events.search_submited(user=42)  # E: attr-defined
events.search_submitted(42)  # E: call-arg
events.search_submitted(user=42, query=text)  # E: call-arg
events.search_submitted(user=42, pattern_type=text)  # E: arg-type
events.search_submitted(user=42, pattern_type="regex")  # E: arg-type
events.search_submitted(user=42, language="en")  # E: arg-type
events.int_(language="c++")  # E: arg-type
events.search_submitted(user=42, outcome=text)  # E: arg-type
events.search_submitted(user=42, outcome="failed")  # E: arg-type
events.search_submitted(user=42, source=text)  # E: arg-type
events.search_submitted(user=42, actor="admin")  # E: arg-type
events.search_submitted(user=42, result_count=text)  # E: arg-type
events.search_submitted(user=42, result_count=1.5)  # E: arg-type
events.search_submitted(user=42, share="0.5")  # E: arg-type
events.search_submitted(user=42, case_sensitive=text)  # E: arg-type
events.search_submitted(user=42, case_sensitive=1)  # E: arg-type
events.search_submitted(user=42, duration_ms=41)  # E: arg-type
events.search_submitted(user=42, filter_count=text)  # E: arg-type
events.search_submitted(user=42, time=text)  # E: arg-type
events.search_submitted(user=[text])  # E: arg-type
events.search_submitted_twice(class_="import")  # E: call-arg, deprecated
events.search_submitted_twice(outcome="ok")  # E: arg-type, deprecated
events.search_submitted(**{text: text})  # E: arg-type
"""


def loaded(plan: Plan, folder: Path) -> ModuleType:
    file = folder / f"made_{plan.digest()[:12]}.py"
    file.write_text(made(python, plan), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(tool: str, *words: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", tool, *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout


def test_a_type_checker_finds_wrong_names_wrong_keys_and_free_text_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "events.py").write_text(made(python, EVERYTHING), encoding="utf-8")
    (tmp_path / "shipped.py").write_text(made(python, SHIPPED), encoding="utf-8")
    (tmp_path / "uses.py").write_text(USES, encoding="utf-8")
    words = ("--strict", "--enable-error-code", "deprecated", "--cache-dir", ".mypy", "uses.py", "shipped.py")
    said = run_tool("mypy", *words, folder=tmp_path)
    found: dict[int, set[str]] = {}
    for line, code in re.findall(r"^uses\.py:(\d+): error: .*\[([\w-]+)\]$", said, re.MULTILINE):
        found.setdefault(int(line), set()).add(code)
    expected = {
        number: set(line.split("# E: ")[1].split(", "))
        for number, line in enumerate(USES.splitlines(), 1)
        if "# E: " in line
    }
    assert not re.findall(r"^(?:events|shipped)\.py:.*", said, re.MULTILINE)
    assert found == expected, said


@pytest.mark.parametrize("plan", [EVERYTHING, SHIPPED], ids=lambda plan: plan.label)
@pytest.mark.parametrize("width", ["88", "120"])
def test_a_formatter_changes_nothing(plan: Plan, width: str, tmp_path: Path) -> None:
    (tmp_path / "events.py").write_text(made(python, plan), encoding="utf-8")
    said = run_tool("ruff", "format", "--isolated", "--diff", "--line-length", width, "events.py", folder=tmp_path)
    assert "already formatted" in said, said


class Recorded:
    """Stands in for a recorder, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def record(self, name: str, /, **what: Any) -> bool:
        self.calls.append((name, {key: value for key, value in what.items() if value is not None}))
        return True

    def identify(self, user: str | int, *, anonymous: str | int) -> bool:
        raise AssertionError(user, anonymous)

    def report_facts(self, **facts: Any) -> bool:
        raise AssertionError(facts)

    def opt_out(self, user: str | int) -> bool:
        raise AssertionError(user)

    opt_in = opt_out


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorder = Recorded()
    heliograph.configure(recorder)
    yield recorder
    heliograph.configure(None)


def test_each_function_records_its_own_event_with_the_keys_of_the_plan(recorded: Recorded, tmp_path: Path) -> None:
    events = loaded(EVERYTHING, tmp_path)
    moment = datetime(2026, 10, 1, tzinfo=UTC)
    assert events.search_submitted(user=42, session="s", pattern_type="regexp", duration_ms=timedelta(seconds=1))
    assert events.search_submitted_twice(
        anonymous="a",
        outcome="failed",
        class_="import",
        lambda_=3,
        str=True,
        time=moment,
        source="web",
        actor="service",
    )
    assert events.delete(outcome=None)
    assert recorded.calls == [
        (
            "SearchSubmitted",
            {
                "user": 42,
                "session": "s",
                "outcome": "ok",
                "pattern_type": "regexp",
                "duration_ms": timedelta(seconds=1),
            },
        ),
        (
            "SearchSubmittedTwice",
            {
                "anonymous": "a",
                "outcome": "failed",
                "class": "import",
                "lambda": 3,
                "str": True,
                "time": moment,
                "source": "web",
                "actor": "service",
            },
        ),
        ("delete", {}),
    ]


@given(plan=plans())
@ANY_PLAN
def test_whatever_the_plan_the_module_runs_and_has_a_function_for_each_event(
    plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = made(python, plan)
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert len({function.name for function in functions}) == len(plan.events)
    recorder = Recorded()
    heliograph.configure(recorder)
    try:
        module = loaded(plan, tmp_path_factory.mktemp("made"))
        for function, (name, event) in zip(functions, plan.events.items(), strict=True):
            arguments = [argument.arg for argument in function.args.kwonlyargs]
            assert len(set(arguments)) == len(arguments) == 7 + len(event.properties)
            getattr(module, function.name)(**dict.fromkeys(arguments, 1))
            assert recorder.calls[-1][0] == name
            keys = {"user", "session", "anonymous", "outcome", "time", "source", "actor"}
            assert set(recorder.calls[-1][1]) == keys | set(event.properties)
    finally:
        heliograph.configure(None)


@given(plan=plans())
@settings(max_examples=5, phases=[Phase.generate])
def test_whatever_the_plan_a_formatter_changes_nothing(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("made")
    (folder / "events.py").write_text(made(python, plan), encoding="utf-8")
    said = run_tool("ruff", "format", "--isolated", "--diff", "events.py", folder=folder)
    assert "already formatted" in said, said
