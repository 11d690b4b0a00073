"""Verifying the ledger while the agent runs: a portion a minute, from the first entry to the last, and then anew.

It finds what `heliograph ledger verify` finds, but for the kept bytes, and receipts of a key that is pinned no more. It
costs little at a time, however long the ledger is. Where the ledger ended when it was looked at last is kept in mind,
so that it is missed if its end is cut off, or if all of it is written anew. What the admin has acknowledged is told no
more.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from heliograph.consent.chain import Head
from heliograph.instance.ledger_faults import FaultWalk, known_faults, link_fingerprint
from heliograph.ledger.entries import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.consent.trust import Keys
    from heliograph.instance.ledger import Ledger

PORTION: Final = 1_000
"""Entries at a time: a few tenths of a second's work."""
MOST_TOLD: Final = 20
"""Faults that are told one by one."""
_log: Final = structlog.get_logger("heliograph.agent")


class LedgerStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying has come to."""

    entries: int = 0
    """Where the ledger ended when it was looked at last."""
    head: str = ""
    """The digest of that entry."""
    verified: datetime | None = None
    """When the last whole walk ended."""
    ends: list[Fault] = []
    """Ends that were cut off, until they are acknowledged: the ledger itself does not show them."""
    faults: list[Fault] = []
    """What the present walk and the one before it have found, and nobody has acknowledged: the first of it."""
    fault_count: int = 0
    """How much that was, with the ends."""

    @property
    def problems(self) -> list[str]:
        """All that nobody has acknowledged, as sentences: the first of it."""
        return [str(fault) for fault in [*self.ends, *self.faults]][:MOST_TOLD]


class LedgerWatch:
    """Verifies one ledger, again and again.

    Args:
        ledger: Which.
        keys: Gives the vendor's keys that are trusted, at the beginning of a walk.
        now: The clock.
        before: What was said last, by an earlier process.
        portion: Entries at a time.
    """

    def __init__(
        self,
        ledger: Ledger,
        keys: Callable[[], Keys],
        *,
        now: Callable[[], datetime],
        before: LedgerStanding | None = None,
        portion: int = PORTION,
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._now = now
        self._portion = portion
        self._end = Head(before.entries, before.head) if before else Head(0, "")
        self._verified = before.verified if before else None
        self._ends = before.ends if before else []
        self._walk: FaultWalk | None = None
        self._found = _Found()
        self._found_before = _Found()
        self._known: set[Fault] = set()
        self._told: set[Fault] = set()

    def look(self) -> None:
        """Verify the next portion.

        Raises:
            sqlite3.Error: The ledger cannot be read.
        """
        self._heed_words()
        self._look_at_end()
        if self._walk is None:
            self._walk = FaultWalk(self._ledger, self._keys())
        self._found.take(self._fresh(self._walk.step(self._portion)))
        if self._walk.is_done:
            self._found_before, self._found = self._found, _Found()
            self._walk, self._verified = None, self._now()

    def _heed_words(self) -> None:
        """Let go of what was acknowledged since."""
        known = known_faults(self._ledger)
        if known != self._known:
            self._known = known
            self._found, self._found_before = self._found.without(known), self._found_before.without(known)
            self._ends = [fault for fault in self._ends if fault not in known]

    def _look_at_end(self) -> None:
        """See that the entry with which the ledger ended is still there."""
        if self._end.length:
            found = self._ledger.portion(self._end.length - 1, 1)
            if not found or (found[0].number, found[0].digest) != self._end:
                there = found[0] if found and found[0].number == self._end.length else None
                why = "was the last one, and is gone or another: the end was cut off"
                fault = Fault(number=self._end.length, why=why, found=link_fingerprint(there))
                self._ends = [*self._ends, *self._fresh([fault])][:MOST_TOLD]
        self._end = self._ledger.head()

    def _fresh(self, faults: list[Fault]) -> list[Fault]:
        """Return those that are not acknowledged, and log them the first time."""
        faults = [fault for fault in faults if fault not in self._known]
        untold = [fault for fault in faults if fault not in self._told][:MOST_TOLD]
        if untold:
            self._told.update(untold)
            _log.error("the ledger is not as it was written", problems=[str(fault) for fault in untold])
        return faults

    @property
    def standing(self) -> LedgerStanding:
        """What was found so far."""
        faults = list(dict.fromkeys([*self._found_before.first, *self._found.first]))
        return LedgerStanding(
            entries=self._end.length,
            head=self._end.digest,
            verified=self._verified,
            ends=self._ends,
            faults=faults[:MOST_TOLD],
            fault_count=len(self._ends) + max(self._found_before.count, self._found.count, len(faults)),
        )


class _Found:
    """What one walk has found: the first of it, and how much."""

    def __init__(self, faults: list[Fault] | None = None) -> None:
        self.first: list[Fault] = []
        self.count = 0
        self.take(faults or [])

    def take(self, faults: list[Fault]) -> None:
        """Add what was found since."""
        self.first = [*self.first, *faults][:MOST_TOLD]
        self.count += len(faults)

    def without(self, known: set[Fault]) -> _Found:
        """Return it without what is known. What was only counted is counted by the next walk again."""
        return _Found([fault for fault in self.first if fault not in known])
