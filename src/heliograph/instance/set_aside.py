"""Which epochs an exporter leaves alone: events that no plan has declared yet wait, maybe thousands of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from heliograph.event import epoch_began
from heliograph.instance.present_names import PresentNames

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from heliograph.instance.outbox_reading import EpochReader
    from heliograph.plan.model import Plan

_REST: Final = timedelta(minutes=1)


class SetAside:
    """What waits for a plan that declares it, and what need not even be looked at for a while.

    Args:
        held_for: How long an event waits.
        now: The clock.
    """

    def __init__(self, held_for: timedelta, *, now: Callable[[], datetime]) -> None:
        self._held_for = held_for
        self._now = now
        self._woken = now()
        self._resting: set[int] = set()

    def use_plan(self, plan: Plan, withdrawn: frozenset[str]) -> None:
        """Go by this plan from now on; events that are `withdrawn` do not wait any more."""
        self._names = frozenset(plan.events)
        self._present = PresentNames(plan)
        self._withdrawn = withdrawn
        self.wake()

    def wake(self) -> None:
        """Let nothing rest."""
        self._resting.clear()

    def wake_in_time(self) -> None:
        """Let nothing rest once a minute: it may have waited for long enough."""
        now = self._now()
        if abs(now - self._woken) >= _REST:
            self.wake()
            self._woken = now

    def let_rest(self, epoch: int) -> None:
        """Let an epoch with which nothing is to be done rest for a while."""
        self._resting.add(epoch)

    def rests(self, epoch: int) -> bool:
        """Tell whether an epoch does."""
        return epoch in self._resting

    def waits(self, reader: EpochReader) -> bool:
        """Tell whether these events are set aside: no plan has declared them yet, and none has taken them back."""
        name = reader.held_name
        if name is None or not reader.segments():
            return False
        if self._present.name(name) in self._names or name in self._withdrawn:
            return False
        return self._now() - epoch_began(reader.epoch) < self._held_for
