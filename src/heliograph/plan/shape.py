"""From YAML nodes to a `Plan`, piece by piece along the model's types: one bad piece hides no other."""

from __future__ import annotations

import contextlib
import re
from datetime import date
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from heliograph.plan.problem import PlanProblem, nearest, printable, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from heliograph.plan.document import Node

Path: TypeAlias = tuple[str, ...]
"""Keys and list positions from the top of the plan: ``("events", "SearchSubmitted", "owner")``."""

Document = TypeVar("Document", bound=msgspec.Struct)
"""The struct that a whole file is read as."""

_BROKEN: Final[Any] = object()
"""Stands for a value that could not be read."""

_EXPECTED: Final[dict[object, str]] = {
    str: "text",
    int: "a whole decimal number",
    float: "a number",
    bool: "true or false",
    date: "a date such as 2026-10-01",
}

_MEANINGS: Final = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a date",
    "merge": "a merge",
    "value": "a default",
}
"""What a scalar without quotes is to YAML, where it is not text."""

_REMEDIES: Final = {
    "heliograph_plan": "This release reads formats 1 and 2: write `heliograph_plan: 2`, or use the release that the "
    "plan was written for.",
    "class": "Leave it out: nothing above that class may be collected.",
    "expires": "Write `never`, or the day on which its owner decides again, such as 2027-06-30.",
    "type": "Free text has no type: declare a number, or a member of a list that the plan spells out.",
}

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


class Shape:
    """The reading of one document.

    After `read`, `problems` holds what was wrong, `places` the line and column of every part, `broken` the
    parts that could not be read, and `partial` the mappings that lack such a part.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[PlanProblem] = []
        self.places: dict[Path, tuple[int, int]] = {}
        self.broken: set[Path] = set()
        self.partial: set[Path] = set()

    def read(self, root: Node, kind: type[Document], *, optional: Collection[str] = ()) -> Document | None:
        """Return a struct `kind`, with blanks in place of what could not be read; None if nothing could.

        Of its fields, those of `optional` may be missing although they have no default.
        """
        value = self._struct(root, kind, (), optional=optional)
        return value if isinstance(value, kind) else None

    def readable(self, path: Path) -> bool:
        """Return whether the part at `path` was read, though perhaps with parts of it missing."""
        return self.broken.isdisjoint(path[:length] for length in range(len(path) + 1))

    def whole(self, path: Path) -> bool:
        """Return whether the part at `path` was read, and no entry of it is missing."""
        return self.readable(path) and path not in self.partial

    def held(self, path: Path) -> int:
        """Return how many steps of `path` the file holds: all of them if the part itself stands in it."""
        return next((length for length in range(len(path), 0, -1) if path[:length] in self.places), 0)

    def place(self, path: Path) -> tuple[int, int]:
        """Return line and column of `path`, or of the nearest part above it that the file holds."""
        return self.places.get(path[: self.held(path)], (1, 1))

    def _refuse(self, path: Path, message: str, remedy: str, *, at: Node | None = None) -> None:
        line, column = self.place(path) if at is None else _mark(at)
        self.problems.append(
            PlanProblem(file=self.file, line=line, column=column, where=where(path), message=message, remedy=remedy)
        )

    def _read(self, node: Node, kind: Any, path: Path) -> Any:
        """Return the value of `node` as the type `kind`, or `_BROKEN` with the problem reported."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is dict:
            value = self._mapping(node, arguments[1], path)
        elif origin is tuple:
            value = self._sequence(node, arguments[0], path)
        elif origin in (Union, UnionType) and issubclass(arguments[0], msgspec.Struct):
            value = self._tagged(node, arguments, path)
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            value = self._struct(node, kind, path)
        elif origin in (Union, UnionType):
            value = self._scalar(node, arguments, path)
        else:
            value = self._scalar(node, (kind,), path)
        if value is _BROKEN:
            self.broken.add(path)
            self.partial.add(path[:-1])
        return value

    def _struct(self, node: Node, kind: type[msgspec.Struct], path: Path, *, optional: Collection[str] = ()) -> Any:
        entries = self._entries(node, path)
        if entries is None:
            return _BROKEN
        entries.pop(kind.__struct_config__.tag_field or "", None)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        missing = {name: None for name, field in fields.items() if field.required and name not in (*entries, *optional)}
        for name in [name for name in entries if name not in fields]:
            near = nearest(name, [field for field in fields if field not in entries])
            missing.pop(near or "", None)  # one mistake, one problem
            self._refuse(
                (*path, name),
                f"{shown(name)} is not a field here",
                f"Did you mean {shown(near)}?" if near else f"The fields here are {', '.join(fields)}.",
            )
        for name in missing:
            self._refuse(path, f"`{name}` is missing", f"Add `{name}: …`; docs/plan.md tells what it holds.")
        values = {}
        for name, field in fields.items():
            below = (*path, name)
            value = self._read(entries[name], _given(field.type), below) if name in entries else _BROKEN
            if value is not _BROKEN:
                values[field.name] = value
            elif field.required:
                if name in entries or name not in optional:
                    self.broken.add(below)
                values[field.name] = _blank(field.type)
        return kind(**values)

    def _tagged(self, node: Node, kinds: tuple[type[msgspec.Struct], ...], path: Path) -> Any:
        """Read one of several structs: its tag tells which."""
        field = str(kinds[0].__struct_config__.tag_field)
        by_tag = {str(kind.__struct_config__.tag): kind for kind in kinds}
        if not isinstance(node, yaml.MappingNode):
            return self._struct(node, kinds[0], path)  # which reports it
        tag = next((value for key, value in node.value if key.value == field), None)
        if tag is None:
            self._refuse(path, f"`{field}` is missing", f"Add `{field}: …`, one of {', '.join(by_tag)}.")
        elif not isinstance(tag, yaml.ScalarNode) or tag.value not in by_tag:
            near = nearest(str(tag.value), by_tag)
            self._refuse(
                (*path, field),
                f"{_described(tag)} is not one of {', '.join(by_tag)}",
                f"Did you mean {shown(near)}?" if near else _REMEDIES["type"],
                at=tag,
            )
        else:
            return self._struct(node, by_tag[tag.value], path)
        return _BROKEN

    def _mapping(self, node: Node, kind: Any, path: Path) -> Any:
        entries = self._entries(node, path)
        if entries is None:
            return _BROKEN
        values = {name: self._read(value, kind, (*path, name)) for name, value in entries.items()}
        return {name: value for name, value in values.items() if value is not _BROKEN}

    def _sequence(self, node: Node, kind: Any, path: Path) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            self._refuse(path, f"{_described(node)} stands where a list is expected", "Write `[one, two]`.", at=node)
            return _BROKEN
        values = []
        for position, item in enumerate(node.value):
            below = (*path, str(position))
            self.places[below] = _mark(item)
            value = self._read(item, kind, below)
            values.append(_blank(kind) if value is _BROKEN else value)
        return tuple(values)

    def _entries(self, node: Node, path: Path) -> dict[str, Node] | None:
        """Return a mapping's values by key, or None, with the problem reported, if it is no mapping."""
        if not isinstance(node, yaml.MappingNode):
            message = f"{_described(node)} stands where a mapping is expected"
            self._refuse(path, message, "Write lines of `key: value`, indented by two more spaces.", at=node)
            return None
        entries: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(path, f"{_described(key)} stands as a key", "Write the key as text.", at=key)
                self.partial.add(path)
                continue
            below = (*path, key.value)
            if key.value in entries:
                message = f"{shown(key.value)} stands twice, first in line {self.places[below][0]}"
                self._refuse(below, message, "Keep one of the two.", at=key)
                self.partial.add(path)
                continue
            entries[key.value] = value
            self.places[below] = _mark(key)
            if _tag(key) != "str":
                self._refuse(below, f"{_described(key)} is not text as it stands", _quote(key), at=key)
        return entries

    def _scalar(self, node: Node, kinds: tuple[Any, ...], path: Path) -> Any:
        """Read text, a number, a truth value, a date or a literal: the first of `kinds` that fits."""
        expected = " or ".join(_expectation(kind) for kind in kinds)
        if isinstance(node, yaml.ScalarNode):
            value = _native(node)
            for kind in kinds:
                with contextlib.suppress(msgspec.ValidationError, OverflowError):
                    return msgspec.convert(value, kind)
        remedy = _REMEDIES.get(path[-1], f"Write {expected}.")
        if kinds == (str,) and isinstance(node, yaml.ScalarNode) and node.value:
            remedy = _quote(node)
        self._refuse(path, f"{_described(node)} stands where {expected} is expected", remedy, at=node)
        return _BROKEN


def where(path: Path) -> str:
    """Return `path` as messages show it, shortened where the file is absurd."""
    return ".".join(printable(part[:80]) for part in path)


def _mark(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _given(kind: Any) -> Any:
    """Return what `kind` is when it is given: ``X`` for ``X | None``."""
    arguments = [argument for argument in get_args(kind) if argument is not type(None)]
    return arguments[0] if get_origin(kind) in (Union, UnionType) and len(arguments) == 1 else kind


def _blank(kind: Any) -> object:
    """Return what stands for a field that could not be read, so that the rest can still be checked."""
    origin = get_origin(kind) or kind
    return origin() if origin in (str, int, float, dict, tuple) else date.min


def _expectation(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    return _EXPECTED[kind]


def _tag(node: Node) -> str:
    """Return YAML's own type of a node, such as ``str`` or ``int``."""
    return str(node.tag).rpartition(":")[2]


def _described(node: Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    if not node.value:
        return "nothing"
    meaning = _MEANINGS.get(_tag(node))
    return f"{shown(node.value)}, {meaning} to YAML," if meaning else shown(node.value)


def _quote(node: yaml.ScalarNode) -> str:
    return f'Put it in quotes: "{printable(node.value[:60])}".'


def _native(node: yaml.ScalarNode) -> object:
    """Return what a scalar says; None if it says nothing, or is a number that is not plainly decimal."""
    tag, text = _tag(node), str(node.value)
    try:
        if tag == "int":
            return int(text) if _INTEGER.fullmatch(text) else None
        if tag == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:  # thousands of digits, or minutes and seconds
        return None
    if tag == "bool":
        return text.lower() in ("true", "yes", "on")
    return text if tag in ("str", "timestamp") else None
