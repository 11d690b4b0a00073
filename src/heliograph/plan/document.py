"""From a file to YAML nodes that know their lines; the worst that any file can meet with is refusal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

import yaml

from heliograph.plan.problem import PlanError, PlanProblem, printable, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C where PyYAML has it: the same results, some ten times as fast."""

MAXIMUM_BYTES: Final = 1 << 20
MAXIMUM_DEPTH: Final = 16
"""Nested mappings and lists; the format itself needs six."""

Node: TypeAlias = yaml.ScalarNode | yaml.CollectionNode

_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that steer a terminal or the direction of text, and halves of characters; not the line feed."""


def read_content(path: str | Path) -> bytes:
    """Return the bytes of a plan's file.

    Raises:
        PlanError: it cannot be read, or is too large to be a plan.
    """
    file = printable(str(path))
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - a Path refuses some of the strings that open explains
            content = stream.read(MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        remedy = "Give the path of a tracking plan, a YAML file."
        raise _refusal(file, f"cannot be read: {reason}", remedy) from None
    if len(content) > MAXIMUM_BYTES:
        message = f"is larger than {MAXIMUM_BYTES:,} bytes"
        raise _refusal(file, message, "Check that it is a tracking plan; if it is, shorten it.")
    return content


def compose(content: bytes, *, file: str) -> Node:
    """Return the root node of the YAML document in `content`; `file` names it in problems.

    Raises:
        PlanError: not UTF-8, not YAML, empty, nested too deeply, or with anchors, aliases, tags or controls.
    """
    text = _decode(content, file=file)
    try:
        problems = list(_refused_parts(text, file=file))
        node = None if problems else yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise _syntax_error(error, file=file) from None
    except (ValueError, OverflowError) as error:  # numbers and escapes that PyYAML does not check itself
        raise _syntax_error(yaml.YAMLError(str(error)), file=file) from None
    if problems:
        raise PlanError(problems)
    if not isinstance(node, yaml.ScalarNode | yaml.CollectionNode):
        remedy = "Begin with `heliograph_plan: 2`; docs/plan.md has an example."
        raise _refusal(file, "the file holds nothing", remedy, place=(1, 1))
    return node


def _decode(content: bytes, *, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = (before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8"
        raise _refusal(file, message, "Save the file as UTF-8 text.", place=place) from None


def _refused_parts(text: str, *, file: str) -> Iterator[PlanProblem]:
    """Yield what is YAML but has no place in a plan; reading stops where the nesting is too deep."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        mark = event.start_mark
        place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        for message, remedy in _objections(event):
            yield _problem(file, message, remedy, place)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAXIMUM_DEPTH:
            yield _problem(file, f"nested more than {MAXIMUM_DEPTH} deep", "See docs/plan.md.", place)
            return


def _objections(event: yaml.Event) -> Iterator[tuple[str, str]]:
    """Yield what a single event of the YAML stream may not have: each with a remedy."""
    if isinstance(event, yaml.AliasEvent):
        yield f"{shown(f'*{event.anchor}')} is an alias", "Write the value out."
    elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
        if event.anchor is not None:
            yield f"{shown(f'&{event.anchor}')} is an anchor", "Leave it out: nothing may refer to it."
        if event.tag is not None:
            yield f"{shown(str(event.tag))} is a tag", "Leave it out: the plan's format gives the types."
    if isinstance(event, yaml.ScalarEvent) and (control := _CONTROLS.search(event.value)):
        character = f"U+{ord(control.group()):04X}"
        yield f"{shown(event.value)} holds the control character {character}", "Leave it out."


def _syntax_error(error: yaml.YAMLError, *, file: str) -> PlanError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    return _refusal(
        file,
        f"not YAML: {printable(f'{context}, {said}' if context else said)}",
        "Indent with spaces, put a space after each colon, and quote text that holds `: ` or ` #`.",
        place=None if mark is None else (mark.line + 1, mark.column + 1),
    )


def _refusal(file: str, message: str, remedy: str, *, place: tuple[int, int] | None = None) -> PlanError:
    return PlanError([_problem(file, message, remedy, place)])


def _problem(file: str, message: str, remedy: str, place: tuple[int, int] | None) -> PlanProblem:
    line, column = place or (None, None)
    return PlanProblem(file=file, line=line, column=column, message=message, remedy=remedy)
