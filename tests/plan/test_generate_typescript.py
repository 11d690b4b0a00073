"""The TypeScript that is made from a plan, under the real compiler; and its lines, at the gateway's check."""

from __future__ import annotations

import json
import random
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import documents
from generating import EVERYTHING, SHIPPED, made, some_plans
from heliograph.plan.generate.typescript import typescript
from heliograph.plan.lines import LineChecker
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)
from heliograph.wire import Skeleton
from node import find_compiler

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.plan.model import Plan, Property

STRICT = ("strict", "exactOptionalPropertyTypes", "noUncheckedIndexedAccess", "noUnusedLocals", "isolatedModules")
OPTIONS = [
    *(f"--{option}" for option in (*STRICT, "verbatimModuleSyntax", "skipLibCheck", "noEmitOnError")),
    *("--target", "es2022", "--lib", "es2022", "--module", "es2022", "--outDir", "out"),
]
USES = """\
import * as events from "./events.js";

declare const text: string;
declare const sink: events.Sink;
const user_id = events.randomId(text);

events.searchSubmitted(sink, { user_id, outcome: "ok", pattern_type: "regexp", duration_ms: 41.5, source: "web" });
events.searchSubmitted(sink, { outcome: null, language: "c++", share: 0.5, filter_count: 7, case_sensitive: true });
events.searchSubmitted(sink);
events.searchSubmittedTwice(sink, { outcome: "failed", class: "import", lambda: 3, constructor: false });
events.delete_(sink, { actor: "operator", version: events.version("5.3.1"), time: new Date(0) });
const all: Record<events.EventLine["name"], 1> = { SearchSubmitted: 1, SearchSubmittedTwice: 1, delete: 1, int: 1 };
console.log(all);

// @ts-expect-error a name that the plan lacks
events.searchSubmited(sink);
// @ts-expect-error a key that the plan lacks
events.searchSubmitted(sink, { query: text });
// @ts-expect-error free text for a member
events.searchSubmitted(sink, { pattern_type: text });
// @ts-expect-error a word that is not of the list
events.searchSubmitted(sink, { pattern_type: "regex" });
// @ts-expect-error a word of another event's list
events.int(sink, { language: "c++" });
// @ts-expect-error free text for an outcome
events.searchSubmitted(sink, { outcome: text });
// @ts-expect-error an outcome of another event
events.searchSubmitted(sink, { outcome: "failed" });
// @ts-expect-error an outcome has to be given where the plan has no ok
events.searchSubmittedTwice(sink, { class: "import" });
// @ts-expect-error the same
events.searchSubmittedTwice(sink);
// @ts-expect-error free text for a user
events.searchSubmitted(sink, { user_id: text });
// @ts-expect-error free text for a session
events.searchSubmitted(sink, { session_id: text });
// @ts-expect-error free text for a version
events.searchSubmitted(sink, { version: text });
// @ts-expect-error free text for a source
events.searchSubmitted(sink, { source: text });
// @ts-expect-error an actor that there is not
events.searchSubmitted(sink, { actor: "admin" });
// @ts-expect-error free text for a number
events.searchSubmitted(sink, { result_count: text });
// @ts-expect-error free text for a duration
events.searchSubmitted(sink, { duration_ms: text });
// @ts-expect-error free text for a count
events.searchSubmitted(sink, { filter_count: text });
// @ts-expect-error a number for a boolean
events.searchSubmitted(sink, { case_sensitive: 1 });
// @ts-expect-error a text for a time
events.searchSubmitted(sink, { time: text });
// @ts-expect-error a line that no event makes
sink({ name: "SearchSubmitted", time: new Date(), query: text });
// @ts-expect-error a sink of something else
events.searchSubmitted((line: { query: string }) => console.log(line.query));
"""
RUN = """\
import { readFileSync } from "node:fs";
let sequence = 0;
for (const [file, name, argument] of JSON.parse(readFileSync(0, "utf8"))) {
  const events = await import(file);
  const event = argument && { ...argument, ...(argument.time && { time: new Date(argument.time) }) };
  events[name]((line) => console.log(JSON.stringify({ ...line, sequence: ++sequence })), event);
}
"""
CONSOLE = "declare const console: { log(...values: unknown[]): void };\n"


def compiled(folder: Path, files: dict[str, str]) -> None:
    """Compile all files at once into ``out``; whatever the compiler says fails the test."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*find_compiler(), *OPTIONS, *files],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def functions(text: str) -> list[str]:
    return re.findall(r"^export function (\w+)\(sink:", text, re.MULTILINE)


def run(folder: Path, calls: list[tuple[str, str, Any]]) -> list[bytes]:
    """The lines that the calls make, of each a file in ``out``, a function and its argument."""
    (folder / "out" / "run.mjs").write_text(RUN, encoding="utf-8")
    (folder / "out" / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    done = subprocess.run(
        ["node", "run.mjs"],
        cwd=folder / "out",
        input=json.dumps(calls),
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.encode() for line in done.stdout.splitlines()]


def value(definition: Property, chance: random.Random) -> Any:
    """A value as a product has it: not rounded yet."""
    match definition:
        case IntegerProperty():
            return chance.randint(definition.minimum, definition.maximum)
        case NumberProperty():
            return chance.uniform(definition.minimum, definition.maximum)
        case DurationProperty():
            return chance.uniform(0, definition.maximum)
        case CountProperty():
            return chance.randint(definition.buckets[0], definition.buckets[-1] * 2)
        case BooleanProperty():
            return chance.random() < 0.5
        case MemberProperty():
            return chance.choice(definition.members)


def calls_for(plan: Plan, file: str, text: str, chance: random.Random) -> list[tuple[str, str, Any]]:
    calls: list[tuple[str, str, Any]] = []
    for function, event in zip(functions(text), plan.events.values(), strict=True):
        outcome = {"outcome": chance.choice([*event.outcomes, None])}
        envelope = {
            "user_id": f"{chance.getrandbits(128):032x}",
            "session_id": f"{chance.getrandbits(128):032x}",
            "version": "5.3.1",
            "source": plan.sources[0],
        }
        everything = {key: value(definition, chance) for key, definition in event.properties.items()}
        calls += [
            (file, function, outcome),
            (file, function, {**outcome, **envelope, "actor": "service", "time": "2026-10-01T12:00:00Z", **everything}),
            (file, function, {**outcome, "query": "what was typed", "email": "somebody@example.org", **everything}),
        ]
    return calls


def refused(plan: Plan, lines: list[bytes]) -> list[tuple[bytes, Skeleton]]:
    checker, latest = LineChecker(plan), datetime.now(UTC) + timedelta(hours=1)
    verdicts = [(line, checker.decode_one(line, latest=latest)) for line in lines]
    return [(line, verdict) for line, verdict in verdicts if isinstance(verdict, Skeleton)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of both plans, and uses of them, as the compiler takes them."""
    folder = tmp_path_factory.mktemp("typescript")
    texts = {"events.ts": made(typescript, EVERYTHING), "shipped.ts": made(typescript, SHIPPED)}
    compiled(folder, {**texts, "uses.ts": USES, "console.d.ts": CONSOLE})
    return folder


def test_the_compiler_finds_wrong_names_wrong_keys_and_free_text_and_nothing_else(folder: Path) -> None:
    assert (folder / "out" / "uses.js").exists()


def test_no_property_is_a_string() -> None:
    for plan in (EVERYTHING, SHIPPED):
        declared = re.findall(r"^\s+readonly \w+\??: .*$", typescript(plan), re.MULTILINE)
        assert len(declared) > len(plan.events)
        assert not [line for line in declared if "string" in line]


def test_the_gateway_takes_every_line_and_what_is_not_declared_is_in_none(folder: Path) -> None:
    chance = random.Random(1)
    for plan, file in ((EVERYTHING, "events"), (SHIPPED, "shipped")):
        text = (folder / f"{file}.ts").read_text(encoding="utf-8")
        lines = run(folder, calls_for(plan, f"./{file}.js", text, chance))
        assert refused(plan, lines) == []
        assert len(lines) == 3 * len(plan.events)
        names = [msgspec.json.decode(line)["name"] for line in lines]
        assert names == [name for name in plan.events for _ in range(3)]
        assert not [line for line in lines if b"typed" in line or b"example.org" in line]


def test_what_leaves_is_rounded_as_the_plan_asks_for(folder: Path) -> None:
    given = {"result_count": 1_234, "share": 0.126, "duration_ms": 41.6, "filter_count": 7, "ratio": 0.123456}
    (line,) = run(folder, [("./events.js", "searchSubmitted", given)])
    sent = msgspec.json.decode(line)
    assert {key: sent[key] for key in given} == {
        "result_count": 1_230, "share": 0.13, "duration_ms": 40, "filter_count": 5, "ratio": 0.123456
    }  # fmt: skip
    assert sent["outcome"] == "ok"


def test_what_is_out_of_range_is_not_moved_into_it(folder: Path) -> None:
    for key, wrong in (("result_count", 10**9), ("filter_count", -1), ("duration_ms", 10**9), ("share", 2)):
        lines = run(folder, [("./events.js", "searchSubmitted", {key: wrong})])
        ((_, verdict),) = refused(EVERYTHING, lines)
        assert verdict.field == key


def test_whatever_the_plan_the_module_compiles_and_the_gateway_takes_its_lines(tmp_path: Path) -> None:
    chance, chosen = random.Random(1), some_plans(20)  # together, as a compiler takes seconds to start
    texts = {f"made{number}": made(typescript, plan) for number, plan in enumerate(chosen)}
    compiled(tmp_path, {f"{file}.ts": text for file, text in texts.items()})
    calls = [
        calls_for(plan, f"./{file}.js", text, chance) for plan, (file, text) in zip(chosen, texts.items(), strict=True)
    ]
    lines = iter(run(tmp_path, [call for each in calls for call in each]))
    for plan, each in zip(chosen, calls, strict=True):
        assert refused(plan, [next(lines) for _ in each]) == []


def test_the_lock_file_names_no_place_and_has_a_digest_for_each_package() -> None:
    lock = json.loads(documents.read("tests/package-lock.json"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    for package in packages.values():
        assert "resolved" not in package
        assert package["integrity"].startswith("sha512-")
