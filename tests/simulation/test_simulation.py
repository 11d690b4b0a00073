"""Promises 1, 3 and 4 over thousands of simulated histories of both machines, and that planted bugs are found.

`make simulate ARGS="--seed 123"` replays a history, with each step of each process; CONTRIBUTING.md says more.
"""

from __future__ import annotations

import pytest

from simulation.bugs import BUGS, place_before_rows, receipt_after_its_progress, released_before_the_commit
from simulation.history import draw, find_failure, has_workers, play
from simulation.operations.operation import Operation

HISTORIES = 2_100
REAL_HISTORIES = 24
PART = 100
"""Histories of one test, so that several processes share them."""


@pytest.mark.timeout(900)  # a quarter of a minute's work, which a machine with much else to do may take long for
@pytest.mark.parametrize("first", range(0, HISTORIES, PART))
def test_whatever_happens_each_allowed_event_is_in_the_lake_once_and_the_accounts_close(first: int) -> None:
    for seed in range(first, first + PART):
        failure = find_failure(seed)
        if failure is not None:
            trace: list[str] = []
            play(failure.operations, trace)
            pytest.fail(f"history {seed}: {failure.error!r}\nmade small:\n" + "\n".join(trace))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, REAL_HISTORIES, 12))
def test_the_same_holds_with_a_real_lake(first: int) -> None:
    for seed in range(first, first + 12):
        operations = draw(seed)
        assert play(operations, real_lake=True) is None, f"history {seed}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", BUGS)
def test_a_planted_bug_is_found_and_the_same_history_passes_without_it(place: str) -> None:
    bug = BUGS[place]
    for seed in filter(has_workers if bug.of_workers else lambda _: True, range(bug.within)):
        with bug.plant():
            found = play(draw(seed))
        if found is not None:
            assert play(draw(seed)) is None
            return
    pytest.fail(f"{bug.within} histories do not find it")


_LOADER_OPERATIONS = 16
"""More than a round has of them."""


def loader_dies_at(operation: int) -> list[Operation]:
    """Two segments wait for the loader, which dies; and the gateway begins another one before it is there again."""
    segment = ["start_gateway", "record", "flush", "round", "kill_gateway"]
    names = [*segment, *segment, "start_gateway", "load_and_die", "kill_gateway", *segment]
    return [Operation(name, 0, operation if name == "load_and_die" else 2, 1) for name in names]


def failures() -> list[int]:
    return [each for each in range(1, _LOADER_OPERATIONS + 1) if play(loader_dies_at(each)) is not None]


def test_wherever_in_a_round_the_loader_dies_nothing_is_lost_that_it_has_not_committed() -> None:
    assert failures() == []
    for planted in (released_before_the_commit, place_before_rows):  # chance finds one in a thousand, or in 500
        with planted():
            assert failures()


_AGENT_OPERATIONS = 14
"""More than a round has of them."""


def agent_dies_at(operation: int) -> list[Operation]:
    """The agent, which has begun before, dies in the round that delivers."""
    names = ["start_gateway", "round", "record", "flush", "round_and_die", "audit"]
    return [Operation(name, 0, operation if name == "round_and_die" else 2, 1) for name in names]


def test_wherever_in_a_round_the_agent_dies_its_ledger_has_what_left_and_what_came() -> None:
    operations = range(1, _AGENT_OPERATIONS + 1)
    assert [each for each in operations if play(agent_dies_at(each)) is not None] == []
    with receipt_after_its_progress():
        assert [each for each in operations if play(agent_dies_at(each)) is not None]


def test_wherever_in_a_round_the_agent_dies_nothing_of_a_user_who_is_forgotten_then_is_in_the_bytes_it_keeps() -> None:
    for dies_at in range(1, _AGENT_OPERATIONS + 1):
        # The second user, as the first event of the record is a bad one, which does not leave.
        forgets = [Operation(name, 1, 2, 1) for name in ("round", "forget", "audit")]
        assert play([*agent_dies_at(dies_at), *forgets]) is None, f"dies at {dies_at}"


def test_a_receipt_by_a_new_key_can_be_verified_as_soon_as_it_is_there() -> None:
    names = ["start_gateway", "record", "flush", "round", "rotate_key", "stop_gateway", "start_gateway"]
    names += ["record", "flush", "round", "audit", "round", "audit"]
    assert play([Operation(name, 0, 2, 1) for name in names]) is None


@pytest.mark.parametrize("seed", [7, 53, 58, 59])
def test_a_history_is_the_same_each_time(seed: int) -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        play(draw(seed), trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 10
