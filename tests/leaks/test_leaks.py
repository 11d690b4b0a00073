"""Thousands of canaries of every class go through every door, and none is found in any byte at the vendor's side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heliograph.gateway.log_reading import read_accounts
from heliograph.lake.report import count_events, count_pings, count_repeated
from heliograph.wire import total_counts
from leaks.canaries import KINDS
from leaks.every_door import CHANNELS, DOORS
from leaks.search import Search, unique
from leaks.world import World

if TYPE_CHECKING:
    from heliograph.demo.postgres import PostgresCluster

SEED = 20261001
FEWEST = 5_000
"""Canaries; a test that plants few would show little."""


@pytest.mark.timeout(900)  # a minute's work, which a machine with much else to do may take long for
def test_no_canary_gets_through_any_door_and_what_is_left_is_what_we_say(
    tmp_path: Path, postgres: PostgresCluster
) -> None:
    with World(tmp_path, postgres, SEED) as world:
        for name, go in (DOORS | CHANNELS).items():
            go(world, name)
        world.wait_for_lake()
        world.process_memory()
        closes(world)
    search = Search(world.nest.needles())
    search.folder(world.vendor_folder)
    for number, said in enumerate(world.said):
        search.bytes_of(f"answer {number}", said)
    for log in (world.home.folder / "agents").iterdir():
        search.file(log)
    assert unique(each for each in search.found if each.door not in CHANNELS) == set()
    searched_enough(world, search)
    channels_are_what_we_say(world, search)


def closes(world: World) -> None:
    """See that nothing vanished: each event that was sent is in the lake or rejected, and the vendor knows of both."""
    for instance, account in read_accounts(Path(world.settings.gateway.log)).items():
        assert sum(account.accepted.values()) == world.accepted[instance]
        assert total_counts(account.rejected) == world.rejected[instance]
    in_lake = {name: sum(counts.values()) for name, counts in count_events(world.settings.lake).items()}
    assert in_lake == dict(world.accepted)
    assert count_repeated(world.settings.lake) == 0
    assert sum(count_pings(world.settings.lake).values()) == world.pings


def searched_enough(world: World, search: Search) -> None:
    """See that there was much to find, of every class at every kind of door, and that all kinds of files were read."""
    forms = [form for each in world.nest.planted.values() for form in each]
    assert len({form.canary for form in forms}) == len(forms) > FEWEST
    assert {form.canary.kind for form in forms} == set(KINDS)
    assert {"bytes", "rows", "zstd", "parquet", "avro"} <= search.places.keys()
    suffixes = {path.suffix for path in world.vendor_folder.rglob("*") if path.is_file()}
    assert {".log", ".parquet", ".avro", ".json", ".db"} <= suffixes


def channels_are_what_we_say(world: World, search: Search) -> None:
    """See that each channel lets its canaries through: one that does not any more is one no more."""
    for name in CHANNELS:
        found = {each.form for each in search.found if each.door == name}
        assert found, name
        assert found == set(world.nest.planted[name]) or "version" in name, name
