from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from heliograph.demo.bulk import event_batches
from heliograph.demo.population import Incident, Population, PopulationRule, draw_population, sized
from heliograph.lake.maintenance.layout import with_columns
from heliograph.lake.tables import event_schema
from heliograph.plan.columns import ColumnChecker, wire_schema
from heliograph.plan.load import load_plan

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

PLAN = load_plan(Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml")
RULE = PopulationRule(
    seed=11, first_day=date(2026, 1, 5), days=56, accounts=12, people=25, incidents=0.8, incident_days=(0.3, 0.5)
)


def events_of(rule: PopulationRule, plan: Plan = PLAN, *, batch_events: int = 20_000) -> pa.Table:
    population = draw_population(rule, plan)
    return pa.Table.from_batches(event_batches(population, plan, batch_events=batch_events), event_schema(plan))


@pytest.fixture(scope="module")
def population() -> Population:
    return draw_population(RULE, PLAN)


@pytest.fixture(scope="module")
def known(population: Population) -> duckdb.DuckDBPyConnection:
    """The tables `events`, `people` and `accounts`."""
    connection = duckdb.connect()
    connection.register("events", events_of(RULE))
    connection.register("people", population.people)
    connection.register("accounts", population.accounts)
    return connection


def test_equal_rules_give_equal_events_and_another_seed_others() -> None:
    small = msgspec.structs.replace(RULE, accounts=2, days=14)
    assert events_of(small).equals(events_of(small))
    assert not events_of(small).equals(events_of(msgspec.structs.replace(small, seed=12)))


def test_every_event_is_one_that_a_gateway_accepts(known: duckdb.DuckDBPyConnection) -> None:
    table = events_of(msgspec.structs.replace(RULE, days=28))
    table.validate(full=True)
    wire = with_columns(table, wire_schema(PLAN)).combine_chunks()
    [batch] = wire.to_batches()
    latest = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
    checker = ColumnChecker(PLAN)
    assert checker.rejected_counts(checker.check(batch, latest=latest)) == {}
    assert set(table["name"].to_pylist()) > {"SearchSubmitted", "goToDefinition", "SearchNotebookPageViewed"}


def test_the_numbers_of_each_epoch_count_from_one_without_gaps(known: duckdb.DuckDBPyConnection) -> None:
    bounds = known.sql(
        "SELECT min(sequence), max(sequence) - count(*), count(DISTINCT sequence) - count(*), count(DISTINCT version) "
        "FROM events GROUP BY instance, epoch"
    ).fetchall()
    assert len(bounds) > len({name for (name,) in known.sql("SELECT DISTINCT instance FROM events").fetchall()})
    assert set(bounds) == {(1, 0, 0, 1)}


@pytest.mark.parametrize("batch_events", [1, 3_000, 10**9])
def test_no_day_is_divided_whatever_the_size_of_a_batch(batch_events: int) -> None:
    rule = msgspec.structs.replace(RULE, accounts=3, days=14)
    days: list[date] = []
    for batch in event_batches(draw_population(rule, PLAN), PLAN, batch_events=batch_events):
        # A session that begins late on a day may end after midnight, and stays with its day.
        assert pc.min_max(batch["time"])["min"].as_py().date() not in days
        assert batch["time"].equals(batch["time"].take(pc.sort_indices(batch["time"])))
        days += sorted({moment.date() for moment in batch["time"].to_pylist()})
    assert {date(2026, 1, 5), date(2026, 1, 16)} <= set(days)


def test_as_many_accounts_are_chosen_as_make_the_events_that_are_wanted() -> None:
    rule = sized(60_000, msgspec.structs.replace(RULE, incidents=0.0), PLAN)
    assert events_of(rule).num_rows == pytest.approx(60_000, rel=0.15)


def test_nobody_is_there_before_arriving_or_after_leaving(known: duckdb.DuckDBPyConnection) -> None:
    beyond = (
        "SELECT count(*) FROM events JOIN people USING (user_id) "
        "WHERE time < arrives OR time >= leaves + INTERVAL 1 HOUR OR events.instance <> people.instance"
    )
    assert known.sql(beyond).fetchall() == [(0,)]
    assert known.sql("SELECT count(*) > 20 FROM people WHERE leaves IS NOT NULL").fetchall() == [(True,)]


def test_a_feature_is_used_from_the_day_on_which_it_is_taken_up(known: duckdb.DuckDBPyConnection) -> None:
    features = pa.table({"name": list(PLAN.events), "feature": [event.feature for event in PLAN.events.values()]})
    known.register("features", features)
    shares = known.sql(
        "SELECT avg((feature = adopted)::INT) FILTER (time < adopts), avg((feature = adopted)::INT) FILTER "
        "(time >= adopts + INTERVAL 1 DAY) "
        "FROM events JOIN people USING (user_id) JOIN features USING (name) "
        "JOIN accounts ON accounts.account = people.account "
        "WHERE adopted IS NOT NULL AND incident IS DISTINCT FROM 'depth'"
    ).fetchall()
    assert shares == [(0.0, pytest.approx(1 / 3, abs=0.1))]


def test_each_incident_shows_in_what_it_is_about_from_its_day_on(known: duckdb.DuckDBPyConnection) -> None:
    measured = known.sql(
        "SELECT incident, time >= since AS during, avg((outcome <> 'ok')::INT), "
        "count(DISTINCT (user_id, time::DATE)) / count(DISTINCT time::DATE), "
        "count(*) / sum(begins), count(DISTINCT name) FROM ("
        "SELECT *, coalesce(time - lag(time) OVER (PARTITION BY user_id ORDER BY time) > INTERVAL 30 MINUTE, true)"
        "::INT AS begins FROM events) JOIN accounts USING (account) GROUP BY ALL"
    ).fetchall()
    found = {(incident, during): values for incident, during, *values in measured}
    assert {incident for incident, during in found if during} == {"failures", "leaving", "depth"}
    assert {incident for incident, _ in found} >= {each.name.lower() for each in Incident}
    assert found["failures", True][0] > 3 * found["failures", False][0]
    assert found["leaving", True][1] < 0.75 * found["leaving", False][1]
    assert found["depth", True][2] < 0.6 * found["depth", False][2]
    assert found["depth", True][1] == pytest.approx(found["depth", False][1], rel=0.25), "everybody still comes"
