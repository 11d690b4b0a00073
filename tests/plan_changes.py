"""Plans and changes of them, generated from few words, so that two of them have much in common."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    CountsFact,
    DurationProperty,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
    Retirement,
    VersionFact,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Fact, Property

NAMES = ("Asked", "Read", "Shared", "Watched")
WORDS = ("blue", "green", "red")
ABOUT: dict[str, Any] = {"description": "It."}
LONG_AGO = date(2026, 1, 1)

_steps = st.sampled_from([1, 2, 3, 5, 10])
_bounds = st.tuples(st.integers(-2, 3).map(lambda bound: 10 * bound), st.integers(3, 6).map(lambda bound: 10 * bound))
_words = st.sets(st.sampled_from(WORDS), min_size=1).map(lambda found: tuple(sorted(found)))

KINDS: dict[str, st.SearchStrategy[Property]] = {
    "integer": st.builds(
        lambda bounds, step: IntegerProperty(minimum=bounds[0], maximum=bounds[1], precision=step, **ABOUT),
        _bounds,
        _steps,
    ),
    "number": st.builds(
        lambda bounds, step: NumberProperty(minimum=bounds[0], maximum=bounds[1], precision=step, **ABOUT),
        _bounds,
        st.sampled_from([None, 1.0, 0.1, 0.01]),
    ),
    "duration": st.builds(
        lambda bounds, step: DurationProperty(maximum=bounds[1], precision=step, **ABOUT), _bounds, _steps
    ),
    "count": st.sets(st.sampled_from([0, 1, 2, 5, 10, 30]), min_size=1).map(
        lambda found: CountProperty(buckets=tuple(sorted(found)), **ABOUT)
    ),
    "boolean": st.just(BooleanProperty(**ABOUT)),
    "member": _words.map(lambda members: MemberProperty(members=members, **ABOUT)),
}
FACTS: dict[str, st.SearchStrategy[Any]] = {
    **{name: KINDS[name] for name in ("integer", "boolean", "member")},
    "version": st.just(VersionFact(**ABOUT)),
    "counts": st.builds(
        lambda members, bounds: CountsFact(members=members, maximum=bounds[1], **ABOUT), _words, _bounds
    ),
}


@st.composite
def events(draw: Callable[..., Any], kinds: dict[str, str]) -> EventDefinition:
    """An event whose properties are of the kinds that the plan gives each name."""
    names = draw(st.sets(st.sampled_from(sorted(kinds))))
    return EventDefinition(
        description=draw(st.sampled_from(["It happened.", "It was done."])),
        feature="all",
        action="do",
        question="Who?",
        owner="a team",
        added=LONG_AGO,
        expires="never",
        active=draw(st.booleans()),
        rate=draw(st.sampled_from([10, 100])),
        outcomes=dict.fromkeys(draw(_words), "So it ended."),
        properties={name: draw(KINDS[kinds[name]]) for name in sorted(names)},
    )


def kinds_of_names() -> st.SearchStrategy[dict[str, str]]:
    """For each property's name, its kind in all events of a plan."""
    return st.fixed_dictionaries({name: st.sampled_from(sorted(KINDS)) for name in ("much", "such")})


def facts() -> st.SearchStrategy[dict[str, Fact]]:
    """One fact, of any kind."""
    return st.one_of(*FACTS.values()).map(lambda fact: {"fact": fact})


@st.composite
def plans(draw: Callable[..., Any]) -> Plan:
    """A plan of one to three events."""
    kinds = draw(kinds_of_names())
    names = draw(st.sets(st.sampled_from(NAMES[:3]), min_size=1))
    return Plan(
        heliograph_plan=2,
        name="generated",
        version=1,
        description="Generated.",
        sources=draw(_words),
        features={"all": "All of it."},
        events={name: draw(events(kinds)) for name in sorted(names)},
        facts=draw(facts()),
    )


@st.composite
def changed(draw: Callable[..., Any], plan: Plan) -> Plan:
    """The next version of a plan: each part as it was, or drawn anew, renamed, retired, or simply gone."""
    kinds = {name: str(kind.__struct_config__.tag) for name, kind in plan.property_kinds().items()}
    kinds = draw(kinds_of_names()) | (kinds if draw(st.booleans()) else {})
    kept: dict[str, EventDefinition] = {}
    retired = dict(plan.retired)
    for name, event in plan.events.items():
        fate = draw(st.sampled_from(["kept", "kept", "changed", "renamed", "retired", "gone"]))
        if fate == "kept":
            kept[name] = event
        elif fate == "changed":
            kept[name] = draw(events(kinds))
        elif fate == "renamed":
            after = draw(st.sampled_from([event, draw(events(kinds))]))
            into = draw(st.sampled_from([other for other in NAMES if other != name]))
            before = kept.get(into, after)
            aliases = (*before.renamed_from, *event.renamed_from, name)
            kept[into] = msgspec.structs.replace(before, renamed_from=tuple(dict.fromkeys(aliases)))
        elif fate == "retired":
            retired[name] = Retirement(description="It.", feature="all", until=LONG_AGO, reason="Enough.")
    if not kept or draw(st.booleans()):
        kept.setdefault(draw(st.sampled_from(NAMES)), draw(events(kinds)))
    return msgspec.structs.replace(
        plan,
        version=plan.version + 1,
        sources=draw(st.sampled_from([plan.sources, draw(_words)])),
        events=kept,
        facts=draw(st.sampled_from([plan.facts, draw(facts())])),
        retired=retired,
    )


def values(kind: Property | Fact) -> st.SearchStrategy[Any]:
    """Values that pass, at the edges more often than not."""
    match kind:
        case IntegerProperty() | DurationProperty():
            lowest = kind.minimum if isinstance(kind, IntegerProperty) else 0
            passing = [value for value in range(lowest, kind.maximum + 1) if value % kind.precision == 0]
            return st.sampled_from([passing[0], passing[-1]]) | st.sampled_from(passing)
        case NumberProperty():
            edges = st.sampled_from([kind.minimum, kind.maximum])
            step = kind.precision or 0.125
            count = int((kind.maximum - kind.minimum) / step)
            return edges | st.integers(0, count).map(lambda number: round(kind.minimum + number * step, 6))
        case CountProperty():
            return st.sampled_from(kind.buckets)
        case BooleanProperty() | VersionFact():
            return st.booleans() if isinstance(kind, BooleanProperty) else st.just("5.3.1")
        case MemberProperty():
            return st.sampled_from(kind.members)
        case CountsFact():
            return st.dictionaries(st.sampled_from(kind.members), st.sampled_from([0, kind.maximum]))


@st.composite
def lines(draw: Callable[..., Any], plan: Plan) -> dict[str, Any]:
    """An event that the plan takes, as its line on the wire."""
    name = draw(st.sampled_from(sorted(plan.events)))
    event = plan.events[name]
    line = {"name": name, "sequence": 1, "time": "2026-10-01T12:00:00Z"}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "outcome": st.sampled_from(sorted(event.outcomes)),
        "source": st.sampled_from(plan.sources),
    }
    optional |= {key: values(kind) for key, kind in event.properties.items()}
    return line | {key: draw(value) for key, value in optional.items() if draw(st.integers(0, 3))}


@st.composite
def nudged(draw: Callable[..., Any], plan: Plan) -> Plan:
    """The next version of a plan, in which one part alone is another."""
    name = draw(st.sampled_from(sorted(plan.events)))
    event, others = plan.events[name], {other: each for other, each in plan.events.items() if other != name}
    replace = msgspec.structs.replace
    part = draw(st.sampled_from(["properties", "properties", "outcomes", "name", "sources", "facts"]))
    if part == "sources":
        return replace(plan, version=2, sources=draw(_words))
    if part == "facts":
        return replace(plan, version=2, facts=draw(facts()))
    if part == "name":
        into = draw(st.sampled_from([other for other in NAMES if other != name]))
        after = replace(others.get(into, event), renamed_from=(*others.get(into, event).renamed_from, name))
        return replace(plan, version=2, events=others | {into: after})
    if part == "outcomes" or not event.properties:
        return replace(
            plan, version=2, events=others | {name: replace(event, outcomes=dict.fromkeys(draw(_words), "So."))}
        )
    key = draw(st.sampled_from(sorted(event.properties)))
    properties = event.properties | {key: draw(retuned(event.properties[key]))}
    return replace(plan, version=2, events=others | {name: replace(event, properties=properties)})


WHOLE_NUMBERS = ("integer", "duration", "count")


@st.composite
def retuned(draw: Callable[..., Any], kind: Property) -> Property:
    """A property with one field as in another of its type, or, now and then, of another type."""
    tag = str(kind.__struct_config__.tag)
    near = WHOLE_NUMBERS if tag in WHOLE_NUMBERS else sorted(KINDS)
    other: Property = draw(KINDS[tag])
    if draw(st.integers(0, 3)) == 0:
        other = draw(KINDS[draw(st.sampled_from(near))])
    if type(other) is not type(kind):
        return other
    fields = [field for field in kind.__struct_fields__ if field not in ("description", "suppress")]
    chosen = draw(st.sampled_from(fields)) if fields else "description"
    changed: Property = msgspec.structs.replace(kind, **{chosen: getattr(other, chosen)})
    return changed
