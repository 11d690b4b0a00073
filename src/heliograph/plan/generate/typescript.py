"""TypeScript: an interface and a function for each event, over a sink that the product passes in.

The compiler finds a wrong name, a wrong key and a word that is not of a list; no property is a `string`. When it runs,
a function hands over the declared keys alone, whatever else the object that it was given holds. A sink numbers the
events and sends them, as docs/wire.md says. So what a function makes is what leaves: users and sessions are random ids
already, and numbers are rounded as the plan asks for (`heliograph.plan.coarsen`).
"""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Final

from heliograph.event import RANDOM_ID_PATTERN, VERSION_PATTERN, Actor
from heliograph.plan.generate.names import Names
from heliograph.plan.generate.words import capitalised, deprecation, marks, one_line, sentence, source_of
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

_WIDTH: Final = 100
_KEYWORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        any arguments as async await bigint boolean break case catch class const continue debugger declare default
        delete do else enum eval export extends false finally for function if implements import in instanceof interface
        let module namespace never new null number object package private protected public return static string super
        switch symbol this throw true try type typeof undefined unknown using var void while with yield
        """,
    )
)
_HELPERS: Final = frozenset(("randomId", "version", "brand", "toMultiple", "toStep", "toBucket"))
_INHERITED: Final = frozenset({"constructor"})
"""Every object of JavaScript has a member of such a name: the property has to be given, as undefined if need be."""
_ESCAPED: Final = re.compile(r"[\\@{}<>]|\*(?=/)")
_ABOUT: Final = (
    "Recording functions for the events of the plan {name}.",
    "Made by `heliograph plan generate typescript` from {source}. Do not edit: change the plan, and make it anew.",
    "A property that is left out, or undefined, is not sent. What the plan does not declare has no place here.",
)
_TOP: Final = """\
/** Takes each event when it happens, numbers it in its series, and sends or keeps it. */
export type Sink = (line: EventLine) => void;

declare const brand: unique symbol;

/** 128 random bits in hexadecimal. Whom they stand for, user or session, stays on the instance. */
export type RandomId = string & { readonly [brand]: "RandomId" };

/** The product's version: up to four numbers with dots between. */
export type Version = string & { readonly [brand]: "Version" };

/** Where an event came from. */
$sources

/** Who acted, where it was none of the customer's own people. */
$actors

/** What every event can have beside its properties. */
export interface Envelope {
  /** When it happened: now when left out. */
  readonly time?: Date | undefined;
  readonly user_id?: RandomId | undefined;
  readonly session_id?: RandomId | undefined;
  readonly version?: Version | undefined;
  readonly source?: Source | undefined;
  readonly actor?: Actor | undefined;
}

type Line<Name, Event> = Event & { readonly name: Name; readonly time: Date };

/**
 * Returns a random id, once it is checked to be one.
 *
 * @throws RangeError if it is none.
 */
export function randomId(text: string): RandomId {
  if (!/^$random_id$/.test(text)) {
    throw new RangeError("a random id is 32 hexadecimal digits in lower case");
  }
  return text as RandomId;
}

/**
 * Returns a product's version, once it is checked to be one.
 *
 * @throws RangeError if it is none.
 */
export function version(text: string): Version {
  if (!/^$version$/.test(text)) {
    throw new RangeError("a version is up to four numbers with dots between");
  }
  return text as Version;
}
"""
_ROUNDING: Final = {
    "toMultiple": """\
/** Returns the multiple of a precision that is nearest to a number. */
function toMultiple(value: number | undefined, precision: number): number | undefined {
  return value === undefined ? undefined : Math.round(value / precision) * precision;
}
""",
    "toStep": """\
/** Returns what is nearest to a number, of so many steps from one whole number to the next. */
function toStep(value: number | undefined, steps: number): number | undefined {
  return value === undefined ? undefined : Math.round(value * steps) / steps;
}
""",
    "toBucket": """\
/** Returns the lower bound of the bucket that holds a number; below all of them, the number itself. */
function toBucket(value: number | undefined, bounds: readonly number[]): number | undefined {
  return value === undefined ? undefined : (bounds.filter((bound) => bound <= value).pop() ?? value);
}
""",
}
"""What leaves is as coarse as the plan asks for; `heliograph.plan.coarsen` has the same in Python."""


def typescript(plan: Plan) -> str:
    """Return a module of recording functions for the events of `plan`."""
    names = Names(_KEYWORDS | _HELPERS)
    made = [_Event(name, event, names.give(name[0].lower() + name[1:])) for name, event in plan.events.items()]
    bodies = [each.text for each in made]
    top = _TOP.replace("$sources", _declared("export type Source =", plan.sources))
    top = top.replace("$actors", _declared("export type Actor =", map(str, Actor)))
    top = top.replace("$random_id", RANDOM_ID_PATTERN.pattern).replace("$version", VERSION_PATTERN.pattern)
    lines = "\n".join(f'  | Line<"{each.name}", {each.interface}>' for each in made)
    union = f"/** Any event, as a sink is given it. */\nexport type EventLine =\n{lines};\n"
    rounding = [text for name, text in _ROUNDING.items() if any(f" {name}(" in body for body in bodies)]
    return "\n".join([*_header(plan), top, union, *rounding, *bodies])


def _header(plan: Plan) -> Iterator[str]:
    yield "/* eslint-disable */"
    about = [line.format(name=plan.name, source=source_of(plan)) for line in _ABOUT]
    yield from _comment(about, extra=["@packageDocumentation"])
    yield ""


class _Event:
    """The interface of one event, and its function."""

    def __init__(self, name: str, event: EventDefinition, function: str) -> None:
        self.name = name
        self.interface = f"{capitalised(name)}Event"
        self._event = event
        self.text = "\n".join([*self._declaration(), "", *self._function(function)]) + "\n"

    def _declaration(self) -> Iterator[str]:
        event = self._event
        yield from _comment([one_line(event.description)])
        yield f"export interface {self.interface} extends Envelope {{"
        default = ", ok when left out" if "ok" in event.outcomes else ""
        outcomes = " ".join(f"{outcome}: {sentence(meaning)}" for outcome, meaning in event.outcomes.items())
        yield from _comment([f"How it ended{default}, null for no outcome. {outcomes}"], indent="  ")
        if default:
            yield _declared("  readonly outcome?:", event.outcomes, more=("null", "undefined"))
        else:
            yield _declared("  readonly outcome:", event.outcomes, more=("null",))
        for key, definition in event.properties.items():
            yield from _comment(
                [f"{sentence(definition.description)} {sentence(values_in_words(definition))}"], indent="  "
            )
            prefix = f"  readonly {key}{'' if key in _INHERITED else '?'}:"
            match definition:
                case MemberProperty():
                    yield _declared(prefix, definition.members, more=("undefined",))
                case BooleanProperty():
                    yield f"{prefix} boolean | undefined;"
                case _:
                    yield f"{prefix} number | undefined;"
        yield "}"

    def _function(self, function: str) -> Iterator[str]:
        about = f"Feature: {self._event.feature}. Owner: {one_line(self._event.owner)}."
        said = [one_line(self._event.description), " ".join([about, *marks(self._event)])]
        deprecated = [f"@deprecated Since {_escaped(text)}" for text in deprecation(self._event)]
        yield from _comment(said, extra=deprecated)
        is_needed = "ok" not in self._event.outcomes or not _INHERITED.isdisjoint(self._event.properties)
        default = "" if is_needed else " = {}"
        yield f"export function {function}(sink: Sink, event: {self.interface}{default}): void {{"
        yield "  sink({"
        yield f'    name: "{self.name}",'
        yield "    time: event.time ?? new Date(),"
        for key in ("user_id", "session_id", "version", "source", "actor"):
            yield f"    {key}: event.{key},"
        outcome = "event.outcome"
        if "ok" in self._event.outcomes:
            outcome = 'event.outcome === undefined ? "ok" : event.outcome'
        yield f"    outcome: {outcome},"
        for key, definition in self._event.properties.items():
            yield f"    {key}: {_value(key, definition)},"
        yield "  });"
        yield "}"


def _value(key: str, definition: Property) -> str:
    given = f"event.{key}"
    if key in _INHERITED:
        given = f'Object.prototype.hasOwnProperty.call(event, "{key}") ? event.{key} : undefined'
    match definition:
        case DurationProperty():  # a clock gives fractions of milliseconds
            return f"toMultiple({given}, {definition.precision})"
        case IntegerProperty() if definition.precision > 1:
            return f"toMultiple({given}, {definition.precision})"
        case NumberProperty() if definition.precision is not None:
            return f"toStep({given}, {round(1 / definition.precision)})"
        case CountProperty():
            return f"toBucket({given}, [{', '.join(map(str, definition.buckets))}])"
        case _:
            return given


def _declared(prefix: str, members: Iterable[str], *, more: tuple[str, ...] = ()) -> str:
    """Return `prefix` and a type of string literals, with `more` at its end: on one line where it fits."""
    kinds = [*map(json.dumps, members), *more]
    line = f"{prefix} {' | '.join(kinds)};"
    if len(line) <= _WIDTH:
        return line
    indent = " " * (len(prefix) - len(prefix.lstrip()) + 2)
    return "\n".join([prefix, *(f"{indent}| {kind}" for kind in kinds)]) + ";"


def _escaped(text: str) -> str:
    """Return plain text as TSDoc takes it: nothing in it is a tag, and nothing ends the comment."""
    return _ESCAPED.sub(lambda found: f"\\{found[0]}" if found[0] != "*" else "*\\", text)


def _comment(paragraphs: list[str], *, extra: Iterable[str] = (), indent: str = "") -> Iterator[str]:
    """Yield a TSDoc comment: on one line where it fits; `extra` are lines that are escaped already."""
    escaped, extra = [_escaped(paragraph) for paragraph in paragraphs], list(extra)
    if len(escaped) == 1 and not extra and len(line := f"{indent}/** {escaped[0]} */") <= _WIDTH:
        yield line
        return
    yield f"{indent}/**"
    for position, paragraph in enumerate([*escaped, *extra]):
        if position:
            yield f"{indent} *"
        prefix = f"{indent} * "
        yield from textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent=prefix,
            subsequent_indent=prefix,
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield f"{indent} */"
