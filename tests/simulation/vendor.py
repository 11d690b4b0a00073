"""The vendor's machine: how gateway, loader and the operator's commands are begun and ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from harness import INSTANCE
from heliograph.gateway import rotation as rotation_module
from heliograph.gateway.plans import PlanInForce
from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from simulation.gateway import SingleGateway
from simulation.ground import Ground
from simulation.plans import PLANS, checks_of
from simulation.processes import CrashError, Process
from simulation.workers import GatewayOfWorkers

if TYPE_CHECKING:
    from heliograph.gateway.account import Account
    from simulation.gateway import RunningGateway
    from simulation.network import Sent, Told


class VendorsMachine(Ground):
    """Gateway and loader, in one folder."""

    def __init__(self, folder: Path, *, real_lake: bool = False) -> None:
        super().__init__(folder, real_lake=real_lake)
        self.workers = 0
        """How many a gateway that is started next has; 0: it is one process."""
        self.gateway: RunningGateway | None = None
        self.loader: tuple[Process, Loader] | None = None
        self.eraser: Eraser | None = None
        """Of the loader's process."""

    def start_gateway(self) -> Process:
        """Begin the gateway.

        Raises:
            OSError, LogFullError, CrashError: It did not start; nothing of it is left.
        """
        process = self.stage.threads = Process("gateway", self.stage)
        plans = PlanInForce.__new__(PlanInForce)
        plans._file, plans._checks = None, checks_of(self.plan)
        gateway: RunningGateway = (
            GatewayOfWorkers(self, process, plans, self.workers)
            if self.workers
            else SingleGateway(self, process, plans)
        )
        try:
            gateway.begin()
        except BaseException:
            gateway.end()
            raise
        self.gateway = gateway
        return process

    def kill_gateway(self) -> None:
        """End the gateway, as SIGKILL does."""
        if self.gateway is not None:
            gateway, self.gateway = self.gateway, None
            gateway.end()

    def stop_gateway(self) -> None:
        """Let the gateway end in order."""
        if self.gateway is not None:
            gateway, self.gateway = self.gateway, None
            gateway.stop()
            gateway.end()

    def gateway_account(self) -> Account:
        """Return the vendor's half of the account, as the gateway has it."""
        assert self.gateway is not None
        return self.loop.run_until_complete(self.gateway.writer.account(INSTANCE))

    def use_plan(self, plan: int) -> None:
        """Let another plan be in force at the vendor."""
        self.plan = plan
        if self.gateway is not None:
            self.gateway.plans._checks = checks_of(plan)

    def ask(self, requests: list[Sent]) -> Told:
        """See `Ground.ask`."""
        if self.gateway is None:
            raise httpx.ConnectError("nobody listens")
        try:
            return self.gateway.ask(requests)
        finally:
            self._look_for_the_gateway()

    def finish_links(self) -> None:
        """Let everything arrive that is on its way between the gateway's processes."""
        if self.gateway is not None:
            self.gateway.finish()
            self._look_for_the_gateway()

    def _look_for_the_gateway(self) -> None:
        if self.gateway is not None and not self.gateway.process.is_alive:
            self.kill_gateway()

    def start_loader(self) -> Process:
        """Begin the loader.

        Raises:
            OSError, CrashError: It did not start; nothing of it is left.
        """
        process = Process("loader", self.stage)
        loader = Loader.__new__(Loader)
        try:
            with self.stage.act_with_threads(process):
                loader.__init__(self.settings.gateway, self.settings.lake, PLANS[self.plan])  # type: ignore[misc]
                self.eraser = Eraser(
                    loader,
                    self.settings,
                    self.registry,  # type: ignore[arg-type] # stands for it
                    now=self.vendor_now,
                    monotonic=self.ticks,
                    wait=self._let_the_log_be_scrubbed,
                )
        except BaseException:
            self._end_loader(process, loader)
            raise
        self.loader = process, loader
        return process

    def kill_loader(self) -> None:
        """End the loader, as SIGKILL does."""
        if self.loader is not None:
            self._end_loader(*self.loader)
            self.loader = self.eraser = None

    def _end_loader(self, process: Process, loader: Loader) -> None:
        self.kill(process)
        if (locks := getattr(loader, "_locks", None)) is not None:
            with self.stage.act(process):  # it is dead: nothing is closed that somebody else has opened since
                locks.close()

    def _let_the_log_be_scrubbed(self, _: float) -> None:
        """Stands for an erasure's pause: whoever has the log does meanwhile what its thread does every second."""
        if self.gateway is None:
            if self.logs.taken is not None:
                self.logs.taken._scrub()
            return
        try:
            with self.stage.act_with_threads(self.gateway.process):
                self.gateway.log._scrub()
        except CrashError:
            self.kill_gateway()

    def rotate_key(self, process: Process) -> None:
        """Let the vendor's command replace the gateway's key, which a gateway that is started next signs with.

        Raises:
            CrashError: It may be done or not.
        """
        try:
            with self.stage.act(process):
                rotation_module.rotate_key(Path(self.settings.gateway.signing_key), now=self.vendor_now().timestamp())
        finally:
            self.kill(process)

    def cut_vendor(self) -> None:
        """Cut the power of the vendor's machine."""
        self.kill_gateway()
        self.kill_loader()
        self.vendor_disk.cut_power()

    def end_vendors_processes(self) -> None:
        """End all of them."""
        self.kill_gateway()
        self.kill_loader()
