"""Generated plans, and events of them: what a promise about any plan is tested with."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from heliograph.plan.coarsen import coarsen_all, least
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
    Property,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST: Final = 2**53
MOST_AMOUNT: Final = 10**9 - 1
"""Numbers of more digits are refused as digit runs, whatever the plan says: see `heliograph.plan.sensitive.numbers`."""
PRECISIONS: Final = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001)
MOST_STEPS: Final = 2**50
TIME: Final = "2026-10-01T12:00:00.000000Z"

# Samples, as drawing from a pattern takes most of a test's time.
words = st.sampled_from(["literal", "regexp", "c++", "a", "0", "5.3-rc_1", "word-" * 3 + "s", "ok"])
members = st.lists(words, min_size=1, max_size=5, unique=True).map(tuple)
property_names = st.sampled_from(["results", "share", "own", "kind", "x", "a_1", "y" * 48])
duration_names = st.sampled_from(["duration_ms", "wait_ms", "x_ms"])
event_names = st.sampled_from(["SearchSubmitted", "goToDefinition", "FileViewed", "A", "b2"])
random_ids = st.sampled_from(["9f86d081884c7d659a2feaa0c55ad015", "3c59dc048e8850243be8079a5c74d079"])
versions = st.sampled_from(["5.3.1", "0", "99999.1", "1.2.3.4"])
actors = st.sampled_from(["operator", "service"])


@st.composite
def integers(draw: st.DrawFn) -> IntegerProperty:
    """Draw an integer whose bounds are multiples of its precision."""
    precision = draw(st.sampled_from([1, 1, 2, 3, 5, 10, 1000, 2**52]) | st.integers(1, LARGEST))
    steps = min(LARGEST // precision, MOST_AMOUNT)
    low = draw(st.just(0) | st.integers(-steps, steps - 1))
    high = draw(st.integers(low + 1, min(low + 3, steps)) | st.integers(low + 1, steps))
    return IntegerProperty(description="I.", minimum=low * precision, maximum=high * precision, precision=precision)


@st.composite
def numbers(draw: st.DrawFn) -> NumberProperty:
    """Draw a number whose bounds are multiples of its precision, if it has one."""
    if draw(st.booleans()):
        low, high = sorted(draw(st.tuples(finite, finite)))
        return NumberProperty(description="N.", minimum=low, maximum=high)
    precision = draw(st.sampled_from(PRECISIONS))
    steps = round(1 / precision)
    most = min(MOST_STEPS, MOST_AMOUNT * steps)
    low, high = sorted(draw(st.tuples(*[st.integers(-1000, 1000) | st.integers(-most, most)] * 2)))
    return NumberProperty(description="N.", minimum=low / steps, maximum=high / steps, precision=precision)


@st.composite
def durations(draw: st.DrawFn) -> DurationProperty:
    """Draw a duration whose bound is a multiple of its precision."""
    precision = draw(st.sampled_from([1, 1, 10, 100, 60_000]) | st.integers(1, LARGEST))
    most = min(LARGEST // precision, MOST_AMOUNT)
    steps = draw(st.integers(1, min(5, most)) | st.integers(1, most))
    return DurationProperty(description="D.", maximum=steps * precision, precision=precision)


counts = st.lists(st.integers(0, 50) | st.integers(0, MOST_AMOUNT), min_size=2, max_size=40, unique=True).map(
    lambda buckets: CountProperty(description="C.", buckets=tuple(sorted(buckets)))
)
finite = st.floats(-MOST_AMOUNT, MOST_AMOUNT)
_plain_kinds: Final[Sequence[st.SearchStrategy[Property]]] = (
    integers(),
    numbers(),
    counts,
    st.just(BooleanProperty(description="B.")),
    members.map(lambda words: MemberProperty(description="M.", members=words)),
)
any_property = st.one_of(durations(), *_plain_kinds)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a plan that keeps all rules, of one to four events that share some of their properties."""
    kinds: dict[str, st.SearchStrategy[Property]] = dict.fromkeys(
        draw(st.lists(duration_names, max_size=2, unique=True)), durations()
    )
    for name in draw(st.lists(property_names, max_size=6, unique=True)):
        kinds[name] = draw(st.sampled_from(_plain_kinds))
    names = draw(st.lists(event_names, min_size=1, max_size=4, unique=True))
    return Plan(
        heliograph_plan=2,
        name="drawn",
        version=draw(st.integers(1, 5)),
        description="A plan that a test has drawn.",
        sources=("web", "backend"),
        features={"search": "Finding."},
        events={name: draw(definitions(kinds)) for name in names},
    )


@st.composite
def definitions(draw: st.DrawFn, kinds: dict[str, st.SearchStrategy[Property]]) -> EventDefinition:
    """Draw an event that has some of the properties that `kinds` names."""
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True)) if kinds else []
    return EventDefinition(
        description="What happened.",
        feature="search",
        action="use",
        question="Who uses it?",
        owner="team",
        added=date(2026, 1, 1),
        expires="never",
        outcomes=draw(st.sampled_from([{"ok": "Good."}, {"ok": "Good.", "failed": "Bad."}])),
        properties={name: draw(kinds[name]) for name in chosen},
    )


def raw_values(kind: Property) -> st.SearchStrategy[Any]:
    """Draw what a product may pass for a property: of its type and in range, and not rounded yet."""
    match kind:
        case IntegerProperty() | DurationProperty():
            low = int(least(kind))
            step = kind.precision
            return st.integers(low, kind.maximum) | st.sampled_from(
                [low, kind.maximum, *(each for each in (low + step // 2, low + step // 2 + 1) if each <= kind.maximum)]
            )
        case NumberProperty():
            return st.floats(kind.minimum, kind.maximum)
        case CountProperty():
            return st.sampled_from(kind.buckets) | st.integers(kind.buckets[0], 2**63 - 1)
        case BooleanProperty():
            return st.booleans()
        case MemberProperty():
            return st.sampled_from(kind.members)


def wrong_values(kind: Property) -> st.SearchStrategy[Any]:
    """Draw values of the right type, of which most are out of range, or of no list."""
    match kind:
        case IntegerProperty() | DurationProperty():
            near = [int(least(kind)) - 1, kind.maximum + 1, kind.maximum + kind.precision]
            return st.sampled_from(near) | st.integers(-(2**63), 2**63 - 1)
        case NumberProperty():
            return finite | st.sampled_from([kind.maximum * 2 + 1, kind.minimum - 1])
        case CountProperty():
            return st.sampled_from([kind.buckets[0] - 1, kind.buckets[-1] + 1]) | st.integers(-(2**63), 2**63 - 1)
        case BooleanProperty():
            return st.booleans()
        case MemberProperty():
            return st.sampled_from(["else", ""]) | st.text(max_size=4)


@st.composite
def raw_events(draw: st.DrawFn, plan: Plan, *, name: str | None = None) -> dict[str, Any]:
    """Draw an event that `plan` takes, as JSON would hold it, with values that are not rounded yet."""
    name = draw(st.sampled_from(sorted(plan.events))) if name is None else name
    definition = plan.events[name]
    optional: dict[str, st.SearchStrategy[Any]] = {
        "user_id": random_ids,
        "session_id": random_ids,
        "outcome": st.sampled_from(sorted(definition.outcomes)),
        "version": versions,
        "source": st.sampled_from(plan.sources),
        "actor": actors,
        **{key: raw_values(kind) for key, kind in definition.properties.items()},
    }
    required = {"name": st.just(name), "sequence": st.integers(1, LARGEST), "time": st.just(TIME)}
    return draw(st.fixed_dictionaries(required, optional=optional))


def coarse_event(event: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return an event of `plan` with its values rounded, as it is on the wire."""
    return coarsen_all(event, plan.events[event["name"]].properties)


def wire_events(plan: Plan) -> st.SearchStrategy[dict[str, Any]]:
    """Draw an event that both ends take, as one JSON line holds it."""
    return raw_events(plan).map(lambda event: coarse_event(event, plan))


@st.composite
def events_with_a_fault(draw: st.DrawFn, plan: Plan) -> dict[str, Any]:
    """Draw an event with one value changed: of the right type, and mostly such that the event is rejected."""
    event = draw(wire_events(plan))
    properties = plan.events[event["name"]].properties
    others = plan.property_kinds().keys() - properties.keys()
    faults: dict[str, st.SearchStrategy[Any]] = {
        "name": st.sampled_from(["Undeclared", ""]),
        "time": st.sampled_from(["1969-12-31T23:59:59.000000Z", "2999-01-01T00:00:00.000000Z"]),
        "user_id": st.sampled_from(["", "A" * 32, "0" * 31, "g" * 32]),
        "session_id": st.sampled_from(["", "0" * 33]),
        "outcome": st.just("else"),
        "version": st.sampled_from(["", "1.", "v1", "123456", "1.2.3.4.5"]),
        "source": st.just("else"),
        "actor": st.just("else"),
        **{name: raw_values(kind) | wrong_values(kind) for name, kind in properties.items()},
    }
    for name in sorted(others):
        kind = next(event.properties[name] for event in plan.events.values() if name in event.properties)
        faults[name] = raw_values(kind)
    field = draw(st.sampled_from(sorted(faults)))
    return {**event, field: draw(faults[field])}
