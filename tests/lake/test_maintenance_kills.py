"""A process that is killed anywhere in maintenance does no harm, and the next one ends in the same state."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from heliograph.lake.maintenance.inventory import take_inventory
from heliograph.lake.maintenance.retention import count_retired
from heliograph.lake.report import count_events
from heliograph.lake.tables import event_files
from keeping import KeptLake, row

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

CHILD = """
import os, pickle, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from heliograph.lake.maintenance.upkeep import Keeper

settings = pickle.loads(Path(sys.argv[1]).read_bytes())
TOUCHES = {"open", "os.remove", "os.rename", "os.mkdir", "sqlite3.connect", "fcntl.flock"}
done = 0

def keep(limit, later):
    def count(name, arguments):
        global done
        if name in TOUCHES:
            done += 1
            if done == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    Keeper(settings, now=lambda: datetime.now(UTC) + timedelta(days=later)).upkeep()

for line in sys.stdin:
    limit, later = map(int, line.split())
    child = os.fork()  # with everything imported: only the maintenance takes time
    if child == 0:
        keep(limit, later)
        print("touches", done, flush=True)
        os._exit(0)
    print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
POINTS = 6


def run(process: subprocess.Popen[str], limit: int, later: int) -> tuple[int, int]:
    """Have a process keep the lake, `later` days from now, killed when it has touched files `limit` times."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(limit, later, file=process.stdin, flush=True)
    touches = 0
    for line in process.stdout:
        words = line.split()
        if words[0] == "touches":
            touches = int(words[1])
        if words[0] == "status":
            return int(words[1]), touches
    raise AssertionError("the process that keeps the lake has ended")


def test_upkeep_that_is_killed_at_many_points_ends_as_one_that_is_not(tmp_path: Path) -> None:
    home, copy = tmp_path / "lake", tmp_path / "copy"
    lake = KeptLake(tmp_path, retain_events_days=300)
    today = (lake.now().date() - row(0)["time"].date()).days
    old, fresh = today - 400, today - 20
    for n in range(4):
        lake.append([row(10 * n, day=old), *(row(10 * n + k, user=k, day=fresh) for k in range(1, 4))])
    before = lake.rows()
    shutil.copytree(home, copy)
    file = tmp_path / "what"
    file.write_bytes(pickle.dumps(lake.settings))
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        status, touches = run(process, 0, 0)
        assert status == 0
        assert touches > POINTS
        for point in range(POINTS):
            shutil.rmtree(home)
            shutil.copytree(copy, home)
            assert run(process, 1 + touches * point // POINTS, 0)[0] == -signal.SIGKILL
            _holds(lake, before)
            if point % 3 == 0:  # and once more, when what it left is old
                run(process, 1 + touches * (POINTS - point) // POINTS, 2)
                _holds(lake, before)
            assert run(process, 0, 0)[0] == 0
            _holds(lake, before)
            assert run(process, 0, 2)[0] == 0
            assert {str(path) for path in home.rglob("events/**/*.parquet")} == set(event_files(lake.settings))
            lake.later = timedelta(days=2)
            assert count_events(lake.settings) == {"one": {"SearchSubmitted": 12}}
            [events, _] = take_inventory(lake.settings, lake.now())
            assert (events.files, events.to_compact, events.outdated) == (1, 0, 0)
        assert process.stdin is not None
        process.stdin.close()


def _holds(lake: KeptLake, before: Counter[tuple[Any, ...]]) -> None:
    """See that no row is lost or doubled: what is not there was counted as too old."""
    rows = lake.rows()
    assert max(rows.values()) == 1
    assert not rows - before
    gone = before - rows
    assert sum(gone.values()) == sum(count_retired(lake.settings).get("one", {}).values())
