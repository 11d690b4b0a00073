"""The vendor's word on differences of its half of the account: they are known, and why.

Words stand in a file of the log's folder, one a line, chained as records are, and stay there for ever. What follows on
a line that was changed says nothing: its differences are differences again.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.chain import Head, Link, empty, find_link_faults, next_link
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


class _Line(msgspec.Struct, frozen=True):
    number: int
    previous: str
    digest: str
    explanation: msgspec.Raw


class Explanations:
    """All words on the accounts of one log.

    Args:
        folder: The log's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: list[Link] = []
        self.found: list[Explanation] = []
        """Those that stand as they were written, the earliest first."""
        self.problems: list[str] = []
        """What is wrong with the file."""
        self._read()

    def _read(self) -> None:
        try:
            lines = (self._folder / FILE).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, 1):
            try:
                self._take(line)
            except ValueError as error:
                file = self._folder / FILE
                self.problems.append(f"{file}: line {number} {error}; what it and those behind it explain is not known")
                return

    def _take(self, line: bytes) -> None:
        try:
            read = msgspec.json.decode(line, type=_Line)
            explanation = msgspec.json.decode(read.explanation, type=Explanation)
        except (ValueError, RecursionError):
            raise ValueError("cannot be read") from None
        link = Link(read.number, read.previous, read.digest, bytes(read.explanation))
        if find_link_faults(_CHAIN, [link], self._head()):
            raise ValueError("was changed")
        self._links.append(link)
        self.found.append(explanation)

    def _head(self) -> Head:
        return Head(self._links[-1].number, self._links[-1].digest) if self._links else empty(_CHAIN)

    def append(self, word: Explanation) -> None:
        """Add a word, and force it to disk; whoever does holds the file's lock.

        Raises:
            OSError: It could not be written.
        """
        self._links.append(next_link(_CHAIN, self._head(), msgspec.json.encode(word)))
        self.found.append(word)
        lines = [_Line(link.number, link.previous, link.digest, msgspec.Raw(link.body)) for link in self._links]
        write_atomically(self._folder / FILE, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def of(self, instance: str) -> list[Explanation]:
        """Return what was said of an instance's account, the earliest first."""
        return [each for each in self.found if each.instance == instance]

    def open_ranges(self, instance: str, account: Account) -> list[Difference]:
        """Return the ranges that nobody has explained, as far as they are known one by one."""
        known = [each for word in self.of(instance) for each in word.ranges]
        return [each for each in account.differences if each not in known]

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
