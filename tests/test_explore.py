from __future__ import annotations

import json
import runpy
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from heliograph.cli import app
from heliograph.demo.filled import append_events, make_marts
from heliograph.demo.population import Population, PopulationRule, draw_population
from heliograph.explore import Lake, open_lake
from heliograph.insights.scope import QuestionError
from heliograph.plan.load import load_plan
from heliograph.settings import LakeSettings, PlanSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer.testing import Result

REPOSITORY = Path(__file__).resolve().parents[1]
PLAN = REPOSITORY / "plans" / "code-intelligence.yaml"
RULE = PopulationRule(
    seed=5, first_day=date(2026, 1, 5), days=84, accounts=12, people=25, incidents=0.3, incident_days=(0.6, 0.8)
)
LAST = RULE.first_day + timedelta(days=RULE.days - 1)


@pytest.fixture(scope="module")
def population() -> Population:
    return draw_population(RULE, load_plan(PLAN))


@pytest.fixture(scope="module")
def settings(population: Population, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake of a simulated population, with its marts."""
    folder = tmp_path_factory.mktemp("explored") / "lake"
    settings = Settings(
        plan=PlanSettings(file=str(PLAN)),
        lake=LakeSettings(warehouse=str(folder), catalog=f"sqlite:///{folder}/catalog.db"),
    )
    plan = load_plan(PLAN)
    make_marts(settings.lake, plan, append_events(settings.lake, plan, population, rows=40_000))
    return settings


@pytest.fixture
def lake(settings: Settings) -> Iterator[Lake]:
    with open_lake(settings, now=lambda: datetime(2026, 6, 1, tzinfo=UTC)) as lake:
        yield lake


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr("heliograph.cli.asking.read_settings", lambda _: settings)
    return lambda *arguments, **options: CliRunner().invoke(app, [*arguments], **options)


def shares(found: set[str], true: set[str]) -> tuple[float, float]:
    return len(found & true) / len(found), len(found & true) / len(true)


def test_power_users_are_those_who_truly_are(lake: Lake, population: Population) -> None:
    # Those who have been there for the 28 days, at accounts where nothing is wrong.
    begins = LAST - timedelta(days=27)
    troubled = {row["account"] for row in population.accounts.to_pylist() if row["incident"]}
    people = [
        row
        for row in population.people.to_pylist()
        if row["arrives"] <= begins and (row["leaves"] or date.max) > LAST and row["account"] not in troubled
    ]
    from heliograph.insights.power_users import PowerUserRule, is_power_user, user_measures  # noqa: PLC0415

    scope = lake.scope()
    measured = user_measures(lake.tables, lake.plan, scope)
    found = measured.filter(is_power_user(measured, PowerUserRule())).user_id.to_pyarrow().to_pylist()
    known = {row["user_id"] for row in people}
    true = {row["user_id"] for row in people if row["habit"] == "power"}
    precision, recall = shares(set(found) & known, true)
    assert precision > 0.75
    assert recall > 0.85


def test_those_who_left_are_dormant_and_the_others_are_not(lake: Lake, population: Population) -> None:
    silent = {row["account"] for row in population.accounts.to_pylist() if row["incident"] == "silence"}
    people = [row for row in population.people.to_pylist() if row["habit"] == "power" and row["account"] not in silent]
    middle = LAST - timedelta(days=28)
    days = lake.tables.user_feature_days
    latest = days.group_by("user_id").agg(latest=days.day.max()).to_pyarrow().to_pylist()
    gone = {row["user_id"] for row in latest if row["latest"] <= middle}
    left = {row["user_id"] for row in people if row["leaves"] and row["leaves"] <= middle - timedelta(days=7)}
    stayed = {row["user_id"] for row in people if not row["leaves"] and row["arrives"] < middle}
    assert left
    assert left & {row["user_id"] for row in latest} <= gone
    assert len(stayed & gone) <= len(stayed) // 50
    (row,) = [
        row
        for row in lake.metric("lifecycle", by="everyone", period_days=28, until=LAST).to_pylist()
        if row["period"] == middle + timedelta(days=1)
    ]
    assert row["dormant"] >= len({row["user_id"] for row in people if row["leaves"] and row["leaves"] <= middle} - gone)


def test_a_question_gives_an_answer_that_a_notebook_shows_and_rows_in_arrow(lake: Lake) -> None:
    answer = lake.ask("power-users", account="customer-0001", active_days=12)
    assert answer.parameters["active_days"] == 12
    assert answer.table["account"].to_pylist() == ["customer-0001"]
    shown = answer._repr_html_()
    assert "<th>power users</th>" in shown
    assert "How many users are power users?" in shown
    table = lake.metric("retention", kind="unbounded", days=(1, 7), month="2026-01")
    assert isinstance(table, pa.Table)
    assert set(table["from_day"].to_pylist()) == {1, 7}
    assert lake.ask("searches", user="0" * 32, month="2026-02").table.num_rows == 0


def test_small_groups_are_not_told_where_that_is_asked_for(lake: Lake) -> None:
    choices: dict[str, Any] = {"account": ("customer-0001", "customer-0002")}
    whole, told = (lake.ask("feature-adoption", suppress=each, **choices).table.to_pylist() for each in (None, 5))
    assert any(0 < row["users"] < 5 for row in whole)
    assert not any(row["users"] is not None and 0 < row["users"] < 5 for row in told)
    days = lake.ask("active", days=7, suppress=5, by="everyone").table["day"].to_pylist()
    assert days == [LAST - timedelta(days=n) for n in range(6, -1, -1)]
    ranks = lake.ask("stickiest", top=2, suppress=5).table
    assert ranks.group_by("size").aggregate([("rank", "max")])["rank_max"].to_pylist() == [2, 2, 2]
    with pytest.raises(QuestionError):
        lake.ask("intervene", suppress=5)


def test_sql_and_metrics_say_the_same(lake: Lake) -> None:
    query = "SELECT count(DISTINCT user_id) AS users FROM user_feature_days WHERE day = DATE '2026-02-04'"
    (row,) = lake.sql(query).to_pylist()
    (daily,) = [
        row
        for row in lake.metric("daily-active-users", by="everyone", until="2026-02-04").to_pylist()
        if row["day"] == date(2026, 2, 4)
    ]
    assert row["users"] == daily["active_users"] > 0


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda lake: lake.ask("power-user"), "no question 'power-user'"),
        (lambda lake: lake.metric("intervention"), "no question 'intervention'"),
        (lambda lake: lake.ask("power-users", account="custmer-0001"), "customer-0001"),
        (lambda lake: lake.ask("power-users", colour="red"), "no parameter colour. It has active_days"),
        (lambda lake: lake.ask("searches", month="2026-02"), "searches needs user: the user's random id"),
        (lambda lake: lake.ask("searches", user="0" * 32), "searches needs month: the calendar month, such as"),
        (lambda lake: lake.ask("active", until="yesterday"), "'yesterday' is no day"),
        (lambda lake: lake.sql("SELECT * FROM events"), "raw rows are closed"),
        (lambda lake: lake.sql("FROM user_days", rows=5), "more than 5 rows"),
        (lambda lake: lake.sql("FROM user_days", rows=0), "A bound is not right"),
    ],
)
def test_what_cannot_be_answered_says_why(lake: Lake, ask: Callable[[Lake], object], words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        ask(lake)


def test_sql_is_printed_in_each_form(run: Callable[..., Result], tmp_path: Path) -> None:
    query = "SELECT account, sum(events)::BIGINT AS events FROM instance_days GROUP BY account ORDER BY account"
    plain, as_json, as_csv = (run("sql", query, *form) for form in ((), ("--json",), ("--csv",)))
    rows = json.loads(as_json.stdout)
    assert [row["account"] for row in rows] == [f"customer-{number:04}" for number in range(1, 13)]
    assert as_csv.stdout.splitlines()[1] == f'"customer-0001",{rows[0]["events"]}'
    assert f"{rows[0]['events']:,}" in plain.stdout
    file = tmp_path / "rows.parquet"
    assert "12 rows written" in run("sql", "-", "--parquet", str(file), input=query).stderr
    few = run("sql", query, "--rows", "3")
    assert few.exit_code == 0
    assert "There are more than 3 rows" in few.stderr


def test_sql_reads_no_raw_event_and_says_where_to_look(run: Callable[..., Result]) -> None:
    result = run("sql", "SELECT * FROM events")
    assert result.exit_code == 2
    assert "raw rows are closed" in result.stderr
    assert "Traceback" not in result.output


def test_without_marts_sql_says_how_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = LakeSettings(warehouse=str(tmp_path / "lake"), catalog=f"sqlite:///{tmp_path}/lake/catalog.db")
    empty = Settings(plan=PlanSettings(file=str(PLAN)), lake=lake)
    monkeypatch.setattr("heliograph.cli.asking.read_settings", lambda _: empty)
    result = CliRunner().invoke(app, ["sql", "SHOW TABLES"])
    assert result.exit_code == 2
    assert "Run heliograph lake load" in result.stderr


def test_the_example_runs_from_beginning_to_end(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vendor.toml"
    file.write_text(
        f'[plan]\nfile = "{settings.plan.file}"\n'
        f'[lake]\nwarehouse = "{settings.lake.warehouse}"\ncatalog = "{settings.lake.catalog}"\n'
    )
    monkeypatch.setattr(sys, "argv", ["explore.py", str(file)])
    runpy.run_path(str(REPOSITORY / "examples" / "explore.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "search" in shown
    assert "customer-0001" in shown
