"""What an account does not explain: a range of numbers, and by which events it differs. Both ends tell it alike."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

Counts = dict[str, int]
"""Events by name."""
MOST_KEPT: Final = 20
"""Differences that an account remembers one by one; of more it only knows how many there were."""


class Differing(enum.StrEnum):
    """In which way an account differs."""

    RECORDED = "recorded"
    """The writer of an outbox says that it recorded other events of the range than the outbox holds."""
    SKIPPED = "skipped"
    """No delivery accounts for these numbers."""
    REPEATED = "repeated"
    """These numbers were accounted for twice."""
    UNBALANCED = "unbalanced"
    """What became of the range's events does not add up to those that were read of it."""
    FORGOTTEN = "forgotten"
    """The gateway has forgotten deliveries for which it had given receipts."""
    STORED = "stored"
    """The lake has other events of the range than the gateway accepted."""


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One range that does not add up."""

    kind: Differing
    epoch: int
    first: int
    last: int
    """Both included: it is in this range, or at the most in all of it."""
    names: Counts = {}
    """By how many events it differs: above zero are missing, below zero too many."""


class Apart(enum.StrEnum):
    """In which way the two ends of one instance differ."""

    OUTCOMES = "outcomes"
    """One end has more events of the name that have an outcome."""
    ACCEPTED = "accepted"
    """One end has more accepted ones."""
    UNKNOWN_THERE = "unknown_there"
    """The gateway does not know of numbers for which receipts are here."""
    NO_RECEIPT = "no_receipt"
    """The gateway holds numbers, of more than one delivery, for which no receipt is here."""


class EndsDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing on which the two ends differ: how many events of a name, or which numbers of an epoch."""

    kind: Apart
    name: str = ""
    here: int = 0
    there: int = 0
    """Of a name: how many events each end has."""
    epoch: int = 0
    first: int = 0
    last: int = 0
    """Of an epoch: which numbers, both included."""

    @property
    def about(self) -> tuple[Apart, str, int]:
        """What it is about; there is one difference at a time of each such thing."""
        return self.kind, self.name, self.epoch

    @property
    def extent(self) -> tuple[int, int, int]:
        """How far the ends are apart: it stays what it is while both count on alike."""
        return self.here - self.there, self.first, self.last

    def __str__(self) -> str:
        """Return it as a line of text."""
        if self.kind is Apart.OUTCOMES:
            return f"{self.name}: {self.here:,} here, and {self.there:,} at the gateway"
        if self.kind is Apart.ACCEPTED:
            return f"{self.name}: accepted {self.here:,} here, and {self.there:,} at the gateway"
        if self.kind is Apart.UNKNOWN_THERE:
            return f"epoch {self.epoch}: the gateway does not know of the numbers {self.first:,} to {self.last:,}"
        return f"epoch {self.epoch}: no receipt is here for the numbers {self.first:,} to {self.last:,}"


def subtract(counts: Counts, less: Counts) -> Counts:
    """Return `counts` minus `less`, without those that come to zero."""
    found = {name: count - less.get(name, 0) for name, count in counts.items()}
    found |= {name: -count for name, count in less.items() if name not in counts}
    return {name: count for name, count in found.items() if count}


def add(total: Counts, *more: Counts) -> Counts:
    """Return the sum of counts."""
    found = dict(total)
    for counts in more:
        for name, count in counts.items():
            found[name] = found.get(name, 0) + count
    return found


def in_words(difference: Difference) -> str:
    """Return a difference as a line of text; names are the plan's, or such as the instance itself recorded."""
    names = ", ".join(f"{name} {-count:+,}" for name, count in sorted(difference.names.items()))
    return f"epoch {difference.epoch}, numbers {difference.first:,} to {difference.last:,}: {difference.kind}" + (
        f" ({names})" if names else ""
    )
