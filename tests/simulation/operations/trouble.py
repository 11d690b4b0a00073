"""What befalls processes, machines, clocks, and the network between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulation.network import Fate
from simulation.operations.operation import Operations
from simulation.processes import Fault

if TYPE_CHECKING:
    from simulation.network import Sent

HALF_AN_HOUR: Final = 1_800
_SKEWS: Final = (-7_200.0, -250.0, -60.0, 0.0, 60.0, 250.0, 7_200.0)
_LARGE: Final = 300.0
_MORTALS: Final = ("product", "agent", "gateway", "loader", "command")


class TroubleOperations(Operations):
    """Trouble."""

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

    def _arrives(self, sent: Sent) -> None:
        status = self.world.network.arrive(sent)
        self.world.stage.note(f"an old request ({sent.headers.get('heliograph-range')}) is answered", str(status))

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
        self.world.time += a % HALF_AN_HOUR

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
