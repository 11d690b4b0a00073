"""What people have said of something that differs, one word a line, chained as records are.

What follows on a line that was changed says nothing: its differences are differences again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from heliograph.consent.chain import Head, Link, empty, find_link_faults, next_link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.difference import Difference


class Said(Protocol):
    """What every word says."""

    @property
    def instance(self) -> str:
        """Of whom something differs."""

    @property
    def ranges(self) -> list[Difference]:
        """The ranges that were known one by one, and not explained before."""


Word = TypeVar("Word", bound=Said)


class _Line(msgspec.Struct, frozen=True):
    number: int
    previous: str
    digest: str
    explanation: msgspec.Raw


class Words(Generic[Word]):
    """The words of one chain.

    Args:
        chain: Its name.
        kind: What each of them says.
        text: Its lines, as `lines` returned them.
    """

    def __init__(self, chain: str, kind: type[Word], text: bytes = b"") -> None:
        self._chain = chain
        self._kind = kind
        self._links: list[Link] = []
        self.found: list[Word] = []
        """Those that stand as they were written, the earliest first."""
        self.problem = ""
        """What is wrong with the lines, to follow where they are kept; empty if nothing is."""
        for number, line in enumerate(text.splitlines(), 1):
            try:
                self._take(line)
            except ValueError as error:
                self.problem = f"line {number} {error}; what it and those behind it explain is not known"
                return

    def _take(self, line: bytes) -> None:
        try:
            read = msgspec.json.decode(line, type=_Line)
            word = msgspec.json.decode(read.explanation, type=self._kind)
        except (ValueError, RecursionError):
            raise ValueError("cannot be read") from None
        link = Link(read.number, read.previous, read.digest, bytes(read.explanation))
        if find_link_faults(self._chain, [link], self._head()):
            raise ValueError("was changed")
        self._links.append(link)
        self.found.append(word)

    def _head(self) -> Head:
        return Head(self._links[-1].number, self._links[-1].digest) if self._links else empty(self._chain)

    def append(self, word: Word) -> None:
        """Add a word."""
        self._links.append(next_link(self._chain, self._head(), msgspec.json.encode(word)))
        self.found.append(word)

    def of(self, instance: str) -> list[Word]:
        """Return what was said of an instance, the earliest first."""
        return [each for each in self.found if each.instance == instance]

    def open_ranges(self, instance: str, found: Iterable[Difference]) -> list[Difference]:
        """Return those of the ranges found that nobody has explained."""
        known = [each for word in self.of(instance) for each in word.ranges]
        return [each for each in found if each not in known]

    def lines(self) -> bytes:
        """Return all of them, as they are kept."""
        lines = [_Line(link.number, link.previous, link.digest, msgspec.Raw(link.body)) for link in self._links]
        return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
