"""Verifying the ledger while the agent runs: a portion a minute, from the first entry to the last, and then anew.

It finds what `heliograph ledger verify` finds, but for the kept bytes, and receipts of a key that is pinned no more. It
costs little at a time, however long the ledger is. Where the ledger ended when it was looked at last is kept in mind,
so that it is missed if its end is cut off, or if all of it is written anew.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from heliograph.consent.chain import Head
from heliograph.ledger.verify import Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.consent.trust import Keys
    from heliograph.instance.ledger import Ledger
    from heliograph.ledger.entries import Entry, Sent
    from heliograph.wire import Receipt

PORTION: Final = 1_000
"""Entries at a time: a few tenths of a second's work."""
MOST_TOLD: Final = 20
"""Problems that are told one by one."""
_log: Final = structlog.get_logger("heliograph.agent")


class LedgerStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying has come to."""

    entries: int = 0
    """Where the ledger ended when it was looked at last."""
    head: str = ""
    """The digest of that entry."""
    verified: datetime | None = None
    """When the last whole walk ended."""
    problems: list[str] = []
    """What the present walk and the one before it have found: the first of it."""
    problem_count: int = 0
    """How much that was."""


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
        self._walk: Walk | None = None
        self._found: list[str] = []
        self._count = 0
        self._found_before: list[str] = []
        self._count_before = 0
        self._told: set[str] = set()

    def look(self) -> None:
        """Verify the next portion.

        Raises:
            sqlite3.Error: The ledger cannot be read.
        """
        self._look_at_end()
        if self._walk is None:
            self._walk = Walk(self._keys(), _Stored(self._ledger), are_all=False)
        links = self._ledger.portion(self._walk.passed.length, self._portion)
        self._walk.take(links)
        is_whole = len(links) < self._portion
        if is_whole:
            self._walk.end()
        self._take([str(problem) for problem in self._walk.found.problems])
        self._walk.found.problems.clear()
        self._walk.found.notes.clear()
        if is_whole:
            self._found_before, self._count_before = self._found, self._count
            self._found, self._count = [], 0
            self._walk, self._verified = None, self._now()

    def _look_at_end(self) -> None:
        """See that the entry with which the ledger ended is still there."""
        if self._end.length:
            found = self._ledger.portion(self._end.length - 1, 1)
            if not found or (found[0].number, found[0].digest) != self._end:
                self._take([f"entry {self._end.length} was the last one, and is gone or another: the end was cut off"])
        self._end = self._ledger.head()

    def _take(self, problems: list[str]) -> None:
        self._count += len(problems)
        self._found = [*self._found, *problems][:MOST_TOLD]
        fresh = [problem for problem in problems if problem not in self._told][:MOST_TOLD]
        if fresh:
            self._told.update(fresh)
            _log.error("the ledger is not as it was written", problems=fresh)

    @property
    def standing(self) -> LedgerStanding:
        """What was found so far."""
        found = list(dict.fromkeys([*self._found_before, *self._found]))
        return LedgerStanding(
            entries=self._end.length,
            head=self._end.digest,
            verified=self._verified,
            problems=found[:MOST_TOLD],
            problem_count=max(self._count_before, self._count, len(found)),
        )


class _Stored:
    """The entries that a walk has passed: they stand in the ledger, so that nothing has to be remembered of them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def add(self, number: int, digest: str, entry: Entry | None) -> None:
        """See `heliograph.ledger.verify.Known.add`."""

    def attempts(self, receipt: Receipt, before: int) -> list[tuple[int, Sent]]:
        """See `heliograph.ledger.verify.Known.attempts`."""
        return self._ledger.attempts(receipt, before)

    def number_of(self, digest: str) -> int:
        """See `heliograph.ledger.verify.Known.number_of`."""
        return self._ledger.number_of(digest)
