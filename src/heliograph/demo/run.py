"""The demonstration: both ends on this machine, on live simulated use or on the history of a real table."""

from __future__ import annotations

import json
import os
import random
import re
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from heliograph.demo.comparison import InstanceFigures, compare
from heliograph.demo.home import Customer, Home
from heliograph.demo.processes import Process, Processes, wait_until
from heliograph.demo.report import print_answers, print_figures, print_places
from heliograph.gateway.account import Account
from heliograph.gateway.log_reading import read_accounts
from heliograph.instance.account import read_account
from heliograph.instance.state import State
from heliograph.lake.report import count_erased, count_events, count_repeated
from heliograph.plan.load import load_plan
from heliograph.wire import HEALTH_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from heliograph.demo.history import InstanceDatabase
    from heliograph.plan.model import Plan
    from heliograph.wire import Counts

LIVE_PLAN: Final = Path("plans/code-intelligence.yaml")
HISTORY_PLAN: Final = Path("examples/commit-history.yaml")
_ACCOUNTS: Final = (("acme-search", "acme"), ("acme-mobile", "acme"), ("globex", "globex"), ("initech", "initech"))
_FEW_EVENTS: Final = 2_000
_NAME_LENGTH: Final = 56
_START_SECONDS: Final = 60.0
_EXPORT_SECONDS: Final = 3_000.0
_LOAD_SECONDS: Final = 300.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the demonstration is asked to do."""

    home: Path
    once: bool = False
    history: Path | None = None
    json_file: Path | None = None
    plan: Path | None = None
    seed: int | None = None


class Figures(msgspec.Struct, kw_only=True):
    """Everything that ``--json`` writes."""

    agree: bool
    repeated_in_lake: int
    kills: dict[str, int]
    seconds: float
    """From the first agent's start until all was in the lake."""
    instances: list[InstanceFigures]


class Demonstration:
    """One run."""

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        default = LIVE_PLAN if options.history is None else HISTORY_PLAN
        self._plan_file = options.plan or default
        self._plan: Plan = load_plan(self._plan_file)
        self._home = Home(options.home / ("live" if options.history is None else "history"), self._plan_file)
        self._source = random.Random(options.seed)  # noqa: S311 - a demonstration
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
        )

    def run(self) -> bool:
        """Run it; tell whether all figures agree."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HELIOGRAPH_")}
        with Processes(self._home.logs, environment) as processes:
            if self._options.history is None:
                return self._run_live(processes)
            return self._run_history(processes, self._options.history)

    def _start_vendor(self, processes: Processes) -> Process:
        """Start gateway and loader, and wait until the gateway answers."""
        file = str(self._home.vendor_file)
        gateway = processes.start("gateway", "heliograph.cli", "--config", file, "gateway", "run")
        wait_until(self._gateway_answers, seconds=_START_SECONDS, what="the gateway", check=[gateway])
        processes.start("loader", "heliograph.cli", "--config", file, "lake", "load", "--follow")
        return gateway

    def _gateway_answers(self) -> bool:
        context = ssl.create_default_context(cafile=self._home.folder / "authority.pem")
        try:
            return httpx.get(self._home.gateway_address + HEALTH_PATH, verify=context, timeout=5).is_success
        except httpx.TransportError:
            return False

    def _start_agent(self, processes: Processes, customer: Customer, dsn: str = "", *arguments: str) -> Process:
        return processes.start(
            f"agent-{customer.instance}",
            "heliograph.cli",
            "--config",
            str(customer.settings_file),
            "agent",
            "run",
            *arguments,
            # In the environment, not among the arguments, which every user of the machine can read.
            environment={"HELIOGRAPH_EVENT_LOGS_DSN": dsn} if dsn else None,
        )

    # Live: simulated products.

    def _run_live(self, processes: Processes) -> bool:
        with self._progress as progress:
            task = progress.add_task("starting the gateway and the loader", total=None)
            customers = self._home.add_customers(_ACCOUNTS)
            self._start_vendor(processes)
            progress.update(task, description=f"starting {len(customers)} products and their agents")
            began = time.monotonic()
            products = [self._start_product(processes, customer) for customer in customers]
            agents = [self._start_agent(processes, customer) for customer in customers]
            progress.update(task, description="waiting for events to arrive in the lake", total=_FEW_EVENTS)

            def arrived() -> bool:
                counts = {name: sum(names.values()) for name, names in count_events(self._home.vendor.lake).items()}
                progress.update(task, completed=min(sum(counts.values()), _FEW_EVENTS))
                return len(counts) == len(customers) and sum(counts.values()) >= _FEW_EVENTS

            wait_until(arrived, seconds=_START_SECONDS * 2, what="events", check=[*products, *agents])
        if not self._options.once:
            print_answers(self._console, self._home.vendor, self._plan)
            print_places(self._console, self._home)
            self._wait_for_interrupt([*products, *agents])
        with self._progress as progress:
            progress.add_task("stopping the products, and draining their outboxes", total=None)
            for product in products:
                product.stop()
            for agent in agents:
                agent.stop()
            self._drain(processes, customers)
            seconds = time.monotonic() - began
        sources = {
            customer.instance: json.loads((customer.folder / "calls.json").read_text()) for customer in customers
        }
        return self._finish(customers, sources, kills={}, seconds=seconds)

    def _start_product(self, processes: Processes, customer: Customer) -> Process:
        return processes.start(
            f"product-{customer.instance}",
            "heliograph.demo.product",
            "--config",
            str(customer.settings_file),
            "--seed",
            str(self._source.randrange(1 << 30)),
            "--counts",
            str(customer.folder / "calls.json"),
        )

    def _wait_for_interrupt(self, processes: Sequence[Process]) -> None:
        try:
            self._console.print("Live use goes on. [bold]Ctrl-C[/bold] ends it and compares the figures of both ends.")
            while True:
                for process in processes:
                    process.require_running()
                time.sleep(1)
        except KeyboardInterrupt:
            self._console.print()

    def _drain(self, processes: Processes, customers: Sequence[Customer]) -> None:
        agents = [self._start_agent(processes, customer, "", "--until-drained") for customer in customers]
        self._wait_for_agents(agents)
        self._wait_for_lake()

    # History: a real table in a real PostgreSQL.

    def _run_history(self, processes: Processes, parquet: Path) -> bool:
        from heliograph.demo.history import load_history  # noqa: PLC0415 - needs psycopg's library only here
        from heliograph.demo.postgres import PostgresCluster  # noqa: PLC0415

        with self._progress as progress, PostgresCluster(self._home.folder / "postgres") as cluster:
            task = progress.add_task(f"loading {parquet.name} into PostgreSQL", total=None)
            databases = load_history(cluster, parquet, progress=lambda text: progress.update(task, description=text))
            names = registered_names([database.instance for database in databases])
            customers = self._home.add_customers([(name, name) for name in names])
            progress.update(task, description="starting the gateway and the loader")
            gateway = self._start_vendor(processes)
            began = time.monotonic()
            agents = {
                customer.instance: self._start_agent(processes, customer, database.dsn, "--until-drained")
                for customer, database in zip(customers, databases, strict=True)
            }
            rows = sum(database.rows for database in databases)
            progress.update(task, description=f"exporting {len(agents)} instances", total=rows)
            kills = self._disturb(progress, task, gateway, agents, rows)
            self._wait_for_agents(list(agents.values()))
            progress.update(task, description="waiting for the lake", completed=rows)
            self._wait_for_lake()
            seconds = time.monotonic() - began
            sources = {name: _count_rows(database) for name, database in zip(names, databases, strict=True)}
        return self._finish(customers, sources, kills=kills, seconds=seconds)

    def _disturb(
        self, progress: Progress, task: Any, gateway: Process, agents: dict[str, Process], rows: int
    ) -> dict[str, int]:
        """Kill the gateway and one exporter at random moments of the export, and start them again."""
        source = self._source
        moments = sorted((source.uniform(0.05, 0.75) * rows, which) for which in ("exporter", "gateway"))
        kills: dict[str, int] = {}
        while moments and any(agent.status() is None for agent in agents.values()):
            accepted = sum(sum(account.accepted.values()) for account in self._accounts().values())
            progress.update(task, completed=accepted)
            if accepted < moments[0][0]:
                time.sleep(0.2)
                continue
            _, which = moments.pop(0)
            running = [agent for agent in agents.values() if agent.status() is None]
            victim = gateway if which == "gateway" else source.choice(running)
            victim.kill()
            kills[victim.name] = victim.kills
            self._console.print(f"killed {victim.name} after {accepted:,} events, and started it again")
        return kills

    def _accounts(self) -> dict[str, Account]:
        return read_accounts(Path(self._home.vendor.gateway.log))

    def _wait_for_agents(self, agents: Sequence[Process]) -> None:
        def done() -> bool:
            for agent in agents:
                if agent.status() not in (None, 0):
                    agent.require_running()
            return all(agent.status() == 0 for agent in agents)

        wait_until(done, seconds=_EXPORT_SECONDS, what="the agents to deliver everything")

    def _wait_for_lake(self) -> None:
        vendor = self._home.vendor
        erased = sum(sum(names.values()) for names in count_erased(vendor).values())

        def loaded() -> bool:
            lake = sum(sum(names.values()) for names in count_events(vendor.lake).values())
            return lake + erased >= sum(sum(account.accepted.values()) for account in self._accounts().values())

        wait_until(loaded, seconds=_LOAD_SECONDS, what="the loader")

    def _finish(
        self, customers: Sequence[Customer], sources: dict[str, Counts], *, kills: dict[str, int], seconds: float
    ) -> bool:
        """Compare, print, write the figures, and tell whether they agree."""
        vendor = self._home.vendor
        accounts = self._accounts()
        lake, erased = count_events(vendor.lake), count_erased(vendor)
        instances = []
        for customer in customers:
            state = State(Path(customer.settings.agent.state), exclusive=False)
            own = read_account(state, Path(customer.settings.recorder.outbox), self._plan)
            state.close()
            name = customer.instance
            account = accounts.get(name, Account())
            figures_of = compare(name, sources[name], account, own, lake.get(name, {}), erased=erased.get(name))
            instances.append(figures_of)
        repeated = count_repeated(vendor.lake)
        figures = Figures(
            agree=not repeated and not any(figures.differences for figures in instances),
            repeated_in_lake=repeated,
            kills=kills,
            seconds=round(seconds, 1),
            instances=instances,
        )
        if self._options.once or self._options.history is not None:
            print_answers(self._console, vendor, self._plan)
        print_figures(self._console, figures)
        print_places(self._console, self._home)
        if self._options.json_file is not None:
            self._options.json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
        return figures.agree


def registered_names(instances: Sequence[str]) -> list[str]:
    """Return a name for each instance that the registry takes, near to its own and unlike all others."""
    names: list[str] = []
    for instance in instances:
        near = re.sub(r"[^a-z0-9._-]+", "-", instance.lower()).strip("._-")[:_NAME_LENGTH] or "instance"
        name, number = near, 2
        while name in names:
            name, number = f"{near}-{number}", number + 1
        names.append(name)
    return names


def _count_rows(database: InstanceDatabase) -> Counts:
    """Return the rows of a product's table by event name, by SQL."""
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(database.dsn) as connection:
        rows = connection.execute("select name, count(*) from event_logs group by name order by name").fetchall()
    return {str(name): int(count) for name, count in rows}
