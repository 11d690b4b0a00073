"""The second wall of a plan: what it allows is looked at, the same in both formats, at both ends, and in facts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import USER, as_arrow, as_lines, event, random_id
from heliograph.event import UNDECLARED, Verdict
from heliograph.gateway.bodies import BodyChecker, Checked
from heliograph.instance.batch import Batch, BatchBuilder
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.state import State
from heliograph.plan.facts import fact_passes, fact_problems, passing_facts
from heliograph.plan.load import load_plan
from heliograph.plan.model import (
    CountProperty,
    CountsFact,
    DurationProperty,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
    VersionFact,
)
from heliograph.plan.sensitive import looks_derived
from heliograph.plan.sensitive.numbers import is_digit_run, is_no_version
from heliograph.plan.sensitive.wall import SecondWall, derived_ids
from heliograph.wire import ARROW, NDJSON, Skeleton, VerdictCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

LATEST: Final = datetime(2027, 1, 1, tzinfo=UTC)
SENSITIVE: Final = Verdict.SENSITIVE_VALUE
PLANS: Final = sorted((Path(__file__).parents[2] / "plans").glob("*.yaml"))
TOKEN: Final = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"


def an_event(**properties: Any) -> EventDefinition:
    return EventDefinition(
        description="Something.",
        feature="search",
        action="do",
        question="Does it happen?",
        owner="team",
        added=date(2026, 10, 1),
        expires="never",
        outcomes={"ok": "It worked.", "sk_live_abcdefghijklmnop": "It did not."},
        properties=properties,
    )


PLAN: Final = Plan(
    heliograph_plan=2,
    name="careless",
    version=1,
    description="A plan whose lists and ranges nobody looked at.",
    sources=("web", "db01.prod.acme.com"),
    features={"search": "Searching."},
    events={
        "Opened": an_event(
            host_kind=MemberProperty(
                description="Where.", members=("other", "git.corp.example.com", "jane.doe", TOKEN)
            ),
            bytes_read=IntegerProperty(description="How much.", minimum=-(10**15), maximum=10**15),
            rows=IntegerProperty(description="How many.", maximum=10**9 - 1),
            rounded=IntegerProperty(description="How much.", maximum=10**15, precision=10**7),
            span_ms=DurationProperty(description="How long.", maximum=10**13),
            weight=NumberProperty(description="How much.", maximum=1e300),
            share=NumberProperty(description="How much of it.", maximum=1.0),
            size=CountProperty(description="How many.", buckets=(0, 10, 4915112345678)),
            jane_doe=IntegerProperty(description="How many.", maximum=10),
        ),
        "Closed": an_event(host_kind=MemberProperty(description="Where.", members=("other", "cloud"))),
        "AKIAIOSFODNN7EXAMPLE": an_event(rows=IntegerProperty(description="How many.", maximum=10)),
    },
    facts={
        "version": VersionFact(description="The version."),
        "host_kind": MemberProperty(description="Where.", members=("other", "git.corp.example.com")),
        "hosts": CountsFact(description="How many.", members=("other", "git.corp.example.com"), maximum=10**13),
        "seats": IntegerProperty(description="How many.", maximum=10**13),
    },
)
CHECKER: Final = BodyChecker(PLAN)
FOUND: Final[list[tuple[dict[str, Any], str | None]]] = [
    ({"host_kind": "git.corp.example.com"}, "host_kind"),
    ({"host_kind": "jane.doe"}, "host_kind"),
    ({"host_kind": TOKEN}, "host_kind"),
    ({"outcome": "sk_live_abcdefghijklmnop"}, "outcome"),
    ({"source": "db01.prod.acme.com"}, "source"),
    ({"version": "192.168.1.7"}, "version"),
    ({"version": "4111.1111.1111.1111"}, "version"),
    ({"version": "415.555.2671"}, "version"),
    ({"version": "030.1234.5678"}, "version"),
    ({"user_id": "4711".zfill(32)}, "user_id"),
    ({"session_id": b"jane@example.com".hex()}, "session_id"),
    ({"bytes_read": 4915112345678}, "bytes_read"),
    ({"bytes_read": -4111111111111}, "bytes_read"),
    ({"span_ms": 1767225600123}, "span_ms"),
    ({"weight": 4915112345678.0}, "weight"),
    ({"size": 4915112345678}, "size"),
    ({"jane_doe": 1}, None),
]
PEACEFUL: Final[list[dict[str, Any]]] = [
    {"host_kind": "other", "outcome": "ok", "source": "web", "version": "5.3.1", "user_id": USER},
    {"version": "2026.10.15.1"},
    {"version": "118.0.5993.117"},
    {"version": "10.0.19045.3570"},
    {"bytes_read": 123_456_789},
    {"bytes_read": 123_456_789_000_000},
    {"bytes_read": -1_000_000_000_000},
    {"rows": 987_654_321},
    {"rounded": 123_456_780_000_000},
    {"span_ms": 86_400_000},
    {"weight": 1e299},
    {"weight": 0.123456789012345},
    {"share": 1 / 3},
    {"size": 10},
]


def verdicts(rows: list[dict[str, Any]], plan: Plan = PLAN) -> tuple[list[Skeleton], list[Checked]]:
    """Return the rejections by both formats, which must be the same."""
    checker = CHECKER if plan is PLAN else BodyChecker(plan)
    checked = [
        checker.check(body, "", kind, most=1 << 24, latest=LATEST)
        for body, kind in ((as_arrow(rows, plan), ARROW), (as_lines(rows), NDJSON))
    ]
    assert checked[0].rejections == checked[1].rejections
    assert checked[0].rejected == checked[1].rejected
    assert checked[0].accepted == checked[1].accepted
    return checked[0].rejections, checked


@pytest.mark.parametrize(("fields", "at_fault"), FOUND, ids=lambda value: str(value)[:40])
def test_a_value_that_the_plan_allows_is_found_in_both_formats(fields: dict[str, Any], at_fault: str | None) -> None:
    peaceful = [event(number, "Opened", **PEACEFUL[number - 1]) for number in (1, 2)]
    [rejection], checked = verdicts([*peaceful, event(3, "Opened", **fields), event(4, "Opened")])
    assert rejection == Skeleton(SENSITIVE, "Opened", 3, at_fault)
    for each in checked:
        assert each.accepted == {"Opened": 3}
        value = str(next(iter(fields.values()))).encode()
        assert value not in each.body or at_fault is None, "the value is not stored"
        assert value not in msgspec.json.encode(each.rejections) or at_fault is None


def test_an_event_whose_name_is_sensitive_does_not_pass_and_its_name_is_not_repeated() -> None:
    rejections, _ = verdicts([event(1, "AKIAIOSFODNN7EXAMPLE"), event(2, "AKIAIOSFODNN7EXAMPLE", rows=11)])
    assert rejections == [
        Skeleton(SENSITIVE, UNDECLARED, 1, "name"),
        Skeleton(Verdict.INVALID_PROPERTY, UNDECLARED, 2, "rows"),
    ]


@pytest.mark.parametrize("fields", PEACEFUL, ids=lambda value: str(value)[:40])
def test_an_amount_a_version_and_a_word_pass(fields: dict[str, Any]) -> None:
    rejections, _ = verdicts([event(1, "Opened", **fields)])
    assert not rejections


def test_a_word_is_judged_by_its_own_events_list() -> None:
    rejections, _ = verdicts([event(1, "Opened", host_kind="other"), event(2, "Closed", host_kind="other")])
    assert not rejections
    [rejection], _ = verdicts([event(1, "Closed", host_kind="jane.doe")])
    assert rejection.verdict is Verdict.INVALID_PROPERTY, "it is not of this event's list in the first place"


def test_another_fault_of_an_event_is_told_in_its_place() -> None:
    late = {"host_kind": "jane.doe", "time": "2027-06-01T12:00:00.000000Z"}
    rejections, _ = verdicts([event(1, "Opened", **late), event(2, "Opened", host_kind="jane.doe", rows=-1)])
    assert [each.verdict for each in rejections] == [Verdict.FUTURE_TIME, Verdict.INVALID_PROPERTY]


def test_a_sensitive_word_that_no_row_uses_is_not_stored_either() -> None:
    rows = [event(1, "Opened", host_kind="other"), event(2, "Opened", rows=-1, host_kind=TOKEN)]
    _, checked = verdicts(rows)
    assert checked[0].accepted == {"Opened": 1}
    assert all(TOKEN.encode() not in each.body for each in checked)


events: Final = st.fixed_dictionaries(
    {"name": st.sampled_from([*PLAN.events])},
    optional={
        "user_id": st.sampled_from([USER, "4711".zfill(32), random_id(1), "f" * 32, "x" * 32]),
        "session_id": st.sampled_from([USER, b"jane@example.com".hex(), random_id(2)]),
        "outcome": st.sampled_from(["ok", "sk_live_abcdefghijklmnop"]),
        "version": st.sampled_from(["5.3.1", "10.0.0.1", "4111.1111.1111.1111", "v1"]),
        "source": st.sampled_from(["web", "db01.prod.acme.com"]),
    },
)
of_opened: Final = st.fixed_dictionaries(
    {"name": st.just("Opened")},
    optional={
        "host_kind": st.sampled_from(["other", "jane.doe", TOKEN, "cloud"]),
        "bytes_read": st.integers(-(10**16), 10**16) | st.integers(0, 9_999).map(lambda n: n * 10**9),
        "span_ms": st.integers(0, 10**13),
        "weight": st.floats(0, 1e300) | st.integers(0, 10**15).map(float),
        "size": st.sampled_from([0, 10, 4915112345678]),
    },
)


@settings(deadline=None, max_examples=100)
@given(st.lists(events | of_opened, min_size=1, max_size=8))
def test_both_formats_give_the_same_verdict_on_the_same_event(rows: list[dict[str, Any]]) -> None:
    numbered = [event(**{"user_id": None, **row, "sequence": number}) for number, row in enumerate(rows, 1)]
    by_format = [
        CHECKER.check(body, "", kind, most=1 << 24, latest=LATEST)
        for body, kind in ((as_arrow(numbered, PLAN), ARROW), (as_lines(numbered), NDJSON))
    ]
    arrow, lines = by_format
    assert arrow.accepted == lines.accepted
    assert [each.sequence for each in arrow.rejections] == [each.sequence for each in lines.rejections]
    for one, other in zip(arrow.rejections, lines.rejections, strict=True):
        assert (one.verdict is SENSITIVE) is (other.verdict is SENSITIVE)
        assert one.name == other.name


def sensitive_count(counts: VerdictCounts) -> int:
    return sum(verdicts_of_name.get(SENSITIVE, 0) for verdicts_of_name in counts.values())


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(events | of_opened, min_size=1, max_size=8))
def test_the_instance_keeps_what_the_gateway_would_not_take_on_each_of_its_ways(
    state: State, rows: list[dict[str, Any]]
) -> None:
    """All lines at once, and one by one, as where one line of the chunk is not as the plan says."""
    ids = ("user_id", "session_id")
    numbered = [{key: value for key, value in row.items() if key not in ids} for row in rows]
    numbered = [event(**{"user_id": None, **row, "sequence": number}) for number, row in enumerate(numbered, 1)]
    outbox = [{key: value for key, value in each.items() if key not in ids} | {"user": "7"} for each in numbered]
    builder = BatchBuilder(PLAN, Pseudonyms(state))

    def build(recorded: list[dict[str, Any]]) -> Batch:
        lines = [*map(msgspec.json.encode, recorded)]
        return builder.build(lines, numbers=len(lines), latest=LATEST)

    at_once = build(outbox)
    one_by_one = build([*outbox, event(1_000, "Closed", user_id=None, never_declared=TOKEN)])
    gateway = CHECKER.check(as_lines(numbered), "", NDJSON, most=1 << 24, latest=LATEST)
    assert at_once.events == one_by_one.events - 1 == sum(gateway.accepted.values())
    assert sensitive_count(at_once.absent) == sensitive_count(one_by_one.absent) == sensitive_count(gateway.rejected)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    made = State(tmp_path_factory.mktemp("state"))
    yield made
    made.close()


def test_a_sensitive_fact_is_left_out_of_a_ping_and_refused_in_one() -> None:
    facts: dict[str, Any] = {
        "version": "192.168.1.7",
        "host_kind": "git.corp.example.com",
        "hosts": {"git.corp.example.com": 3},
        "seats": 4915112345678,
    }
    assert passing_facts(facts, PLAN) == {}
    peaceful: dict[str, Any] = {"version": "5.3.1", "host_kind": "other", "hosts": {"other": 3}, "seats": 5_000}
    assert passing_facts(peaceful, PLAN) == peaceful
    assert not fact_passes({"other": 4915112345678}, PLAN.facts["hosts"])
    problems = fact_problems(facts, PLAN)
    assert len(problems) == 4
    assert not any(str(value) in problem for value in ("192.168", "git.corp", "4915") for problem in problems)


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.name)
def test_in_a_shipped_plan_no_event_needs_more_looked_at_than_ids_and_version(file: Path) -> None:
    assert not SecondWall(load_plan(file)).needed


snake: Final = st.lists(
    st.sampled_from("search open result filter cloud_kind page team small large regexp other first_run c++".split()),  # noqa: SIM905 - words
    min_size=1, max_size=3,
).map("_".join)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(
    members=st.lists(snake, min_size=1, max_size=6, unique=True),
    maximum=st.integers(1, 10**9 - 1),
    rough=st.integers(1, 10**9 - 1),
    precision=st.sampled_from([1, 10, 100, 1_000, 1_000_000]),
    data=st.data(),
)
def test_no_valid_event_of_a_sane_plan_is_ever_taken_for_anything(
    members: list[str], maximum: int, rough: int, precision: int, data: st.DataObject
) -> None:
    plan = msgspec.structs.replace(
        PLAN,
        sources=("web", "ide"),
        events={
            "Opened": msgspec.structs.replace(
                an_event(
                    kind=MemberProperty(description="What.", members=tuple(members)),
                    amount=IntegerProperty(description="How much.", minimum=-maximum, maximum=maximum),
                    rough=IntegerProperty(description="How much.", maximum=rough * precision, precision=precision),
                    share=NumberProperty(description="How much of it.", maximum=1.0),
                ),
                outcomes={"ok": "It worked.", "timed_out": "It did not."},
            )
        },
    )
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "kind": st.sampled_from(members),
                    "amount": st.integers(-maximum, maximum),
                    "rough": st.integers(0, rough).map(lambda steps: steps * precision),
                    "share": st.floats(0, 1),
                    "outcome": st.sampled_from(["ok", "timed_out"]),
                    "source": st.sampled_from(["web", "ide"]),
                    "version": st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 9_999)).map(
                        lambda parts: ".".join(map(str, parts))
                    ),
                    "user_id": st.integers().map(random_id),
                },
            ),
            min_size=1,
            max_size=6,
        )
    )
    numbered = [event(number, "Opened", **{"user_id": None, **row}) for number, row in enumerate(rows, 1)]
    rejections, _ = verdicts(numbered, plan)
    assert not rejections


def test_the_look_at_many_ids_at_once_finds_what_the_look_at_one_finds() -> None:
    source = np.random.default_rng(7)
    ids = [source.bytes(16).hex() for _ in range(3_000)]
    for place, digit in enumerate("0123456789abcdef" * 2):  # eight of one digit, from each place on and cut at the end
        ids.append((ids[place][:place] + digit * 8 + ids[place][place + 8 :])[:32])
        ids.append((ids[place][:place] + digit * 7 + ids[place][place + 7 :])[:32])
    ids += [
        "é" * 16,
        "4711".zfill(32),
        b"jane@example.com".hex(),
        "f" * 32,
        "9f86d081e84c7d65" * 2,
        b"x\0jane doe, 1971".hex(),
    ]
    ids += [f"{source.integers(10**18):018d}{source.integers(10**14):014d}" for _ in range(50)]
    letters = np.frombuffer(b"".join(each.encode() for each in ids), np.uint8)
    assert list(derived_ids(letters)) == [place for place, each in enumerate(ids) if looks_derived(each)]
    assert not len(derived_ids(letters[:0]))


@pytest.mark.parametrize(
    ("number", "is_run"),
    [(999_999_999, False), (1_000_000_001, True), (12_345_678_900, False), (12_345_678_901, True), (0, False),
     (-4915112345678, True), (1e299, False), (4915112345678.5, True), (1e23, False), (0.1234567890123, False),
     (2**53, True), (float("inf"), False), (float("nan"), False)],
)  # fmt: skip
def test_ten_significant_digits_are_a_digit_run(number: float, is_run: bool) -> None:
    assert is_digit_run(number) is is_run


@pytest.mark.parametrize(
    ("version", "is_none"),
    [("5.3.1", False), ("10.0", False), ("10.2.3", False), ("10.2.3.4", True), ("172.15.0.1", False),
     ("172.16.0.1", True), ("127.0.0.1", True), ("169.254.1.1", True), ("8.8.8.8", False), ("118.0.5993.117", False),
     ("10.0.19045.3570", False), ("2026.10.15.12345", False), ("1.415.555.2671", True), ("0049.89.1234", True),
     ("3782.8224.6310.005", True), ("4111.1111.1111.1112", False), ("0.12.3", False)],
)  # fmt: skip
def test_a_version_is_told_from_an_address_a_card_and_a_phone(version: str, is_none: bool) -> None:
    assert is_no_version(version) is is_none
