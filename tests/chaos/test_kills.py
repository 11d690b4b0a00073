"""Real processes, killed without warning again and again while events are recorded: nothing lost, nothing twice."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from chaos.world import GatewayOfWorkers, Product, World, check_everything, drain, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.world import Nursery, Process

KILLS = 180
WRITERS = 4
"""So often is the process killed that has the log of a gateway with workers."""
SEED = 20_261_125
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def kill(process: Process) -> None:
    """Kill a process without warning, and start it again."""
    status = process.status()
    assert status is None, f"{process.name} ended by itself with {status}: {process.tail()}"
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    process.start()


def test_two_hundred_kills_of_everything_under_load_lose_nothing_and_double_nothing(
    nursery: Nursery, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", nursery)
    chance = random.Random(SEED)
    products = [Product(world, f"product-{number}", number * 100_000_000, 0.002) for number in range(3)]
    agent, gateway, loader = world.agent(), world.gateway(), world.loader()
    killed: Counter[str] = Counter()

    def kill_some(number: int, processes: Sequence[Process], weights: Sequence[int]) -> None:
        for process in chance.choices(processes, weights, k=number):
            time.sleep(chance.uniform(0.0, 0.5))
            kill(process)
            killed[process.name] += 1

    def kill_workers(writer: GatewayOfWorkers, number: int) -> None:
        """Kill one alone each time, with whatever else."""
        for _ in range(number):
            kill_some(1, [agent, loader, *products], [4, 4, 1, 1, 1])
            killed["worker"] += writer.kill_worker(chance)

    with running(loader, *products):
        with running(gateway):
            wait_until(world.gateway_listens, seconds=60, what="the gateway")
            agent.start()
            # The three that keep state are killed most.
            kill_some(KILLS, [gateway, agent, loader, *products], [4, 4, 4, 1, 1, 1])
        writer = world.gateway_of_workers(2)
        with running(writer):
            try:
                for _ in range(WRITERS):
                    wait_until(writer.has_workers, seconds=120, what="its workers")
                    kill_workers(writer, 6)
                    kill_some(1, [writer], [1])
                for product in products:
                    assert product.end(signal.SIGTERM) == 0, product.tail()
            finally:
                agent.end(signal.SIGKILL)
            drain(world)
        found = check_everything(world, products)
    assert found > 1_000
    assert all(killed[process.name] >= 30 for process in (agent, gateway, loader)), killed
    assert killed["writer"] == WRITERS
    assert killed["worker"] >= 2 * WRITERS, killed
    assert killed.total() >= 200, killed
