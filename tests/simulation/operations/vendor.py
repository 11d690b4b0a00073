"""What gateway and loader do, and what the vendor's people do."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from harness import ACCOUNT
from heliograph.consent.level import Level
from heliograph.gateway.log import LogFullError
from heliograph.lake.loader_locks import LoaderRunningError
from simulation.operations.operation import Operations
from simulation.processes import CrashError, Fault, Process
from simulation.registry import order

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS: Final = (Level.EVENTS, Level.EVENTS, Level.CRITICAL, Level.OFF)
_UNTIL_DUE: Final = 15.0
"""Seconds after which what an order covers has arrived, and its time has come."""


class VendorOperations(Operations):
    """The vendor."""

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
