"""What the product says of its instance is merged fact by fact, by many processes, and never hurts the product."""

from __future__ import annotations

import fcntl
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import heliograph
from harness import CANARY
from heliograph import Recorder
from heliograph.instance.facts import FACTS_FILE, read_facts
from heliograph.plan.facts import expected, fact_problems
from heliograph.plan.load import load_plan
from heliograph.settings import RecorderSettings
from heliograph.testing import MemoryRecorder

PLAN = load_plan(Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def recorder(outbox: Path, now: datetime = NOW) -> Recorder:
    return Recorder(RecorderSettings(outbox=str(outbox)), now=lambda: now)


def values(outbox: Path) -> dict[str, Any]:
    return {name: fact.value for name, fact in read_facts(outbox).items()}


def test_facts_are_merged_one_by_one_each_with_the_time_at_which_it_was_said(tmp_path: Path) -> None:
    later = datetime(2026, 11, 2, tzinfo=UTC)
    assert recorder(tmp_path).report_facts(version="5.3.1", seats=100, code_hosts={"github": 2})
    assert recorder(tmp_path, later).report_facts(seats=101, version=None, managed=True)
    assert values(tmp_path) == {"code_hosts": {"github": 2}, "seats": 101, "managed": True}
    assert {name: fact.time for name, fact in read_facts(tmp_path).items()} == {
        "code_hosts": NOW,
        "seats": later,
        "managed": later,
    }


@pytest.mark.parametrize(
    "value",
    [object(), 1.5, "\ud800", "x" * 100_000, ["a"], {"a": "b"}, {"a": True}, {1: 1}, {"a": {"b": 1}}, b"x"],
    ids=lambda value: str(type(value)),
)
def test_what_can_be_no_fact_is_left_out_and_the_rest_is_kept(tmp_path: Path, value: Any) -> None:
    assert not recorder(tmp_path).report_facts(seats=1, licence_tier=value)
    assert values(tmp_path) == {"seats": 1}


def test_a_name_that_can_be_no_fact_s_is_left_out(tmp_path: Path) -> None:
    assert not recorder(tmp_path).report_facts(**dict[str, Any]({"seats": 1, "Licence key": "x", "": 1}))
    assert values(tmp_path) == {"seats": 1}


def test_the_file_is_bounded(tmp_path: Path) -> None:
    assert not recorder(tmp_path).report_facts(**{f"f{number}": number for number in range(201)})
    assert len(values(tmp_path)) == 200


def test_many_threads_lose_none_of_each_others_facts(tmp_path: Path) -> None:
    def say(thread: int) -> None:
        while not recorder(tmp_path).report_facts(**{f"of_{thread}": thread}):
            pass

    threads = [threading.Thread(target=say, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(tmp_path) == {f"of_{number}": number for number in range(8)}


def test_nothing_is_raised_and_nobody_waits_for_long_when_the_file_is_held_or_cannot_be_written(
    tmp_path: Path,
) -> None:
    lock = os.open(tmp_path / "facts.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert not recorder(tmp_path).report_facts(seats=1)
    os.close(lock)
    (tmp_path / "file").touch()
    assert not recorder(tmp_path / "file").report_facts(seats=1)
    assert values(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"seats": 1}'])
def test_a_damaged_file_says_nothing_until_facts_are_said_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FACTS_FILE).write_bytes(content)
    assert values(tmp_path) == {}
    assert recorder(tmp_path).report_facts(seats=1)
    assert values(tmp_path) == {"seats": 1}


def test_the_one_recorder_of_a_process_says_facts_too(tmp_path: Path) -> None:
    heliograph.configure(recorder(tmp_path))
    try:
        assert heliograph.report_facts(seats=7)
    finally:
        heliograph.configure(None)
    assert values(tmp_path) == {"seats": 7}


def test_a_product_s_test_notices_a_fact_that_the_plan_does_not_take() -> None:
    memory = MemoryRecorder(plan=PLAN)
    assert memory.report_facts(seats=3, version="5.3.1")
    assert memory.report_facts(seats=4, version=None)
    assert memory.facts == {"seats": 4}
    with pytest.raises(AssertionError, match="facts that the plan does not declare: 1"):
        memory.report_facts(hostname="a")
    with pytest.raises(AssertionError, match="seats is not a whole number from 0 to 10000000"):
        memory.report_facts(seats=-1)


GOOD: list[dict[str, Any]] = [
    {"version": "5"},
    {"version": "5.3.1.12"},
    {"deployment": "managed"},
    {"code_hosts": {}},
    {"code_hosts": {"github": 0, "other": 10_000}},
    {"seats": 10_000_000},
]
BAD: list[dict[str, Any]] = [
    {"version": f"5.3.1-{CANARY}"},
    {"version": 5},
    {"version": "5.3.1\n"},
    {"deployment": CANARY},
    {"deployment": True},
    {"code_hosts": {CANARY: 1}},
    {"code_hosts": {"github": 10_001}},
    {"code_hosts": {"github": -1}},
    {"code_hosts": {"github": True}},
    {"code_hosts": 3},
    {"seats": 10_000_001},
    {"seats": True},
    {"seats": CANARY},
    {CANARY: 1},
]


@pytest.mark.parametrize("facts", GOOD, ids=str)
def test_what_the_plan_declares_passes(facts: dict[str, Any]) -> None:
    assert fact_problems(facts, PLAN) == []


@pytest.mark.parametrize("facts", BAD, ids=str)
def test_anything_else_does_not_and_is_not_repeated(facts: dict[str, Any]) -> None:
    problems = fact_problems({**facts, "licence_tier": "team"}, PLAN)
    assert len(problems) == 1
    assert CANARY not in problems[0]


def test_every_type_of_fact_can_be_said_in_words() -> None:
    assert len({expected(fact) for fact in PLAN.facts.values()}) == len(PLAN.facts)
