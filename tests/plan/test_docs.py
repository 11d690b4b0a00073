"""docs/plan.md says what the loader does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from heliograph.event import ENVELOPE, RESERVED
from heliograph.plan.diff import Effect, Kind
from heliograph.plan.load import parse_plan
from heliograph.plan.model import (
    BooleanProperty,
    Comparison,
    CountsFact,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    Plan,
    Property,
    VersionFact,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


def fields(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(
    ("title", "kind"), [("The plan", Plan), ("An event", EventDefinition), ("Searches", Comparison)]
)
def test_every_field_is_explained_in_the_order_of_the_model(title: str, kind: type[msgspec.Struct]) -> None:
    assert first_cells(title) == fields(kind)


@pytest.mark.parametrize(
    ("title", "kinds"),
    [
        ("A property", get_args(Property)),
        ("Facts", [VersionFact, IntegerProperty, BooleanProperty, MemberProperty, CountsFact]),
    ],
)
def test_every_type_is_explained_with_its_fields(title: str, kinds: list[type[msgspec.Struct]]) -> None:
    assert first_cells(title) == [kind.__struct_config__.tag for kind in kinds]
    for line, kind in zip(re.findall(r"^\| `\w+` \|.*", section(title), re.MULTILINE), kinds, strict=True):
        assert re.findall(r"`(\w+)`", line.split("|")[2]) == [
            name for name in fields(kind) if name not in ("description", "suppress")
        ]


def test_optional_fields_are_said_to_be_optional() -> None:
    for title, kind in (("The plan", Plan), ("An event", EventDefinition), ("Searches", Comparison)):
        optional = re.findall(r"^\| `(\w+)` \| Optional", section(title), re.MULTILINE)
        assert optional == [field.encode_name for field in msgspec.structs.fields(kind) if not field.required]


def test_names_that_are_said_to_be_taken_are_taken() -> None:
    taken = section("A property").split("are taken:")[1].split("and a few more")[0]
    assert set(re.findall(r"`(\w+)`", taken)) <= set(ENVELOPE) <= RESERVED


def test_every_example_loads() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    for example in examples:
        assert parse_plan(example.encode(), file="docs/plan.md").events


def test_every_kind_of_change_is_explained_in_its_own_words() -> None:
    rows = [line for line in section("Changing a plan").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{kind.code}` | {kind.effect} | {kind.words} |" for kind in Kind]
    assert set(re.findall(r"`(\w+)`", section("Changing a plan"))) >= {effect.name.lower() for effect in Effect}
