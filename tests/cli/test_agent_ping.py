"""`heliograph agent ping` and `heliograph agent usage`, as the customer's admin meets them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.instance.facts import merge_facts
from heliograph.instance.state import State
from heliograph.instance.usage import day_number
from heliograph.ping import Ping, encode_ping
from heliograph.plan.load import load_plan
from heliograph.plan.ping_page import example_ping
from heliograph.wire import PingReceipt

PLAN_FILE = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"
PLAN = load_plan(PLAN_FILE)
NOW = datetime.now(UTC)
TODAY = NOW.date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_PLAN_FILE", str(PLAN_FILE))


@pytest.fixture
def state(tmp_path: Path) -> State:
    with_use = State(tmp_path / "agent")
    for day, users, name, sendable in [
        (TODAY, 3, "SearchSubmitted", True),
        (TODAY, 2, "BlobViewed", False),
        (YESTERDAY, 6, "SearchSubmitted", True),
        (YESTERDAY, 2, "goToDefinition", True),
    ]:
        use(with_use, day, users, name, sendable=sendable)
    with_use.close()
    return State(tmp_path / "agent", exclusive=False)


def use(state: State, day: date, users: int, name: str, *, sendable: bool) -> None:
    with state._connection:
        state.usage.add([(day_number(day), name, f"{name}-{user}", 2) for user in range(users)], sendable=sendable)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["agent", *words])


def said(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def row(text: str, start: str) -> str:
    return " ".join(next(line for line in text.splitlines() if start in line).replace("│", " ").split())


def test_the_preview_is_what_would_leave_and_tells_what_is_suppressed_and_why(state: State) -> None:
    merge_facts(Path("outbox"), {"version": "5.3.1", "seats": -1, "hostname": "h"}, now=NOW)
    text = said("ping", "--day", str(YESTERDAY))
    assert row(text, "features.search.users") == "features.search.users 6 6"
    assert row(text, "features.search.events") == "features.search.events 12 12"
    suppressed = "null suppressed: about fewer than 5 users"
    assert row(text, "features.code_navigation.users") == f"features.code_navigation.users 2 {suppressed}"
    assert row(text, "features.code_navigation.events") == f"features.code_navigation.events 4 {suppressed}"
    assert "5.3.1 5.3.1 said 2" in row(text, "facts.version")
    assert row(text, "facts.seats") == "facts.seats -1 left out: not as the plan declares it"
    assert row(text, "facts.hostname") == "facts.hostname h left out: the plan does not declare it"
    assert row(text, "facts.deployment") == "facts.deployment left out: the product has not said it"
    ping = msgspec.json.decode(said("ping", "--day", str(YESTERDAY), "--json"), type=Ping)
    assert ping.facts == {"version": "5.3.1"}
    assert {name: use.users for name, use in ping.features.items()} == {"search": 6, "code_navigation": None}


def test_the_next_ping_is_today_s_so_far_then_the_one_that_is_due_then_the_one_that_waits(state: State) -> None:
    text = said("ping")
    assert f"The ping of {TODAY}" in text
    assert "The day is not over" in text
    due = (NOW - timedelta(hours=1)).date() - timedelta(days=1)
    state.pings.begin(due)
    assert json.loads(said("ping", "--json"))["day"] == str(due)
    assert "The day is not over" not in said("ping")
    body = encode_ping(example_ping(PLAN))
    state.pings.put(due, body, NOW)
    assert said("ping", "--json").encode() == body
    assert "none yet: it is sent again" in said("ping")


def test_what_was_sent_is_listed_with_its_receipts(state: State) -> None:
    days = [YESTERDAY - timedelta(days=ago) for ago in (3, 2, 1, 0)]
    for day in days:
        state.pings.put(day, b'{"day": "x"}', NOW)
    receipt = PingReceipt(instance="acme-1", day=days[0], digest="ab" * 32, agreement=None, received=1)
    state.pings.settle(days[0], receipt=receipt, signature="the signature")
    state.pings.settle(days[1])
    state.pings.settle(days[2], refused="bad_ping")
    text = said("ping", "--sent")
    assert row(text, str(days[0])).endswith("receipt; SHA-256 abababababababab…")
    assert row(text, str(days[1])).endswith("held already")
    assert row(text, str(days[2])).endswith("refused for good: bad_ping")
    assert row(text, str(days[3])).endswith("none yet: it is sent again")
    first, *_ = json.loads(said("ping", "--sent", "--json"))
    assert (first["body"], first["signature"]) == ('{"day": "x"}', "the signature")
    assert first["receipt"]["digest"] == "ab" * 32
    assert len(json.loads(said("ping", "--sent", "--json", "--day", str(days[2])))) == 1


def test_the_fields_are_those_of_the_plan(tmp_path: Path) -> None:
    text = said("ping", "--fields")
    assert all(f"facts.{name}" in text for name in PLAN.facts)
    assert "active_users.month" in text


def test_the_instance_s_own_use_is_shown_in_full(state: State) -> None:
    assert json.loads(said("usage", "--json")) == {
        "day": 5,
        "week": 10,
        "month": 10,
        "features": {"search": {"users": 3, "events": 6}, "code_reading": {"users": 2, "events": 4}},
    }
    text = said("usage", "--day", str(YESTERDAY))
    assert row(text, "active: the day") == "active: the day 8"
    assert row(text, "code_navigation") == "code_navigation 2 4"


@pytest.mark.parametrize("verb", ["ping", "usage"])
def test_what_cannot_be_shown_is_told_with_what_to_do(verb: str, tmp_path: Path) -> None:
    result = run(verb)
    assert result.exit_code == 2
    assert "no agent has run with this state yet" in result.stderr
    assert "--day is 'soon': give a day such as 2026-10-31" in run(verb, "--day", "soon").stderr
