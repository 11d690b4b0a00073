"""Amplitude's taxonomy: the file that *Import* of Amplitude Data takes for events and event properties.

It is a CSV file with one row for each event, and below it one for each of its properties. The columns and their values
are those of Amplitude's own template, as described in https://amplitude.com/docs/data/csv-import-export ("Events and
event properties file schema": the header holds every field, and spelling and capitals count). What is imported appears
in a branch there, which somebody reviews and merges.

The outcome is one more property. A feature is a category; an event that makes nobody active is inactive, and so is one
that is retired. An owner there is a person with an account, so the team stands in the description. Such a file has no
room for a remark, so version and digest of the plan stand there too.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from heliograph.plan.generate.words import deprecation, one_line, sentence
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
    from collections.abc import Iterator

    from heliograph.plan.model import EventDefinition, Plan, Property, Retirement

COLUMNS: Final = (
    "Action",
    "Object Type",
    "Object Name",
    "Event Display Name",
    "Object Description",
    "Event Category",
    "Tags",
    "Event Activity",
    "Event Source",
    "Property Type",
    "Property Group Names",
    "Event Property Name",
    "Property Description",
    "Property Value Type",
    "Property Required",
    "Property Is Array",
    "Enum Values",
    "Property Regex",
    "Const Value",
    "String Property Value Min Length",
    "String Property Value Max Length",
    "Number Property Value Min",
    "Number Property Value Max",
    "Number Is Integer",
    "Array Min Items",
    "Array Max Items",
    "Array Unique Items",
)
_FORMULA: Final = ("=", "+", "-", "@")
"""A cell that begins so is a formula to a spreadsheet, which somebody may open the file with."""


def amplitude(plan: Plan) -> str:
    """Return the taxonomy of `plan` as a CSV file."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for name, event in plan.events.items():
        writer.writerow(_event_row(plan, name, event))
        writer.writerow(_outcome_row(event))
        writer.writerows(_property_row(key, definition) for key, definition in event.properties.items())
    writer.writerows(_retired_rows(plan))
    return file.getvalue()


def _event_row(plan: Plan, name: str, event: EventDefinition) -> dict[str, str]:
    about = [sentence(event.description), *(f"Deprecated since {since}" for since in deprecation(event))]
    about += [f"Question: {sentence(event.question)} Owner: {one_line(event.owner)}. {_plan(plan)}"]
    return {
        "Object Type": "Event",
        "Object Name": name,
        "Object Description": _cell(" ".join(about)),
        "Event Category": event.feature,
        "Tags": plan.name,
        "Event Activity": "Active" if event.active else "Inactive",
    }


def _outcome_row(event: EventDefinition) -> dict[str, str]:
    meanings = " ".join(f"{outcome}: {sentence(meaning)}" for outcome, meaning in event.outcomes.items())
    return _row("outcome", f"How it ended. {meanings}", {"Property Value Type": "enum", **_enum(tuple(event.outcomes))})


def _property_row(key: str, definition: Property) -> dict[str, str]:
    about = f"{sentence(definition.description)} {sentence(values_in_words(definition))}"
    return _row(key, about, _type(definition))


def _row(key: str, about: str, kind: dict[str, str]) -> dict[str, str]:
    return {
        "Property Type": "Event Property",
        "Event Property Name": key,
        "Property Description": _cell(about),
        "Property Required": "False",
        "Property Is Array": "False",
        **kind,
    }


def _type(definition: Property) -> dict[str, str]:
    match definition:
        case IntegerProperty():
            kind = _number(definition.minimum, definition.maximum)
        case NumberProperty():
            kind = {**_number(definition.minimum, definition.maximum), "Number Is Integer": "False"}
        case DurationProperty():
            kind = _number(0, definition.maximum)
        case CountProperty():
            kind = _number(definition.buckets[0], definition.buckets[-1])
        case BooleanProperty():
            kind = {"Property Value Type": "boolean"}
        case MemberProperty():
            kind = {"Property Value Type": "enum", **_enum(definition.members)}
    return kind


def _number(least: float, most: float) -> dict[str, str]:
    bounds = {"Number Property Value Min": f"{least}", "Number Property Value Max": f"{most}"}
    return {"Property Value Type": "number", **bounds, "Number Is Integer": "True"}


def _enum(words: tuple[str, ...]) -> dict[str, str]:
    """Return the cell of a list: no word of a plan holds a comma."""
    return {"Enum Values": ",".join(words)}


def _retired_rows(plan: Plan) -> Iterator[dict[str, str]]:
    for name, event in plan.retired.items():
        yield {
            "Object Type": "Event",
            "Object Name": name,
            "Object Description": _cell(_retirement(plan, event)),
            "Event Category": event.feature,
            "Tags": plan.name,
            "Event Activity": "Inactive",
        }


def _retirement(plan: Plan, event: Retirement) -> str:
    said = f"{sentence(event.description)} Not collected after {event.until}. {sentence(event.reason)}"
    return f"{said} {_plan(plan)}"


def _plan(plan: Plan) -> str:
    return f"Plan: {plan.name}, version {plan.version}, digest {plan.digest()[:12]}."


def _cell(text: str) -> str:
    """Return a text on one line that no spreadsheet takes for a formula."""
    line = one_line(text)
    return f"'{line}" if line.startswith(_FORMULA) else line
