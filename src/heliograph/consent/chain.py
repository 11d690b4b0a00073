"""The hash chain: each record's digest covers the one before it, so that no record can change or go unnoticed.

The digest of record *n* is the SHA-256 of its digest's predecessor, the chain's name, *n* in decimal digits, each
followed by one newline, and then the record's bytes as stored. No name holds a newline, so there is one way to read it.
The predecessor of record 1 is the chain's genesis: the SHA-256 of `GENESIS` and the chain's name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

GENESIS: Final = "heliograph chain 1\n"


class Link(NamedTuple):
    """One record as it is stored."""

    number: int
    """Counts from 1 in its chain."""
    previous: str
    digest: str
    """SHA-256 in lower-case hexadecimal, as `previous` is."""
    body: bytes


class Head(NamedTuple):
    """Where a chain ends. It is kept apart from the records, so that one removed at the end is missed."""

    length: int
    digest: str


class Fault(NamedTuple):
    """Something that must not be in a chain."""

    number: int
    """Of the record at fault."""
    why: str
    """What is wrong, to follow the words "record N"."""


def genesis(chain: str) -> str:
    """Return the digest before the first record of the chain of this name."""
    return hashlib.sha256(_bytes(GENESIS + chain)).hexdigest()


def empty(chain: str) -> Head:
    """Return the head of the chain of this name before anything is recorded."""
    return Head(0, genesis(chain))


def link_digest(previous: str, chain: str, number: int, body: bytes) -> str:
    """Return the digest of a record; see this module's own words."""
    return hashlib.sha256(_bytes(f"{previous}\n{chain}\n{number}\n") + body).hexdigest()


def next_link(chain: str, head: Head, body: bytes) -> Link:
    """Return the record that says `body`, to follow `head`."""
    number = head.length + 1
    return Link(number, head.digest, link_digest(head.digest, chain, number, body), body)


def find_faults(chain: str, links: Sequence[Link], head: Head | None) -> list[Fault]:
    """Return everything that is wrong with a chain; empty: it is as it was recorded.

    Args:
        chain: Its name.
        links: All its records by number.
        head: Where it ends; None when that is not stored, which is a fault.
    """
    faults = find_link_faults(chain, links, empty(chain))
    return faults + _faults_of_head(Head(links[-1].number, links[-1].digest) if links else empty(chain), head)


def find_link_faults(chain: str, links: Sequence[Link], before: Head) -> list[Fault]:
    """Return everything that is wrong with a part of a chain, wherever that ends.

    Args:
        chain: Its name.
        links: The part's records by number.
        before: The record before them; `empty` where they are the first.
    """
    faults: list[Fault] = []
    for link in links:
        faults += _faults_of_link(chain, before, link)
        before = Head(link.number, link.digest)
    return faults


def _faults_of_link(chain: str, before: Head, link: Link) -> list[Fault]:
    number = link.number
    if number <= before.length:
        return [Fault(number, "stands twice, or has no number")]
    faults = [Fault(missing, "is missing") for missing in _gap(before.length + 1, number)]
    if not faults and link.previous != before.digest:
        faults.append(Fault(number, "does not follow on the one before it: one of them was changed or replaced"))
    if link.digest != link_digest(link.previous, chain, number, link.body):
        faults.append(Fault(number, "was changed after it was recorded"))
    return faults


def _gap(first: int, end: int) -> range:
    # A number that was changed may be anything: the first and the last of those missing tell enough.
    return range(first, end) if end - first <= _MOST_NAMED else range(first, end, end - first - 1)


_MOST_NAMED: Final = 100


def _faults_of_head(found: Head, head: Head | None) -> list[Fault]:
    if head is None:
        return [Fault(found.length, "is the last one found, but the chain's head, which would say so, is missing")]
    if head.length > found.length:
        return [Fault(missing, "is missing at the end") for missing in _gap(found.length + 1, head.length + 1)]
    if head.length < found.length:
        return [Fault(found.length, f"was added beside the registry, which recorded {head.length}")]
    if head.digest != found.digest:
        return [Fault(found.length, "is not the one on which the chain's head stands: it, or the head, was changed")]
    return []


def _bytes(text: str) -> bytes:
    # What a damaged database holds need not be text; it must give another digest then, and no error.
    return text.encode("utf-8", "surrogateescape")
