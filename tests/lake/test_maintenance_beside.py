"""Maintenance beside a process that loads and one that asks: real processes, at the same time."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from heliograph.lake.maintenance.inventory import take_inventory
from heliograph.lake.storage import connect
from heliograph.lake.tables import event_files
from keeping import KeptLake, row

if TYPE_CHECKING:
    from pathlib import Path

LOADING = """
import pickle, sys
from pathlib import Path

import pyarrow as pa

from heliograph.lake.commits import commit
from heliograph.lake.tables import find_events, lake_columns

settings, rows = pickle.loads(Path(sys.argv[1]).read_bytes())
table = find_events(settings)
columns = lake_columns(table)
for number, each in enumerate(rows):

    def change(transaction):
        transaction.append(pa.Table.from_pylist(each, columns))
        transaction.set_properties({"place": str(number)})

    commit(table, change, relying_on={"place": str(number - 1) if number else None})
"""
COMMITS = 20
ROWS = 5
GRACE = 10.0
"""Seconds: long beside a question here."""


def test_nothing_is_lost_or_doubled_and_no_question_fails_while_all_are_at_work(tmp_path: Path) -> None:
    lake = KeptLake(tmp_path, compact_files=3)
    lake.settings = msgspec.structs.replace(lake.settings, keep_snapshots_seconds=GRACE)
    rows = [[row(commit * ROWS + n, user=n) for n in range(ROWS)] for commit in range(COMMITS)]
    file = tmp_path / "what"
    file.write_bytes(pickle.dumps((lake.settings, rows)))
    counts: list[int] = []
    problems: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                counts.append(_count(lake))
            except BaseException as error:  # noqa: BLE001 - told by the test
                problems.append(error)
                return

    removed = 0
    with subprocess.Popen([sys.executable, "-c", LOADING, str(file)]) as loading:
        asking = threading.Thread(target=ask)
        asking.start()
        while (removed < ROWS or loading.poll() is None) and not problems:
            kept = lake.keeper().upkeep()
            removed += sum(each.files for each in kept.expired)
            time.sleep(0.1)
        over.set()
        asking.join()
    assert loading.returncode == 0
    assert problems == []
    assert counts == sorted(counts), "what was there stays there"
    assert sorted(each[3] for each in lake.rows().elements()) == list(range(COMMITS * ROWS))
    lake.keeper().upkeep()
    [found] = take_inventory(lake.settings, lake.now())
    assert found.files < COMMITS


def _count(lake: KeptLake) -> int:
    files = event_files(lake.settings)
    if not files:
        return 0
    with connect(lake.settings) as connection:
        query = "select count(*), count(distinct sequence) from read_parquet($files)"
        [(all_rows, distinct)] = connection.execute(query, {"files": files}).fetchall()
    assert all_rows == distinct
    return int(all_rows)
