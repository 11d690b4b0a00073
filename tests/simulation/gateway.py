"""The gateway of the simulated vendor, in one process: `simulation.workers` has one in several."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import httpx

from heliograph.gateway.server import open_gateway
from simulation.erasing import quiet
from simulation.network import ask_all
from simulation.processes import CrashError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.gateway.log import Log
    from heliograph.gateway.plans import PlanInForce
    from heliograph.gateway.present import Present
    from heliograph.gateway.writer import LocalWriter
    from simulation.ground import Ground
    from simulation.network import Sent, Told
    from simulation.processes import Process


class RunningGateway:
    """A gateway that runs, or is about to.

    Args:
        ground: What it stands on.
        process: The one that has its log.
        plans: What may be stored.
    """

    def __init__(self, ground: Ground, process: Process, plans: PlanInForce) -> None:
        self._ground = ground
        self._loop = ground.loop
        self.process: Final = process
        self.plans: Final = plans
        self.writer: LocalWriter
        self._stack = ExitStack()
        self._died = self.told_when(process)

    @property
    def log(self) -> Log:
        """Its log."""
        return self.writer._log

    def told_when(self, process: Process) -> asyncio.Future[None]:
        """Return what is done once a process has died."""
        died = self._loop.create_future()

        def tell() -> None:
            if not died.done():
                died.set_result(None)

        def tell_loop() -> None:
            self._loop.call_soon_threadsafe(tell)

        process.died = tell_loop
        return died

    def processes(self) -> list[Process]:
        """Return all that it consists of."""
        return [self.process]

    def begin(self) -> None:
        """Start it.

        Raises:
            OSError, LogFullError, CrashError: It did not start; `end` clears up.
        """
        raise NotImplementedError

    def ask(self, requests: Sequence[Sent]) -> Told:
        """Give it requests that arrive at once, and return the answer to the last.

        Raises:
            httpx.TransportError: It dies, or does not answer.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Let everything arrive that is on its way within it."""

    def stop(self) -> None:
        """Let it end in order; `end` clears up."""
        with self._ground.stage.act(self.process):
            self._stack.close()

    def end(self) -> None:
        """End it, as SIGKILL does."""
        self.process.is_alive = False
        with self._ground.stage.act(self.process):
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks))
            with contextlib.suppress(Exception, CrashError):  # it is dead: this only ends its thread
                self._stack.close()
        self._ground.kill(self.process)


class SingleGateway(RunningGateway):
    """A gateway of one process."""

    _app: Present

    def begin(self) -> None:
        """See `RunningGateway.begin`."""
        ground = self._ground
        registry: Any = ground.registry  # stands for the view on it
        with ground.stage.act(self.process):
            opening = open_gateway(ground.settings.gateway, self.plans, registry, now=ground.vendor_now)
            self._app = self._stack.enter_context(opening)
        self.writer = self._app.writer  # type: ignore[assignment] # there is one process
        quiet(self.log)

    def ask(self, requests: Sequence[Sent]) -> Told:
        """See `RunningGateway.ask`."""
        try:
            with self._ground.stage.act(self.process):
                return self._loop.run_until_complete(ask_all(self._app, requests, self._died))[-1]
        except CrashError:
            raise httpx.ReadError("the connection was reset") from None
