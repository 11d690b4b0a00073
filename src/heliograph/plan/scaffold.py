"""A new event in the text of a plan: inserted, so that comments and layout of all that is there stay as they are.

Whatever is written is read again by the loader before it may reach a disk: it is the one judge of every answer.
"""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import yaml

from heliograph.plan.document import compose
from heliograph.plan.in_words import on_one_line
from heliograph.plan.load import review_files
from heliograph.plan.model import CountProperty, DurationProperty, IntegerProperty, NumberProperty
from heliograph.plan.problem import PlanError, PlanProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heliograph.plan.document import Node
    from heliograph.plan.files import PlanFile
    from heliograph.plan.load import Review
    from heliograph.plan.model import EventDefinition, Plan, Property

_LINE: Final = re.compile(r"[^\n\r\x85\u2028\u2029]*(?:\r\n|[\n\r\x85\u2028\u2029])|[^\n\r\x85\u2028\u2029]+$")
"""Lines as YAML counts them."""
_WIDTH: Final = 110
_INDENT: Final = "  "
_REQUIRED: Final = ("description", "feature", "action", "question", "owner", "added", "expires")


class NewEvent(NamedTuple):
    """An event to be written, and its feature's sentence if the feature is new."""

    name: str
    event: EventDefinition
    feature_is: str | None = None


class _Edit(NamedTuple):
    """Lines to insert before a line, counted from 0; or, with `columns`, what to put in their place in it."""

    file: int
    line: int
    text: str
    columns: tuple[int, int] | None = None


def with_event(files: Sequence[PlanFile], plan: Plan, new: NewEvent) -> list[PlanFile]:
    """Return the files of `plan` with an event more, and the plan's version raised by one.

    It stands after the last event of its feature, or else after the last of all.

    Raises:
        PlanError: the place to write to is between braces, where nothing can be inserted without rewriting it.
    """
    roots = [_entries(compose(file.content, file=file.name)) for file in files]
    edits = [_event_edit(files, roots, plan, new), _number_edit(roots, "version", plan.version + 1)]
    if new.feature_is is not None:
        edits.append(_feature_edit(files, roots, new.event.feature, new.feature_is))
    if plan.heliograph_plan == 1 and _needs_format_2(new.event):
        edits.append(_number_edit(roots, "heliograph_plan", 2))
    return [
        file._replace(content=_edited(file.content, [edit for edit in edits if edit.file == number]))
        for number, file in enumerate(files)
    ]


def new_plan(*, name: str, description: str, sources: Sequence[str], new: NewEvent) -> bytes:
    """Return a plan from nothing, with its first event and its feature."""
    lines = [
        "# Heliograph's docs/plan.md explains every field.",
        "heliograph_plan: 2",
        f"name: {scalar(name)}",
        "version: 1",
        *_text_lines("description", description, ""),
        f"sources: [{', '.join(map(scalar, sources))}]",
        "",
        "features:",
        *_text_lines(new.event.feature, new.feature_is or "", _INDENT),
        "",
        "events:",
        *event_lines(new.name, new.event, _INDENT),
    ]
    return ("\n".join(lines) + "\n").encode()


def review(files: Sequence[PlanFile], *, source: str) -> Review:
    """Return the plan that the files hold, and every problem of it."""
    return review_files(files, source=source)


def event_lines(name: str, event: EventDefinition, indent: str) -> list[str]:
    """Return an event as lines of YAML; fields that are as they would be without a word are left out."""
    below = indent + _INDENT
    lines = [f"{indent}{scalar(name)}:"]
    for field in _REQUIRED:
        lines += _text_lines(field, str(getattr(event, field)), below, quote=field not in ("added", "expires"))
    lines += [f"{below}core: true"] if event.core else []
    lines += [f"{below}active: false"] if not event.active else []
    if event.outcomes != {"ok": "It worked."}:
        lines.append(f"{below}outcomes:")
        for outcome, text in event.outcomes.items():
            lines += _text_lines(outcome, text, below + _INDENT)
    if event.properties:
        lines.append(f"{below}properties:")
        for key, kind in event.properties.items():
            lines += [f"{below}{_INDENT}{scalar(key)}:", *_property_lines(kind, below + 2 * _INDENT)]
    return lines


def _property_lines(kind: Property, indent: str) -> Iterator[str]:
    fields: dict[str, Any] = msgspec.to_builtins(kind)
    tag = fields.pop("type")
    yield from _text_lines("description", str(fields.pop("description")), indent)
    yield f"{indent}type: {tag}"
    for field, value in fields.items():
        if isinstance(value, list | tuple):
            flow = f"[{', '.join(scalar(each) if isinstance(each, str) else str(each) for each in value)}]"
            yield f"{indent}{field}: {flow}"
        else:
            yield f"{indent}{field}: {_number(value)}"


def _number(value: float) -> str:
    # YAML's `1e-06` is a text to some readers: decimals are plain to all.
    return str(value) if isinstance(value, int) or "e" not in str(value) else f"{value:.20f}".rstrip("0")


def scalar(text: str) -> str:
    """Return a text as YAML: bare where that means the same as key, in a list and as value, or in double quotes."""
    is_bare = _means(f"{text}: [{text}]\n", {text: [text]}) and _means(f"k: {text}\n", {"k": text})
    return text if is_bare else json.dumps(text, ensure_ascii=False)


def _means(document: str, value: object) -> bool:
    try:
        return bool(yaml.safe_load(document) == value)
    except (yaml.YAMLError, ValueError, OverflowError, TypeError):
        return False


def _text_lines(key: str, text: str, indent: str, *, quote: bool = True) -> list[str]:
    text = on_one_line(text)
    value = text if not quote or _means(f"k: {text}\n", {"k": text}) else json.dumps(text, ensure_ascii=False)
    line = f"{indent}{scalar(key)}: {value}"
    if len(line) <= _WIDTH or not text.isprintable():
        return [line]
    folded = textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    return [f"{indent}{scalar(key)}: >-", *(f"{indent}{_INDENT}{part}" for part in folded)]


def _needs_format_2(event: EventDefinition) -> bool:
    return any(
        isinstance(kind, DurationProperty | CountProperty)
        or (isinstance(kind, IntegerProperty | NumberProperty) and kind.precision not in (None, 1))
        for kind in event.properties.values()
    )


def _entries(root: Node) -> dict[str, tuple[yaml.ScalarNode, Node]]:
    """Return key and value of each entry of a mapping by the key's text."""
    return {key.value: (key, value) for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}


def _holders(roots: Sequence[dict[str, tuple[yaml.ScalarNode, Node]]], key: str) -> list[tuple[int, Node]]:
    """Return the files that have `key` at the top, with its value."""
    return [(number, root[key][1]) for number, root in enumerate(roots) if key in root]


def _event_edit(
    files: Sequence[PlanFile], roots: Sequence[dict[str, tuple[yaml.ScalarNode, Node]]], plan: Plan, new: NewEvent
) -> _Edit:
    same = {name for name, event in plan.events.items() if event.feature == new.event.feature}
    holders = _holders(roots, "events")
    file, events = next((held for held in reversed(holders) if same & _entries(held[1]).keys()), holders[-1])
    entries = _entries(events)
    last = next((name for name in reversed(entries) if name in same), list(entries)[-1])
    _refuse_braces(files[file], "events", events)
    key, value = entries[last]
    indent = " " * key.start_mark.column
    lines = event_lines(new.name, new.event, indent)
    return _Edit(file, _line_after(value, files[file]), "\n".join(["", *lines]))


def _feature_edit(
    files: Sequence[PlanFile],
    roots: Sequence[dict[str, tuple[yaml.ScalarNode, Node]]],
    feature: str,
    feature_is: str,
) -> _Edit:
    file, features = _holders(roots, "features")[-1]
    _refuse_braces(files[file], "features", features)
    key, value = list(_entries(features).values())[-1]
    lines = _text_lines(feature, feature_is, " " * key.start_mark.column)
    return _Edit(file, _line_after(value, files[file]), "\n".join(lines))


def _number_edit(roots: Sequence[dict[str, tuple[yaml.ScalarNode, Node]]], key: str, value: int) -> _Edit:
    file, node = _holders(roots, key)[0]
    return _Edit(file, node.start_mark.line, str(value), (node.start_mark.column, node.end_mark.column))


def _refuse_braces(file: PlanFile, key: str, node: Node) -> None:
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        raise PlanError(
            [
                PlanProblem(
                    file=file.name,
                    line=node.start_mark.line + 1,
                    column=node.start_mark.column + 1,
                    where=key,
                    message="it is written between braces",
                    remedy="Write each entry on lines of its own: nothing can be inserted otherwise.",
                )
            ]
        )


def _line_after(node: Node, file: PlanFile) -> int:
    """Return the line, from 0, before which something is inserted that is to stand after `node`."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    end = node.end_mark
    if not (isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")):
        return int(end.line) + 1
    # A block's end is where the next thing begins: blank lines and comments before that are not its own.
    lines, line = _split(file.content), int(end.line) + (end.column > 0)
    while line > node.start_mark.line + 1 and re.fullmatch(r"\s*(#.*)?\s*", lines[line - 1]):
        line -= 1
    return line


def _split(content: bytes) -> list[str]:
    return _LINE.findall(content.decode("utf-8-sig"))


def _edited(content: bytes, edits: Sequence[_Edit]) -> bytes:
    lines = _split(content)
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    for edit in sorted(edits, key=lambda edit: edit.line, reverse=True):
        if edit.columns is not None:
            begin, end = edit.columns
            lines[edit.line] = lines[edit.line][:begin] + edit.text + lines[edit.line][end:]
            continue
        if edit.line >= len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += ending
        lines.insert(edit.line, edit.text.replace("\n", ending) + ending)
    mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
    return mark + "".join(lines).encode()
