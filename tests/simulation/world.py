"""Both machines of the simulation, and what stands in its places while they run.

The production code of recorder, agent, gateway and loader runs as it is. What stands for something: the disk
(`simulation.disk`), the network (`simulation.network`), the links between workers and writer (`simulation.links`),
PyIceberg's tables (`simulation.lake`), and the registry.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import structlog

from heliograph.instance import recorder as recorder_module
from simulation.customer import CustomersMachine
from simulation.ground import MEMORY
from simulation.interposed import interposed
from simulation.stand_ins import stand_ins
from simulation.vendor import VendorsMachine

if TYPE_CHECKING:
    from collections.abc import Iterator


class World(CustomersMachine, VendorsMachine):
    """Two machines in a folder of their own, with all that runs on them."""

    @contextlib.contextmanager
    def open(self) -> Iterator[World]:
        """Let the simulation's parts stand in their places; at the end nothing of it is left."""
        with ExitStack() as stack:
            for owner, name, stand_in in stand_ins(self):
                stack.enter_context(mock.patch.object(owner, name, stand_in))
            self.kill = stack.enter_context(interposed(self.stage, [self.instance_disk, self.vendor_disk]))
            try:
                yield self
            finally:
                self.end_customers_processes()
                self.end_vendors_processes()
                atexit.unregister(recorder_module._close_if_alive)
                self.loop.close()


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
