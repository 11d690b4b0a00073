"""The questions of `heliograph plan new`: each answer is held to the plan at once, by the loader and the linter."""

from __future__ import annotations

import re
import sys
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from heliograph.cli.common import fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from heliograph.plan.files import PlanFile
    from heliograph.plan.model import Plan, Property
    from heliograph.plan.scaffold import NewEvent

_PROPERTY: Final = re.compile(r"(\S+)\s+(\w+)((?:\s+\w+=[^\s:]+)*)\s*:\s*(.+)", re.DOTALL)
_FEATURE: Final = re.compile(r"([^:]*?)\s*:\s*(.+)", re.DOTALL)
FIELDS: Final[dict[str, dict[str, str]]] = {
    "integer": {"minimum": "0", "maximum": "", "precision": "1"},
    "number": {"minimum": "0", "maximum": "", "precision": "0.01"},
    "duration": {"maximum": "", "precision": "10"},
    "count": {"buckets": "0,1,10,100"},
    "boolean": {},
    "member": {"members": ""},
}
"""What is asked of each type of property, with what is meant by no answer; nothing: an answer is needed."""
_LISTS: Final = ("buckets", "members")
_DRAFTED: Final[dict[str, Any]] = {
    "description": "It happened.",
    "action": "use",
    "question": "Does it happen?",
    "owner": "a-team",
    "expires": "never",
    "core": False,
    "active": True,
}
"""What stands for an answer until it is given, so that each is judged for itself."""


class Draft:
    """An event as far as it is known.

    Args:
        files: The plan that it goes into; empty for a new one.
        place: Where that plan is.
        head: Name, description and sources of a new plan.
        today: The day.
    """

    def __init__(self, files: list[PlanFile], place: Path, head: dict[str, Any], *, today: date) -> None:
        self.files = files
        self.place = place
        self.head = head
        self.today = today
        self.name = "EventDrafted"
        self.values: dict[str, Any] = dict(_DRAFTED)
        self.feature_is: str | None = None if files else "A part of the product."
        self.outcomes: dict[str, str] = {}
        self.properties: dict[str, Property] = {}
        self.asked = False
        """Whether somebody answers at a terminal."""
        self.old: Plan | None = None
        if files:
            from heliograph.plan.load import load_plan  # noqa: PLC0415 - quick --help

            self.old = load_plan(place)
        self.values["feature"] = next(iter(self.old.features)) if self.old else "general"

    def new_event(self) -> NewEvent:
        """Return the event as it stands."""
        from heliograph.plan.model import EventDefinition  # noqa: PLC0415 - quick --help
        from heliograph.plan.scaffold import NewEvent  # noqa: PLC0415 - quick --help

        values = {**self.values, "added": self.today}
        expires = values["expires"]
        values["expires"] = expires if expires == "never" else date.fromisoformat(expires)
        if self.outcomes:
            values["outcomes"] = self.outcomes
        return NewEvent(self.name, EventDefinition(**values, properties=self.properties), self.feature_is)

    def made(self) -> list[PlanFile]:
        """Return the plan's files with the event in them."""
        from heliograph.plan.files import PlanFile  # noqa: PLC0415 - quick --help
        from heliograph.plan.scaffold import new_plan, with_event  # noqa: PLC0415 - quick --help

        if self.old is None:
            return [PlanFile(str(self.place), new_plan(**self.head, new=self.new_event()))]
        return with_event(self.files, self.old, self.new_event())

    def plan(self) -> Plan:
        """Return the plan with the event in it, as the loader reads it."""
        from heliograph.plan.load import PlanError  # noqa: PLC0415 - quick --help
        from heliograph.plan.scaffold import review  # noqa: PLC0415 - quick --help

        found = review(self.made(), source=str(self.place))
        if found.plan is None or found.problems:
            raise PlanError(found.problems)
        return found.plan

    def reason(self) -> str | None:
        """Return why the draft cannot stand; None if it can."""
        from heliograph.plan.load import PlanError  # noqa: PLC0415 - quick --help

        try:
            self.plan()
        except PlanError as error:
            return "; ".join(f"{problem.message}. {problem.remedy}" for problem in error.problems[:2])
        except ValueError:
            return "it is no day. Write `never`, or a day such as 2027-06-30."
        return None


def ask_plan(
    files: list[PlanFile], place: Path, name: str | None, about: str | None, sources: list[str], *, today: date
) -> Draft:
    """Return a draft on the plan that is there, or on a new one, whose head is asked for where it is not given."""
    head = {"name": name or "", "description": about or "What people do in the product.", "sources": sources or ["web"]}
    draft = Draft(files, place, head, today=today)
    if name is None:
        return draft
    _refuse(draft, "--plan")
    if sys.stdin.isatty():
        if about is None:
            _answer(draft, "What does the plan cover, in a sentence?", lambda text: head.update(description=text))
        if not sources:
            question = "Where do events come from? Words with commas between"
            _answer(draft, question, lambda text: head.update(sources=_parts(text)), default="web")
    elif about is None:
        fail(["--about is missing: say what the plan covers, in a sentence."])
    _refuse(draft, "--about or --source")
    return draft


def ask_event(
    draft: Draft,
    name: str | None,
    given: Mapping[str, str | None],
    outcomes: dict[str, str],
    properties: list[str],
    *,
    expires: str,
) -> None:
    """Fill `draft`: what is given is checked, and the rest asked for at a terminal, or told to be missing."""
    is_terminal = sys.stdin.isatty()
    values = {"event": name, **given}
    missing = [f"--{key}" for key, value in values.items() if value is None and key not in ("action", "expires")]
    if missing and not is_terminal:
        fail([f"{option} is missing; there is no terminal to ask at." for option in missing])
    interactive = bool(missing)
    draft.asked = interactive
    for field, setter, question, default in _questions(draft, expires):
        if (value := values[field]) is not None:
            setter(value)
            _refuse(draft, f"--{field}")
        elif interactive:
            _answer(draft, question, setter, default=default())
        else:
            setter(default() or "")
            _refuse(draft, f"--{field}")
    draft.outcomes = outcomes
    _refuse(draft, "--outcome")
    for text in properties:
        _take_property(draft, text)
    if interactive and not properties:
        while _ask_property(draft):
            pass


def _questions(
    draft: Draft, expires: str
) -> Iterable[tuple[str, Callable[[str], None], str, Callable[[], str | None]]]:
    """Yield field, what takes the answer, the question, and the default, in the order in which they are asked."""
    known = f"{', '.join(draft.old.features)}; a new one with " if draft.old else "with "
    feature = f"Feature ({known}its meaning: `key: What it is.`)"

    def take(field: str) -> Callable[[str], None]:
        return lambda text: draft.values.update({field: text})

    return (
        ("event", lambda text: setattr(draft, "name", text), "Event name, as in SearchSubmitted", lambda: None),
        (
            "feature",
            lambda text: _take_feature(draft, text),
            feature,
            lambda: None,
        ),
        ("description", take("description"), "What happened, in a sentence", lambda: None),
        ("action", take("action"), "What did the user do, in a word or two", lambda: _in_words(draft.name)),
        ("question", take("question"), "Which question does it help to answer", lambda: None),
        ("owner", take("owner"), "Which team owns it", lambda: None),
        ("expires", take("expires"), "Until when: a day, or never", lambda: expires),
    )


def _take_feature(draft: Draft, text: str) -> None:
    found = _FEATURE.fullmatch(text)
    key, sentence = (found[1], found[2]) if found else (text, None)
    is_new = draft.old is None or key not in draft.old.features
    draft.values["feature"] = key
    draft.feature_is = sentence or (f"{key.replace('_', ' ').capitalize()}." if draft.old is None else None)
    if not is_new:
        draft.feature_is = None


def _in_words(name: str) -> str:
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)).lower()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _refuse(draft: Draft, option: str) -> None:
    """End if what an option says cannot stand."""
    if (reason := draft.reason()) is not None:
        fail([f"{option}: {reason}"], status=1)


def _answer(draft: Draft, question: str, take: Callable[[str], None], *, default: str | None = None) -> None:
    """Ask until the answer can stand."""
    while True:
        take(typer.prompt(question, default=default, type=str).strip())
        if (reason := draft.reason()) is None:
            return
        typer.echo(f"  No: {reason}")


def _ask_property(draft: Draft) -> bool:
    """Ask for one more property; tell whether there was one."""
    name = typer.prompt("Property, as in duration_ms (nothing: no more)", default="", show_default=False).strip()
    if not name:
        return False
    kinds = draft.old.property_kinds() if draft.old else {}
    known = str(kinds[name].__struct_config__.tag) if name in kinds else None
    default = known or ("duration" if name.endswith("_ms") else None)
    tag = typer.prompt(f"  Type ({', '.join(FIELDS)})", default=default, type=str).strip()
    fields: dict[str, str] = {}
    for field, value in FIELDS.get(tag, {}).items():
        question = f"  {field.capitalize()}{', with commas between' if field in _LISTS else ''}"
        fields[field] = typer.prompt(question, default=value or None, type=str).strip()
    description = typer.prompt("  What it says, in a sentence", type=str).strip()
    if (reason := _put_property(draft, name, tag, fields, description)) is not None:
        typer.echo(f"  No: {reason}")
    return True


def _take_property(draft: Draft, text: str) -> None:
    found = _PROPERTY.fullmatch(text)
    if found is None:
        fail([f"--property {text!r} is not of the form `NAME TYPE FIELD=VALUE...: MEANING`."])
    fields = dict(part.partition("=")[::2] for part in found[3].split())
    if (reason := _put_property(draft, found[1], found[2], fields, found[4])) is not None:
        fail([f"--property {found[1]}: {reason}"], status=1)


def _put_property(draft: Draft, name: str, tag: str, fields: Mapping[str, str], description: str) -> str | None:
    """Put a property into the draft, or return why it cannot stand."""
    from heliograph.plan.model import Property  # noqa: PLC0415 - quick --help

    if tag not in FIELDS:
        return f"`{tag}` is no type. Free text has none: choose {', '.join(FIELDS)}."
    if unknown := sorted(fields.keys() - FIELDS[tag].keys()):
        return f"{tag} has no {', '.join(unknown)}: it has {', '.join(FIELDS[tag]) or 'no fields'}."
    raw = {key: _parts(value) if key in _LISTS else value for key, value in fields.items() if value}
    try:
        kind: Property = msgspec.convert({"type": tag, "description": description, **raw}, Property, strict=False)
    except msgspec.ValidationError as error:
        return f"{error}."
    before = dict(draft.properties)
    draft.properties[name] = kind
    if (reason := draft.reason()) is not None:
        draft.properties = before
        return reason
    return None
