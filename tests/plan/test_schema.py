"""The JSON Schema of plans takes whatever loads, and refuses the mistakes that a schema can express."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema_rs
import msgspec
import pytest
import yaml

from documents import read
from heliograph.plan.schema import IDENTITY, plan_schema
from plan.test_files import HEAD, READING, SEARCH
from plan.test_load import GOOD, MISTAKES, MISTAKES_OF_2, NEW

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = "docs/plan.schema.json"
VALIDATOR = jsonschema_rs.Draft202012Validator(plan_schema(), validate_formats=True)


class Editor(yaml.SafeLoader):
    """Reads YAML as editors do before they hold it against a schema: a date is text."""


Editor.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def complaints(text: str) -> list[str]:
    tree = yaml.load(text, Loader=Editor)
    return [f"{error.instance_path}: {error.message}" for error in VALIDATOR.iter_errors(tree)]


# fmt: off
INEXPRESSIBLE = {
    # References between parts of a plan, and comparisons of two values.
    "bounds the wrong way", "default minimum", "expired before it was added", "unknown feature", "unused feature",
    "one name, two kinds", "case alone", "search's unknown event", "search's unknown property",
    "search's property without members", "search's unknown member", "search's member twice",
    # What a reader of YAML has made of the text before the schema sees it.
    "duplicate key", "duplicate event", "anchor", "octal", "minutes", "a float that overflows", "control character",
    "text that turns round",
}
"""Mistakes of `MISTAKES` that only the loader finds."""

INEXPRESSIBLE_OF_2 = {
    "format 1 with what came with 2",
    # Comparisons of two values.
    "a duration's precision above its bound", "a duration's bound between two multiples",
    "an integer's precision wider than its range", "an integer's minimum between two multiples",
    "an integer's maximum between two multiples", "a number's bound between two steps",
    "a number's bound that is not exact", "buckets that fall", "a fact's bound between two multiples",
    "deprecated before it was added",
    # References between parts of a plan, and names that differ by case alone.
    "deprecated for an unknown event", "deprecated for itself", "an earlier name twice",
    "an earlier name of an event of today", "an earlier name of a retired event", "a retired event of today",
}
"""Mistakes of `MISTAKES_OF_2` that only the loader finds."""
# fmt: on


def outcome(good: str, mistake: tuple[str, str]) -> bool:
    """Tell whether a reader of YAML or the schema refuses a plan with a mistake."""
    try:
        return bool(complaints(good.replace(*mistake)))
    except (yaml.YAMLError, ValueError, TypeError):
        return True


def test_the_published_schema_is_the_one_of_this_release(golden: Callable[[str, str], None]) -> None:
    golden(PUBLISHED, msgspec.json.format(msgspec.json.encode(plan_schema()), indent=2).decode() + "\n")


def test_the_schema_is_one_and_its_id_has_the_version_of_the_format() -> None:
    jsonschema_rs.meta.validate(plan_schema())
    assert IDENTITY.endswith(":2")


@pytest.mark.parametrize("path", ["plans/code-intelligence.yaml", "examples/commit-history.yaml"])
def test_shipped_plans_pass_and_tell_editors_where_the_schema_is(path: str) -> None:
    text = read(path)
    assert complaints(text) == []
    [place] = re.findall(r"\A# yaml-language-server: \$schema=(\S+)\n", text)
    assert ((REPOSITORY / path).parent / place).resolve() == REPOSITORY / PUBLISHED


def test_whatever_loads_passes() -> None:
    for text in (GOOD, NEW, HEAD, SEARCH, READING, *re.findall(r"```yaml\n(.*?)```", read("docs/plan.md"), re.DOTALL)):
        assert complaints(text) == []


def test_every_mistake_that_a_schema_can_express_is_refused() -> None:
    assert {name for name, mistake in MISTAKES.items() if not outcome(GOOD, mistake)} == INEXPRESSIBLE
    assert {name for name, mistake in MISTAKES_OF_2.items() if not outcome(NEW, mistake)} == INEXPRESSIBLE_OF_2


def test_fields_are_explained_where_they_are_written() -> None:
    kinds = plan_schema()["$defs"]
    assert "never a person" in kinds["EventDefinition"]["properties"]["owner"]["description"]
    assert "the instance rounds" in kinds["IntegerProperty"]["properties"]["precision"]["description"]
    assert "Free text has no type" in str(kinds["EventDefinition"]["properties"]["properties"])
