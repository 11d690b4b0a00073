"""Marts that reach further back than the events do: retention has taken these, and answers stay what they were."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from typer.testing import CliRunner

from erasing import OTHER, OTHERS_USER, Lake
from harness import ACCOUNT, INSTANCE, USER, as_lines, deliver, event
from heliograph.cli import app
from heliograph.demo.filled import append_events, make_marts
from heliograph.demo.population import PopulationRule, draw_population
from heliograph.explore import open_lake
from heliograph.insights.asking import Filters
from heliograph.insights.catalog import METRICS
from heliograph.lake.differences import LakeDifferences
from heliograph.lake.maintenance.retention import count_retired
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.marts.tables import MARTS
from heliograph.lake.report import compare, count_erased, count_events, find_differences
from heliograph.lake.standing import read_standings
from heliograph.plan.load import load_plan
from heliograph.settings import GatewaySettings, LakeSettings, PlanSettings, RegistrySettings, Settings, commented_file
from heliograph.wire import NDJSON
from marting import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

PLAN: Final = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"
FIRST: Final = date(2026, 1, 5)
DAYS: Final = 45
NOW: Final = datetime(2026, 2, 20, 9, tzinfo=UTC)
ONLY_MARTS: Final = "2026-01-30"
"""Of this day and those before it no event is left."""
FROM_MARTS: Final = [metric for metric in METRICS if "events" not in metric.reads]

NONE = LakeDifferences(None)
"""Nothing that a loader has found, and nothing that was said."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake of six weeks and a half, whose events may stay for ten days."""
    folder = tmp_path_factory.mktemp("long")
    settings = Settings(
        plan=PlanSettings(file=str(PLAN)),
        gateway=GatewaySettings(log=str(folder / "log")),
        registry=RegistrySettings(url=f"sqlite:///{folder}/registry.db"),
        lake=LakeSettings(
            warehouse=str(folder / "lake"),
            catalog=f"sqlite:///{folder}/lake/catalog.db",
            retain_events_days=10,
            retain_marts_days=1_000,
        ),
    )
    plan = load_plan(PLAN)
    rule = PopulationRule(seed=6, first_day=FIRST, days=DAYS, accounts=2, people=12)
    make_marts(settings.lake, plan, append_events(settings.lake, plan, draw_population(rule, plan)))
    return settings


def answers(settings: Settings, until: str) -> dict[str, pa.Table]:
    plan = load_plan(PLAN)
    with open_lake(settings, now=lambda: NOW) as lake:
        scope = lake.scope(Filters(until=date.fromisoformat(until)))
        return {metric.name: metric.result(lake.tables, plan, scope) for metric in FROM_MARTS}


def complete(settings: Settings, **choices: Any) -> set[bool]:
    """Whether a funnel, which is asked of the events, says that it knows all that there was."""
    steps = next(metric for metric in METRICS if metric.name == "funnel").required(load_plan(PLAN))
    with open_lake(settings, now=lambda: NOW) as lake:
        return set(lake.metric("funnel", days=7, **steps, **choices)["complete"].to_pylist())


def test_every_metric_of_marts_answers_for_days_without_events_as_it_did_and_those_of_events_say_what_they_lack(
    site: Settings,
) -> None:
    before = answers(site, ONLY_MARTS)
    assert {name for name, table in before.items() if table.num_rows} >= {
        "daily-active-users",
        "power-users",
        "retention",
        "lifecycle",
        "stickiness",
    }
    assert True in complete(site, until=ONLY_MARTS)
    Keeper(site.lake, now=lambda: NOW).retain()
    retired = sum(sum(names.values()) for names in count_retired(site.lake).values())
    left = sum(sum(names.values()) for names in count_events(site.lake).values())
    assert retired > left > 0
    after = answers(site, ONLY_MARTS)
    assert [name for name, table in after.items() if not table.equals(before[name])] == []
    assert complete(site, until=ONLY_MARTS) == {False}
    assert True in complete(site, until="2026-02-18")
    with open_lake(site, now=lambda: NOW) as lake:
        told = lake.metric("daily-active-users", zone="Asia/Tokyo")
        assert min(told["day"].to_pylist()) > (NOW - timedelta(days=10)).date()
    # Made anew, they keep what nothing can be made of any more.
    file = Path(site.gateway.log).with_name("vendor.toml")
    file.write_text(commented_file(site))
    for verb in (["lake", "marts", "--rebuild"], ["lake", "marts", "--check"]):
        done = CliRunner().invoke(app, ["--config", str(file), *verb])
        assert done.exit_code == 0, done.output
    again = answers(site, ONLY_MARTS)
    assert [name for name, table in again.items() if not table.equals(before[name])] == []


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """Two instances with events of eight weeks ago, of which the marts alone still tell, and of yesterday."""
    with Lake(tmp_path) as made:
        made.send(INSTANCE, 1, 5)
        made.send(INSTANCE, 6, 8, user=OTHERS_USER)
        made.send(OTHER, 1, 4)
        made.clock.advance(hours=1)
        for instance, first, user in ((INSTANCE, 9, USER), (OTHER, 5, OTHERS_USER)):
            send_of_yesterday(made, instance, first, user)
        made.load()
        section = msgspec.structs.replace(made.settings.lake, retain_events_days=30, retain_marts_days=1_000)
        made.settings = msgspec.structs.replace(made.settings, lake=section)
        Keeper(section, now=made.clock).retain()
        assert count_events(section) == {INSTANCE: {"SearchSubmitted": 1}, OTHER: {"SearchSubmitted": 1}}
        yield made


def send_of_yesterday(lake: Lake, instance: str, number: int, user: str) -> None:
    yesterday = (lake.clock() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with lake.vendor.running(now=lake.clock), lake.http(instance) as http:
        body = as_lines([event(number, time=yesterday, user_id=user)])
        sent = deliver(http, body, numbers=(number, number), content_type=NDJSON, encoding="")
        assert sent.status_code == 200, sent.text


def marts_of(lake: Lake) -> dict[str, list[dict[str, Any]]]:
    tables = opened(lake.settings.lake, lake.vendor.plan, kept=True)
    names = [mart.name for mart in MARTS]
    return {name: sorted(getattr(tables, name).to_pyarrow().to_pylist(), key=str) for name in names}


def assert_closes(lake: Lake) -> None:
    here, retired = count_events(lake.settings.lake), count_retired(lake.settings.lake)
    assert (
        find_differences(compare(read_standings(lake.settings), here, count_erased(lake.settings), retired), NONE) == []
    )


def test_a_user_is_erased_from_days_of_which_only_marts_are_left_and_everybody_else_stays(lake: Lake) -> None:
    before = marts_of(lake)
    lake.order(instance=INSTANCE, user_id=USER)
    assert lake.carry_out() == []
    assert lake.places_of(USER) == []
    after = marts_of(lake)
    for name in ("user_days", "user_feature_days", "active_days", "session_parts", "session_spans"):
        others = [row for row in before[name] if (row["instance"], row["user_id"]) != (INSTANCE, USER)]
        assert after[name] == others != before[name]
    [old] = [row for row in after["instance_days"] if row["instance"] == INSTANCE]
    assert (old["events"], old["active_users"]) == (3, 1), "the other user's, of eight weeks ago"
    assert [row for row in after["instance_days"] if row["instance"] == OTHER] == [
        row for row in before["instance_days"] if row["instance"] == OTHER
    ]
    assert_closes(lake)


@pytest.mark.parametrize("reaches", [True, False], ids=["of all that arrived", "of what arrived after it"])
def test_what_an_account_sent_is_erased_from_such_days_unless_it_arrived_before_the_order_s_time(
    lake: Lake, reaches: bool
) -> None:
    before = marts_of(lake)
    since = lake.clock()
    lake.clock.advance(hours=1)
    send_of_yesterday(lake, INSTANCE, 10, USER)
    lake.order(account=ACCOUNT, since=since - timedelta(hours=3) if reaches else since + timedelta(minutes=30))
    assert lake.carry_out() == []
    after = marts_of(lake)
    for name, rows in before.items():
        own = [row for row in rows if row["instance"] == INSTANCE]
        others = [row for row in rows if row["instance"] == OTHER]
        assert own
        assert after[name] == (others if reaches else sorted([*own, *others], key=str)), name
    assert_closes(lake)
