"""How many events a delivery takes: of a backlog more and more, as large ones cost less an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from heliograph.plan.columns import wire_schema

if TYPE_CHECKING:
    from heliograph.instance.bandwidth import Bandwidth
    from heliograph.plan.model import Plan

_GROWTH: Final = 4
"""A delivery of a backlog takes so many times as much as the one before it."""
_MOST_TIMES: Final = 8
"""A backlog is delivered in batches of up to so many times `agent.batch_events`."""
_MOST_GROWN: Final = 40_000
"""But not by growing to more events than this: a gateway takes 100,000."""
_MOST_BYTES: Final = 32 << 20
"""Nor to more bytes of columns: a gateway takes twice as many."""


class BatchSizes:
    """The sizes of an exporter's deliveries.

    Args:
        events: How many a delivery takes, if it is not of a backlog.
        bandwidth: How fast bodies leave: what takes too long is made smaller.
    """

    def __init__(self, events: int, bandwidth: Bandwidth) -> None:
        self._events = events
        self._most = events
        self._bandwidth = bandwidth
        self._grown: dict[int, int] = {}

    def use_plan(self, plan: Plan) -> None:
        """Deliver events of this plan from now on."""
        row_bytes = sum(map(_bits, wire_schema(plan).types)) / 8
        self._most = max(self._events, min(_MOST_TIMES * self._events, _MOST_GROWN, int(_MOST_BYTES / row_bytes)))

    def wanted(self, epoch: int) -> int:
        """Return how many events the next delivery of an epoch takes at most."""
        return self._bandwidth.most_events(self._grown.get(epoch, self._events))

    def after(self, limit: int) -> int:
        """Return how many the delivery after one of `limit` events takes, where there is more."""
        return min(max(_GROWTH * limit, self._events), self._most)

    def grow(self, epoch: int, limit: int) -> None:
        """Let an epoch's deliveries be larger after one of `limit` events; 0: as at first, as it was no backlog."""
        if limit:
            self._grown[epoch] = self.after(limit)
        else:
            self.shrink(epoch)

    def shrink(self, epoch: int) -> None:
        """Let them be as large as at first: the way may be too slow for as much at once."""
        self._grown.pop(epoch, None)


def _bits(kind: pa.DataType) -> int:
    """Return how many bits each row of a column takes, beside the words of all."""
    bits: int = kind.index_type.bit_width if pa.types.is_dictionary(kind) else kind.bit_width
    return bits
