"""LookML: a view over the lake's table of events (`heliograph.lake.tables`), with its dimensions and measures.

The format is that of https://cloud.google.com/looker/docs/reference/param-view. A property is a dimension of its name;
where another field would have the name of a property, the other gives way. All measures leave out operators and service
accounts. A renamed event's measure counts what is stored under its earlier names too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.plan.generate.names import Names
from heliograph.plan.generate.words import deprecation, one_line, sentence, snake_case, source_of
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

    from heliograph.plan.model import Plan, Property

_TIMEFRAMES: Final = ("raw", "time", "hour_of_day", "date", "day_of_week", "week", "month", "quarter", "year")
_ENVELOPE: Final = (
    ("name", "Event", "Which of the plan's events it is."),
    ("outcome", "Outcome", "How it ended."),
    ("user_id", "User", "A random id of the user; whom it stands for is known on the instance alone."),
    ("instance", "Instance", "The instance on which it happened."),
    ("account", "Account", "The customer to whom the instance belongs."),
    ("version", "Version", "The product's version."),
    ("source", "Source", "Where it came from."),
    ("actor", "Actor", "Who acted, where it was none of the customer's own people."),
    ("agreement", "Agreement", "The agreement that allowed it."),
    ("plan", "Plan", "The plan by which it was checked."),
)


def lookml(plan: Plan) -> str:
    """Return a file with the view `events` for `plan`."""
    properties = _Properties(plan)
    names = Names((*properties.kinds, *(name for name, _, _ in _ENVELOPE)))
    key, person = names.give("event_id"), names.give("counted")
    time = names.give("time", endings=("", *(f"_{frame}" for frame in _TIMEFRAMES)))
    received = names.give("received", endings=("", *(f"_{frame}" for frame in _TIMEFRAMES)))
    blocks = [
        _key(key),
        _time(time, "time", "When", "When it happened, in UTC."),
        _time(received, "received", "Received", "When the vendor stored it, in UTC."),
        *(_envelope(plan, *about) for about in _ENVELOPE),
        _person(person),
        *properties.dimensions(),
        *_totals(names, person),
        *_counts(plan, names, person),
    ]
    head = f"# Made by `heliograph plan generate lookml` from {source_of(plan)}. Do not edit."
    body = "\n\n".join(blocks)
    return f"{head}\n\nview: events {{\n  sql_table_name: heliograph.events ;;\n\n{body}\n}}\n"


class _Use(NamedTuple):
    """A property in one event."""

    event: str
    feature: str
    definition: Property


class _Properties:
    """Each property once, as it is one column, whichever events have it."""

    def __init__(self, plan: Plan) -> None:
        self.kinds = plan.property_kinds()
        self._uses: dict[str, list[_Use]] = {}
        for name, event in plan.events.items():
            for key, definition in event.properties.items():
                self._uses.setdefault(key, []).append(_Use(name, event.feature, definition))

    def dimensions(self) -> Iterator[str]:
        for key, uses in self._uses.items():
            definition = uses[0].definition
            features = list(dict.fromkeys(use.feature for use in uses))
            group = features[0] if len(features) == 1 else "several features"
            fields = [("type", _type(definition)), ("label", quoted(_title(key)))]
            fields += [("group_label", quoted(group)), ("description", quoted(_description(uses)))]
            if (number_format := _format(definition)) is not None:
                fields.append(("value_format", quoted(number_format)))
            if isinstance(definition, MemberProperty):
                fields.append(("suggestions", _list(_members(uses))))
            yield _block("dimension", key, [*fields, _column(key)])


def quoted(text: str) -> str:
    """Return a text in quotes: on one line, and with nothing in it that begins an expression of Liquid or LookML."""
    plain = one_line(text)
    for opening in ("{{", "{%", "@{", "${"):
        while opening in plain:
            plain = plain.replace(opening, f"{opening[0]} {opening[1]}")
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _block(kind: str, name: str, fields: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f"    {field}: {value}" for field, value in fields)
    return f"  {kind}: {name} {{\n{lines}\n  }}"


def _column(name: str) -> tuple[str, str]:
    return "sql", f"${{TABLE}}.{name} ;;"


def _list(words: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, words))}]"


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()


def _key(name: str) -> str:
    sql = "CONCAT(${TABLE}.instance, ' ', CAST(${TABLE}.epoch AS VARCHAR), ' ', CAST(${TABLE}.sequence AS VARCHAR)) ;;"
    about = quoted("Instance, epoch and sequence: no two events have the same.")
    return _block(
        "dimension",
        name,
        [("primary_key", "yes"), ("hidden", "yes"), ("type", "string"), ("description", about), ("sql", sql)],
    )


def _time(name: str, column: str, label: str, about: str) -> str:
    fields = [
        ("type", "time"),
        ("timeframes", f"[{', '.join(_TIMEFRAMES)}]"),
        ("datatype", "datetime"),
        ("label", quoted(label)),
        ("description", quoted(about)),
        _column(column),
    ]
    return _block("dimension_group", name, fields)


def _envelope(plan: Plan, name: str, label: str, about: str) -> str:
    fields = [("type", "string"), ("label", quoted(label)), ("description", quoted(about))]
    if name == "name":
        fields.append(("suggestions", _list(plan.events)))
    if name == "source":
        fields.append(("suggestions", _list(plan.sources)))
    return _block("dimension", name, [*fields, _column(name)])


def _person(name: str) -> str:
    about = quoted("Whether one of the customer's own people acted: no operator, and no service account.")
    fields = [("type", "yesno"), ("label", quoted("Counted")), ("description", about)]
    return _block("dimension", name, [*fields, ("sql", "${TABLE}.actor IS NULL ;;")])


def _type(definition: Property) -> str:
    match definition:
        case MemberProperty():
            return "string"
        case BooleanProperty():
            return "yesno"
        case _:
            return "number"


def _format(definition: Property) -> str | None:
    match definition:
        case IntegerProperty() | CountProperty():
            return "#,##0"
        case DurationProperty():
            return '#,##0" ms"'
        case NumberProperty():
            precision = 0.01 if definition.precision is None else definition.precision
            digits = len(str(round(1 / precision))) - 1
            return "#,##0" + ("." + "0" * digits if digits else "")
        case _:
            return None


def _description(uses: list[_Use]) -> str:
    """Return what a property means: once, where it means the same in all events that have it."""
    said = [f"{sentence(use.definition.description)} {sentence(values_in_words(use.definition))}" for use in uses]
    if len(set(said)) == 1:
        return f"{said[0]} In {', '.join(use.event for use in uses)}."
    return " ".join(f"{use.event}: {text}" for use, text in zip(uses, said, strict=True))


def _members(uses: list[_Use]) -> list[str]:
    members = (use.definition.members for use in uses if isinstance(use.definition, MemberProperty))
    return list(dict.fromkeys(member for each in members for member in each))


def _totals(names: Names, person: str) -> Iterator[str]:
    counted = ("filters", f'[{person}: "yes"]')
    for name, label, column in (
        ("events", "Events", None),
        ("users", "Users", "user_id"),
    ):
        kind = "count" if column is None else "count_distinct"
        about = quoted(f"{label}; operators and service accounts are left out.")
        fields = [("type", kind), ("label", quoted(label)), ("description", about), counted]
        yield _block("measure", names.give(name), [*fields, *([_column(column)] if column else [])])


def _counts(plan: Plan, names: Names, person: str) -> Iterator[str]:
    for name, event in plan.events.items():
        about = " ".join([sentence(event.description), *(f"Deprecated since {since}" for since in deprecation(event))])
        known_as = ",".join((name, *event.renamed_from))
        fields = [
            ("type", "count"),
            ("label", quoted(name)),
            ("group_label", quoted(event.feature)),
            ("description", quoted(about)),
            ("filters", f'[{person}: "yes", name: "{known_as}"]'),
        ]
        yield _block("measure", names.give(f"{snake_case(name)}_count"), fields)
