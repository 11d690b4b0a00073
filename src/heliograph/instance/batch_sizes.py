"""How many events a delivery takes: of a backlog more and more, as large ones cost less an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from heliograph.instance.bandwidth import Bandwidth

_MOST_TIMES: Final = 4
"""A backlog is delivered in batches of up to so many times `agent.batch_events`."""
_MOST_GROWN: Final = 40_000
"""But not by growing to more events than this: a gateway takes 100,000."""


class BatchSizes:
    """The sizes of an exporter's deliveries.

    Args:
        events: How many a delivery takes, if it is not of a backlog.
        bandwidth: How fast bodies leave: what takes too long is made smaller.
    """

    def __init__(self, events: int, bandwidth: Bandwidth) -> None:
        self._events = events
        self._most = max(events, min(_MOST_TIMES * events, _MOST_GROWN))
        self._bandwidth = bandwidth
        self._grown: dict[int, int] = {}

    def wanted(self, epoch: int) -> int:
        """Return how many events the next delivery of an epoch takes at most."""
        return self._bandwidth.most_events(self._grown.get(epoch, self._events))

    def after(self, limit: int) -> int:
        """Return how many the delivery after one of `limit` events takes, where there is more."""
        return min(max(2 * limit, self._events), self._most)

    def grow(self, epoch: int, limit: int) -> None:
        """Let an epoch's deliveries be larger after one of `limit` events; 0: as at first, as it was no backlog."""
        if limit:
            self._grown[epoch] = self.after(limit)
        else:
            self.shrink(epoch)

    def shrink(self, epoch: int) -> None:
        """Let them be as large as at first: the way may be too slow for as much at once."""
        self._grown.pop(epoch, None)
