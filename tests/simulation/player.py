"""How each operation of a history is done, and what is looked at after it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness import ACCOUNT
from heliograph.consent.level import Level
from heliograph.gateway.log import LogFullError
from heliograph.instance.agent import Left
from heliograph.instance.erasures import read_erasures
from heliograph.instance.state import StateError
from heliograph.instance.transport import TransportError
from heliograph.lake.loader_locks import LoaderRunningError
from simulation.broken import BrokenPromiseError
from simulation.network import Fate
from simulation.oracle import Oracle, Recorded
from simulation.plans import LATER_EVENT
from simulation.processes import CrashError, Fault, Process
from simulation.registry import order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulation.world import World
USERS: Final = ("1", "2", "3", "4", None)
LEVELS: Final = (Level.EVENTS, Level.EVENTS, Level.CRITICAL, Level.OFF)
MOST_RECORDERS: Final = 3
MOST_ROUNDS: Final = 400
_HALF_AN_HOUR: Final = 1_800
_SKEWS: Final = (-7_200.0, -250.0, -60.0, 0.0, 60.0, 250.0, 7_200.0)
_LARGE: Final = 300.0
_UNTIL_DUE: Final = 15.0
"""Seconds after which what an order covers has arrived, and its time has come."""
_MOST_ERASING: Final = 40
_MORTALS: Final = ("product", "agent", "gateway", "loader", "command")
_ACCOUNTED: Final = frozenset({"round", "cut_instance", "cut_vendor", "restore_state", "start_agent", "start_gateway"})
"""Operations after which the accounts are checked, as they are after every third of the others: it takes its time."""
_EVERY: Final = 3


class Operation(NamedTuple):
    """One operation; it can be done in any state, so that any of a history's can be left out."""

    name: str
    a: int
    b: int
    salt: int
    """Decides what is left to chance within it."""

    def __str__(self) -> str:
        return f"{self.name}({self.a}, {self.b})"


class Player:
    """Does one history's operations in a world, and looks whether the promises hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.oracle = Oracle(world)
        self.values = 0
        self._copy = False
        self._armed: dict[str, tuple[Fault, int]] = {}
        self.clocks_differed = False
        """By so much that an event may be refused as one of the future: by a clock that was wrong, or is thought so."""

    def play(self, operations: Sequence[Operation]) -> None:
        """Do all of them, heal everything, and check what must hold at the end.

        Raises:
            BrokenPromiseError: Something does not hold.
        """
        for number, operation in enumerate(operations):
            self.do(number, operation)
        self.world.stage.note("\n  -- everything heals")
        self.heal()
        self.drain()
        self.erase_all()
        self.oracle.check_end()

    def do(self, number: int, operation: Operation) -> None:
        """Do one operation, and check what must hold after each."""
        stage = self.world.stage
        if stage.trace is not None:
            stage.trace.append(f"  {number:3} {operation}")
        self.world.time += 0.25
        self.world.chance.seed(operation.salt)
        closed = not self.oracle.may_arrive() and operation.name != "level"
        before = set(self.oracle.arrived()) if closed else set()
        getattr(self, operation.name)(operation.a, operation.b)
        if closed:
            more = self.oracle.arrived() - before
            if more:
                raise BrokenPromiseError(f"events {sorted(more)} arrived though the level did not allow it")
        if operation.name in _ACCOUNTED or number % _EVERY == 0:
            self.oracle.check_accounts()

    @contextlib.contextmanager
    def _acting(self, process: Process) -> Iterator[None]:
        with self.world.stage.act(process):
            yield

    def _arm(self, process: Process) -> None:
        fault = self._armed.pop(process.name.partition("-")[0], None)
        if fault is not None:
            process.arm(*fault)

    # The product.

    def start_recorder(self, _a: int, _b: int) -> None:
        if len(self.world.recorders) < MOST_RECORDERS:
            self._arm(self.world.start_recorder())

    def _recorder(self, which: int) -> int:
        if not self.world.recorders:
            self.start_recorder(0, 0)
        return which % len(self.world.recorders)

    def record(self, a: int, b: int) -> None:
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        self._arm(process)
        lives = self.oracle.erasures.lives
        with self._acting(process):
            for number in range(b % 4 + 1):
                self.values += 1
                user = USERS[(a // 4 + number) % len(USERS)]
                bad = b // 4 % 6 == 0 and number == 0
                name = LATER_EVENT if b // 4 % 6 == 1 else "SearchSubmitted"
                what = Recorded(user, self.world.time + self.world.instance_skew, process.name, name, lives[user])
                said: bool | None = None
                try:
                    said = recorder.record(name, user=user, duration_ms=self.values, source="fax" if bad else None)
                except CrashError:
                    self.oracle.record(self.values, what, said=None, valid=not bad)
                    break
                self.oracle.record(self.values, what, said=said, valid=not bad)
                if said and (name == LATER_EVENT or self.clocks_differed):
                    self.oracle.excuse([self.values])
        if not process.is_alive:
            self.world.kill_recorder(which)

    def flush(self, a: int, _b: int) -> None:
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        self._arm(process)
        try:
            with self._acting(process):
                if recorder.flush():
                    events = self.oracle.events
                    self.oracle.synced |= {value for value, what in events.items() if what.process == process.name}
        except CrashError:
            self.world.kill_recorder(which)

    def look(self, a: int, _b: int) -> None:
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        self._arm(process)
        try:
            with self._acting(process), contextlib.suppress(OSError):
                recorder._watch.look()
                recorder._measure()
        except CrashError:
            self.world.kill_recorder(which)

    def close_recorder(self, a: int, _b: int) -> None:
        if self.world.recorders:
            which = a % len(self.world.recorders)
            process, recorder = self.world.recorders[which]
            with contextlib.suppress(CrashError), self._acting(process):
                recorder.close()
            self.world.kill_recorder(which)

    def kill_recorder(self, a: int, _b: int) -> None:
        if self.world.recorders:
            self.world.kill_recorder(a % len(self.world.recorders))

    def opt_out(self, a: int, _b: int) -> None:
        user = USERS[a % 4]
        assert user is not None
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        said: bool | None = None
        try:
            with self._acting(process):
                said = recorder.opt_out(user)
        except CrashError:
            self.world.kill_recorder(which)
        self.oracle.opt_out(user, said=said)

    def forget(self, a: int, _b: int) -> None:
        """Let the admin's command forget a user, beside an agent or without one."""
        user = USERS[a % 4]
        if user is None or not self.world.state.exists():
            return
        process = Process("command", self.world.stage)
        self._arm(process)
        said = False
        try:
            self.world.forget(user, process)
            said = True
        except (CrashError, OSError, sqlite3.Error, StateError) as error:
            self.world.stage.note("forgetting did not come to its end:", type(error).__name__)
        self.oracle.forget(user, self.world.time + self.world.instance_skew, said=said)

    # The agent.

    def start_agent(self, _a: int, _b: int) -> None:
        if self.world.agent is None:
            with contextlib.suppress(CrashError, OSError, sqlite3.Error, StateError):
                self._arm(self.world.start_agent())

    def kill_agent(self, _a: int, _b: int) -> None:
        self.world.kill_agent()

    def stop_agent(self, _a: int, _b: int) -> None:
        if self.world.agent is not None:
            process, agent = self.world.agent
            with self._acting(process):
                agent.close()
            self.world.kill_agent()

    def second_agent(self, _a: int, _b: int) -> None:
        """With the same state: it must not start."""
        if self.world.agent is None:
            return
        first = self.world.agent
        with contextlib.suppress(StateError):
            self.world.start_agent()
            raise BrokenPromiseError("a second agent has started with the same state")
        self.world.agent = first

    def round(self, a: int, b: int) -> None:
        for _ in range(1 + a % 3):
            self.one_round()

    def round_and_die(self, _a: int, b: int) -> None:
        """Let the agent die behind so many operations of a round, as `load_and_die` does the loader."""
        self.start_agent(0, 0)
        self._armed["agent"] = (Fault.AFTER, b)
        self.one_round()
        self._armed.clear()
        self.world.kill_agent()

    def one_round(self) -> Left:
        self.start_agent(0, 0)
        if self.world.agent is None:
            return Left.SOME
        process, agent = self.world.agent
        self._arm(process)
        whole = False
        left = Left.SOME
        try:
            with self._acting(process):
                left = agent.round()
            whole = True
        except CrashError:
            pass
        except (TransportError, OSError, sqlite3.Error) as error:
            self.world.stage.note("the agent waits:", f"{type(error).__name__}: {error}"[:200])
        word = agent._word
        if word is None or (not word.refuses(Level.EVENTS) and word.level is not Level.EVENTS):
            no = None
        else:
            no = word.refuses(Level.EVENTS)
        self.oracle.heard(self.world.time + self.world.instance_skew, no=no, whole=whole)
        if process.is_alive:
            self.oracle.ledger.look()
        else:
            self.world.kill_agent()
        return left

    def audit(self, _a: int, _b: int) -> None:
        """Let the customer's auditor look at the ledger, whoever is at work meanwhile."""
        self.oracle.check_ledger()

    def new_instance_key(self, _a: int, _b: int) -> None:
        """Let the admin replace the instance's key; the vendor hears of it later."""
        self.world.new_instance_key()

    def register_instance_key(self, _a: int, _b: int) -> None:
        self.world.registry.use_key(self.world.instance_key)

    def save_state(self, _a: int, _b: int) -> None:
        if self.world.agent is not None and not self._copy:
            copy = sqlite3.connect(self.world.folder / "copy.db")
            self.world.agent[1]._state.connection.backup(copy)
            copy.close()
            self._copy = True

    def restore_state(self, _a: int, _b: int) -> None:
        if self._copy:
            self.world.kill_agent()
            for file in self.world.state.glob("agent.db*"):
                file.unlink()
            shutil.copy(self.world.folder / "copy.db", self.world.state / "agent.db")
            self.oracle.restore()

    # The network.

    def fate(self, a: int, b: int) -> None:
        fates = list(Fate)
        self.world.network.fates.append(fates[a % len(fates)])

    def partition(self, _a: int, _b: int) -> None:
        self.world.network.is_partitioned = not self.world.network.is_partitioned

    def arrive_late(self, a: int, _b: int) -> None:
        network = self.world.network
        if network.delayed:
            self._arrives(network.delayed.pop(a % len(network.delayed)))

    def arrive_again(self, a: int, _b: int) -> None:
        network = self.world.network
        if network.earlier:
            self._arrives(network.earlier[a % len(network.earlier)])

    def _arrives(self, sent: Any) -> None:
        status = self.world.network.arrive(sent)
        self.world.stage.note(f"an old request ({sent.headers.get('heliograph-range')}) is answered", str(status))

    # The vendor.

    def start_gateway(self, _a: int, _b: int) -> None:
        if self.world.gateway is None:
            with contextlib.suppress(CrashError, OSError, LogFullError):
                self._arm(self.world.start_gateway())

    def kill_gateway(self, _a: int, _b: int) -> None:
        self.world.kill_gateway()

    def stop_gateway(self, _a: int, _b: int) -> None:
        self.world.stop_gateway()

    def load(self, a: int, _b: int) -> None:
        self.start_loader()
        if self.world.loader is not None:
            self._let_load(self.world.loader[1].load_round)
            self.oracle.check_lake()

    def _let_load(self, work: Callable[[], object]) -> None:
        """Let the loader's process do something, which it may die of."""
        assert self.world.loader is not None
        process, _ = self.world.loader
        self._arm(process)
        try:
            with self.world.stage.act_with_threads(process):
                work()
        except (CrashError, OSError):
            self.world.kill_loader()
        self.world.lake.has_changed()

    def erase_account(self, a: int, _b: int) -> None:
        """Let somebody at the vendor order that what has arrived is erased, from some moment on or all of it."""
        now = self.world.vendor_now()
        since = None if a % 2 else now - timedelta(seconds=a // 2 % 64)
        registry = self.world.registry
        order(registry, account=ACCOUNT, reason="revoked", recorded_by="legal", now=now, since=since)

    def erase(self, a: int, _b: int) -> None:
        """Let the loader carry out what is due; of what was just ordered that is so a quarter of a minute later."""
        self.world.time += a % 2 * _UNTIL_DUE
        self.start_loader()
        if self.world.loader is None or self.world.eraser is None:
            return
        self.oracle.arrived()
        self._let_load(self.world.eraser.round)
        self.oracle.take_proofs()

    def start_loader(self) -> None:
        if self.world.loader is None:
            with contextlib.suppress(CrashError, OSError, LoaderRunningError):
                self._arm(self.world.start_loader())

    def kill_loader(self, _a: int, _b: int) -> None:
        self.world.kill_loader()

    def load_and_die(self, _a: int, b: int) -> None:
        """Let the loader die behind so many operations of a round, wherever that is: no history of chance has this."""
        self.start_loader()
        self._armed["loader"] = (Fault.AFTER, b)
        self.load(0, 0)
        self._armed.clear()
        self.world.kill_loader()

    def rotate_key(self, _a: int, _b: int) -> None:
        """Replace the gateway's key; one that runs signs with the old one until it is started again."""
        process = Process("command", self.world.stage)
        self._arm(process)
        with contextlib.suppress(CrashError):
            self.world.rotate_key(process)

    def level(self, a: int, _b: int) -> None:
        self.world.registry.level = LEVELS[a % len(LEVELS)]

    def new_plan(self, _a: int, _b: int) -> None:
        self.world.use_plan(1)

    # What befalls them.

    def crash(self, a: int, b: int) -> None:
        """Let a fault befall one of the processes at one of its next operations."""
        name = _MORTALS[a % len(_MORTALS)]
        fault = (Fault.BEFORE, Fault.AFTER, Fault.TORN)[a // 8 % 3]
        self._prepare(name, fault, b)

    def error(self, a: int, b: int) -> None:
        """Let the disk refuse one of a process's next operations."""
        name = _MORTALS[a % len(_MORTALS)]
        self._prepare(name, (Fault.FULL, Fault.BROKEN)[a // 8 % 2], b)

    def _prepare(self, name: str, fault: Fault, countdown: int) -> None:
        world = self.world
        countdown = countdown % 24 + 1
        if name == "gateway" and world.gateway is not None:
            world.gateway.process.arm(fault, countdown % 6 + 1)
        else:
            # The loader does little at a time: else it would be done before.
            self._armed[name] = (fault, countdown % 4 + 1 if name == "loader" else countdown)

    def cut_instance(self, _a: int, _b: int) -> None:
        self.oracle.cut_instance(lied=self.world.instance_disk.has_lied)
        self.world.cut_instance()

    def cut_vendor(self, _a: int, _b: int) -> None:
        self.world.cut_vendor()
        self.oracle.cut_vendor(lied=self.world.vendor_disk.has_lied)

    def disk_full(self, a: int, _b: int) -> None:
        disk = (self.world.instance_disk, self.world.vendor_disk)[a % 2]
        disk.is_full = not disk.is_full

    def disk_lies(self, a: int, _b: int) -> None:
        disk = (self.world.instance_disk, self.world.vendor_disk)[a % 2]
        disk.is_lying = not disk.is_lying

    def wait(self, a: int, _b: int) -> None:
        self.world.time += a % _HALF_AN_HOUR

    def set_instance_clock(self, a: int, _b: int) -> None:
        self.world.instance_skew = _SKEWS[a % len(_SKEWS)]
        self._look_at_clocks()

    def set_vendor_clock(self, a: int, _b: int) -> None:
        self.world.vendor_skew = _SKEWS[a % len(_SKEWS)]
        self._look_at_clocks()

    def _look_at_clocks(self) -> None:
        if abs(self.world.instance_skew) > _LARGE or abs(self.world.vendor_skew) > _LARGE:
            self.clocks_differed = True
            self.oracle.excuse(self.oracle.waiting())

    # The end.

    def heal(self) -> None:
        """Let nothing more go wrong, and everybody be there."""
        world = self.world
        self._armed.clear()
        for process in self._processes():
            process.disarm()
        for disk in (world.instance_disk, world.vendor_disk):
            disk.is_full = disk.is_lying = False
        world.network.is_partitioned = False
        world.network.fates.clear()
        world.instance_skew = world.vendor_skew = 0.0
        world.time += 4 * _HALF_AN_HOUR
        world.registry.level = Level.EVENTS
        if world.instance_keys:
            world.registry.use_key(world.instance_key)
            world.kill_agent()
        world.use_plan(1)
        self.start_gateway(0, 0)
        while world.network.delayed:
            self.arrive_late(0, 0)
        while world.recorders:
            self.close_recorder(0, 0)

    def _processes(self) -> Iterator[Process]:
        for process, _ in self.world.recorders:
            yield process
        for each in (self.world.agent, self.world.loader):
            if each is not None:
                yield each[0]
        if self.world.gateway is not None:
            yield from self.world.gateway.processes()

    def drain(self) -> None:
        """Let everything that can arrive do so.

        Raises:
            BrokenPromiseError: It does not come to an end.
        """
        for _ in range(MOST_ROUNDS):
            self.world.time += 1.0
            if self.one_round() is not Left.MORE and not self.oracle.instance_account().pending:
                break
        else:
            raise BrokenPromiseError(f"after {MOST_ROUNDS} rounds not everything is delivered")
        for _ in range(MOST_ROUNDS):
            before = len(self.world.lake.rows())
            self.load(0, 0)
            if len(self.world.lake.rows()) == before and self.world.loader is not None:
                return
        raise BrokenPromiseError(f"after {MOST_ROUNDS} rounds not everything is loaded")

    def erase_all(self) -> None:
        """Let every erasure that was asked for be carried out.

        Raises:
            BrokenPromiseError: It does not come to an end.
        """
        for _ in range(_MOST_ERASING):
            assert self.world.agent is not None
            asked = read_erasures(self.world.agent[1]._state.connection)
            if not self.world.registry.waiting() and all(each.erasure is not None for each in asked):
                return
            self.world.time += 100.0
            self.one_round()
            self.erase(1, 0)
        raise BrokenPromiseError(f"after {_MOST_ERASING} rounds not everything is erased")
