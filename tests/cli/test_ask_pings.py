"""From an instance at level critical to what the vendor sees of it: over TLS, through the log and the lake."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner

from harness import INSTANCE, Vendor
from heliograph.cli import app
from heliograph.consent.level import Level
from heliograph.plan.load import load_plan
from pinging import ping_fields, tell

PLAN = Path(__file__).resolve().parents[2] / "plans" / "code-intelligence.yaml"


def test_an_instance_that_may_send_no_event_is_seen_by_its_ping(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path, plan=load_plan(PLAN))
    with vendor.registry() as registry:
        registry.set_override(INSTANCE, Level.CRITICAL, reason="the customer asked")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    feature = next(iter(vendor.plan.features))
    fields = ping_fields(yesterday, plan=vendor.plan.label, features={feature: {"users": 11, "events": 240}})
    with vendor.running(), vendor.http() as http:
        assert tell(http, fields).json()["receipt"]["agreement"] is None
    config = tmp_path / "vendor.toml"
    lake = vendor.settings.lake
    config.write_text(
        f'[plan]\nfile = "{PLAN}"\n[gateway]\nlog = "{vendor.settings.gateway.log}"\n'
        f'[lake]\nwarehouse = "{lake.warehouse}"\ncatalog = "{lake.catalog}"\n'
    )

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["--config", str(config), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "5 rows loaded" in run("lake", "load")
    (row,) = json.loads(run("ask", "critical", "--json"))["rows"]
    assert row == {
        "account": "acme",
        "instance": INSTANCE,
        "level": "critical",
        "day": yesterday.isoformat(),
        "active_day": 12,
        "active_week": 30,
        "active_month": 31,
        "top_features": f"{feature} 11",
        "facts": "",
    }
    assert INSTANCE in run("ask", "critical")
    answer = json.loads(run("ask", "pings", "--json"))
    assert (answer["rows"], answer["notes"][1:]) == (
        [],
        ["Pings of days without events around them, which are not compared: 1."],
    )
