"""Real processes, killed without warning again and again while events are recorded: nothing lost, nothing twice."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from chaos.world import Product, World, check_everything, drain, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.world import Nursery

KILLS = 210
SEED = 20_261_125
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_two_hundred_kills_of_everything_under_load_lose_nothing_and_double_nothing(
    nursery: Nursery, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", nursery)
    chance = random.Random(SEED)
    products = [Product(world, f"product-{number}", number * 100_000_000, 0.002) for number in range(3)]
    agent, gateway, loader = world.agent(), world.gateway(), world.loader()
    everything = [agent, gateway, loader, *products]
    killed = dict.fromkeys((process.name for process in everything), 0)
    with running(gateway, loader, *products):
        wait_until(world.gateway_listens, seconds=60, what="the gateway")
        agent.start()
        try:
            while sum(killed.values()) < KILLS:
                # The three that keep state are killed most.
                process = chance.choices(everything, [4, 4, 4, 1, 1, 1])[0]
                time.sleep(chance.uniform(0.0, 0.5))
                status = process.status()
                assert status is None, f"{process.name} ended by itself with {status}: {process.tail()}"
                assert process.end(signal.SIGKILL) == -signal.SIGKILL
                killed[process.name] += 1
                process.start()
            for product in products:
                assert product.end(signal.SIGTERM) == 0, product.tail()
        finally:
            agent.end(signal.SIGKILL)
        drain(world)
    assert check_everything(world, products) > 1_000
    assert all(killed[process.name] >= 30 for process in (agent, gateway, loader)), killed
