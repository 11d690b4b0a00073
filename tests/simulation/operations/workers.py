"""What befalls a gateway's workers, and their links to the writer."""

from __future__ import annotations

from typing import Final

from simulation.operations.operation import Operations
from simulation.processes import Fault
from simulation.workers import GatewayOfWorkers, Worker

PATIENT: Final = frozenset(
    {
        "record", "flush", "round", "load", "arrive_late", "arrive_again", "at_once", "fate", "start_gateway",
        "kill_worker", "crash_worker", "crash_writer", "cut_link", "slow_link", "crash", "kill_gateway", "cut_vendor",
    }
)  # fmt: skip
"""Operations that a slow link may outlast: everything else comes when it has delivered what was on it."""
_MESSAGES: Final = 8
"""More than a worker sends and hears for one delivery."""


class WorkerOperations(Operations):
    """Workers; nothing befalls them where the gateway is one process."""

    def _worker(self, which: int) -> Worker | None:
        gateway = self.world.gateway
        return gateway.workers[which % len(gateway.workers)] if isinstance(gateway, GatewayOfWorkers) else None

    def two_workers(self, _a: int, _b: int) -> None:
        """Let each gateway that is started from now on have two."""
        self.world.workers = 2

    def kill_worker(self, a: int, _b: int) -> None:
        """End a worker alone, as SIGKILL does."""
        if (worker := self._worker(a)) is not None:
            worker.process.is_alive = False

    def crash_worker(self, a: int, b: int) -> None:
        """Let a worker die as it sends one of its next messages, or as it hears one."""
        if (worker := self._worker(a)) is not None:
            fault = (Fault.BEFORE, Fault.AFTER, Fault.TORN)[a // 2 % 3]
            worker.process.arm(fault, b % _MESSAGES + 1)

    def crash_writer(self, a: int, b: int) -> None:
        """Let the writer die as it hears, writes or answers, or let its disk fail."""
        if (gateway := self.world.gateway) is not None:
            gateway.process.arm(tuple(Fault)[a % len(Fault)], b % _MESSAGES + 1)

    def cut_link(self, a: int, _b: int) -> None:
        """Let a worker and the writer lose each other, and some of what was on its way."""
        if (worker := self._worker(a)) is not None:
            worker.link.cut(self.world.chance)

    def slow_link(self, a: int, _b: int) -> None:
        """Let what a worker and the writer send each other wait until nothing else moves, and perhaps longer."""
        if (worker := self._worker(a)) is not None:
            worker.link.be_slow(slow=True)

    def at_once(self, a: int, b: int) -> None:
        """Let two deliveries from before arrive once more, at once."""
        earlier = self.world.network.earlier
        if earlier:
            self.world.network.arrive(earlier[a % len(earlier)], earlier[b % len(earlier)])
