"""All parts run big, together: two gateways, registry and catalog in PostgreSQL, an object store, and Spark."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict

from differing import differences
from harness import as_lines, deliver, zstd
from heliograph.demo.bulk import event_batches
from heliograph.demo.home import Home, free_port
from heliograph.demo.population import PopulationRule, draw_population
from heliograph.insights.opening import open_lake
from heliograph.insights.questions import QUESTIONS
from heliograph.insights.scope import Scope
from heliograph.instance.https import tls_context
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key
from heliograph.lake.report import count_events, count_repeated
from heliograph.plan.load import load_plan
from heliograph.settings import AgentSettings, EngineSettings, RegistrySettings, Settings, commented_file
from object_store import ObjectStore, running_object_store
from spark_cluster import SparkCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.demo.home import Customer
    from heliograph.demo.postgres import PostgresCluster
    from heliograph.insights.answer import Answer
    from heliograph.plan.model import Plan

PLAN = Path(__file__).resolve().parents[1] / "plans" / "code-intelligence.yaml"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
_NOT_ON_THE_WIRE = {"instance", "account", "epoch", "agreement", "plan", "received", "actor"}


class Site:
    """A vendor with two gateways."""

    def __init__(self, folder: Path, postgres: PostgresCluster, store: ObjectStore, instances: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {**os.environ, **store.environment()}
        for name in ("registry", "catalog"):
            with postgres.connect() as admin:
                admin.execute(f"CREATE DATABASE big_{name}")
        registry = RegistrySettings(url=database_url(postgres, "big_registry"))
        self.home = Home(folder / "home", PLAN, registry=registry)
        self.customers = self.home.add_customers(list(instances.items()))
        self.vendors: list[Settings] = []
        for number, log in enumerate("ab"):
            vendor = replace(
                self.home.vendor,
                gateway=replace(self.home.vendor.gateway, port=free_port(), log=str(folder / f"log-{log}")),
                lake=replace(
                    self.home.vendor.lake,
                    log=log,
                    warehouse=store.lake_settings("big")["warehouse"],
                    catalog=database_url(postgres, "big_catalog"),
                    commit_seconds=0.3,
                ),
            )
            self.file(number).write_text(commented_file(vendor))
            self.vendors.append(vendor)
        # As a process reads it: with what the environment adds.
        self.lake = replace(self.vendors[0], lake=replace(self.vendors[0].lake, **store.lake_settings("big")))

    def file(self, number: int) -> Path:
        return self.folder / f"vendor-{number}.toml"

    @contextmanager
    def running(self, number: int, *verb: str) -> Iterator[None]:
        """Run a verb of the command line with one gateway's settings for the length of the block."""
        log = self.folder / f"{'-'.join(verb[:2])}-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(self.command(number, *verb), env=self.environment, stdout=output, stderr=output)
        try:
            yield
            assert process.poll() is None, log.read_text()[-2000:]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)

    def command(self, number: int, *verb: str) -> list[str]:
        return [sys.executable, "-m", "heliograph.cli", "--config", str(self.file(number)), *verb]

    def client(self, number: int, customer: Customer) -> httpx.Client:
        """A client of one gateway, authenticated as a customer's instance."""
        given = customer.settings.agent
        address = f"https://localhost:{self.vendors[number].gateway.port}"
        settings = AgentSettings(
            gateway=address, certificate_authority=given.certificate_authority, instance=customer.instance
        )
        client = GatewayClient(settings, load_or_create_key(Path(given.key)))
        wait_until(lambda: answers(client), "the gateway")
        token = client._token
        client.close()
        return httpx.Client(
            base_url=address,
            verify=tls_context(given.certificate_authority),
            headers={"authorization": f"Bearer {token}"},
            timeout=60,
        )


def database_url(postgres: PostgresCluster, name: str) -> str:
    where = conninfo_to_dict(postgres.dsn(name))
    return f"postgresql+psycopg://{where['user']}@/{name}?host={quote(str(where['host']))}"


def answers(client: GatewayClient) -> bool:
    try:
        client.policy()
    except Exception:  # noqa: BLE001 - whatever a gateway says that is just beginning, or nobody in its place
        return False
    return True


def wait_until(condition: Any, what: str, *, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.3)


def on_the_wire(rows: pa.Table) -> list[dict[str, Any]]:
    found = []
    for row in rows.to_pylist():
        known = {name: value for name, value in row.items() if value is not None and name not in _NOT_ON_THE_WIRE}
        found.append({**known, "time": known["time"].isoformat(timespec="microseconds") + "Z"})
    return found


def ask_all(settings: Settings, plan: Plan, user: str, last: date) -> dict[str, Answer]:
    """Ask the five questions, in the engine that the settings name."""
    with open_lake(settings, plan) as lake:
        scope = Scope(until=last, now=NOW)
        details = {"searches": {"user": user, "month": f"{last:%Y-%m}"}}
        return {each.verb: each.answer(lake.tables, plan, scope, **details.get(each.verb, {})) for each in QUESTIONS}


@pytest.fixture
def _collected() -> Iterator[None]:
    """Let what py4j leaves to the collector go within the test that forgives it, and not in another one."""
    yield
    gc.collect()


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of py4j's
def test_two_gateways_one_registry_an_object_store_and_spark_answer_the_five_questions(
    tmp_path: Path, postgres: PostgresCluster
) -> None:
    plan = load_plan(PLAN)
    population = draw_population(
        PopulationRule(seed=6, first_day=date(2026, 1, 5), days=40, accounts=2, people=15), plan
    )
    events = pa.Table.from_batches(event_batches(population, plan))
    rows = events.to_pylist()
    instances = {row["instance"]: row["account"] for row in rows}
    last: date = max(row["time"] for row in rows).date()
    with ExitStack() as stack:
        store = stack.enter_context(running_object_store(tmp_path / "store"))
        site = Site(tmp_path, postgres, store, instances)
        for number in (0, 1):
            stack.enter_context(site.running(number, "gateway", "run"))
            stack.enter_context(site.running(number, "lake", "load", "--follow"))
        for at, customer in enumerate(site.customers):
            send_all(site, events, customer, own=at % 2)
        wait_until(lambda: stored(site) >= len(rows), "the loaders")
        assert count_repeated(site.lake.lake) == 0
        told = Counter((row["instance"], row["name"]) for row in rows)
        held = count_events(site.lake.lake)
        assert {(instance, name): count for instance, names in held.items() for name, count in names.items()} == told

        searches = (
            Counter(
                row["user_id"] for row in rows if row["name"] == plan.searches.event and row["time"].month == last.month
            )
            if plan.searches
            else Counter()
        )
        [(user, _)] = searches.most_common(1)
        here = ask_all(site.lake, plan, user, last)
        with SparkCluster(tmp_path) as cluster:
            engine = cluster.settings(copies=str(tmp_path / "copies"))
            there = ask_all(replace(site.lake, engine=engine), plan, user, last)
            said = ask_by_hand(site, engine, last)
        for verb, answer in here.items():
            assert answer.table.num_rows, verb
            assert differences(answer.table, there[verb].table) == [], verb
            assert answer.notes == there[verb].notes, verb
        assert said == json.loads(here["power-users"].as_json())["rows"]
        assert list((tmp_path / "copies").iterdir()) == [], "copies outlive the question"


def send_all(site: Site, events: pa.Table, customer: Customer, *, own: int) -> None:
    """Deliver an instance's events to its gateway; the first delivery of each epoch went to the other before."""
    with ExitStack() as stack:
        clients = [stack.enter_context(site.client(number, customer)) for number in (0, 1)]
        rows = events.filter(pa.compute.field("instance") == customer.instance).sort_by("sequence")
        for epoch in sorted(set(rows["epoch"].to_pylist())):
            mine = on_the_wire(rows.filter(pa.compute.field("epoch") == epoch))
            for first in range(0, len(mine), 1_000):
                part = mine[first : first + 1_000]
                for number in {own, *({1 - own} if first == 0 else ())}:
                    answer = deliver(
                        clients[number],
                        zstd(as_lines(part)),
                        epoch=epoch,
                        numbers=(part[0]["sequence"], part[-1]["sequence"]),
                        content_type="application/x-ndjson",
                    )
                    assert answer.status_code == 200, answer.text


def stored(site: Site) -> int:
    return sum(sum(names.values()) for names in count_events(site.lake.lake).values())


def ask_by_hand(site: Site, engine: EngineSettings, last: date) -> Any:
    """Ask as a person does: nothing differs but what the settings say of the engine."""
    environment = {
        **site.environment,
        "HELIOGRAPH_ENGINE_KIND": engine.kind,
        "HELIOGRAPH_ENGINE_MASTER": engine.master,
        "HELIOGRAPH_ENGINE_OPTIONS": json.dumps(engine.options),
        "HELIOGRAPH_ENGINE_COPIES": engine.copies,
    }
    verb = ["ask", "power-users", "--until", str(last), "--json"]
    done = subprocess.run(site.command(0, *verb), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)["rows"]
