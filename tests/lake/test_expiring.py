"""The loader's tables forget old snapshots by themselves, and nothing that somebody may still read."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from heliograph.lake import expiring as expiring_module
from heliograph.lake.exclusion import Exclusion
from heliograph.lake.expiring import Expiring
from heliograph.lake.tables import event_files
from keeping import KeptLake, row

if TYPE_CHECKING:
    import pytest

COMMITS = 24
GRACE_COMMITS = 8
"""So many commits later a snapshot may be forgotten."""


def test_snapshots_stay_few_over_many_commits_and_those_that_may_be_read_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring_module, "_MOST_SNAPSHOTS", 6)
    lake = KeptLake(tmp_path)
    forgetful = Expiring(lake.settings, now=lake.now, ticks=itertools.count(step=61).__next__)
    files: set[str] = set()
    counts: list[int] = []
    for number in range(1, COMMITS + 1):
        lake.append([row(number)])
        files |= set(event_files(lake.settings))
        lake.later += timedelta(seconds=lake.settings.keep_snapshots_seconds / GRACE_COMMITS)
        forgetful.round([lake.table])
        counts.append(len(lake.newest().snapshots()))
    assert counts[: GRACE_COMMITS - 1] == [*range(1, GRACE_COMMITS)], "any of them may be read right now"
    assert max(counts) <= GRACE_COMMITS + 1
    assert len(lake.rows()) == COMMITS
    assert all(map(Path.exists, map(Path, files))), "the newest snapshot has them all"


def test_files_that_were_replaced_go_with_their_snapshots_and_while_others_keep_the_lake_none_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring_module, "_MOST_SNAPSHOTS", 1)
    lake = KeptLake(tmp_path)
    for number in range(1, 4):
        lake.append([row(number)])
    before = lake.rows()
    replaced = [Path(file) for file in event_files(lake.settings)]
    lake.keeper().compact()
    forgetful = Expiring(lake.settings, now=lake.now, ticks=itertools.count(step=61).__next__)
    forgetful.round([lake.newest()])
    assert all(map(Path.exists, replaced)), "a question that has begun reads them"
    lake.later = timedelta(seconds=lake.settings.keep_snapshots_seconds + 5)
    with Exclusion(lake.settings).rewriting():
        forgetful.round([lake.newest()])
    assert len(lake.newest().snapshots()) == 4, "a cluster may be compacting what they have"
    forgetful.round([lake.newest()])
    assert len(lake.newest().snapshots()) == 1
    assert not any(map(Path.exists, replaced))
    assert lake.rows() == before
    assert lake.keeper().clean()[0].files == 0, "it leaves no orphans"
