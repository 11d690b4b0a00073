"""A process that is killed anywhere in an erasure does no harm: the next one ends in the same state."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from erasing import OTHER, Lake, read_rows
from harness import INSTANCE, USER
from heliograph.lake.tables import event_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHILD = """
import os, pickle, signal, sys, time
from pathlib import Path

from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from heliograph.registry.store import Registry

settings, plan, moment = pickle.loads(Path(sys.argv[1]).read_bytes())
TOUCHES = {"open", "os.remove", "os.rename", "os.mkdir", "sqlite3.connect", "fcntl.flock", "os.posix_fallocate"}
done = 0

def erase(limit):
    def count(name, arguments):
        global done
        if name in TOUCHES:
            done += 1
            if done == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    loader = Loader(settings.gateway, settings.lake, plan)
    wait = lambda seconds: time.sleep(min(seconds, 0.005))
    eraser = Eraser(loader, settings, Registry.open(settings.registry), now=lambda: moment, wait=wait)
    sys.addaudithook(count)
    due = eraser.due()
    return eraser.carry_out(due) if due else []

for line in sys.stdin:
    child = os.fork()  # with everything imported: only the erasure takes time
    if child == 0:
        problems = erase(int(line))
        print("touches", done, problems, flush=True)
        os._exit(0)
    print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
POINTS = 8


@contextmanager
def erasing(lake: Lake, file: Path) -> Iterator[Callable[[int], tuple[int, int]]]:
    """Give ``run(limit)``: a process erases, is killed when it has touched files `limit` times, and its end is told."""
    file.write_bytes(pickle.dumps((lake.settings, lake.vendor.plan, lake.clock())))
    command = [sys.executable, "-c", CHILD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = process.stdout

        def run(limit: int) -> tuple[int, int]:
            print(limit, file=process.stdin, flush=True)
            touches = 0
            for line in answers:
                words = line.split()
                if words[:1] == ["touches"]:
                    assert words[2] == "[]", line
                    touches = int(words[1])
                if words[:1] == ["status"]:
                    return int(words[1]), touches
            raise AssertionError("the process that erases has ended")

        yield run
        process.stdin.close()


def test_an_erasure_that_is_killed_at_many_points_ends_as_one_that_is_not(tmp_path: Path) -> None:
    home, copy = tmp_path / "vendor", tmp_path / "copy"
    home.mkdir()
    with Lake(home) as lake:
        lake.send(INSTANCE, 1, 30)
        lake.send(OTHER, 1, 30)
        lake.load()
        lake.send(INSTANCE, 31, 40)
        lake.send(OTHER, 31, 40)
        lake.order()
        lake.order(instance=INSTANCE, user_id=USER)
        lake.clock.advance(minutes=1)
    shutil.copytree(home, copy)
    with erasing(lake, tmp_path / "what") as run:
        status, touches = run(0)
        assert status == 0
        assert touches > POINTS
        expected = read_rows(lake)
        assert len(expected) == 40
        for point in range(POINTS):
            shutil.rmtree(home)
            shutil.copytree(copy, home)
            limit = 1 + touches * point // POINTS
            assert run(limit)[0] == -signal.SIGKILL
            if point % 3 == 0:  # and killed once more where that is possible
                assert run(1 + limit // 2)[0] in {-signal.SIGKILL, 0}
            assert run(0)[0] == 0
            with lake.reopened() as again:
                assert again.pending() == []
                assert read_rows(again) == expected
                assert again.places_of(USER) == []
                assert {str(path) for path in home.rglob("events/**/*.parquet")} == set(
                    event_files(again.settings.lake)
                )
                again.closes()
