"""What stands for parts of the product in a simulated world: clocks, randomness, locks, and PyIceberg's tables."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest import mock

from heliograph.gateway import intake as intake_module
from heliograph.gateway import rotation as rotation_module
from heliograph.gateway import writer as writer_module
from heliograph.instance import exporter as exporter_module
from heliograph.instance import https as https_module
from heliograph.instance import outbox as outbox_module
from heliograph.instance import pseudonyms as pseudonyms_module
from heliograph.instance import recorder as recorder_module
from heliograph.instance import recorder_lock
from heliograph.lake import commits as commits_module
from heliograph.lake import deliveries as deliveries_module
from heliograph.lake import durability
from heliograph.lake import loader as loader_module
from heliograph.lake import pings as pings_module
from heliograph.lake.erased import read_erased_epochs
from heliograph.lake.loader import Loader
from simulation import erasing
from simulation import lake as memory
from simulation.customer import quick_tls
from simulation.ground import OUTBOX_SEGMENT_BYTES
from simulation.lake import RealLake
from simulation.plans import quick_builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulation.ground import Ground
    from simulation.lake import MemoryLake
    from simulation.processes import Stage


def stand_ins(ground: Ground) -> Iterator[tuple[Any, str, Any]]:
    """Yield what stands in the place of which name of what."""
    yield outbox_module, "new_epoch", ground.new_epoch
    yield pseudonyms_module, "secrets", mock.Mock(token_bytes=ground.token_bytes)
    yield https_module, "tls_context", lambda _: quick_tls()
    for module in (recorder_module, recorder_lock):
        yield module, "clock", mock.Mock(monotonic=ground.monotonic)
    yield recorder_module, "SEGMENT_BYTES", OUTBOX_SEGMENT_BYTES
    yield exporter_module, "BatchBuilder", quick_builder
    yield exporter_module.Exporter, "_read_ahead", lambda *_: None  # a thread would make no history twice
    for module in (writer_module, intake_module):  # few, as a start makes all of them
        yield module, "_LOCKS", 8
    yield from _steps_of_rotation(ground.stage)
    yield from erasing.stand_ins(ground.logs)
    yield from _of_the_lake(ground.lake, ground.stage)


def _steps_of_rotation(stage: Stage) -> Iterator[tuple[Any, str, Any]]:
    """Yield the steps of replacing the gateway's key, before and after each of which one may die."""

    def step(name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any) -> Any:
            with stage.acting.commit(name) if stage.acting else contextlib.nullcontext():
                return really(*arguments)

        return do

    yield rotation_module, "_alone", contextlib.nullcontext
    for name in ("load_or_create_key", "write_atomically", "sync_folder"):
        yield rotation_module, name, step(name, getattr(rotation_module, name))


def _of_the_lake(lake: MemoryLake | RealLake, stage: Stage) -> Iterator[tuple[Any, str, Any]]:
    """Yield what stands for the parts of PyIceberg that the loader uses; of its own, where one may die."""
    if isinstance(lake, RealLake):
        really = durability.sync_snapshot

        def sync_snapshot(table: Any) -> None:
            with stage.acting.commit("sync") if stage.acting else contextlib.nullcontext():
                really(table)

        yield loader_module, "sync_snapshot", sync_snapshot
        return
    yield loader_module, "open_events", lake.open_events
    yield loader_module, "lake_columns", memory.lake_columns
    yield loader_module, "widen", memory.widen
    yield loader_module, "sync_snapshot", memory.sync_snapshot
    yield commits_module, "begin", memory.begin
    yield loader_module, "Marts", memory.NoMarts
    yield loader_module, "Tending", memory.NoTending
    yield Loader, "_read_loaded", _read_loaded
    yield pings_module, "open_pings", lake.open_pings
    yield pings_module.PingTable, "_read_latest", _read_latest
    yield deliveries_module, "open_deliveries", lake.open_deliveries
    yield deliveries_module, "find_deliveries", lake.find_deliveries
    yield deliveries_module, "_in_lake", lake.delivered
    yield deliveries_module.DeliveryTable, "_read_last", _read_last
    yield from erasing.lake_stand_ins(lake)


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
