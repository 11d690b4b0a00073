"""Every metric says the same on both engines, with Spark as a cluster of processes, one of which is killed."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from asking import write_history
from differing import differences
from heliograph.demo.bulk import event_batches
from heliograph.demo.population import PopulationRule, draw_population
from heliograph.engines import EmbeddedEngine, Stored
from heliograph.engines.spark import SparkEngine
from heliograph.insights.catalog import METRICS, metric_named
from heliograph.insights.funnel import FunnelRule, funnel
from heliograph.insights.scope import Scope
from heliograph.insights.sessions import multi_feature_sessions
from heliograph.insights.tables import Tables
from heliograph.lake.marts.definitions import (
    active_days,
    counted_events,
    instance_days,
    session_parts,
    session_spans,
    user_days,
    user_feature_days,
)
from heliograph.lake.tables import event_schema
from heliograph.plan.load import load_plan
from spark_cluster import Killing

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis

    from heliograph.engines import Engine
    from heliograph.plan.model import Plan
    from spark_cluster import SparkCluster

# Spark's way from Python to Java leaves sockets of ended threads to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

REPOSITORY = Path(__file__).resolve().parents[2]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def kept(engine: Engine, folder: Path, events: Path, plan: Plan) -> tuple[Tables, dict[str, pa.Table]]:
    """Let an engine make the marts, and keep them as files; return its tables, and the marts' rows in one order."""
    stored = {"events": Stored((str(events),), event_schema(plan))}
    rows = {}

    def keep(name: str, mart: ibis.Table) -> ibis.Table:
        if isinstance(engine, SparkEngine):
            [files] = engine.write(mart).values()
        else:
            files = [folder / f"{events.stem}-{name}.parquet"]
            parquet.write_table(mart.to_pyarrow(), files[0])
        stored[name] = Stored(tuple(map(str, files)), mart.schema().to_pyarrow())
        # Spark notes in its files that a count is never null, and its own name for each type.
        read = pa.concat_tables(parquet.read_table(file) for file in files)
        rows[name] = arranged(read.cast(stored[name].columns).replace_schema_metadata(None))
        return engine.open({name: stored[name]})[name]

    counted = counted_events(engine.open(stored)["events"], plan)
    days = keep("user_days", user_days(counted, plan))
    keep("active_days", active_days(keep("user_feature_days", user_feature_days(days, plan)), plan))
    keep("instance_days", instance_days(days, plan))
    keep("session_spans", session_spans(keep("session_parts", session_parts(counted, plan)), plan))
    opened = engine.open(stored)
    return Tables(kept=True, events=counted_events(opened.pop("events"), plan), **opened), rows


def arranged(rows: pa.Table) -> pa.Table:
    """Return rows in an order of their own: a metric may leave rows of equal rank in any."""
    return rows.sort_by([(name, "ascending") for name in rows.column_names]).combine_chunks()


def questions(plan: Plan, scope: Scope) -> dict[str, Callable[[Tables], ibis.Table]]:
    """Return all metrics by example, and those that engines have ways of their own to."""
    asked = {
        metric.name: partial(metric.function, plan=plan, scope=scope, rule=metric.example(plan)) for metric in METRICS
    }
    example = metric_named("funnel").example(plan)
    assert isinstance(example, FunnelRule)
    for order in ("exact", "any"):
        rule = msgspec.structs.replace(example, order=order)
        asked[f"funnel, {order}"] = partial(funnel, plan=plan, scope=scope, rule=rule)

    def without_marts(tables: Tables) -> ibis.Table:
        return multi_feature_sessions(msgspec.structs.replace(tables, kept=False), plan, scope)

    return {**asked, "sessions of events": without_marts}


@pytest.fixture
def generated(tmp_path: Path) -> tuple[Path, Plan]:
    """Some thousand events of every kind that the plan of the demonstration declares."""
    plan = load_plan(REPOSITORY / "plans" / "code-intelligence.yaml")
    population = draw_population(
        PopulationRule(seed=6, first_day=date(2026, 1, 5), days=70, accounts=2, people=20), plan
    )
    file = tmp_path / "generated.parquet"
    parquet.write_table(pa.Table.from_batches(event_batches(population, plan)), file)
    return file, plan


@pytest.fixture
def remembered(tmp_path: Path, history: Path) -> tuple[Path, Plan]:
    """The history as the lake would hold it."""
    file = tmp_path / "history.parquet"
    write_history(history, file)
    return file, load_plan(REPOSITORY / "examples" / "commit-history.yaml")


@pytest.mark.timeout(1800)
def test_every_mart_and_metric_is_the_same_on_both_engines_though_a_worker_of_sparks_is_killed(
    tmp_path: Path,
    cluster: SparkCluster,
    spark: SparkEngine,
    generated: tuple[Path, Plan],
    remembered: tuple[Path, Plan],
) -> None:
    different: dict[str, Any] = {}
    with EmbeddedEngine() as duck:
        for (events, plan), scope in (
            (generated, Scope(until=last_day(generated[0]), now=NOW, unit="instance")),
            (remembered, Scope(until=date(2026, 3, 31), now=NOW)),
        ):
            here, marts = kept(duck, tmp_path, events, plan)
            # In the midst of all a machine is gone, and comes back.
            with Killing(cluster) if events is remembered[0] else nullcontext():
                there, others = kept(spark, tmp_path, events, plan)
            for name, rows in marts.items():
                assert len(rows), name
                if found := differences(rows, others[name]):
                    different[f"{events.stem}: {name}"] = found[:3]
            for name, question in questions(plan, scope).items():
                told = arranged(question(here).to_pyarrow())
                assert len(told), name
                if found := differences(told, arranged(question(there).to_pyarrow())):
                    different[f"{events.stem}: {name}"] = found[:3]
    assert different == {}


def last_day(file: Path) -> date:
    latest = parquet.read_table(file, columns=["time"])["time"].to_pylist()
    day: date = max(latest).date()
    return day


def test_what_differs_is_found() -> None:
    one = pa.table({"unit": ["acme", "bell"], "users": [1, None], "share": [0.1 + 0.2, None]})
    assert differences(one, pa.table({"unit": ["acme", "bell"], "users": [1, None], "share": [0.3, None]})) == []
    for other in ({"users": [1, 2]}, {"share": [0.3 + 1e-9, None]}, {"unit": ["acme", None]}, {"users": [1.0, None]}):
        assert differences(one, pa.table(one.to_pydict() | other)), other
    assert differences(one, one.slice(1))
