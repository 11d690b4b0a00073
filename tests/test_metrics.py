"""Metrics and alarms: what is listed is set somewhere, documented, and has a page that says what to do."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import documents
from debian import require_program
from documents import REPOSITORY
from heliograph.alarms import Alarm, rules
from heliograph.consent.policy import Doubt
from heliograph.event import Verdict
from heliograph.gateway.metrics import GatewayMetric
from heliograph.gateway.problems import Refusal
from heliograph.instance.metrics import AgentMetric
from heliograph.lake.maintenance.metrics import UpkeepMetric
from heliograph.lake.metrics import LoaderMetric
from heliograph.metrics import Kind, MetricTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES: dict[str, type[MetricTable]] = {
    "Agent": AgentMetric,
    "Gateway": GatewayMetric,
    "Loader": LoaderMetric,
    "Upkeep": UpkeepMetric,
}
ALL = [each for table in TABLES.values() for each in table]
HEAD = """# Metrics

What each part tells Prometheus. Labels are declared event names, verdicts, addresses and codes of closed lists: never
anything of an event's content, and no user. This page is made from the code (`heliograph.instance.metrics`,
`heliograph.gateway.metrics`, `heliograph.lake.metrics`, `heliograph.lake.maintenance.metrics`).

* The **agent** listens nowhere. It writes `agent.metrics_file` every minute, for the node exporter's textfile
  collector; `heliograph agent status --prometheus` prints the same at any time.
* The **gateway** answers `/metrics` and `/ready` in plain HTTP on the loopback, if `gateway.metrics_port` is set;
  several workers count together.
* The **loader** writes `lake.metrics_file` every few seconds, and **upkeep** `lake.upkeep_metrics_file` when it ends.

The alarms that are made of them are in [alerts.yaml](alerts.yaml), each with [a page](operations.md#alarms).
"""


def page() -> str:
    parts = [HEAD]
    for title, table in TABLES.items():
        parts.append(f"\n## {title}\n\n| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n")
        for each in table:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            parts.append(f"| `{each.metric}` | {each.kind} | {labels} | {each.about} |\n")
    return "".join(parts)


def test_the_page_of_metrics_has_each_with_its_meaning(golden: Callable[[str, str], None]) -> None:
    golden("docs/metrics.md", page())


def test_every_metric_is_set_somewhere() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "src").rglob("*.py"))
    for each in ALL:
        assert re.search(rf"\b{type(each).__name__}\.{each.name}\b", sources), each


def test_names_say_what_is_counted_in_which_unit() -> None:
    names = [each.metric for each in ALL]
    assert len(names) == len(set(names))
    for each in ALL:
        assert each.metric.endswith("_total") == (each.kind is Kind.COUNTER)
        assert each.about.endswith(".")
        assert set(each.labels) <= {"event", "outcome", "path", "step", "check", "reason", "doubt", "table"}


def test_the_rules_for_prometheus_are_those_of_the_table(golden: Callable[[str, str], None]) -> None:
    text = "# Made from heliograph.alarms: see docs/operations.md.\n" + yaml.safe_dump(
        rules(), sort_keys=False, width=110
    )
    golden("docs/alerts.yaml", text)
    assert yaml.safe_load(text) == rules()


def test_prometheus_itself_takes_the_rules() -> None:
    promtool = require_program("promtool", package="prometheus")
    done = subprocess.run(
        [promtool, "check", "rules", REPOSITORY / "docs" / "alerts.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(Alarm)} rules found" in done.stdout


def test_the_alarms_of_account_and_ledger_begin_and_end_with_what_the_agent_tells(tmp_path: Path) -> None:
    promtool = require_program("promtool", package="prometheus")

    def rings(alarm: Alarm, name: str, *minutes: int) -> list[dict[str, Any]]:
        text = {"summary": alarm.about, "runbook": f"docs/runbook/{alarm.page}.md"}
        expected = {"exp_labels": {"severity": str(alarm.severity), "instance": "acme-1"}, "exp_annotations": text}
        return [
            {"alertname": name, "eval_time": f"{at}m", "exp_alerts": [expected] if at in minutes else []}
            for at in (3, 7, 12)
        ]

    series = {
        'heliograph_agent_account_open_differences{instance="acme-1"}': "0x4 1x4 0x20",
        'heliograph_agent_ledger_problems{instance="acme-1"}': "0x9 2x20",
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            *rings(Alarm.ACCOUNT_DIFFERS, "HeliographAccountDiffers", 7),
            *rings(Alarm.LEDGER_CHANGED, "HeliographLedgerChanged", 12),
        ],
    }
    file = tmp_path / "test.yaml"
    rules_file = str(REPOSITORY / "docs" / "alerts.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [rules_file], "tests": [test]}), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alarm", Alarm, ids=lambda alarm: alarm.page)
def test_an_alarm_is_made_of_metrics_labels_and_words_that_exist(alarm: Alarm) -> None:
    known = {each.metric: each for each in ALL}
    used = re.findall(r"\b(heliograph_\w+)(?:\{([^}]*)\})?", alarm.expression)
    assert used
    words = {*Verdict, *(each.code for each in Refusal), *(each.code for each in Doubt)}
    words |= {"ok", "duplicate", "failed", "none", "unreachable", "disk", "other", "unknown"}
    for name, selector in used:
        metric = known[name.removesuffix("_bucket")]
        assert (metric.kind is Kind.HISTOGRAM) == name.endswith("_bucket")
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', selector):
            assert label in metric.labels
            assert set(values.split("|")) <= words
    assert alarm.expression.count("(") == alarm.expression.count(")")
    assert re.fullmatch(r"\d+[mhd]", alarm.lasting)


HEADINGS = [
    "What it means.",
    "Who is affected.",
    "Is anything lost?",
    "How to look.",
    "What to do.",
    "How to see that it is over.",
]


@pytest.mark.parametrize("alarm", Alarm, ids=lambda alarm: alarm.page)
def test_an_alarm_has_a_page_that_answers_what_one_asks_at_night(alarm: Alarm) -> None:
    text = documents.read(f"docs/runbook/{alarm.page}.md")
    assert [found for found in re.findall(r"\*\*([^*]+)\*\*", text) if found in HEADINGS] == HEADINGS
    assert "```sh\n" in text


def test_every_page_of_the_runbook_is_of_an_alarm_and_in_the_table() -> None:
    pages = {file.stem for file in (REPOSITORY / "docs" / "runbook").glob("*.md")}
    assert pages == {alarm.page for alarm in Alarm}
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbook/([\w-]+)\.md\) \| (\w+) \| (.+) \|$",
        documents.section("docs/operations.md", "Alarms"),
        re.MULTILINE,
    )
    names = {rule["labels"]["severity"] for rule in rules()["groups"][0]["rules"]}
    assert names <= {"page", "ticket"}
    expected = [
        ("Heliograph" + alarm.name.title().replace("_", ""), alarm.page, str(alarm.severity), alarm.about)
        for alarm in Alarm
    ]
    assert rows == expected
