"""Python: a function for each event, so that a type checker finds what `heliograph.record` would only count.

Names and keys are the function's own, values are numbers, truth values, spans of time and members of `Literal`: a text
that is not of a list does not pass ``mypy``. What is made passes ``mypy --strict``, and is laid out as ``ruff format``
and Black do.
"""

from __future__ import annotations

import builtins
import json
import keyword
import textwrap
from typing import TYPE_CHECKING, Final

from heliograph.event import Actor
from heliograph.plan.generate.names import Names
from heliograph.plan.generate.words import (
    capitalised,
    deprecation,
    marks,
    one_line,
    sentence,
    snake_case,
    source_of,
)
from heliograph.plan.in_words import values_in_words
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heliograph.plan.model import EventDefinition, Plan, Property

WIDTH: Final = 88
"""Columns: the default of Black and of ``ruff format``; a wider limit changes nothing in what is made."""
_NOT_FOR_FUNCTIONS: Final = frozenset((*keyword.kwlist, *dir(builtins), "annotations", "datetime", "timedelta"))
"""Names in lower case that the module needs for itself."""
_NOT_FOR_TYPES: Final = frozenset((*keyword.kwlist, *dir(builtins), "Actor", "Literal", "Source", "TypeAlias"))
_NOT_FOR_PARAMETERS: Final = frozenset(keyword.kwlist)
_ABOUT: Final = """\
Recording functions for the events of the plan {name}.

Made by `heliograph plan generate python` from {source}. Do not edit: change the plan, and make this file anew.

Each function records one event with the process's recorder, and tells whether it is in the outbox. It never waits and \
never raises. See `heliograph.record` for `user`, `session`, `anonymous`, `time`, `source` and `actor`; a property \
that is None is left out.""".splitlines()
_BEFORE_PROPERTIES: Final = (
    "user: str | int | None = None",
    "session: str | int | None = None",
    "anonymous: str | int | None = None",
)
_AFTER_PROPERTIES: Final = (
    "time: datetime | None = None",
    "source: Source | None = None",
    "actor: Actor | None = None",
)


def python(plan: Plan) -> str:
    """Return a module of recording functions for the events of `plan`."""
    types, functions = Names(_NOT_FOR_TYPES), Names(_NOT_FOR_FUNCTIONS)
    aliases: list[str] = [_alias("Source", plan.sources), _alias("Actor", map(str, Actor))]
    bodies: list[str] = []
    for name, event in plan.events.items():
        made = _Function(name, event, functions.give(snake_case(name)), types)
        aliases += made.aliases
        bodies.append(made.text)
    return "\n".join([_header(plan), "\n".join(aliases), "", *_separated(bodies)])


def _separated(bodies: Iterable[str]) -> Iterator[str]:
    for body in bodies:
        yield "\n" + body


def _header(plan: Plan) -> str:
    uses = {type(definition) for event in plan.events.values() for definition in event.properties.values()}
    deprecated = any(event.deprecated for event in plan.events.values())
    spans = ", timedelta" if DurationProperty in uses else ""
    lines = [
        "# ruff: noqa",
        *_docstring([line.format(name=one_line(plan.name), source=source_of(plan)) for line in _ABOUT], indent=""),
        "",
        "from __future__ import annotations",
        "",
        f"from datetime import datetime{spans}",
        f"from typing import {'TYPE_CHECKING, ' if deprecated else ''}Literal, TypeAlias",
        "",
        "from heliograph import record as _record",
        "",
    ]
    if deprecated:
        lines += [
            "if TYPE_CHECKING:  # every type checker knows it, and nothing needs it at run time",
            "    from typing_extensions import deprecated as _deprecated",
            "else:",
            "",
            "    def _deprecated(reason):",
            "        return lambda function: function",
            "",
            "",
        ]
    return "\n".join(lines)


class _Function:
    """The function of one event, and the types that are its own."""

    def __init__(self, name: str, event: EventDefinition, function: str, types: Names) -> None:
        self._event = event
        self._prefix = capitalised(name)
        self._types = types
        self.aliases: list[str] = []
        parameters = Names((*_NOT_FOR_PARAMETERS, *_parameter_names()))
        self._parameters = {key: parameters.give(key) for key in event.properties}
        self.text = "\n".join([*self._signature(function), *self._documentation(), *self._call(name)]) + "\n"

    def _signature(self, function: str) -> Iterator[str]:
        for since in deprecation(self._event):
            yield from ("@_deprecated(", f"    {_literal(f'Since {since}')},", ")")
        yield f"def {function}("
        yield "    *,"
        outcome = f"outcome: {self._alias_for('outcome', self._event.outcomes)} | None"
        default = ' = "ok"' if "ok" in self._event.outcomes else ""
        for parameter in (*_BEFORE_PROPERTIES, outcome + default):
            yield f"    {parameter},"
        for key, definition in self._event.properties.items():
            yield f"    {self._parameters[key]}: {self._type(key, definition)} | None = None,"
        for parameter in _AFTER_PROPERTIES:
            yield f"    {parameter},"
        yield ") -> bool:"

    def _type(self, key: str, definition: Property) -> str:
        match definition:
            case IntegerProperty() | CountProperty():
                return "int"
            case NumberProperty():
                return "float"
            case DurationProperty():
                return "timedelta"
            case BooleanProperty():
                return "bool"
            case MemberProperty():
                return self._alias_for(key, definition.members)

    def _alias_for(self, key: str, members: Iterable[str]) -> str:
        name = self._types.give(self._prefix + capitalised(key))
        self.aliases.append(_alias(name, members))
        return name

    def _documentation(self) -> Iterator[str]:
        event = self._event
        paragraphs = [one_line(event.description)]
        about = f"Feature: {event.feature}. Owner: {one_line(event.owner)}."
        paragraphs += ["", " ".join([about, *marks(event)]), ""]
        paragraphs += [part for since in deprecation(event) for part in (f"Deprecated since {since}", "")]
        paragraphs.append("Args:")
        outcomes = " ".join(f"`{outcome}`: {sentence(meaning)}" for outcome, meaning in event.outcomes.items())
        paragraphs.append(f"    outcome: How it ended. {outcomes}")
        paragraphs += [
            f"    {self._parameters[key]}: {sentence(definition.description)} {_values(definition)}"
            for key, definition in event.properties.items()
        ]
        return _docstring(paragraphs, indent="    ")

    def _call(self, name: str) -> Iterator[str]:
        yield "    return _record("
        yield f'        "{name}",'
        for key in (*_argument_names(_BEFORE_PROPERTIES), "outcome"):
            yield f"        {key}={key},"
        for key, parameter in self._parameters.items():
            if key == parameter:
                yield f"        {key}={key},"
        for key in _argument_names(_AFTER_PROPERTIES):
            yield f"        {key}={key},"
        for key, parameter in self._parameters.items():
            if key != parameter:  # a keyword of the language
                yield f'        **{{"{key}": {parameter}}},'
        yield "    )"


def _argument_names(parameters: tuple[str, ...]) -> list[str]:
    return [parameter.partition(":")[0] for parameter in parameters]


def _parameter_names() -> list[str]:
    return [*_argument_names(_BEFORE_PROPERTIES), "outcome", *_argument_names(_AFTER_PROPERTIES)]


def _values(definition: Property) -> str:
    if isinstance(definition, DurationProperty):
        said = f"a span of time, 0 to {definition.maximum:,} milliseconds"
    elif isinstance(definition, CountProperty):
        said = f"whole number; {values_in_words(definition)}"
    else:
        said = values_in_words(definition)
    return sentence(said)


def _alias(name: str, members: Iterable[str]) -> str:
    """Return the definition of a type of literals: on one line where that fits."""
    quoted = [json.dumps(member) for member in members]
    line = f"{name}: TypeAlias = Literal[{', '.join(quoted)}]"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}: TypeAlias = Literal[", *(f"    {member}," for member in quoted), "]"])


def _literal(text: str) -> str:
    """Return a text as a literal, in the quotes of which it holds fewer, as formatters do."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def _docstring(paragraphs: list[str], *, indent: str) -> Iterator[str]:
    """Yield the lines of a docstring; the first paragraph is its summary, those that are indented hang."""
    first = True
    for paragraph in paragraphs:
        text = paragraph.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        inner = text[: len(text) - len(text.lstrip())]
        opening = f'{indent}"""' if first else indent
        lines = textwrap.wrap(
            (" " if first and text.startswith('"') else "") + text.lstrip() if first else text.lstrip(),
            WIDTH,
            initial_indent=opening + inner,
            subsequent_indent=indent + inner + ("    " if inner else ""),
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
        yield from lines or [""]
        first = False
    yield f'{indent}"""'
