"""What must hold: of each event, of both accounts, and of the lake, whatever happened."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from heliograph.consent.level import Level
from heliograph.event import Verdict, microseconds
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.instance.account import read_account
from heliograph.wire import total_counts
from simulation.broken import must
from simulation.erasure import ErasureOracle
from simulation.ledger import LedgerOracle
from simulation.network import values_of
from simulation.plans import LATER_EVENT, PLANS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.gateway.account import Account
    from heliograph.instance.account import InstanceAccount
    from simulation.world import World


class Recorded(NamedTuple):
    """One event, as the product recorded it."""

    user: str | None
    time: float
    """By the instance's clock, in seconds since the beginning."""
    process: str
    name: str
    life: int
    """How often the user had been forgotten before."""


class Oracle:
    """Knows each event by its unique value, and what may become of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.erasures = ErasureOracle(world)
        self.ledger = LedgerOracle(world, self.erasures)
        self.events: dict[int, Recorded] = {}
        """All that the recorder may have written down."""
        self.required: set[int] = set()
        """Those of which `record` said that they are in the outbox, and that nothing has excused since."""
        self.forbidden: set[int] = set()
        self.synced: set[int] = set()
        """Those of which the recorder said that they are on disk."""
        self.calls = 0
        self.said_true = 0
        self.lost_power = self.was_restored = self.instance_lied = self.vendor_lied = False
        self.no: tuple[float, float] | None = None
        """The time, by the instance's clock, in which somebody's no was in force, as far as it is known."""
        self.closed: list[tuple[float, float]] = []
        self.out: set[str] = set()
        self.maybe_out: set[str] = set()
        self._bodies: dict[str, frozenset[int]] = {}
        self._arrived: set[int] = set()
        self._received: dict[int, int] = {}

    # What happens.

    def record(self, value: int, what: Recorded, *, said: bool | None, valid: bool) -> None:
        """Take note of an event, and of what `record` said; None: it did not return."""
        self.calls += 1
        if said is False:
            return
        self.events[value] = what
        if said:
            self.said_true += 1
        in_no = self.no is not None and self.no[0] <= what.time
        if not valid or (in_no and self.no is not None) or what.user in self.out:
            self.forbidden.add(value)
            if in_no and valid and what.user not in self.out:
                self.forbidden.discard(value)  # until a round has seen it, or its time is known to lie in the interval
            return
        doubtful = what.user in self.maybe_out or self.no is not None or self._in_closed(what.time)
        doubtful |= self.erasures.is_kept_back(what.user, what.time)
        if said and not doubtful:
            self.required.add(value)

    def _in_closed(self, moment: float) -> bool:
        return any(low <= moment <= high for low, high in self.closed)

    def waiting(self) -> set[int]:
        """Return those that have not arrived, whatever may still become of them."""
        return self.events.keys() - self.arrived()

    def excuse(self, values: Iterable[int]) -> None:
        """Take note that these may arrive or not."""
        self.required -= set(values)

    def forbid(self, values: Iterable[int]) -> None:
        """Take note that these may not arrive any more, but for those that are on their way."""
        values = set(values)
        self.required -= values
        underway = {value for sent in self._world.network.delayed for value in sent.values}
        underway |= {value for sent in self._world.network.earlier for value in sent.values}
        self.forbidden |= values - underway

    def heard(self, moment: float, *, no: bool | None, whole: bool) -> None:
        """Take note of what the agent knew in a round: somebody's no, a yes, or (None) nothing for sure.

        Args:
            moment: By the instance's clock.
            no: What was said.
            whole: Whether the round came to its end.
        """
        if no:
            low, high = self.no or (moment, moment)
            self.no = min(low, moment), max(high, moment)
            (self.forbid if whole else self.excuse)(self.waiting())
        elif no is False and self.no is not None:
            low, high = self.no
            self.closed.append((min(low, moment), max(high, moment)))
            self.no = None
            self.excuse(v for v in self.waiting() if self._in_closed(self.events[v].time))

    def opt_out(self, user: str, *, said: bool | None) -> None:
        """Take note that a user has opted out, or tried to."""
        theirs = {value for value in self.waiting() if self.events[value].user == user}
        if said:
            self.out.add(user)
            self.forbid(theirs)
        elif user not in self.out:
            self.maybe_out.add(user)
            self.excuse(theirs)

    def forget(self, user: str, moment: float, *, said: bool) -> None:
        """Take note that the admin has had a user forgotten, or tried to: what has arrived is to be erased."""
        theirs = {value: what.time for value, what in self.events.items() if what.user == user}
        (self.forbid if said else self.excuse)(theirs.keys() & self.waiting())
        self.excuse(theirs)
        self.erasures.forget(user, theirs, said=said, moment=moment)

    def take_proofs(self) -> None:
        """Take note of the orders that the vendor has carried out."""
        self.excuse(self.erasures.take_proofs(self._received))
        self.erasures.check_lake()

    def cut_instance(self, *, lied: bool) -> None:
        """Take note of a power cut: what was not on disk may be gone."""
        self.lost_power = True
        self.instance_lied |= lied
        self.excuse(value for value in self.waiting() if lied or value not in self.synced)

    def cut_vendor(self, *, lied: bool) -> None:
        """Take note of a power cut at the vendor: what was acknowledged stays, unless the disk has lied."""
        self.vendor_lied |= lied
        if lied:
            self._arrived = {value for value in self._arrived if value in self._in_lake()}

    def restore(self) -> None:
        """Take note that the agent has an old copy of its state, which knows nothing of what was said since."""
        self.was_restored = True
        self.ledger.restore()
        self.erasures.restore()
        waiting = self.waiting()
        self.forbidden = {value for value in self.forbidden if self.events[value].user in self.out}
        self.excuse(v for v in waiting if v not in self.required or self._in_closed(self.events[v].time) or self.no)

    # What arrived.

    def _in_lake(self) -> set[int]:
        return {row["duration_ms"] for row in self._world.lake.rows()}

    def _in_lake_by_name(self) -> Counter[str]:
        return Counter(row["name"] for row in self._world.lake.rows())

    def arrived(self) -> set[int]:
        """Return all values that the vendor holds, or has held."""
        folder = self._world.log
        for generation in segments(folder) if folder.is_dir() else []:
            for _, header, body in read_segment(folder, generation):
                if isinstance(header, Entry):
                    known = self._bodies.get(header.receipt.digest)
                    if known is None:
                        known = self._bodies[header.receipt.digest] = values_of(body)
                    self._arrived |= known
                    for value in known:
                        self._received.setdefault(value, header.receipt.received)
        for row in self._world.lake.rows():  # of what the log has let go since one last looked
            self._arrived.add(row["duration_ms"])
            self._received.setdefault(row["duration_ms"], microseconds(row["received"].replace(tzinfo=UTC)))
        return self._arrived

    # What must hold.

    def check_lake(self) -> None:
        """Each event is in the lake at most once, and none that was forbidden, or that nobody recorded."""
        found = Counter(row["duration_ms"] for row in self._world.lake.rows())
        twice = sorted(value for value, count in found.items() if count > 1)
        must(not twice, f"events {twice} are in the lake twice")
        self.check_arrived(set(found), "the lake")
        if not self.vendor_lied:
            self.erasures.check_lake()

    def check_arrived(self, values: set[int], where: str = "the log") -> None:
        """None of these was forbidden, or is nobody's."""
        must(
            not values & self.forbidden, f"events {sorted(values & self.forbidden)} were forbidden, and are in {where}"
        )
        must(
            values <= self.events.keys(), f"events {sorted(values - self.events.keys())} in {where} were never recorded"
        )

    def check_accounts(self) -> None:
        """Both accounts close."""
        world = self._world
        if world.agent is not None:
            account = self.instance_account()
            told = self.vendor_lied and account.differences  # what the gateway has forgotten is an alarm with its range
            must(account.closes() or told, f"the instance's account does not close: {account}")
            must(account.recorded <= self.calls, f"the instance accounts for {account.recorded} of {self.calls} events")
        if world.gateway is not None:
            theirs = world.gateway_account()
            numbers = sum(receipt.last for receipt in theirs.latest.values())
            parts = sum(theirs.accepted.values()) + total_counts(theirs.rejected) + total_counts(theirs.absent)
            must(parts == numbers, f"the gateway's account does not close: {parts} of {numbers}")

    def check_ledger(self, *, at_end: bool = False) -> None:
        """The ledger tells of all that left, and agrees with what the vendor holds."""
        self.ledger.check(instance_lied=self.instance_lied, vendor_lied=self.vendor_lied, at_end=at_end)

    def instance_account(self) -> InstanceAccount:
        world = self._world
        assert world.agent is not None
        return read_account(world.agent[1]._state, Path(world.settings.recorder.outbox), world.agent[1]._plan)

    def check_end(self) -> None:
        """With everything healed and drained, each allowed event has arrived, and both ends agree."""
        world = self._world
        assert world.agent is not None
        assert world.gateway is not None
        self.check_lake()
        self.check_accounts()
        found = self._in_lake()
        account = self.instance_account()
        theirs = world.gateway_account()
        must(not account.pending, f"events are pending after everything was drained: {account.pending}")
        missing = sorted(self.required - found)
        told = total_counts({"": _of(account, Verdict.LOST)}) + account.undecided + len(account.differences)
        told += abs(sum(theirs.accepted.values()) - sum(account.delivered.values()))
        if self.vendor_lied:
            must(not missing or told > 0, f"events {missing} are lost, and nobody was told")
        else:
            must(not missing, f"events {missing} were recorded, allowed, and are not in the lake")
            must(
                theirs.accepted == self._in_lake_by_name() + self.erasures.counted(),
                f"the gateway accepted {theirs.accepted}, the lake holds {self._in_lake_by_name()}, and "
                f"{self.erasures.counted()} are erased",
            )
            self.erasures.check_end()
        self.check_ledger(at_end=True)
        if not self.was_restored:
            self.check_ids()
        if not self.was_restored and not self.vendor_lied:
            must(account.undecided == 0, f"{account.undecided} events are undecided")
            same = (account.delivered, account.rejected) == (theirs.accepted, theirs.rejected)
            # What was delivered, and then lost together with its answer, by a disk that lied, is the vendor's to tell.
            must(
                same or (self.instance_lied and _is_part(account, theirs)),
                f"delivered {account.delivered}, accepted {theirs.accepted}; rejected {account.rejected}, and "
                f"{theirs.rejected} there",
            )
        if not (self.lost_power or self.was_restored):
            must(
                self.said_true <= account.recorded <= self.calls,
                f"{self.said_true} events were recorded by {self.calls} calls, accounted for {account.recorded}",
            )
            lost = _of(account, Verdict.LOST)
            must(not lost or self.vendor_lied, f"without any power cut events are said to be lost: {lost}")
        must(
            not {name for name in theirs.accepted if name == LATER_EVENT} or world.plan == len(PLANS) - 1,
            "an event was accepted before the plan declared it",
        )

    def check_ids(self) -> None:
        """Each user has one random id until forgotten, which nobody else has."""
        found = {(self.events[row["duration_ms"]], row["user_id"]) for row in self._world.lake.rows()}
        users = Counter(life for life, _ in {((what.user, what.life), random_id) for what, random_id in found})
        pairs = {(what.user, random_id) for what, random_id in found}
        ids = Counter(random_id for _, random_id in pairs if random_id is not None)
        must(set(users.values()) <= {1}, f"a user has several random ids: {users}")
        must(set(ids.values()) <= {1}, "several users have one random id")

    def may_arrive(self) -> bool:
        """Tell whether the vendor's level lets anything in."""
        return self._world.registry.level is Level.EVENTS


def _is_part(ours: InstanceAccount, theirs: Account) -> bool:
    """Tell whether the vendor holds all that the instance says to have delivered."""
    delivered = all(count <= theirs.accepted.get(name, 0) for name, count in ours.delivered.items())
    return delivered and total_counts(ours.rejected) <= total_counts(theirs.rejected)


def _of(account: InstanceAccount, verdict: Verdict) -> dict[Verdict, int]:
    count = sum(verdicts.get(verdict, 0) for verdicts in account.dropped.values())
    return {verdict: count} if count else {}
