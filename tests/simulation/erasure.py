"""What must hold of erasures: what was erased is gone from both ends, is counted, and does not come back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from heliograph.event import microseconds
from heliograph.instance.erasures import read_erasures
from simulation.broken import must
from simulation.network import values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heliograph.instance.state import State
    from simulation.world import World


class ErasureOracle:
    """Knows whom the instance has forgotten, and what the vendor has proved to be erased."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lives: Counter[str | None] = Counter()
        """How often each user was forgotten, so that the next random id is another; or may have been."""
        self._until: dict[str | None, float] = {}
        """Up to which moment a user's events stay on the instance."""
        self._forgotten: set[int] = set()
        """The events of users up to when they were forgotten for sure: at the end none of them is left."""
        self._was_restored = False
        self._proved: set[str] = set()
        self.erased: set[int] = set()
        """Events that an order for an account had erased."""
        self._ids: set[str] = set()
        """Random ids that were erased."""

    def forget(self, user: str, theirs: Mapping[int, float], *, said: bool, moment: float) -> None:
        """Take note that a user was forgotten, or may have been.

        Args:
            user: Who.
            theirs: All events of the user until now, with their times.
            said: Whether that was done for sure.
            moment: When.
        """
        self.lives[user] += 1
        self._until[user] = max([moment, self._until.get(user, moment), *theirs.values()])
        if said and not self._was_restored:
            self._forgotten |= theirs.keys()

    def is_kept_back(self, user: str | None, moment: float) -> bool:
        """Tell whether an event of this moment may count as one from before the user was forgotten."""
        return moment <= self._until.get(user, moment - 1.0)

    def restore(self) -> None:
        """Take note that the instance has an old state, which knows neither who was forgotten nor all random ids."""
        self._was_restored = True
        self._forgotten.clear()

    def take_proofs(self, received: Mapping[int, int]) -> set[int]:
        """Take note of what was proved since, and return the events that orders for the account cover.

        Args:
            received: When each event arrived, in microseconds since 1970 by the vendor's clock.
        """
        registry = self._world.registry
        covered: set[int] = set()
        for erasure in registry.proofs.keys() - self._proved:
            self._proved.add(erasure)
            order = registry.orders[erasure]
            if order.user_digest is not None:
                self._ids.add(registry.users[erasure])
                self._world.network.cut_off(order.recorded)
                continue
            since = -1 if order.since is None else microseconds(order.since)
            covered |= {value for value, moment in received.items() if since <= moment <= microseconds(order.until)}
        self.erased |= covered
        return covered

    def check_lake(self) -> None:
        """Nothing that is proved to be erased is there."""
        rows = self._world.lake.rows()
        again = sorted(row["duration_ms"] for row in rows if row["user_id"] in self._ids)
        must(not again, f"events {again} of a user who is proved to be erased are in the lake")
        again = sorted(self.erased.intersection(row["duration_ms"] for row in rows))
        must(not again, f"events {again} are proved to be erased, and are in the lake")

    def check_kept(self, state: State) -> None:
        """No bytes that the instance keeps hold anything of a user who was forgotten."""
        if self._forgotten:
            kept = frozenset[int]().union(*(values_of(each.body) for each in state.kept.read()))
            left = sorted(kept & self._forgotten)
            must(not left, f"events {left} of a forgotten user are in the bytes that are kept")

    def counted(self) -> Counter[str]:
        """Return how many events of each name are proved to be erased."""
        counts: Counter[str] = Counter()
        for proof in self._world.registry.proofs.values():
            for names in proof.rows.values():
                counts.update(names)
        return counts

    def check_end(self) -> None:
        """Every order was carried out, and of whoever was forgotten nothing is left."""
        world = self._world
        assert world.agent is not None
        must(not world.registry.waiting(), f"orders are not carried out: {world.registry.waiting()}")
        unanswered = [each for each in read_erasures(world.agent[1]._state.connection) if each.user_id is not None]
        must(not unanswered, f"{len(unanswered)} users are forgotten, and the vendor was not asked to erase them")
        left = sorted(self._forgotten.intersection(row["duration_ms"] for row in world.lake.rows()))
        must(not left, f"events {left} of a forgotten user are in the lake")
