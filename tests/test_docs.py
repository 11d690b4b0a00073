"""What the documents say is there, is there; and what is there, they say."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

import commands
import documents
from documents import PAGES, REPOSITORY
from heliograph.event import ABSENT, BEFORE_SEQUENCE, ENVELOPE, Verdict
from heliograph.gateway.problems import Refusal
from heliograph.insights.difference import Kind
from heliograph.ping import ActiveUsers, FeatureUse, Ping
from heliograph.registry.sign_up_problems import SignUpRefusal
from heliograph.registry.sign_ups import SignUp, SignUpAnswer
from heliograph.registry.trials import LinkState
from heliograph.settings import Settings
from heliograph.wire import (
    Answer,
    Endorsement,
    KeysAnswer,
    PingAnswer,
    PingReceipt,
    PolicyAnswer,
    PolicyStatement,
    Receipt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOURCES = REPOSITORY / "src" / "heliograph"
BY_NAME = {str(page.relative_to(REPOSITORY)): page.read_text(encoding="utf-8") for page in PAGES}
SETTINGS = {
    f"{section}.{field}"
    for section in Settings.__struct_fields__
    for field in getattr(Settings(), section).__struct_fields__
}


FILES = {"agent.db", "agent.env", "consent.json", "agent.lock", "gateway.lock", "metrics.prom"}


def is_code(name: str) -> bool:
    """Tell whether a dotted name is one of the program's, from the package down."""
    parts = ["heliograph", *name.split(".")]
    for end in range(len(parts), 1, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_a_name_that_is_not_of_the_code_is_noticed() -> None:
    assert is_code("gateway.log.Log.append")
    assert is_code("lake.loader")
    assert not is_code("gateway.log.Log.appent")
    assert not is_code("gateway.lag")


@pytest.mark.parametrize("page", BY_NAME)
def test_every_link_leads_somewhere(page: str) -> None:
    dead = []
    for link in documents.links(BY_NAME[page]):
        file, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        if file.startswith("https:"):
            continue
        if not target.exists() or (anchor and anchor not in documents.anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert not dead


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, found = set(), [REPOSITORY / "README.md"]
    while found:
        page = found.pop()
        seen.add(page)
        files = {link.partition("#")[0] for link in documents.links(page.read_text(encoding="utf-8"))}
        paths = [(page.parent / file).resolve() for file in files if file.endswith(".md") and ":" not in file]
        found += [path for path in paths if path not in seen and path.exists()]
    assert seen == set(PAGES)


def shown_commands() -> Iterator[tuple[str, str]]:
    for page, text in BY_NAME.items():
        for language in ("sh", "console", "ini"):
            for block in documents.blocks(page, language):
                lines = block.replace("\\\n", " ").splitlines()
                for line in lines:
                    found = re.match(r"(?:\$ |ExecStart=\S*/)?((?:[A-Z_]+=\S+ )*heliograph .*)", line)
                    if found:
                        yield page, found[1]
        for code in documents.inline_code(text):
            if code.startswith("heliograph ") and "…" not in code:
                yield page, code


def test_every_command_that_a_page_shows_would_be_taken() -> None:
    shown = list(shown_commands())
    assert len({page for page, _ in shown}) > 5
    assert not [f"{page}: {problem}" for page, line in shown for problem in commands.problems_of(line)]


@pytest.mark.parametrize(
    "line", ["heliograph ask stickyest", "heliograph ask stickiest --tops 3", "heliograph lake status all"]
)
def test_a_command_that_would_not_be_taken_is_noticed(line: str) -> None:
    assert commands.problems_of(line)


def test_make_targets_that_a_page_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", documents.read("Makefile"), re.MULTILINE))
    named = {
        found
        for page, text in BY_NAME.items()
        for code in (*documents.inline_code(text), *documents.blocks(page, "sh"))
        for found in re.findall(r"^make ([a-z]+)", code, re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets


def test_the_page_of_the_command_line_is_its_help(golden: Callable[[str, str], None]) -> None:
    golden("docs/cli.md", commands.page())


@pytest.mark.parametrize(("path", "command"), commands.leaves(), ids=[path for path, _ in commands.leaves()])
def test_every_verb_teaches_with_an_example_that_would_be_taken(path: str, command: Any) -> None:
    help_text = " ".join(f"{command.help}".replace("[bold]", "").replace("[/bold]", "").split())
    examples = re.findall(r"(?:[A-Z_]+=\S+ )?heliograph [^;]+", help_text.partition("Example")[2])
    assert any(path.removeprefix("heliograph ") in example for example in examples)
    shown = (example.split(" A redline or ")[0] for example in examples)
    assert not [problem for line in shown for problem in commands.problems_of(line)]


def test_every_refusal_is_explained_in_its_own_words() -> None:
    rows = [line for line in documents.section("docs/wire.md", "Problems").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{each.code}` | {each.status} | {each.title} | {each.remedy} |" for each in Refusal]


def test_every_refusal_of_a_sign_up_is_explained_in_its_own_words() -> None:
    rows = [line for line in documents.section("docs/trials.md", "Problems").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{each.code}` | {each.status} | {each.title} | {each.remedy} |" for each in SignUpRefusal]


def test_every_field_of_a_sign_up_and_every_state_of_a_link_is_explained() -> None:
    cells = {
        name
        for title in ("Sign-ups", "A trial led by a customer engineer")
        for row in documents.section("docs/trials.md", title).splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert cells == {*SignUp.__struct_fields__, *LinkState}
    told = documents.inline_code(documents.section("docs/trials.md", "Sign-ups"))
    assert set(SignUpAnswer.__struct_fields__) <= set(told)


def test_every_verdict_is_explained_with_where_it_is_given() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([\w, ]+) \| .+ \|$", documents.section("docs/wire.md", "Verdicts"), re.MULTILINE
    )
    assert [verdict for verdict, _ in rows] == list(Verdict)
    given = {verdict: set(where.split(", ")) for verdict, where in rows}
    assert {verdict for verdict, where in given.items() if "before" in where} == BEFORE_SEQUENCE
    assert {verdict for verdict, where in given.items() if "absent" in where} == ABSENT
    never = (BEFORE_SEQUENCE | {Verdict.REFUSED, Verdict.LOST}) - {Verdict.UNDECLARED_EVENT}
    assert {verdict for verdict, where in given.items() if "gateway" in where} == set(Verdict) - never


def test_every_field_on_the_wire_is_explained() -> None:
    cells = {
        field
        for title in ("What may be sent", "The answer", "Fields of an event")
        for row in documents.section("docs/wire.md", title).splitlines()
        if row.startswith("| `")
        for field in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    expected = {*ENVELOPE}
    for kind in (Answer, Endorsement, KeysAnswer, PolicyAnswer, PolicyStatement, Receipt):
        expected |= set(kind.__struct_fields__)
    assert expected <= cells


def test_every_field_of_a_ping_and_of_the_answer_to_it_is_explained() -> None:
    section = documents.section("docs/wire.md", "Pings")
    named = {code for row in section.splitlines() if row.startswith("| ") for code in documents.inline_code(row)}
    for kind in (Ping, ActiveUsers, FeatureUse, PingAnswer, PingReceipt):
        assert set(kind.__struct_fields__) <= named


def test_every_kind_of_difference_between_pings_and_events_is_explained() -> None:
    rows = documents.first_cells(documents.section("docs/operations.md", "Pings beside events"))
    assert rows == [str(kind) for kind in Kind if kind is not Kind.SAME]


def test_the_settings_page_has_every_setting() -> None:
    page = documents.read("docs/settings.md")
    fields = {setting.partition(".")[2] for setting in SETTINGS}
    assert fields == set(re.findall(r"^([a-z_]+) = ", page, re.MULTILINE))


def test_every_setting_and_every_name_of_the_code_that_a_page_names_exists() -> None:
    parts = {*Settings.__struct_fields__, *(path.stem for path in SOURCES.iterdir())}
    named = [
        (page, code)
        for page, text in BY_NAME.items()
        for code in documents.inline_code(text)
        if re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)+", code) and code.partition(".")[0] in parts
    ]
    assert len(named) > 100
    assert not [(page, code) for page, code in named if code not in SETTINGS | FILES and not is_code(code)]


def test_every_message_of_the_log_is_explained() -> None:
    explained = documents.first_cells(documents.section("docs/operations.md", "What the processes log"))
    logged = {
        message
        for file in SOURCES.rglob("*.py")
        for message in re.findall(r"(?<![.\w])_log\.\w+\(\s*\"([^\"]+)\"", file.read_text(encoding="utf-8"))
    }
    assert set(explained) == logged


def test_the_steps_of_the_intake_are_named_in_their_order() -> None:
    from heliograph.gateway.intake import Intake  # noqa: PLC0415 - only its source is looked at

    row = next(line for line in BY_NAME["ARCHITECTURE.md"].splitlines() if "**7. Intake.**" in line)
    steps = re.findall(r"self\.(\w+),\n", inspect.getsource(Intake._take_steps))
    named = [code for code in documents.inline_code(row) if hasattr(Intake, code)]
    assert named == [*steps, "store"]


def test_the_steps_of_the_intake_of_pings_are_named_in_their_order() -> None:
    from heliograph.gateway.pings import PingIntake  # noqa: PLC0415 - only its source is looked at

    line = next(line for line in BY_NAME["ARCHITECTURE.md"].split("\n\n") if "PingIntake" in line)
    steps = re.findall(r"self\.(\w+),\n", inspect.getsource(PingIntake._take_in_order))
    named = [code for code in documents.inline_code(line) if hasattr(PingIntake, code)]
    assert named == [*steps, "store"]


def test_every_path_that_a_page_names_exists() -> None:
    missing = [
        f"{page}: {code}"
        for page, text in BY_NAME.items()
        for code in documents.inline_code(text)
        if re.fullmatch(r"(src|tests|docs|examples|plans|benchmarks)/[\w./-]*", code)
        and not (REPOSITORY / code).exists()
    ]
    assert not missing


def test_every_test_that_the_architecture_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", BY_NAME["ARCHITECTURE.md"])
    assert named
    for file, test in named:
        defined = re.findall(r"^(?:def (\w+)|(\w+) = )", documents.read(file), re.MULTILINE)
        assert test in {name for pair in defined for name in pair}, f"{file}::{test}"


@pytest.mark.parametrize(
    "picture", sorted((REPOSITORY / "docs" / "pictures").glob("*.svg")), ids=lambda path: path.stem
)
def test_a_picture_is_shown_and_loads_nothing_from_elsewhere(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    ET.fromstring(text)
    assert f"docs/pictures/{picture.name}" in BY_NAME["README.md"]
    assert not re.search(r"@import|@font-face|href|<image|url\([^#]", text)


HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "crates" + ".io", "docker" + ".io")
ELSEWHERE = re.compile(r"(?<![\w.~/-])/(?:root|home|work|workspace|Users|tmp|mnt)/\w")


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    found = []
    for path, text in documents.text_files():
        for number, line in enumerate(text.splitlines(), 1):
            if any(host in line for host in HOSTS) or ELSEWHERE.search(line):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)
