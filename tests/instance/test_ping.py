"""A ping holds what a brute-force count finds, suppressed: nothing about few people, and nothing about any one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import CANARY
from heliograph.instance.ping import count_use, make_ping
from heliograph.instance.usage import SCHEMA, Tally, Usage, UsageTable
from heliograph.ping import MONTH_DAYS, ActiveUsers, FeatureUse, Ping, encode_ping, small_groups
from heliograph.plan.pings import ping_problems
from ping_plan import DAY, PLAN, at, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.ping import FactValue

KEYS = [f"{CANARY}-{number}" for number in range(12)]
NAMES = [*PLAN.events, "Unheard"]


class Happening(NamedTuple):
    days_ago: int
    second: int
    name: str
    user: int | None


happenings = st.lists(
    st.builds(
        Happening,
        days_ago=st.sampled_from([0, 0, 0, 1, 6, 7, 27, 28, -1]),
        second=st.integers(0, 86_399),
        name=st.sampled_from(NAMES),
        user=st.none() | st.integers(0, 11),
    ),
    max_size=120,
)
said_facts: st.SearchStrategy[dict[str, FactValue]] = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from(["5.3.1", CANARY]),
        "seats": st.integers(-1, 1_001),
        "code_hosts": st.dictionaries(st.sampled_from(["github", "gitlab", CANARY]), st.integers(-1, 51)),
        "licence_key": st.just(CANARY),
    },
)


def as_line(happening: Happening, users: Sequence[str]) -> bytes:
    moment = at(DAY - timedelta(days=happening.days_ago), happening.second)
    user = None if happening.user is None else users[happening.user]
    # An hour east or west of UTC: the day is UTC's all the same.
    moment = moment.astimezone(timezone(timedelta(hours=happening.second % 3 - 1)))
    return line(happening.name, user, moment, duration_ms=4, query=CANARY)


def ping_of_history(
    history: Sequence[Happening],
    *,
    users: Sequence[str] = KEYS,
    facts: dict[str, FactValue] | None = None,
    chunk: int = 7,
    merge: bool = False,
) -> Ping:
    """The ping of `DAY` by the real tally and table."""
    tally = Tally(PLAN, days=90)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        table = UsageTable(connection)
        for start in range(0, len(history), chunk):
            lines = [as_line(each, users) for each in history[start : start + chunk]]
            table.add(tally.count(lines, latest=at(DAY, 2 * 86_400)), sendable=True)
            if merge:
                table.merge(at_least=2)
        usage = table.read(DAY, days=MONTH_DAYS, sendable_only=True)
        return make_ping(count_use(usage, PLAN, DAY), facts or {}, PLAN, DAY, agent="0.1.0")


def brute_force(history: Sequence[Happening]) -> tuple[ActiveUsers, dict[str, FeatureUse]]:
    known = [each for each in history if each.name in PLAN.events and each.user is not None]

    def active(days: int) -> int | None:
        users = {each.user for each in known if PLAN.events[each.name].active and 0 <= each.days_ago < days}
        return None if len(users) in {1, 2, 3, 4} else len(users)

    features = {}
    for feature in PLAN.features:
        events = [each for each in known if each.days_ago == 0 and PLAN.events[each.name].feature == feature]
        users = {each.user for each in events}
        if len(users) >= 5:
            features[feature] = FeatureUse(users=len(users), events=len(events))
        elif users:
            features[feature] = FeatureUse(users=None, events=None)
    return ActiveUsers(day=active(1), week=active(7), month=active(28)), features


@given(history=happenings, chunk=st.integers(1, 30), merge=st.booleans())
def test_a_ping_holds_what_a_brute_force_count_finds(history: list[Happening], chunk: int, merge: bool) -> None:
    ping = ping_of_history(history, chunk=chunk, merge=merge)
    assert (ping.active_users, ping.features) == brute_force(history)


@given(history=happenings, facts=said_facts)
def test_no_ping_is_about_few_people_or_about_any_one_and_every_one_passes_its_own_checks(
    history: list[Happening], facts: dict[str, FactValue]
) -> None:
    ping = ping_of_history(history, facts=facts)
    body = encode_ping(ping)
    assert not list(small_groups(ping))
    assert ping_problems(ping, PLAN) == []
    assert msgspec.json.decode(body, type=Ping) == ping
    assert CANARY.encode() not in body
    numbers = [getattr(ping.active_users, name) for name in ("day", "week", "month")]
    numbers += [use.users for use in ping.features.values()]
    assert not {1, 2, 3, 4} & set(numbers)


@given(history=happenings, first=st.integers(0, 11), second=st.integers(0, 11))
def test_two_users_who_change_places_give_the_same_bytes(history: list[Happening], first: int, second: int) -> None:
    exchange = {first: second, second: first}
    exchanged = [
        each._replace(user=None if each.user is None else exchange.get(each.user, each.user)) for each in history
    ]
    assert encode_ping(ping_of_history(history)) == encode_ping(ping_of_history(exchanged))


@given(history=happenings, seed=st.randoms(use_true_random=False))
def test_neither_keys_nor_order_show_in_the_bytes(history: list[Happening], seed: object) -> None:
    shuffled = list(history)
    seed.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random
    other_keys = [f"user {number * 7}" for number in range(12)]
    assert encode_ping(ping_of_history(history)) == encode_ping(ping_of_history(shuffled, users=other_keys))


@pytest.mark.parametrize("name", ["PageViewed", "SignedIn"])
def test_one_user_and_four_give_the_same_bytes(name: str) -> None:
    def ping(users: int, events: int) -> bytes:
        happened = [Happening(0, 0, name, user) for user in range(users) for _ in range(events)]
        return encode_ping(ping_of_history(happened))

    assert len({ping(1, 1), ping(1, 90), ping(4, 1), ping(4, 20)}) == 1
    assert ping(4, 1) != ping(5, 1)
    assert ping(0, 0) != ping(1, 1)


def test_an_event_without_a_user_and_one_that_the_plan_does_not_declare_count_for_nobody() -> None:
    ping = ping_of_history([Happening(0, 0, "PageViewed", None), Happening(0, 0, "Unheard", 1)])
    assert ping == ping_of_history([])
    assert ping.features == {}


def test_signing_in_is_use_of_its_feature_and_makes_nobody_active() -> None:
    ping = ping_of_history([Happening(0, 0, "SignedIn", user) for user in range(6)])
    assert ping.active_users == ActiveUsers(day=0, week=0, month=0)
    assert ping.features == {"account": FeatureUse(users=6, events=6)}


def test_facts_that_the_plan_does_not_take_are_left_out() -> None:
    facts: dict[str, FactValue] = {"version": "5.3.1", "seats": 2_000, "trial": 1, "licence_key": CANARY}
    assert ping_of_history([], facts=facts).facts == {"version": "5.3.1"}


def ping_with(**fields: object) -> Ping:
    good: dict[str, object] = {
        "day": "2026-11-01",
        "plan": "small@1",
        "agent": "0.1.0",
        "facts": {},
        "active_users": {"day": 5, "week": 6, "month": 7},
        "features": {},
    }
    return msgspec.convert(good | fields, Ping)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"active_users": {"day": 7, "week": 6, "month": 7}}, "active_users.day is above active_users.week"),
        ({"active_users": {"day": 0, "week": 6, "month": None}}, "active_users.week is above active_users.month"),
        ({"active_users": {"day": None, "week": 0, "month": 7}}, "active_users.day is above active_users.week"),
        ({"active_users": {"day": 0, "week": 3, "month": 7}}, "active_users.week is about fewer than 5 users"),
        ({"features": {"pages": {"users": 4, "events": 9}}}, "features.pages.users is about fewer than 5 users"),
        ({"features": {"pages": {"users": None, "events": 9}}}, "both be null, or neither"),
        ({"features": {"pages": {"users": 9, "events": None}}}, "both be null, or neither"),
        ({"features": {"pages": {"users": 9, "events": 8}}}, "fewer events than users"),
        ({"features": {CANARY: {"users": 3, "events": None}}}, "features that the plan does not declare: 1"),
        ({"facts": {"seats": 1_001}}, "facts.seats is not a whole number from 0 to 1000"),
        ({"facts": {CANARY: 1}}, "facts that the plan does not declare: 1"),
    ],
)
def test_a_ping_that_contradicts_the_plan_or_itself_is_told_why(fields: dict[str, object], said: str) -> None:
    problems = ping_problems(ping_with(**fields), PLAN)
    assert any(said in problem for problem in problems), problems
    assert CANARY not in str(problems)


@pytest.mark.parametrize(
    "active",
    [
        {"day": 0, "week": 0, "month": 0},
        {"day": 0, "week": None, "month": None},
        {"day": None, "week": None, "month": 5},
        {"day": 5, "week": 5, "month": 5},
    ],
    ids=str,
)
def test_what_can_be_so_passes(active: dict[str, int | None]) -> None:
    features = {"pages": {"users": None, "events": None}, "search": {"users": 5, "events": 5}}
    assert ping_problems(ping_with(active_users=active, features=features), PLAN) == []


def test_only_what_may_be_sent_goes_into_a_ping_and_the_rest_stays_to_be_seen_here() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        table = UsageTable(connection)
        table.add([(DAY.toordinal() - date(1970, 1, 1).toordinal(), "PageViewed", "kept", 2)], sendable=False)
        table.add([(DAY.toordinal() - date(1970, 1, 1).toordinal(), "PageViewed", "sent", 1)], sendable=True)
        for _ in ("in the journal", "in the table"):
            everything = set(table.read(DAY, days=1, sendable_only=False))
            assert everything == {Usage(DAY, "PageViewed", "kept", 2), Usage(DAY, "PageViewed", "sent", 1)}
            assert list(table.read(DAY, days=1, sendable_only=True)) == [Usage(DAY, "PageViewed", "sent", 1)]
            table.merge()
        table.forget_before(DAY + timedelta(days=1))
        assert not list(table.read(DAY, days=1, sendable_only=False))


def test_lines_that_cannot_be_read_do_not_count_and_hide_no_other() -> None:
    good = [line("PageViewed", "u", at(DAY)), line("PageViewed", "u", at(DAY, 1))]
    bad = [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"name": "PageViewed", "user": "u"}',
        b'{"name": "PageViewed", "user": 7, "time": "2026-11-01T00:00:00Z"}',
        b'{"name": 7, "user": "u", "time": "2026-11-01T00:00:00Z"}',
        b'{"name": "PageViewed", "user": "u", "time": "0001-01-01T00:00:00+14:00"}',
        b'{"name": "PageViewed", "user": "u", "time": "9999-12-31T23:59:59-14:00"}',
        b'{"name": "PageViewed", "user": "u", "time": "2026-11-01T00:00:03Z"}',
    ]
    tally = Tally(PLAN, days=90)
    expected = [(DAY.toordinal() - date(1970, 1, 1).toordinal(), "PageViewed", "u", 2)]
    assert tally.count(good, latest=at(DAY, 2)) == expected
    for number in range(len(bad)):
        assert tally.count([good[0], bad[number], good[1]], latest=at(DAY, 2)) == expected
    assert tally.count([*bad, *good], latest=at(DAY, 2)) == expected
    assert tally.count([], latest=at(DAY)) == []
    naive = line("PageViewed", "u", datetime(2026, 11, 1, 0, 0, 1))  # noqa: DTZ001 - such a line may come
    assert tally.count([naive, *good[:1]], latest=at(DAY, 2)) == expected
