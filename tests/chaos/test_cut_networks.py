"""A network that is really cut, in a namespace of its own: the agent's timeouts end what hangs, and all arrives once.

The loopback of that namespace is the network. Packets are dropped without a word by a queue that lets none pass, so
that connections stay half open; the interface goes down in mid-body; the line gets so thin that its queue overflows.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from chaos.world import Nursery, Product, World, check_everything, drain, running, wait_until
from debian import require_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
SEED = 7
CUTS = 15
SILENT = ["tc", "qdisc", "replace", "dev", "lo", "root", "tbf", "rate", "8bit", "burst", "1", "limit", "1"]
THIN = ["tc", "qdisc", "replace", "dev", "lo", "root", "tbf", "rate", "400kbit", "burst", "4000", "limit", "6000"]
FREE = ["tc", "qdisc", "del", "dev", "lo", "root"]
DOWN = ["ip", "link", "set", "lo", "down"]
UP = ["ip", "link", "set", "lo", "up"]


class Network:
    """A network namespace with nothing but its loopback."""

    def __init__(self, log: Path) -> None:
        self.nursery = Nursery(log, ["unshare", "--net", "sh", "-c", 'ip link set lo mtu 1500 up && exec "$@"', "sh"])

    def do(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        target = str(self.nursery.pid)
        return subprocess.run(["nsenter", "--target", target, "--net", *words], check=False, capture_output=True)

    def must(self, *words: str) -> None:
        done = self.do(*words)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can make a network of its own")
    for program in ("ip", "tc"):
        require_program(program, package="iproute2")
    network = Network(tmp_path / "nursery.log")
    if network.do(*THIN).returncode != 0:
        network.nursery.close()
        pytest.skip("this kernel has no token bucket (sch_tbf), by which packets are dropped here")
    network.must(*FREE)
    yield network
    network.nursery.close()


def test_cuts_at_any_moment_lose_nothing_and_double_nothing(network: Network, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    # A body takes about a second, so that cuts fall into the middle of some.
    world = World(
        tmp_path / "world",
        network.nursery,
        agent={"timeout_seconds": 1.5, "bytes_per_second": 8_000, "batch_events": 2_000},
    )
    gateway, agent, loader = world.gateway(), world.agent(), world.loader()
    product = Product(world, "product", 0, 0.001)
    with running(gateway, loader, agent, product):
        wait_until(lambda: bool(world.lake_values()), seconds=60, what="the first events")
        for _ in range(CUTS):
            time.sleep(chance.uniform(0.2, 2.0))
            cut, mend = chance.choice([(SILENT, FREE), (SILENT, FREE), (THIN, FREE), (DOWN, UP)])
            network.must(*cut)
            time.sleep(chance.uniform(0.1, 4.0))
            network.must(*mend)
        assert "the gateway does not answer" in agent.log.read_text()
        assert "Timeout" in agent.log.read_text()
        for process in (gateway, loader, agent, product):
            assert process.status() is None, f"{process.name}: {process.tail()}"
        assert product.end(signal.SIGTERM) == 0, product.tail()
        agent.end(signal.SIGKILL)
        drain(world)
    assert check_everything(world, [product]) > 1_000


def test_a_line_that_falls_silent_for_long_ends_no_process_and_the_agent_comes_back(
    network: Network, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", network.nursery, agent={"timeout_seconds": 1.0})
    gateway, agent, loader = world.gateway(), world.agent(), world.loader()
    product = Product(world, "product", 0, 0.005)
    with running(gateway, loader, agent, product):
        wait_until(lambda: bool(world.lake_values()), seconds=60, what="the first events")
        network.must(*SILENT)
        told = agent.log.read_text().count("waiting")
        wait_until(lambda: agent.log.read_text().count("waiting") >= told + 4, seconds=60, what="four timeouts")
        network.must(*FREE)
        held = sum(world.lake_values().values())
        wait_until(lambda: sum(world.lake_values().values()) > held, seconds=60, what="the agent to come back")
        assert product.end(signal.SIGTERM) == 0, product.tail()
        agent.end(signal.SIGKILL)
        drain(world)
    check_everything(world, [product])
