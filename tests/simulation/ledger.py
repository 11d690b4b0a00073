"""What must hold of the ledger: it tells of every delivery, verifies offline, and agrees with what the vendor holds."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING, Final

from harness import INSTANCE
from heliograph.consent.chain import empty, find_link_faults
from heliograph.consent.trust import follow, read_pins
from heliograph.instance.state import State
from heliograph.lake.deliveries import read_delivered
from heliograph.ledger.entries import CHAIN, Sent
from heliograph.ledger.reconcile import Kind, reconcile
from heliograph.ledger.verify import read_entries, verify
from simulation.broken import must

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.consent.chain import Link
    from heliograph.ledger.entries import Entry
    from heliograph.ledger.reconcile import Delivery
    from simulation.erasure import ErasureOracle
    from simulation.world import World

_SETTLED: Final = frozenset({Kind.MATCHED, Kind.EXCLUDED, Kind.NOT_TAKEN})
"""What a delivery has come to at the end, when nothing is under way any more."""


class LedgerOracle:
    """Looks at both halves from outside, as the customer's auditor does: by the instance's files and the vendor's."""

    def __init__(self, world: World, erasures: ErasureOracle) -> None:
        self._world = world
        self._erasures = erasures
        self._ends: dict[int, str] = {}
        """Where the ledger was seen to end: nothing behind is ever taken away."""
        self._was_restored = False

    def restore(self) -> None:
        """Take note that the agent has an old copy of its state: its ledger lacks what was written since."""
        self._was_restored = True
        self._ends.clear()
        self._world.network.left.clear()

    def look(self) -> None:
        """Take note of where the ledger ends now."""
        if self._world.agent is not None:
            number, digest = self._world.agent[1]._state.ledger.head()
            self._ends[number] = digest

    def check(self, *, instance_lied: bool, vendor_lied: bool, at_end: bool = False) -> None:
        """Verify the instance's half, and compare it with the vendor's.

        Args:
            instance_lied: Whether the instance's disk has lost what was about to be sent again.
            vendor_lied: Whether the vendor's disk has lost what it had said to hold.
            at_end: Whether everything that can arrive has, so that nothing is under way.

        Raises:
            BrokenPromiseError: Something does not hold.
        """
        world = self._world
        if not world.state.exists():
            return
        with closing(State(world.state, exclusive=False, now=world.instance_now)) as state:
            links = list(state.ledger.links())
            self._check_whole(links)
            entries = read_entries(links)
            self._check_all_that_left(entries)
            self._erasures.check_kept(state)
            if self._was_restored:
                return  # receipts tell of entries that it lacks, as it was put back: verifying says so, and is right
            self._verify(state, links)
            if not vendor_lied:
                underway = {Kind.UNDECIDED} if instance_lied or not at_end else set()
                if instance_lied:
                    underway.add(Kind.NO_RECEIPT)  # the answer was lost, and then what could be sent again
                self._reconcile(state, links, entries, underway=underway, at_end=at_end)

    def _check_whole(self, links: Sequence[Link]) -> None:
        faults = find_link_faults(CHAIN, links, empty(CHAIN))
        must(not faults, f"the ledger's chain is broken: {faults}")
        found = {link.number: link.digest for link in links}
        gone = {number for number, digest in self._ends.items() if found.get(number) != digest}
        must(not gone, f"the ledger ended with entries {sorted(gone)}, and has others now")

    def _check_all_that_left(self, entries: Sequence[tuple[int, Entry]]) -> None:
        told = {entry.digest for _, entry in entries if isinstance(entry, Sent)}
        untold = [which for digest, which in self._world.network.left.items() if digest not in told]
        must(not untold, f"deliveries {untold} left, and the ledger does not tell of them")

    def _verify(self, state: State, links: Sequence[Link]) -> None:
        held = state.policy()
        keys = follow(read_pins(self._world.settings.agent.vendor_keys), held.endorsements if held else [])
        kept = ((each.digest, hashlib.sha256(each.body).hexdigest()) for each in state.kept.read())
        verified = verify(links, keys, kept)
        must(not verified.problems, f"the ledger does not verify: {[str(each) for each in verified.problems]}")

    def _reconcile(
        self,
        state: State,
        links: Sequence[Link],
        entries: Sequence[tuple[int, Entry]],
        *,
        underway: set[Kind],
        at_end: bool,
    ) -> None:
        theirs = [each.receipt for each in read_delivered(self._world.settings, INSTANCE)]
        result = reconcile(entries, theirs, {link.digest: link.number for link in links})
        must(not result.problems, f"the halves of the ledger differ: {result.problems}")
        wrong = [
            each
            for each in result.deliveries
            if each.kind not in _SETTLED | underway and (at_end or not _lacks_its_receipt(each, state))
        ]
        must(not wrong, f"deliveries are of a kind that they must not be of: {wrong}")
        if at_end and Kind.NO_RECEIPT not in underway:
            must(result.ours == result.theirs, f"by receipts {result.ours}, and the vendor holds {result.theirs}")


def _lacks_its_receipt(delivery: Delivery, state: State) -> bool:
    """Tell whether the agent has still to settle it: it repeats the range, or the gateway's account tells of it."""
    progress = state.progress(delivery.epoch)
    is_next = progress is not None and delivery.first == progress.acknowledged + 1
    return delivery.kind is Kind.NO_RECEIPT and is_next
