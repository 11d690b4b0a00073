"""Who sends for an instance: one that dies and starts again is never taken for two, and two that live always are."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from heliograph.gateway.exporters import MOST_SUPERSEDED, Exporters
from heliograph.instance.sender_table import MOST

DIE, SEND, LOSE, LATE = "die", "send", "lose", "late"
STEPS = st.lists(st.tuples(st.sampled_from([DIE, SEND, SEND, LOSE, LATE]), st.integers(0, 2)), max_size=40)


@dataclass
class Ends:
    """A gateway as it decides, and agents with one state of which one lives at a time, each named by its number."""

    exporters: Exporters = field(default_factory=Exporters)
    stored: dict[int, int] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)
    senders: list[str] = field(default_factory=list)
    lives: int = 1
    named: bool = True
    on_the_way: list[tuple[str, list[str], int, int]] = field(default_factory=list)

    def arrive(self, exporter: str, after: list[str], epoch: int, number: int) -> bool:
        """Take a delivery as `LocalWriter` does; tell whether its sender may go on."""
        if exporter in self.exporters.superseded:
            return False
        if number == self.stored.get(epoch, 0) + 1:
            self.stored[epoch] = number
            self.exporters.take_over(exporter, after)
        return True

    def next_of(self, epoch: int) -> tuple[str, list[str], int, int]:
        live = f"{self.lives:032x}"
        after = [each for each in self.senders if each != live][-MOST:]
        self.senders = [*(each for each in self.senders if each != live), live]
        return live, after, epoch, self.acknowledged.get(epoch, 0) + 1

    def step(self, what: str, which: int) -> None:
        if what == DIE:
            self.lives += 1
        elif what == LOSE:  # it is on its way when the agent dies
            self.on_the_way.append(self.next_of(which))
            self.lives += 1
        elif what == LATE and self.on_the_way:
            self.arrive(*self.on_the_way.pop(which % len(self.on_the_way)))
        elif what == SEND:
            delivery = self.next_of(which)
            assert self.arrive(*delivery), "the only one that lives was refused"
            self.acknowledged[which] = delivery[3]


@given(STEPS)
def test_whatever_comes_late_of_those_that_died_the_one_that_lives_goes_on_at_once(
    steps: list[tuple[str, int]],
) -> None:
    ends = Ends()
    # More may have been on their way at once than names are given: then the oldest are forgotten.
    for what, which in steps:
        if what != LOSE or len(ends.on_the_way) < MOST:
            ends.step(what, which)
    for _ in range(len(ends.on_the_way)):
        ends.step(LATE, 0)
        ends.step(SEND, 0)


def test_of_two_that_live_the_one_that_was_heard_first_is_refused_though_each_names_the_same_before_it() -> None:
    exporters = Exporters(current="a" * 32)
    exporters.take_over("b" * 32, ["a" * 32])
    exporters.take_over("c" * 32, ["a" * 32])
    assert exporters == Exporters(current="c" * 32, superseded=["a" * 32, "b" * 32])


def test_one_that_was_superseded_never_comes_back() -> None:
    exporters = Exporters(current="b" * 32, superseded=["a" * 32])
    exporters.take_over("a" * 32, ["b" * 32])
    assert exporters == Exporters(current="b" * 32, superseded=["a" * 32])


def test_the_ids_that_were_superseded_are_bounded_and_none_is_no_id() -> None:
    exporters = Exporters()
    ids = [f"{number:032x}" for number in range(1, 100)]
    for each in ids:
        exporters.take_over(each)
    exporters.take_over("")
    assert exporters.current == ids[-1]
    assert exporters.superseded == ids[-MOST_SUPERSEDED - 1 : -1]
