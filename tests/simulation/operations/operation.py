"""What an operation of a history is, and what all of them need to be done."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from simulation.oracle import Oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.processes import Fault, Process
    from simulation.world import World


class Operation(NamedTuple):
    """One operation; it can be done in any state, so that any of a history's can be left out."""

    name: str
    a: int
    b: int
    salt: int
    """Decides what is left to chance within it."""

    def __str__(self) -> str:
        return f"{self.name}({self.a}, {self.b})"


class Operations:
    """Does operations in a world; what becomes of them is told to the oracle."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.oracle = Oracle(world)
        self.values = 0
        self._copy = False
        self._armed: dict[str, tuple[Fault, int]] = {}
        self.clocks_differed = False
        """By so much that an event may be refused as one of the future: by a clock that was wrong, or is thought so."""

    @contextlib.contextmanager
    def _acting(self, process: Process) -> Iterator[None]:
        with self.world.stage.act(process):
            yield

    def _arm(self, process: Process) -> None:
        fault = self._armed.pop(process.name.partition("-")[0], None)
        if fault is not None:
            process.arm(*fault)
