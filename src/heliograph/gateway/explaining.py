"""The vendor's word on differences of its half of the account: they are known, and why.

Words stand in a file of the log's folder, one a line, chained as records are, and stay there for ever. What follows on
a line that was changed says nothing: its differences are differences again.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.words import Words
from heliograph.difference import Difference
from heliograph.frames import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.gateway.account import Account

FILE: Final = "explained.jsonl"
_CHAIN: Final = "heliograph gateway explained"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of one instance's account: it covers what did not add up of it until then."""

    time: int
    """Microseconds since 1970."""
    by: str
    """The role that says so."""
    reason: str
    instance: str
    differences: int
    """How many ranges had been found to differ until then."""
    numbers: int
    """How many numbers were delivered until then, minus how many had an outcome."""
    ranges: list[Difference]
    """The ranges that were known one by one, and not explained before."""


class Explanations:
    """All words on the accounts of one log.

    Args:
        folder: The log's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._words = Words(_CHAIN, Explanation, self._file.read_bytes() if self._file.exists() else b"")
        self.found: Final = self._words.found
        """Those that stand as they were written, the earliest first."""
        self.problems: Final = [f"{self._file}: {self._words.problem}"] if self._words.problem else []
        """What is wrong with the file."""

    def append(self, word: Explanation) -> None:
        """Add a word, and force it to disk; whoever does holds the file's lock.

        Raises:
            OSError: It could not be written.
        """
        self._words.append(word)
        write_atomically(self._file, self._words.lines())

    def of(self, instance: str) -> list[Explanation]:
        """Return what was said of an instance's account, the earliest first."""
        return self._words.of(instance)

    def open_ranges(self, instance: str, account: Account) -> list[Difference]:
        """Return the ranges that nobody has explained, as far as they are known one by one."""
        return self._words.open_ranges(instance, account.differences)

    def open_differences(self, instance: str, account: Account) -> int:
        """Return how many ranges differ that nobody has explained; at least 1 if the account does not close."""
        if account.closes():
            return 0
        words = self.of(instance)
        differences, numbers = (words[-1].differences, words[-1].numbers) if words else (0, 0)
        if (account.difference_count, account.numbers() - account.counted()) == (differences, numbers):
            return 0
        return max(account.difference_count - differences, 1)


def explain(folder: Path, instance: str, account: Account, *, time: int, by: str, reason: str) -> Explanation | None:
    """Record that all that does not add up in an account so far is known; None where everything does.

    Args:
        folder: The log's; a gateway may be writing.
        instance: Whose account it is.
        account: The account.
        time: Microseconds since 1970.
        by: Who says so.
        reason: How it came to be.

    Raises:
        ValueError: What was said before was changed; nothing is added to that.
        OSError: It could not be recorded.
    """
    descriptor = os.open(folder / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = Explanations(folder)
        if before.problems:
            raise ValueError(before.problems[0])
        if not before.open_differences(instance, account):
            return None
        word = Explanation(
            time=time,
            by=by,
            reason=reason,
            instance=instance,
            differences=account.difference_count,
            numbers=account.numbers() - account.counted(),
            ranges=before.open_ranges(instance, account),
        )
        before.append(word)
        return word
    finally:
        os.close(descriptor)
