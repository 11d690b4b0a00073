"""What both machines of the simulation stand on: a folder, a clock, disks, a network, and one settings file."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import INSTANCE
from heliograph.event import Epoch, new_epoch
from heliograph.keys import public_key_text
from heliograph.settings import AgentSettings, GatewaySettings, LakeSettings, RecorderSettings, Settings
from simulation.disk import Disk
from simulation.erasing import Logs
from simulation.lake import MemoryLake, RealLake
from simulation.network import Network
from simulation.processes import Stage
from simulation.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.network import Sent, Told
    from simulation.processes import Process

MEMORY: Final = Path("/dev/shm")
BEGINNING: Final = datetime(2026, 11, 1, tzinfo=UTC)
INSTANCE_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"instance" * 4)
GATEWAY_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"gateway." * 4)
SEGMENT_BYTES: Final = 6 << 10
LOG_BYTES: Final = 1 << 20
OUTBOX_BYTES: Final = 1 << 20
OUTBOX_SEGMENT_BYTES: Final = 500
BATCH_EVENTS: Final = 7


class Ground:
    """Two machines in a folder of their own, with no process yet.

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
        self.loop = asyncio.new_event_loop()
        """Of the gateway, and of its workers."""
        self.loop.set_exception_handler(lambda *_: None)
        self.kill: Callable[[Process], None]
        """Ends a process, as SIGKILL does."""
        pins = folder / "vendor.pub"
        pins.write_text(public_key_text(GATEWAY_KEY))
        (folder / "signing.pem").write_bytes(_pem())
        (folder / "signing.pem").chmod(0o600)
        self.settings = Settings(
            recorder=RecorderSettings(outbox=str(self.outbox), maximum_bytes=OUTBOX_BYTES, sync_milliseconds=1_000_000),
            agent=AgentSettings(
                instance=INSTANCE,
                vendor_keys=str(pins),
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

    def ask(self, requests: list[Sent]) -> Told:
        """Give the gateway requests that arrive at once, and return the answer to the last.

        Raises:
            httpx.TransportError: It is not there, or dies.
        """
        raise NotImplementedError

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

    def new_epoch(self) -> Epoch:
        """Stands for `heliograph.event.new_epoch`."""
        self.epochs += 1
        return new_epoch(milliseconds=int(self.instance_now().timestamp() * 1000), randomness=self.epochs)

    def token_bytes(self, size: int) -> bytes:
        """Stand for `secrets.token_bytes`."""
        self.ids += 1
        return random.Random(self.ids).randbytes(size)


def _pem() -> bytes:
    return GATEWAY_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
