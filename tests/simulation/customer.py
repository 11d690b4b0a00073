"""The customer's machine: how recorders, agent and the admin's commands are begun and ended."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import INSTANCE, SMALL_PLAN
from heliograph.instance import https as https_module
from heliograph.instance import recorder as recorder_module
from heliograph.instance.agent import Agent
from heliograph.instance.forgetting import forget, scrub
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient
from heliograph.keys import public_key_text
from heliograph.settings import AgentSettings, RecorderSettings, Settings
from simulation.ground import BEGINNING, GATEWAY_KEY, INSTANCE_KEY, MEMORY, Ground
from simulation.processes import Process


@functools.cache
def quick_tls() -> Any:
    """Return what stands for the context of a connection that nobody makes."""
    return httpx.create_ssl_context(verify=False)


class CustomersMachine(Ground):
    """The processes of the product and the agent, in one folder."""

    def __init__(self, folder: Path, *, real_lake: bool = False) -> None:
        super().__init__(folder, real_lake=real_lake)
        self.recorders: list[tuple[Process, Recorder]] = []
        self.agent: tuple[Process, Agent] | None = None

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
        self.kill(process)

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
                    exporter=self.token_bytes(16).hex(),
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
            self.kill(process)
            raise
        self.agent = process, agent
        return process

    def kill_agent(self) -> None:
        """End the agent, as SIGKILL does."""
        if self.agent is not None:
            self.kill(self.agent[0])
            self.agent = None

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
            self.kill(process)
        return set(outcome.random_ids)

    def cut_instance(self) -> None:
        """Cut the power of the customer's machine."""
        while self.recorders:
            self.kill_recorder(0)
        self.kill_agent()
        self.instance_disk.cut_power()

    def end_customers_processes(self) -> None:
        """End all of them."""
        while self.recorders:
            self.kill_recorder(0)
        self.kill_agent()


@functools.cache
def _state_template() -> str:
    """Return a folder with the state of an agent that has begun once: making its tables takes longer than a history."""
    folder = tempfile.mkdtemp(prefix="template-", dir=MEMORY if MEMORY.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pins = Path(folder) / "pins"
    pins.write_text(public_key_text(GATEWAY_KEY))
    settings = AgentSettings(instance=INSTANCE, vendor_keys=str(pins), state=f"{folder}/agent")
    with mock.patch.object(https_module, "tls_context", return_value=quick_tls()):
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
