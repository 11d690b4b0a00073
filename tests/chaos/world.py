"""Both ends as processes of the command line, over real TLS, with products that record unique values."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec

from gateway_process import is_running
from harness import definition
from heliograph.demo.home import Home
from heliograph.lake.tables import event_files
from heliograph.plan.model import IntegerProperty, Plan
from heliograph.settings import commented_file
from updating import write_plan

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from heliograph.demo.home import Customer

INSTANCE = "acme-1"
PLAN = Plan(
    heliograph_plan=1,
    name="chaos",
    version=1,
    description="One event, whose value is never given twice.",
    sources=("web",),
    features={"work": "Working."},
    events={
        "Worked": definition(
            "work",
            properties={"number": IntegerProperty(description="Which.", maximum=999_999_999)},
        )
    },
)
_JOURNAL = struct.Struct("<i")
_NURSERY = Path(__file__).with_name("nursery.py")


class Nursery:
    """Starts processes by forking one that has imported everything."""

    def __init__(self, log: Path, prefix: Sequence[str] = ()) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, str(_NURSERY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        self.pid: int = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Process:
    """One process of a nursery, which can be killed and started again."""

    def __init__(self, nursery: Nursery, name: str, log: Path, **command: Any) -> None:
        self.name = name
        self.log = log
        self._nursery = nursery
        self._command = command
        self.pid: int | None = None

    def start(self) -> None:
        self.pid = self._nursery.ask(log=str(self.log), **self._command)

    def status(self) -> int | None:
        assert self.pid is not None
        status: int | None = self._nursery.ask(pid=self.pid)
        if status is not None:
            self.pid = None
        return status

    def end(self, number: int) -> int:
        """Send a signal, and wait until it has ended."""
        assert self.pid is not None
        status: int = self._nursery.ask(pid=self.pid, signal=number)
        self.pid = None
        return status

    def wait(self) -> int:
        assert self.pid is not None
        status: int = self._nursery.ask(pid=self.pid, block=True)
        self.pid = None
        return status

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:]) if self.log.exists() else ""


class Product(Process):
    """A process of the product; each start records values that nobody had before."""

    def __init__(self, world: World, name: str, first: int, pause: float) -> None:
        super().__init__(world.nursery, name, world.folder / "logs" / f"{name}.log")
        self._settings = str(world.customer.settings_file)
        self._folder = world.folder / "journals"
        self._folder.mkdir(exist_ok=True)
        self._next = first
        self._pause = pause
        self.journals: list[Path] = []

    def start(self) -> None:
        journal = self._folder / f"{self._next}"
        self.journals.append(journal)
        self._command = {"record": [self._settings, str(journal), self._next, self._pause]}
        self._next += 1_000_000
        super().start()

    def missed(self) -> int:
        """Return how many values `record` has not taken."""
        files = [journal.with_name(f"{journal.name}.missed") for journal in self.journals]
        contents = [file.read_bytes() for file in files if file.exists()]
        return sum(_JOURNAL.unpack(content)[0] for content in contents if content)

    def values(self) -> tuple[set[int], set[int]]:
        """Return the values that `record` has taken for certain, and those that it may have taken besides."""
        certain: set[int] = set()
        possible: set[int] = set()
        for journal in self.journals:
            content = journal.read_bytes() if journal.exists() else b""
            content = content[: len(content) // _JOURNAL.size * _JOURNAL.size]
            found = [value for (value,) in _JOURNAL.iter_unpack(content)]
            certain.update(found)
            possible.add(found[-1] + 1 if found else int(journal.name))
        return certain, possible


class GatewayOfWorkers(Process):
    """A gateway whose main process has the log, and whose workers can be killed alone."""

    def start(self) -> None:
        self._told = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def has_workers(self) -> bool:
        """Tell whether its first workers have begun to work: until then it ends when one of them does."""
        told = self.log.read_bytes() if self.log.exists() else b""  # its process makes it
        return b"workers started" in told[self._told :]

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill one of its workers, at work or just about to be; tell whether there was one."""
        assert self.pid is not None
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        alive = sorted(int(child) for child in children if is_running(int(child)))
        if not alive or not self.has_workers():
            return False
        os.kill(chance.choice(alive), signal.SIGKILL)
        return True


class World:
    """A vendor and one customer in a folder.

    Args:
        folder: Where.
        nursery: Starts its processes.
        agent: Settings of the agent that differ from the demonstration's.
        recorder: Likewise.
        gateway: Likewise, of the gateway.
        lake: Likewise, of the lake.
    """

    def __init__(
        self,
        folder: Path,
        nursery: Nursery,
        *,
        agent: dict[str, Any] | None = None,
        recorder: dict[str, Any] | None = None,
        gateway: dict[str, Any] | None = None,
        lake: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        (folder / "logs").mkdir(parents=True)
        plan = folder / "plan.yaml"
        write_plan(plan, PLAN)
        self.home = Home(folder / "home", plan)
        [customer] = self.home.add_customers([(INSTANCE, "acme")])
        replace = msgspec.structs.replace
        settings = replace(
            customer.settings,
            agent=replace(customer.settings.agent, **{"idle_seconds": 0.05, "batch_events": 200, **(agent or {})}),
            recorder=replace(customer.settings.recorder, **(recorder or {})),
        )
        self.customer: Customer = customer._replace(settings=settings)
        self.customer.settings_file.write_text(commented_file(settings))
        vendor = self.home.vendor
        self.vendor = replace(
            vendor,
            gateway=replace(vendor.gateway, **{"segment_bytes": 1 << 18, **(gateway or {})}),
            lake=replace(vendor.lake, **{"commit_seconds": 0.3, **(lake or {})}),
        )
        self.home.vendor_file.write_text(commented_file(self.vendor))
        self.nursery = nursery

    def process(self, name: str, *arguments: str) -> Process:
        log = self.folder / "logs" / f"{name}.log"
        return Process(self.nursery, name, log, arguments=list(arguments))

    def gateway(self) -> Process:
        return self.process("gateway", "--config", str(self.home.vendor_file), "gateway", "run")

    def gateway_of_workers(self, number: int) -> GatewayOfWorkers:
        """Return a gateway that has as many workers from now on."""
        replace = msgspec.structs.replace
        self.vendor = replace(self.vendor, gateway=replace(self.vendor.gateway, workers=number))
        self.home.vendor_file.write_text(commented_file(self.vendor))
        arguments = ["--config", str(self.home.vendor_file), "gateway", "run"]
        return GatewayOfWorkers(self.nursery, "writer", self.folder / "logs" / "writer.log", arguments=arguments)

    def loader(self) -> Process:
        return self.process("loader", "--config", str(self.home.vendor_file), "lake", "load", "--follow")

    def agent(self, *arguments: str) -> Process:
        file = str(self.customer.settings_file)
        return self.process("agent", "--config", file, "agent", "run", *arguments)

    def say(self, name: str, *arguments: str, vendor: bool = False) -> Any:
        """Run a verb to its end, and return the JSON that it prints."""
        process = self.process(
            name, "--config", str(self.home.vendor_file if vendor else self.customer.settings_file), *arguments
        )
        process.log.unlink(missing_ok=True)
        process.start()
        assert process.wait() == 0, process.tail()
        return json.loads(process.log.read_text())

    def lake_values(self) -> Counter[int]:
        """Return how often each value stands in the lake."""
        files = event_files(self.vendor.lake)
        if not files:
            return Counter()
        with duckdb.connect() as connection:
            reading = f"read_parquet({files!r}, union_by_name = true, hive_partitioning = false)"
            found = connection.execute(f"select number, count(*) from {reading} group by number").fetchall()
        return Counter(dict(found))

    def gateway_listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.vendor.gateway.port), 1):
                return True
        except OSError:
            return False


@contextmanager
def running(*processes: Process) -> Iterator[None]:
    """Run processes for the length of the block, and leave none behind."""
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in reversed(processes):
            if process.pid is not None:
                process.end(signal.SIGKILL)


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds:.0f} seconds still waiting for {what}"
        time.sleep(0.05)


def drain(world: World) -> None:
    """Take all that is left to the gateway, and from there to the lake, with the gateway and the loader running."""
    agent = world.agent("--until-drained")
    agent.start()
    assert agent.wait() == 0, agent.tail()
    accepted: int = world.say("account", "gateway", "account", "--json", vendor=True)[INSTANCE]["accepted"]["Worked"]
    wait_until(lambda: sum(world.lake_values().values()) >= accepted, seconds=120, what="the loader")


def check_everything(
    world: World, products: Sequence[Product], dropped: dict[str, dict[str, int]] | None = None
) -> int:
    """With everything drained: the lake holds each recorded event once, and all accounts agree. Return how many."""
    certain: set[int] = set()
    possible: set[int] = set()
    for product in products:
        taken, maybe = product.values()
        certain |= taken
        possible |= maybe
    held = world.lake_values()
    assert set(held.values()) <= {1}, "twice in the lake"
    assert certain <= held.keys(), f"{len(certain - held.keys())} events are lost"
    assert held.keys() <= certain | possible, "the lake holds what nobody recorded"
    instance = world.say("status", "agent", "status", "--json")
    theirs = world.say("account", "gateway", "account", INSTANCE, "--json", vendor=True)[INSTANCE]
    lake = world.say("lake-status", "lake", "status", "--json", vendor=True)
    assert instance["pending"] == {}
    assert instance["delivered"] == theirs["accepted"] == {"Worked": len(held)}
    assert instance["rejected"] == theirs["rejected"] == {}
    assert theirs["absent"] == {}
    assert instance["dropped"] == (dropped or {})
    assert instance["undecided"] == 0
    assert lake["events"] == {INSTANCE: {"Worked": len(held)}}
    return len(held)
