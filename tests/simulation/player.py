"""Plays histories: does operation after operation, lets everything heal, and has the oracle look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heliograph.consent.level import Level
from heliograph.instance.agent import Left
from heliograph.instance.erasures import read_erasures
from simulation.broken import BrokenPromiseError
from simulation.operations.agent import AgentOperations
from simulation.operations.product import ProductOperations
from simulation.operations.trouble import HALF_AN_HOUR, TroubleOperations
from simulation.operations.vendor import VendorOperations
from simulation.operations.workers import PATIENT, WorkerOperations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulation.operations.operation import Operation
    from simulation.processes import Process

MOST_ROUNDS: Final = 400
_MOST_ERASING: Final = 40
_ACCOUNTED: Final = frozenset({"round", "cut_instance", "cut_vendor", "restore_state", "start_agent", "start_gateway"})
"""Operations after which the accounts are checked, as they are after every third of the others: it takes its time."""
_EVERY: Final = 3


class Player(ProductOperations, AgentOperations, VendorOperations, WorkerOperations, TroubleOperations):
    """Does one history's operations in a world, and looks whether the promises hold."""

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
        if operation.name not in PATIENT:
            self.world.finish_links()
        closed = not self.oracle.may_arrive() and operation.name != "level"
        before = set(self.oracle.arrived()) if closed else set()
        getattr(self, operation.name)(operation.a, operation.b)
        if closed:
            more = self.oracle.arrived() - before
            if more:
                raise BrokenPromiseError(f"events {sorted(more)} arrived though the level did not allow it")
        if operation.name in _ACCOUNTED or number % _EVERY == 0:
            self.oracle.check_accounts()

    def heal(self) -> None:
        """Let nothing more go wrong, and everybody be there."""
        world = self.world
        self._armed.clear()
        for process in self._processes():
            process.disarm()
        for disk in (world.instance_disk, world.vendor_disk):
            disk.is_full = disk.is_lying = False
        world.finish_links()
        world.network.is_partitioned = False
        world.network.fates.clear()
        world.instance_skew = world.vendor_skew = 0.0
        world.time += 4 * HALF_AN_HOUR
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
