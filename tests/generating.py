"""Plans for the tests of what is made from plans: one of everything, and any that the loader takes, however hostile."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from documents import REPOSITORY
from heliograph.event import RESERVED
from heliograph.plan.load import load_plan
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    CountsFact,
    Deprecation,
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

    from heliograph.plan.model import Property

FOLDER = "tests/plan/generated"
EVERYTHING = load_plan(REPOSITORY / FOLDER / "everything.yaml")
SHIPPED = load_plan(REPOSITORY / "plans" / "code-intelligence.yaml")

AWKWARD = (
    '"""', "'''", '"', "'", "\\", "\\u", "\\N{", "`", "*/", "/*", "//", "--", "-->", "<!--", "<script>", "</script>",
    "</style>", "]]>", "&amp;", "&", "<b>", "{{", "}}", "{%", "@{", "${", "{@link", "@deprecated", ";;", "#", "# ",
    "- ", "1. ", "> ", "|", "\\|", "[x](y)", "![", "*a*", "_b_", "~~", "$", "%s", "{0}", "=1+1", "+", "@", "\n", "\r",
    "\t", "\u2028", "\u2029", "\u200b", "\u202e", "\ufeff", "\x00", "\x85", "é", "日本", "🙂", "https://example.org",
    "www.example.org", "a@example.org", "\N{NO-BREAK SPACE}", ":", "- -", "---", "===", "```", "~~~", "    x",
)  # fmt: skip
"""Pieces that mean something in one of the languages, or that do not print."""
NAMES = (
    "SearchSubmitted", "goToDefinition", "Int", "str", "Record", "delete", "Class", "None", "Literal", "Event", "Date",
    "Sink", "Names", "toBucket", "toMultiple", "Version", "RandomId", "undefined", "Await", "Async", "X", "A1B2",
    "HTTPGet", "Any", "Datetime", "timedelta", "Annotations", "Type", "Users", "Events", "Sessions", "Facts", "Await2",
    "ok", "print",
)  # fmt: skip
KEYS = (
    "lambda", "class", "import", "in", "is", "int", "str", "float", "bool", "datetime", "timedelta", "record",
    "constructor", "alias", "type", "sink", "event", "events", "users", "sessions", "search_submitted", "outcome_",
    "time_date", "counted", "a", "a_b", "async", "await", "none", "true", "event_id", "occurred_date", "x",
)  # fmt: skip

texts = st.tuples(
    st.sampled_from(("T", "T", "=T", "- T", "+T", "@T", "1. T", "# T", '"T')),
    st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=5)), min_size=1, max_size=5),
).map(lambda parts: parts[0] + "".join(parts[1]))
"""Some that begin as no text should, and none that is blank."""
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,10}", fullmatch=True)
snakes = st.one_of(st.sampled_from(KEYS), st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)).filter(
    lambda name: name not in RESERVED
)
event_names = st.one_of(st.sampled_from(NAMES), st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,10}", fullmatch=True))
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))
members = st.lists(words, min_size=1, max_size=12, unique=True).map(tuple)


@st.composite
def whole_numbers(draw: st.DrawFn) -> IntegerProperty:
    step = draw(st.sampled_from([1, 10, 1_000]))
    least = draw(st.integers(-100, 100))
    return IntegerProperty(
        description=draw(texts),
        minimum=least * step,
        maximum=(least + draw(st.integers(0, 1_000))) * step,
        precision=step,
    )


BY_TYPE: dict[type[Property], st.SearchStrategy[Any]] = {
    IntegerProperty: whole_numbers(),
    NumberProperty: st.builds(
        NumberProperty,
        description=texts,
        minimum=st.integers(-5, 0).map(float),
        maximum=st.integers(0, 10**9).map(float),
        precision=st.sampled_from([None, 1.0, 0.1, 0.0001]),
    ),
    DurationProperty: st.builds(
        DurationProperty,
        description=texts,
        maximum=st.integers(1, 1_000).map(lambda n: n * 100),
        precision=st.sampled_from([1, 100]),
    ),
    CountProperty: st.builds(
        CountProperty,
        description=texts,
        buckets=st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True).map(
            lambda all_: tuple(sorted(all_))
        ),
    ),
    BooleanProperty: st.builds(BooleanProperty, description=texts),
    MemberProperty: st.builds(MemberProperty, description=texts, members=members),
}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any plan of a few events; a property's name has one type in all of them."""
    kinds = draw(st.dictionaries(snakes, st.sampled_from(list(BY_TYPE)), max_size=6))
    kinds = {key + "_ms" * (kind is DurationProperty and not key.endswith("_ms")): kind for key, kind in kinds.items()}
    features = draw(
        st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True), texts, min_size=1, max_size=3)
    )
    names = draw(st.lists(event_names, min_size=1, max_size=5, unique_by=str.lower))
    retired = draw(st.lists(event_names, max_size=2, unique_by=str.lower))
    return Plan(
        heliograph_plan=2,
        name=draw(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)),
        version=draw(st.integers(1, 99)),
        description=draw(texts),
        sources=draw(
            st.lists(
                st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True), min_size=1, max_size=8, unique=True
            ).map(tuple)
        ),
        features=features,
        events={name: draw(_events(list(features), names, kinds)) for name in names},
        facts=draw(
            st.dictionaries(
                snakes,
                st.one_of(
                    st.builds(VersionFact, description=texts),
                    st.builds(CountsFact, description=texts, members=members, maximum=st.integers(0, 99)),
                    BY_TYPE[MemberProperty],
                ),
                max_size=2,
            )
        ),
        retired={
            name: Retirement(
                description=draw(texts),
                feature=draw(st.sampled_from(list(features))),
                until=draw(days),
                reason=draw(texts),
            )
            for name in retired
            if name.lower() not in {each.lower() for each in names}
        },
    )


@st.composite
def _events(
    draw: st.DrawFn, features: list[str], names: list[str], kinds: dict[str, type[Property]]
) -> EventDefinition:
    keys = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True)) if kinds else []
    outcomes = draw(
        st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), texts, min_size=1, max_size=3)
    )
    added = draw(days)
    return EventDefinition(
        description=draw(texts),
        feature=draw(st.sampled_from(features)),
        action=draw(texts),
        question=draw(texts),
        owner=draw(texts),
        added=added,
        expires=draw(st.sampled_from(["never", added + timedelta(days=9)])),
        core=draw(st.booleans()),
        active=draw(st.booleans()),
        outcomes=outcomes | draw(st.sampled_from([{}, {"ok": "It worked."}])),
        properties={key: draw(BY_TYPE[kinds[key]]) for key in keys},
        deprecated=draw(
            st.none() | st.builds(Deprecation, since=st.just(added), reason=texts, use=st.sampled_from([None, *names]))
        ),
        renamed_from=draw(st.sampled_from([(), ("EarlierName",)])),
    )


ANY_PLAN = settings(max_examples=15, phases=[Phase.reuse, Phase.generate])
"""Without shrinking, which takes minutes for a plan; what fails is a small plan anyway."""


def some_plans(count: int) -> list[Plan]:
    """Plans for a test that needs many at once; no one example could hold them."""
    found: list[Plan] = []

    @settings(max_examples=count, phases=[Phase.generate])
    @given(plan=plans())
    def keep(plan: Plan) -> None:
        found.append(plan)

    keep()
    return found


def made(make: Callable[[Plan], str], plan: Plan) -> str:
    """What an artefact is made, twice, as it is to be the same each time."""
    text = make(plan)
    assert make(plan) == text
    assert text.endswith("\n")
    return text
