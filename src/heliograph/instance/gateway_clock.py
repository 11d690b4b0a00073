"""The gateway's clock as far as it is known: the instance's own may be wrong, and may be set while the agent runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

JUMP: Final = timedelta(minutes=1)
"""Between the clock and one that nobody sets: a difference that grows by this much is no drift."""


class GatewayClock:
    """What the gateway has told of its clock.

    Args:
        now: The instance's clock.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(self, now: Callable[[], datetime], ticks: Callable[[], float]) -> None:
        self._now = now
        self._ticks = ticks
        self.offset = timedelta()
        """The gateway's clock minus ours; zero unless the gateway said that they differ."""
        self._anchor = (now(), ticks())

    def now(self) -> datetime:
        """Return the time by the gateway's clock, as far as it is known."""
        return self._now() + self.offset

    def learn(self, told: datetime) -> None:
        """Take the gateway's word: this is its time now."""
        self.offset = told - self._now()
        self.confirm()

    def confirm(self) -> None:
        """Note that the gateway has agreed with the corrected clock in this moment."""
        self._anchor = (self._now(), self._ticks())

    def was_set(self) -> bool:
        """Tell whether our clock was set since the gateway last agreed; then nothing is known of the offset."""
        then, ticks = self._anchor
        by_ticks = timedelta(seconds=self._ticks() - ticks)
        if abs(self._now() - then - by_ticks) < JUMP:
            return False
        # What the product recorded goes by the clock as it is set now: zero takes no event for one of the future.
        self.offset = timedelta()
        self.confirm()
        return True
