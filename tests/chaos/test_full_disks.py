"""Disks that are really full: nothing is acknowledged that is not kept, and all goes on once there is room."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from chaos.world import INSTANCE, Product, World, check_everything, drain, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chaos.world import Nursery

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


class SmallDisk:
    """A file system in memory, with so many KiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kibibytes: int) -> None:
        mount(f"remount,size={kibibytes}k", self.folder)

    def free(self) -> int:
        return shutil.disk_usage(self.folder).free


def mount(options: str, folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "heliograph-test", folder], check=True)


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir(parents=True, exist_ok=True)
    mount(f"size={kibibytes}k,mode=700", folder)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_of_the_gateways_log_acknowledges_nothing_and_loses_nothing(
    nursery: Nursery, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with small_disk(log, 700):
        world = World(tmp_path / "world", nursery, gateway={"log": str(log)}, agent={"batch_events": 20})
        gateway, agent, loader = world.gateway(), world.agent(), world.loader()
        product = Product(world, "product", 0, 0.0005)
        with running(gateway, product):
            wait_until(world.gateway_listens, seconds=60, what="the gateway")
            with running(agent):
                wait_until(lambda: "later" in agent.tail(), seconds=120, what="a refusal")
                before = world.say("before", "gateway", "account", INSTANCE, "--json", vendor=True)[INSTANCE]
                time.sleep(1.0)
                after = world.say("after", "gateway", "account", INSTANCE, "--json", vendor=True)[INSTANCE]
                assert before["accepted"] == after["accepted"], "acknowledged on a full disk"
                assert gateway.status() is None, gateway.tail()
                with running(loader):
                    wait_until(lambda: sum(world.lake_values().values()) > 0, seconds=60, what="the loader")
                    assert product.end(signal.SIGTERM) == 0, product.tail()
                    agent.end(signal.SIGKILL)
                    drain(world)
        assert check_everything(world, [product]) > after["accepted"]["Worked"]


def test_full_disks_of_the_instance_drop_new_events_and_count_each(nursery: Nursery, tmp_path: Path) -> None:
    disk = tmp_path / "instance"
    with small_disk(disk, 600) as small:
        world = World(
            tmp_path / "world",
            nursery,
            recorder={"outbox": str(disk / "outbox")},
            agent={"state": str(disk / "agent")},
        )
        gateway, agent, loader = world.gateway(), world.agent(), world.loader()
        product = Product(world, "product", 0, 0.0005)
        with running(product, agent):  # there is no gateway yet
            wait_until(lambda: product.missed() > 100, seconds=120, what="a full disk")
            assert product.status() is None, product.tail()
            assert agent.status() is None, agent.tail()
            missed = product.missed()
            with running(gateway, loader):
                small.resize(20_000)
                taken = len(product.values()[0])
                wait_until(lambda: len(product.values()[0]) > taken + 100, seconds=60, what="room")
                assert product.end(signal.SIGTERM) == 0, product.tail()
                agent.end(signal.SIGKILL)
                drain(world)
        assert product.missed() >= missed
        check_everything(world, [product], {"Worked": {"outbox_failed": product.missed()}})


def test_an_outbox_at_its_bound_drops_new_events_and_goes_on_once_it_was_emptied(
    nursery: Nursery, tmp_path: Path
) -> None:
    world = World(tmp_path / "world", nursery, recorder={"maximum_bytes": 200_000})
    gateway, agent, loader = world.gateway(), world.agent(), world.loader()
    product = Product(world, "product", 0, 0.0005)
    with running(product):
        wait_until(lambda: product.missed() > 100, seconds=120, what="the bound")
        with running(gateway, loader, agent):
            taken = len(product.values()[0])
            wait_until(lambda: len(product.values()[0]) > taken + 100, seconds=60, what="room")
            assert product.end(signal.SIGTERM) == 0, product.tail()
            agent.end(signal.SIGKILL)
            drain(world)
    check_everything(world, [product], {"Worked": {"outbox_full": product.missed()}})


def test_a_full_disk_of_the_lake_loses_nothing_and_doubles_nothing(nursery: Nursery, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with small_disk(lake, 900) as small:
        world = World(
            tmp_path / "world",
            nursery,
            lake={"warehouse": str(lake), "catalog": f"sqlite:///{lake / 'catalog.db'}", "commit_seconds": 0.05},
        )
        gateway, agent, loader = world.gateway(), world.agent(), world.loader()
        product = Product(world, "product", 0, 0.002)
        with running(gateway, agent, product):
            loader.start()
            wait_until(lambda: small.free() < 16 << 10 or loader.status() is not None, seconds=180, what="a full disk")
            for _ in range(3):  # as its supervisor would
                if loader.pid is None or loader.status() is not None:
                    loader.start()
                time.sleep(1.0)
            if loader.pid is not None and loader.status() is None:
                loader.end(signal.SIGKILL)
            small.resize(50_000)
            with running(loader):
                assert product.end(signal.SIGTERM) == 0, product.tail()
                agent.end(signal.SIGKILL)
                drain(world)
        check_everything(world, [product])
