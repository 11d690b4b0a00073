"""How much of an epoch is sent at once after refusals: halves, until the event at fault is alone.

After a batch is refused, one event of its range is at fault. The first half is sent; if it passes, the event is in the
second, and else in the first. So it is alone after ``log2`` of the batch's size further requests, while all before it
has been delivered, and what follows goes on at full size.

A gateway that refuses one event after another, and takes nothing in between, is itself at fault: after a few of them
delivery stands still, and goes on by single requests with long pauses. Each of those may still give up its event, but
only one an hour: else a few bad events in a row would keep an epoch for ever.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from heliograph.instance.answers import TOO_LARGE, is_for_good

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from heliograph.instance.outbox_reading import EpochReader
    from heliograph.instance.standstill import Standstill
    from heliograph.wire import Problem

MOST_GIVEN_UP: Final = 3
"""Events given up in a row, without anything being taken in between."""
GIVE_UP_EVERY: Final = timedelta(hours=1)
"""How often one more event may be given up while delivery stands still."""
MOST_REFUSALS: Final = 50
"""Refusals in a row, likewise: more than it takes to isolate as many events of the largest usual batch."""
_PROBES: Final = 4
"""Epochs that are tried in one round while delivery stands still."""
_GROWTH: Final = 8


class Splits:
    """What is known of refusals, for all epochs of one exporter.

    Args:
        standstill: Is told when delivery stands still.
        now: The clock.
    """

    def __init__(self, standstill: Standstill, now: Callable[[], datetime]) -> None:
        self._standstill = standstill
        self._now = now
        self._suspects: dict[int, int] = {}
        """The last number of the range in which the event at fault is, by epoch."""
        self._bound: int | None = None
        """Events in a delivery that was not too large."""
        self._given_up = MOST_GIVEN_UP if standstill.standing else 0
        self._refusals = 0
        self._gave_up_at: datetime | None = now() if standstill.standing else None
        self._probed = -1

    @property
    def stands_still(self) -> bool:
        """Whether the gateway refuses whatever it gets."""
        return self._given_up >= MOST_GIVEN_UP or self._refusals >= MOST_REFUSALS

    def limit(self, epoch: int, reached: int, wanted: int) -> int:
        """Return how many events to send at once.

        Args:
            epoch: Whose.
            reached: The last number that was sent, or given up.
            wanted: How many it may be at most.
        """
        if self._bound is not None:
            wanted = max(1, min(wanted, self._bound))
        left = self._suspects.get(epoch, reached) - reached
        if left <= 0:
            self._suspects.pop(epoch, None)
            return wanted
        return min(wanted, max(1, left // 2))

    def refuse(self, epoch: int, last: int, numbers: int, problem: Problem) -> None:
        """Take note that a delivery of several events, up to the number `last`, was refused."""
        too_large = problem.status == TOO_LARGE
        self._refusals += 1
        self._probed = epoch
        if self.stands_still:
            self._standstill.begin(problem.type)
        if too_large:
            self._bound = max(1, numbers // 2)
        else:
            self._suspects[epoch] = last

    def give_up(self, epoch: int, problem: Problem) -> bool:
        """Tell whether an event that was refused alone may be given up."""
        self._refusals += 1
        self._probed = epoch
        now = self._now()
        if self.stands_still or not is_for_good(problem):
            self._standstill.begin(problem.type)
            if not is_for_good(problem):
                return False
            if self._gave_up_at is not None and abs(now - self._gave_up_at) < GIVE_UP_EVERY:
                return False
        self._given_up += 1
        self._gave_up_at = now
        self._suspects.pop(epoch, None)
        return True

    def take(self, numbers: int) -> None:
        """Take note that a delivery of so many events was taken."""
        self._standstill.end()
        self._given_up = self._refusals = 0
        if self._bound is not None and numbers >= self._bound:
            self._bound += max(1, self._bound // _GROWTH)

    def order(self, readers: Sequence[EpochReader]) -> Sequence[EpochReader]:
        """Return the epochs to try in this round: all of them, or, while delivery stands still, a few by turns."""
        if not self.stands_still:
            return readers
        later = [reader for reader in readers if reader.epoch > self._probed]
        earlier = [reader for reader in readers if reader.epoch <= self._probed]
        return [*later, *earlier][:_PROBES]
