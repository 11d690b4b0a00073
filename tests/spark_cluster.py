"""A real cluster of Apache Spark on this machine: a standalone master and workers, each a process of the wheel's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pyspark
import pytest
from pyspark import SparkContext

from debian import require_program
from heliograph.settings import EngineSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_HOME: Final = Path(pyspark.__file__).parent
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 90.0
_JAVA: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A process that lives for a minute does not win back what its best compiler takes."""
_OPTIONS: Final = (
    # Small, for tests: what is started by default is for machines of another size.
    "spark.sql.shuffle.partitions=2",
    "spark.executor.memory=512m",
    "spark.executor.cores=1",
    # One core of each worker: a second application has the others.
    "spark.cores.max=2",
    "spark.driver.memory=768m",
    f"spark.driver.host={_HOST}",
    f"spark.driver.bindAddress={_HOST}",
    # A worker that is killed answers nothing: what it held is asked for once more, and then made anew.
    "spark.shuffle.io.maxRetries=1",
    "spark.shuffle.io.retryWait=1s",
    f"spark.driver.extraJavaOptions={_JAVA}",
    f"spark.executor.extraJavaOptions={_JAVA}",
)


class SparkCluster:
    """A master and two workers, from the beginning of the block to its end.

    Args:
        folder: For their logs, and what they write on the way.
        workers: How many, each with a core for each of two applications.
    """

    def __init__(self, folder: Path, *, workers: int = 2) -> None:
        require_program("java", package="openjdk-17-jre-headless")
        self._folder = folder
        self._count = workers
        self._port = _free_port()
        self._master: subprocess.Popen[bytes] | None = None
        self._started = 0
        self._workers: list[subprocess.Popen[bytes]] = []

    def settings(self, *, copies: str) -> EngineSettings:
        """Return the settings of whoever asks it, with a folder for copies."""
        return EngineSettings(kind="spark", master=f"spark://{_HOST}:{self._port}", options=_OPTIONS, copies=copies)

    def __enter__(self) -> Self:
        self._master = self._start(
            "master", "master.Master", "--host", _HOST, "--webui-port", "0", "--port", str(self._port)
        )
        for _ in range(self._count):
            self.start_worker()
        registered = "Registering worker"
        _wait(lambda: self._log("master").count(registered) >= self._count, "the workers", self._log("master"))
        return self

    def start_worker(self) -> None:
        """Start another worker, which comes when it is ready."""
        self._started += 1
        name = f"worker-{self._started}"
        arguments = ["--cores", "2", "--memory", "1g", "--work-dir", str(self._folder / name)]
        address = f"spark://{_HOST}:{self._port}"
        self._workers.append(
            self._start(name, "worker.Worker", "--host", _HOST, "--webui-port", "0", *arguments, address)
        )

    @property
    def folder(self) -> Path:
        """All that its machines write for themselves: logs, and what lies on their disks on its way to another."""
        return self._folder

    def lost_workers(self) -> int:
        """Return how many workers the master has lost."""
        return self._log("master").count("Removing worker")

    def __exit__(self, *about: object) -> None:
        for process in [*self._workers, *([self._master] if self._master else [])]:
            _kill(process)

    def kill_worker(self) -> None:
        """End one worker and the executor that it runs, as if its machine had lost power."""
        _kill(self._workers.pop())

    def _start(self, name: str, which: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "SPARK_HOME": str(_HOME),
            "SPARK_LOCAL_IP": _HOST,
            "SPARK_DAEMON_MEMORY": "192m",
            "SPARK_DAEMON_JAVA_OPTS": _JAVA,
            "SPARK_LOCAL_DIRS": str(self._folder / f"{name}-local"),
        }
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [str(_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{which}", *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # with its executors in its own group
            )

    def _log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")


class Killing:
    """Kills a worker as soon as the cluster is at work on what runs in the block; then starts another.

    Args:
        cluster: Whose worker.
    """

    def __init__(self, cluster: SparkCluster) -> None:
        self._cluster = cluster
        self._killed_at: float | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._lost = self._cluster.lost_workers()
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._is_over and not _is_busy():
            time.sleep(0.01)
        if not self._is_over:
            self._cluster.kill_worker()
            self._killed_at = time.monotonic()

    def __exit__(self, kind: object, *about: object) -> None:
        ended_at = time.monotonic()
        self._is_over = True
        self._thread.join(timeout=_START_SECONDS)
        if kind is None:
            assert self._killed_at is not None, "nothing was ever at work on the cluster"
            assert self._killed_at < ended_at
            assert self._cluster.lost_workers() == self._lost + 1
        self._cluster.start_worker()


def _is_busy() -> bool:
    """Tell whether a task is at work, on whichever worker."""
    context = SparkContext._active_spark_context
    if context is None:
        return False
    try:
        tracker = context.statusTracker()
        stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
    except Exception:  # noqa: BLE001 - a context that is ending
        return False
    return any(stage is not None and stage.numActiveTasks > 0 for stage in stages)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port: int = free.getsockname()[1]
        return port


def _wait(condition: Callable[[], bool], what: str, log: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"still waiting for {what}: {log[-2000:]}")
        time.sleep(0.1)
