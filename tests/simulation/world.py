"""Both machines of the simulation: how each process is begun and ended, in one module, and what the clocks say.

The production code of recorder, agent, gateway and loader runs as it is. What stands for something: the disk
(`simulation.disk`), the network (`simulation.network`), PyIceberg's tables (`simulation.lake`), and the registry.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import random
import shutil
import tempfile
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import INSTANCE, SMALL_PLAN
from heliograph.event import Epoch, new_epoch
from heliograph.gateway import rotation as rotation_module
from heliograph.gateway import writer as writer_module
from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.server import open_gateway
from heliograph.instance import exporter as exporter_module
from heliograph.instance import https as https_module
from heliograph.instance import outbox as outbox_module
from heliograph.instance import pseudonyms as pseudonyms_module
from heliograph.instance import recorder as recorder_module
from heliograph.instance.agent import Agent
from heliograph.instance.forgetting import forget, scrub
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient
from heliograph.keys import public_key_text
from heliograph.lake import commits as commits_module
from heliograph.lake import deliveries as deliveries_module
from heliograph.lake import durability
from heliograph.lake import loader as loader_module
from heliograph.lake import pings as pings_module
from heliograph.lake.erased import read_erased_epochs
from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from heliograph.settings import AgentSettings, GatewaySettings, LakeSettings, RecorderSettings, Settings
from simulation import erasing
from simulation import lake as memory
from simulation.disk import Disk
from simulation.erasing import Logs, quiet
from simulation.interposed import interposed
from simulation.lake import MemoryLake, RealLake
from simulation.network import Network, Sent, Told, ask_all
from simulation.plans import PLANS, checks_of, quick_builder
from simulation.processes import CrashError, Process, Stage
from simulation.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heliograph.gateway.account import Account
    from heliograph.gateway.present import Present

MEMORY: Final = Path("/dev/shm")
BEGINNING: Final = datetime(2026, 11, 1, tzinfo=UTC)
INSTANCE_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"instance" * 4)
GATEWAY_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"gateway." * 4)
SEGMENT_BYTES: Final = 6 << 10
LOG_BYTES: Final = 1 << 20
OUTBOX_BYTES: Final = 1 << 20
OUTBOX_SEGMENT_BYTES: Final = 500
BATCH_EVENTS: Final = 7


@functools.cache
def _tls() -> Any:
    return httpx.create_ssl_context(verify=False)


class World:
    """Two machines in a folder of their own.

    Args:
        folder: An empty folder.
        real_lake: Whether the lake's tables are PyIceberg's own, which take a hundred times as long.
    """

    def __init__(self, folder: Path, *, real_lake: bool = False) -> None:
        self.folder = folder
        self.stage = Stage()
        self.chance = random.Random()
        self.instance_disk = self._disk("instance")
        self.vendor_disk = self._disk("vendor")
        self.outbox = folder / "instance" / "outbox"
        self.state = folder / "instance" / "agent"
        self.log = folder / "vendor" / "log"
        self.time = 0.0
        """Seconds since the beginning: the clock that nobody sets."""
        self.instance_skew = 0.0
        self.vendor_skew = 0.0
        self.instance_key = INSTANCE_KEY
        """Of the agent that is started next."""
        self.instance_keys = 0
        self.registry = Registry(self.stage, INSTANCE_KEY)
        self.logs = Logs()
        self.plan = 0
        lake = LakeSettings(
            warehouse=str(folder / "vendor" / "lake"),
            catalog=f"sqlite:///{folder / 'vendor' / 'lake' / 'catalog.db'}",
            commit_rows=20,
        )
        self.lake: MemoryLake | RealLake = RealLake(lake) if real_lake else MemoryLake(self.stage)
        self.network = Network(self.ask, self.vendor_now)
        self.epochs = 0
        self.products = 0
        self.ids = 0
        self.recorders: list[tuple[Process, Recorder]] = []
        self.agent: tuple[Process, Agent] | None = None
        self.gateway: tuple[Process, Present] | None = None
        self.loader: tuple[Process, Loader] | None = None
        self.eraser: Eraser | None = None
        """Of the loader's process."""
        self._gateway_stack = ExitStack()
        self._died: asyncio.Future[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)
        self._kill: Callable[[Process], None]
        self._pins = folder / "vendor.pub"
        self._pins.write_text(public_key_text(GATEWAY_KEY))
        (folder / "signing.pem").write_bytes(_pem())
        (folder / "signing.pem").chmod(0o600)
        self.settings = Settings(
            recorder=RecorderSettings(outbox=str(self.outbox), maximum_bytes=OUTBOX_BYTES, sync_milliseconds=1_000_000),
            agent=AgentSettings(
                instance=INSTANCE,
                vendor_keys=str(self._pins),
                batch_events=BATCH_EVENTS,
                state=str(self.state),
                gateway="https://gateway",
            ),
            gateway=GatewaySettings(
                log=str(self.log),
                signing_key=str(folder / "signing.pem"),
                segment_bytes=SEGMENT_BYTES,
                maximum_log_bytes=LOG_BYTES,
            ),
            lake=lake,
        )

    def _disk(self, name: str) -> Disk:
        root = self.folder / name
        root.mkdir()
        return Disk(root, self.chance)

    # Clocks.

    def instance_now(self) -> datetime:
        """Return the time by the instance's clock."""
        return BEGINNING + timedelta(seconds=self.time + self.instance_skew)

    def vendor_now(self) -> datetime:
        """Return the time by the vendor's clock."""
        return BEGINNING + timedelta(seconds=self.time + self.vendor_skew)

    def ticks(self) -> float:
        """Return seconds by the clock that nobody sets."""
        return 1_000.0 + self.time

    def monotonic(self) -> float:
        """As `ticks`: stands for `time.monotonic`."""
        return self.ticks()

    def _new_epoch(self) -> Epoch:
        self.epochs += 1
        return new_epoch(milliseconds=int(self.instance_now().timestamp() * 1000), randomness=self.epochs)

    def _token_bytes(self, size: int) -> bytes:
        self.ids += 1
        return random.Random(self.ids).randbytes(size)

    @contextlib.contextmanager
    def open(self) -> Iterator[World]:
        """Let the simulation's parts stand in their places; at the end nothing of it is left."""
        with ExitStack() as stack:
            clocks = mock.Mock(monotonic=self.monotonic)
            for owner, name, stand_in in (
                (outbox_module, "new_epoch", self._new_epoch),
                (pseudonyms_module, "secrets", mock.Mock(token_bytes=self._token_bytes)),
                (https_module, "tls_context", lambda _: _tls()),
                (recorder_module, "clock", clocks),
                (recorder_module, "SEGMENT_BYTES", OUTBOX_SEGMENT_BYTES),
                (exporter_module, "BatchBuilder", quick_builder),
                (exporter_module.Exporter, "_read_ahead", lambda *_: None),  # a thread would make no history twice
                (writer_module, "_LOCKS", 8),
                *self._steps_of_rotation(),
                *erasing.stand_ins(self.logs),
                *self._lake_stand_ins(),
            ):
                stack.enter_context(mock.patch.object(owner, name, stand_in))
            self._kill = stack.enter_context(interposed(self.stage, [self.instance_disk, self.vendor_disk]))
            try:
                yield self
            finally:
                self.kill_everything()
                self._loop.close()

    def _steps_of_rotation(self) -> Iterator[tuple[Any, str, Any]]:
        """Yield the steps of replacing the gateway's key, before and after each of which one may die."""

        def step(name: str, really: Callable[..., Any]) -> Callable[..., Any]:
            def do(*arguments: Any) -> Any:
                with self.stage.acting.commit(name) if self.stage.acting else contextlib.nullcontext():
                    return really(*arguments)

            return do

        yield rotation_module, "_alone", contextlib.nullcontext
        for name in ("load_or_create_key", "write_atomically", "sync_folder"):
            yield rotation_module, name, step(name, getattr(rotation_module, name))

    def _lake_stand_ins(self) -> Iterator[tuple[Any, str, Any]]:
        """Yield what stands for the parts of PyIceberg that the loader uses; of its own, where one may die."""
        if isinstance(self.lake, RealLake):
            really = durability.sync_snapshot

            def sync_snapshot(table: Any) -> None:
                with self.stage.acting.commit("sync") if self.stage.acting else contextlib.nullcontext():
                    really(table)

            yield loader_module, "sync_snapshot", sync_snapshot
            return
        yield loader_module, "open_events", self.lake.open_events
        yield loader_module, "lake_columns", memory.lake_columns
        yield loader_module, "widen", memory.widen
        yield loader_module, "sync_snapshot", memory.sync_snapshot
        yield commits_module, "begin", memory.begin
        yield loader_module, "Marts", memory.NoMarts
        yield loader_module, "Tending", memory.NoTending
        yield Loader, "_read_loaded", _read_loaded
        yield pings_module, "open_pings", self.lake.open_pings
        yield pings_module.PingTable, "_read_latest", _read_latest
        yield deliveries_module, "open_deliveries", self.lake.open_deliveries
        yield deliveries_module, "find_deliveries", self.lake.find_deliveries
        yield deliveries_module, "_in_lake", self.lake.delivered
        yield deliveries_module.DeliveryTable, "_read_last", _read_last
        yield from erasing.lake_stand_ins(self.lake)

    # Processes.

    def start_recorder(self) -> Process:
        """Begin a process of the product."""
        self.products += 1
        process = Process(f"product-{self.products}", self.stage)
        with self.stage.act(process):
            recorder = Recorder(self.settings.recorder, now=self.instance_now, environment={}, look_seconds=1e9)
        self.recorders.append((process, recorder))
        return process

    def kill_recorder(self, which: int) -> None:
        """End a process of the product, as SIGKILL does."""
        process, recorder = self.recorders.pop(which)
        recorder._stop.set()
        recorder_module._recorders.discard(recorder)
        self._kill(process)

    def start_agent(self) -> Process:
        """Begin the agent.

        Raises:
            OSError, sqlite3.Error, CrashError: It did not start; `kill_agent` clears up.
        """
        process = Process("agent", self.stage)
        if not self.state.exists():
            shutil.copytree(_state_template(), self.state)
            with self.stage.act(process):
                self.instance_disk.adopt(self.state)
        try:
            with self.stage.act(process):
                client = GatewayClient(
                    self.settings.agent,
                    self.instance_key,
                    now=self.instance_now,
                    ticks=self.ticks,
                    transport=self.network,
                    exporter=self._token_bytes(16).hex(),
                )
                agent = Agent(
                    self.settings,
                    SMALL_PLAN,
                    now=self.instance_now,
                    ticks=self.ticks,
                    client=client,
                    environment={},
                )
        except BaseException:
            self._kill(process)
            raise
        self.agent = process, agent
        return process

    def kill_agent(self) -> None:
        """End the agent, as SIGKILL does."""
        if self.agent is not None:
            self._kill(self.agent[0])
            self.agent = None

    def start_gateway(self) -> Process:
        """Begin the gateway.

        Raises:
            OSError, LogFullError, CrashError: It did not start; nothing of it is left.
        """
        process = self.stage.threads = Process("gateway", self.stage)
        died = self._died = self._loop.create_future()

        def tell() -> None:
            if not died.done():
                died.set_result(None)

        def tell_loop() -> None:
            self._loop.call_soon_threadsafe(tell)

        process.died = tell_loop
        plans = PlanInForce.__new__(PlanInForce)
        plans._file, plans._checks = None, checks_of(self.plan)
        try:
            with self.stage.act(process):
                app = self._gateway_stack.enter_context(
                    open_gateway(
                        self.settings.gateway,
                        plans,
                        self.registry,  # type: ignore[arg-type] # stands for it
                        now=self.vendor_now,
                    )
                )
        except BaseException:
            self._end_gateway(process)
            raise
        quiet(app.writer._log)  # type: ignore[attr-defined] # there is one process
        self.gateway = process, app
        return process

    def kill_gateway(self) -> None:
        """End the gateway, as SIGKILL does."""
        if self.gateway is not None:
            process, self.gateway = self.gateway[0], None
            self._end_gateway(process)

    def _end_gateway(self, process: Process) -> None:
        process.is_alive = False
        with self.stage.act(process):
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks))
            with contextlib.suppress(Exception, CrashError):  # it is dead: this only ends its thread
                self._gateway_stack.close()
        self._gateway_stack = ExitStack()
        self._kill(process)

    def stop_gateway(self) -> None:
        """Let the gateway end in order."""
        if self.gateway is not None:
            process, self.gateway = self.gateway[0], None
            with self.stage.act(process):
                self._gateway_stack.close()
            self._end_gateway(process)

    def gateway_account(self) -> Account:
        """Return the vendor's half of the account, as the gateway has it."""
        assert self.gateway is not None
        return self._loop.run_until_complete(self.gateway[1].writer.account(INSTANCE))

    def use_plan(self, plan: int) -> None:
        """Let another plan be in force at the vendor."""
        self.plan = plan
        if self.gateway is not None:
            self.gateway[1].gateway._plans._checks = checks_of(plan)

    def ask(self, requests: list[Sent]) -> list[Told]:
        """Give the gateway requests that arrive at once.

        Raises:
            httpx.TransportError: It is not there, or dies.
        """
        if self.gateway is None or self._died is None:
            raise httpx.ConnectError("nobody listens")
        process, app = self.gateway
        try:
            with self.stage.act(process):
                return self._loop.run_until_complete(ask_all(app, requests, self._died))
        except CrashError:
            raise httpx.ReadError("the connection was reset") from None
        finally:
            if not process.is_alive:
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
        self._kill(process)
        if (locks := getattr(loader, "_locks", None)) is not None:
            with self.stage.act(process):  # it is dead: nothing is closed that somebody else has opened since
                locks.close()

    def _let_the_log_be_scrubbed(self, _: float) -> None:
        """Stands for an erasure's pause: whoever has the log does meanwhile what its thread does every second."""
        if self.gateway is None:
            if self.logs.taken is not None:
                self.logs.taken._scrub()
            return
        process, app = self.gateway
        try:
            with self.stage.act_with_threads(process):
                app.writer._log._scrub()  # type: ignore[attr-defined] # as above
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
            self._kill(process)

    def new_instance_key(self) -> None:
        """Put another key in the place of the instance's, with which an agent that is started next begins."""
        self.instance_keys += 1
        self.instance_key = Ed25519PrivateKey.from_private_bytes(b"instance %023d" % self.instance_keys)

    def forget(self, user: str, process: Process) -> set[str]:
        """Let the admin's command forget a user, and return the random ids that are to be erased.

        Raises:
            OSError, sqlite3.Error, StateError, CrashError: It may be done or not.
        """
        try:
            with self.stage.act(process), closing(State(self.state, exclusive=False, now=self.instance_now)) as state:
                outcome = forget(state, user, outbox=self.outbox, now=self.instance_now())
                scrub(state.connection)
        finally:
            self._kill(process)
        return set(outcome.random_ids)

    def cut_instance(self) -> None:
        """Cut the power of the customer's machine."""
        while self.recorders:
            self.kill_recorder(0)
        self.kill_agent()
        self.instance_disk.cut_power()

    def cut_vendor(self) -> None:
        """Cut the power of the vendor's machine."""
        self.kill_gateway()
        self.kill_loader()
        self.vendor_disk.cut_power()

    def kill_everything(self) -> None:
        """End all processes."""
        while self.recorders:
            self.kill_recorder(0)
        self.kill_agent()
        self.kill_gateway()
        self.kill_loader()
        atexit.unregister(recorder_module._close_if_alive)


def _pem() -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - for this alone

    return GATEWAY_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_loaded(loader: Loader) -> dict[tuple[str, int], int]:
    """Stands for the query over the lake's files."""
    table: Any = loader._table
    loaded = {(i, e): sequence for i, epochs in read_erased_epochs(table).items() for e, sequence in epochs.items()}
    rows = (((row["instance"], row["epoch"]), row["sequence"]) for row in table.stored.rows)
    return loaded | memory.highest(rows)


def _read_latest(table: Any) -> Any:
    return memory.highest((row["instance"], row["day"]) for row in table.table.stored.rows)


def _read_last(table: Any) -> Any:
    return memory.highest(((row["instance"], row["epoch"]), row["last"]) for row in table.table.stored.rows)


@functools.cache
def _state_template() -> str:
    """Return a folder with the state of an agent that has begun once: making its tables takes longer than a history."""
    folder = tempfile.mkdtemp(prefix="template-", dir=MEMORY if MEMORY.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pins = Path(folder) / "pins"
    pins.write_text(public_key_text(GATEWAY_KEY))
    settings = AgentSettings(instance=INSTANCE, vendor_keys=str(pins), state=f"{folder}/agent")
    with mock.patch.object(https_module, "tls_context", return_value=_tls()):
        client = GatewayClient(settings, INSTANCE_KEY, transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    Agent(
        Settings(recorder=RecorderSettings(outbox=f"{folder}/outbox"), agent=settings),
        SMALL_PLAN,
        now=lambda: BEGINNING,
        client=client,
        environment={},
    ).close()
    Path(folder, "agent", "agent.lock").unlink()
    return f"{folder}/agent"


@contextlib.contextmanager
def opened(*, real_lake: bool = False) -> Iterator[World]:
    """Open a world in a folder of its own, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None))
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    try:
        with World(folder, real_lake=real_lake).open() as world:
            yield world
    finally:
        structlog.reset_defaults()
        shutil.rmtree(folder)
