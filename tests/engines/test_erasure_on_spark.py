"""An erasure on a real cluster of Spark leaves what it leaves when one process does it, and nothing of the erased."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from erasing import OTHER, Lake, read_rows, send
from harness import INSTANCE, USER, random_id
from heliograph.lake.loader import Loader
from heliograph.lake.tables import find_tables
from heliograph.lake.writers import open_writer
from heliograph.registry.erasures import read_erasures
from heliograph.settings import EngineSettings
from lake_files import told
from spark_cluster import Killing

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.engines.spark import SparkEngine
    from spark_cluster import SparkCluster

# Spark's way from Python to Java leaves sockets of ended threads to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(1800),
]

ANOTHER_USER = random_id(7)
KILLED = """
import os, pickle, signal, sys, time
from pathlib import Path
from heliograph.lake import rewriting
from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from heliograph.lake.writers import open_writer
from heliograph.registry.store import Registry

settings, plan, moment = pickle.loads(Path(sys.argv[1]).read_bytes())
rewriting.replace_files = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
loader = Loader(settings.gateway, settings.lake, plan, open_writer(settings))
wait = lambda seconds: time.sleep(min(seconds, 0.01))
eraser = Eraser(loader, settings, Registry.open(settings.registry), now=lambda: moment, wait=wait)
print(eraser.carry_out(eraser.due()))
"""


class Site(Lake):
    """A vendor of whom a user, and all of another account since some day, are to be erased; kept in a copy, too."""

    def loader(self, **lake: Any) -> Loader:
        section = msgspec.structs.replace(self.settings.lake, **lake)
        return Loader(self.settings.gateway, section, self.vendor.plan, open_writer(self.settings))

    def fill(self) -> None:
        for first in (1, 11, 21):
            self.send(INSTANCE, first, first + 5)
            with self.vendor.running(now=self.clock), self.http() as http:
                send(http, first + 6, first + 9, user=ANOTHER_USER)
            self.send(OTHER, first, first + 9)
            self.load()
            self.clock.advance(hours=1)
        self.order(instance=INSTANCE, user_id=USER)
        self.order(account="other", since=self.clock.moment.replace(minute=0, second=0, microsecond=0))
        self.registry.close()
        shutil.copytree(self.folder, self.copy)

    @property
    def copy(self) -> Path:
        return self.folder.with_name("copy")

    def put_back(self, engine: EngineSettings) -> None:
        """Have all files as they were, to go on with an engine."""
        self.registry.close()
        shutil.rmtree(self.folder)
        shutil.copytree(self.copy, self.folder)
        self.registry = self.vendor.registry()
        self.settings = msgspec.structs.replace(self.settings, engine=engine)

    def told(self) -> dict[str, list[Any]]:
        return told({".".join(table.name()): table for table in find_tables(self.settings.lake)})

    def proofs(self) -> list[tuple[Any, ...]]:
        proofs = [each.proof for each in read_erasures(self.registry)]
        return [(proof.rows, proof.tables, proof.files_rewritten) for proof in proofs if proof is not None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("erasures") / "vendor"
    folder.mkdir()
    site = Site(folder)
    site.fill()
    return site


def test_an_erasure_on_a_cluster_that_loses_a_machine_leaves_what_one_process_leaves_and_no_byte_of_the_erased(
    site: Site, cluster: SparkCluster, spark: SparkEngine, tmp_path: Path
) -> None:
    site.put_back(EngineSettings())
    assert USER in str(site.told())
    assert site.carry_out() == []
    here, rows, proofs = site.told(), read_rows(site), site.proofs()
    assert len(proofs) == 2
    assert {row["user_id"] for row in rows if row["instance"] == INSTANCE} == {ANOTHER_USER}
    site.put_back(cluster.settings(copies=str(tmp_path)))
    with Killing(cluster):
        assert site.carry_out() == []
    assert site.told() == here
    assert site.proofs() == proofs
    assert site.places_of(USER) == []
    assert site.places_of(USER[:15]) == []
    logs = [path for path in cluster.folder.rglob("*") if path.is_file()]
    assert [path for path in logs if path.name == "stderr"], "the machines keep no logs"
    assert [path for path in logs if USER.encode() in path.read_bytes()] == []
    site.closes()


def test_an_erasure_that_is_killed_between_what_spark_wrote_and_the_commit_is_finished_by_whoever_comes_next(
    site: Site, cluster: SparkCluster, tmp_path: Path
) -> None:
    site.put_back(EngineSettings())
    assert site.carry_out() == []
    rows, proofs = read_rows(site), site.proofs()
    site.put_back(cluster.settings(copies=str(tmp_path / "copies")))
    before = read_rows(site)
    site.clock.advance(minutes=1)
    what = tmp_path / "what"
    what.write_bytes(pickle.dumps((site.settings, site.vendor.plan, site.clock())))
    command = [sys.executable, "-c", KILLED, str(what)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr[-2000:]
    assert read_rows(site) == before
    site.settings = msgspec.structs.replace(site.settings, engine=EngineSettings())
    assert site.carry_out_now() == []
    assert read_rows(site) == rows
    assert site.proofs() == proofs
    assert site.places_of(USER) == []
