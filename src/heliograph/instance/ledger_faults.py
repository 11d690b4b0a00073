"""What is wrong with an instance's ledger, and the admin's word that it is known.

A fault stays one for ever: `heliograph ledger verify` tells it as long as it is there, acknowledged or not. What a word
ends is its alarm, and of that very fault alone: an entry that changes once more is another fault.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from heliograph.consent.trust import PinError, follow, read_pins
from heliograph.ledger.entries import Acknowledged, Fault
from heliograph.ledger.verify import Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from heliograph.consent.chain import Link
    from heliograph.consent.trust import Keys
    from heliograph.instance.ledger import Ledger
    from heliograph.instance.state import State
    from heliograph.ledger.entries import Entry, Sent
    from heliograph.wire import Receipt

MOST_FAULTS: Final = 10_000
"""That one word acknowledges: of a ledger that is a ruin it takes several."""
_PORTION: Final = 1_000


class FaultWalk:
    """Goes through a ledger once, from the first entry to the last, in portions.

    Args:
        ledger: Which.
        keys: The vendor's keys that are trusted.
    """

    def __init__(self, ledger: Ledger, keys: Keys) -> None:
        self._ledger = ledger
        self._walk = Walk(keys, _Stored(ledger), are_all=False)
        self.is_done = False
        """Whether the end was reached."""

    def step(self, portion: int) -> list[Fault]:
        """Go on by so many entries, and return what is wrong with them.

        Raises:
            sqlite3.Error: The ledger cannot be read.
        """
        links = self._ledger.portion(self._walk.passed.length, portion)
        self._walk.take(links)
        self.is_done = len(links) < portion
        if self.is_done:
            self._walk.end()
        stored = {link.number: link for link in links}
        faults = [
            Fault(number=problem.number, why=problem.why, found=link_fingerprint(stored.get(problem.number)))
            for problem in self._walk.found.problems
        ]
        self._walk.found.problems.clear()
        self._walk.found.notes.clear()
        return faults


def link_fingerprint(link: Link | None) -> str:
    """Return the digest of an entry with all that is stored of it; nothing for one that is gone."""
    if link is None:
        return ""
    head = f"{link.number}\n{link.previous}\n{link.digest}\n".encode("utf-8", "surrogateescape")
    return hashlib.sha256(head + link.body).hexdigest()


def known_faults(ledger: Ledger) -> set[Fault]:
    """Return the faults that are acknowledged."""
    return {fault for word in ledger.acknowledged() for fault in word.faults}


def trusted_keys(vendor_keys: str, state: State) -> Keys:
    """Return the vendor's keys that are trusted; none where that cannot be told, so that all else is verified."""
    held = state.policy()
    try:
        return follow(read_pins(vendor_keys), held.endorsements if held else [])
    except PinError:
        return {}


def acknowledge(state: State, keys: Keys, seen: Sequence[Fault], *, by: str, reason: str) -> Acknowledged | None:
    """Record that all that is wrong with the ledger now is known; None where nothing is that was not known before.

    Args:
        state: The agent's memory; the agent may run.
        keys: The vendor's keys that are trusted.
        seen: Faults that the agent has seen and that the ledger itself does not show: an end that was cut off.
        by: Who says so.
        reason: How it came to be.

    Raises:
        sqlite3.Error: It could not be recorded.
    """
    walk = FaultWalk(state.ledger, keys)
    found = list(seen)
    while not walk.is_done:
        found += walk.step(_PORTION)
    with state.connection:
        state.connection.execute("begin immediate")
        fresh = open_faults(state.ledger, dict.fromkeys(found))[:MOST_FAULTS]
        if not fresh:
            return None
        word = Acknowledged(time=state.moment(), by=by, reason=reason, faults=fresh)
        state.ledger.append(word)
        return word


def open_faults(ledger: Ledger, faults: Iterable[Fault]) -> list[Fault]:
    """Return those of the faults that nobody has acknowledged."""
    known = known_faults(ledger)
    return [fault for fault in faults if fault not in known]


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
