"""How far one epoch of the outbox has come, as the agent's state keeps it, and what is about to leave of it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from heliograph.instance.counted import Counted
from heliograph.instance.outbox_reading import Position
from heliograph.wire import Counts, VerdictCounts


class Owed(msgspec.Struct, frozen=True):
    """Numbers that were dropped and that the gateway does not know of yet."""

    last: int
    counts: VerdictCounts


class Leaving(NamedTuple):
    """A delivery that is about to leave."""

    first: int
    last: int
    events: Counts
    """The events of the body, by name."""
    absent: VerdictCounts
    body: bytes
    """The exact bytes."""
    plan: str | None
    """The digest of the plan by which it was built."""


class Progress(msgspec.Struct, frozen=True):
    """How far one epoch has come."""

    series: str
    position: Position
    """Everything before it is delivered, or dropped with a verdict."""
    acknowledged: int = 0
    """The last sequence number that the gateway has accounted for."""
    owed: list[Owed] = []
    """Drops between `acknowledged` and `position`, which the next delivery tells the gateway."""
    sending: Position | None = None
    """Where `position` will be once the delivery that was begun is acknowledged."""
    undecided: int = 0
    """Numbers that the gateway holds and whose receipts never came here: its account says what became of them."""
    dropped: VerdictCounts = {}
    """The writer's own drops, before a sequence number was given."""
    left_out: Counts = {}
    """Properties that the writer left out as the plan did not declare them, by event."""
    counted: Counted | None = None
    """The account by name up to `position`; None in what an earlier release wrote. See `State.counted`."""

    @property
    def account(self) -> Counted:
        """The account by name, which is there once `State.counted` was asked for it."""
        assert self.counted is not None  # noqa: S101 - whoever passes numbers has loaded it
        return self.counted

    @property
    def begun(self) -> int | None:
        """The last sequence number of the delivery that was begun; None when none is under way."""
        return None if self.sending is None else self.sending.sequence
