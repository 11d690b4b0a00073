"""A gateway of one process: SIGHUP has it read settings, plan, certificate and keys anew, and refuses nobody meanwhile.

Connections stay as they are: what answers on them is swapped as a whole (`heliograph.gateway.present`) once all of the
new is known to be good. The log, its bounds and the address stay those of the start.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
import uvloop

from heliograph.gateway.door import open_door
from heliograph.gateway.server import build_gateway
from heliograph.https_server import server_tls
from heliograph.keys import KeyFileError
from heliograph.plan.load import PlanError
from heliograph.registry.errors import RegistryError
from heliograph.registry.view import RegistryView
from heliograph.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.gateway.plans import PlanInForce
    from heliograph.gateway.server import GatewayServer
    from heliograph.settings import Settings

Reread: TypeAlias = "Callable[[], tuple[Settings, PlanInForce]]"
"""Reads settings and plan as they stand now; raises `SettingsError` or `PlanError`."""
_log: Final = structlog.get_logger("heliograph.gateway")


def run_single(server: GatewayServer, folder: Path, reread: Reread) -> None:
    """Serve until told to stop (SIGINT or SIGTERM); SIGHUP reads anew.

    Args:
        server: What serves.
        folder: The log's.
        reread: Gives what is to be served by from then on.

    Raises:
        OSError: The address is taken.
    """

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, Reload(server, reread).begin)
        for number in (signal.SIGINT, signal.SIGTERM):  # else the server raises it again once it has ended
            loop.add_signal_handler(number, server.https.end)
        async with open_door(server.present.writer, folder):
            await server.https.serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


class Reload:
    """Reads anew, one time after the other.

    Args:
        server: What serves.
        reread: See `run_single`.
    """

    def __init__(self, server: GatewayServer, reread: Reread) -> None:
        self._server = server
        self._reread = reread
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Begin to read anew."""
        task = asyncio.get_running_loop().create_task(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> None:
        """Read anew; what cannot be used is logged, and what was there stays."""
        async with self._turn:
            try:
                await self._reload()
            except (SettingsError, PlanError, RegistryError) as error:
                self._tell([str(problem) for problem in error.problems])
            except (KeyFileError, OSError) as error:
                self._tell([str(error)])

    @staticmethod
    def _tell(problems: list[str]) -> None:
        _log.error("what was read anew cannot be used", problems=problems)

    async def _reload(self) -> None:
        settings, plans = await asyncio.to_thread(self._reread)
        gateway = settings.gateway
        server_tls(gateway.certificate, gateway.private_key)  # they are good, before anything is swapped
        view = await asyncio.to_thread(RegistryView, settings.registry, now=_now)
        try:
            app = build_gateway(gateway, plans, view, self._server.present.writer, now=_now)
            self._server.https.renew(gateway.certificate, gateway.private_key, head_seconds=gateway.head_seconds)
        except Exception:
            _close(view)
            raise
        self._server.present.replace(app, lambda: _close(view))
        _log.info("settings read anew", plan=plans.checks().label)


def _now() -> datetime:
    return datetime.now(UTC)


def _close(view: RegistryView) -> None:
    """Close it elsewhere: its thread may have to be waited for."""
    threading.Thread(target=view.close, name="registry-close").start()
