"""docs/ping.md is made from the ping's definition, and what it shows passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

import documents
from heliograph.instance.ping_sender import GRACE, MOST_DAYS
from heliograph.ping import MONTH_DAYS, MOST_FACTS, MOST_FEATURES, ActiveUsers, FeatureUse, Ping, encode_ping, fields
from heliograph.plan.load import load_plan
from heliograph.plan.ping_page import example_ping, field_rows, ping_page
from heliograph.plan.pings import ping_problems
from heliograph.plan.rules import MAXIMUM_FACTS, MAXIMUM_FEATURES
from ping_plan import PLAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Plan

SHIPPED = load_plan(documents.REPOSITORY / "plans" / "code-intelligence.yaml")


def test_the_page_is_made_from_the_definition(golden: Callable[[str, str], None]) -> None:
    golden("docs/ping.md", ping_page(SHIPPED))


def test_the_example_of_the_page_passes_for_what_it_is() -> None:
    (block,) = documents.blocks("docs/ping.md", "json")
    ping = msgspec.json.decode(block, type=Ping)
    assert ping_problems(ping, SHIPPED) == []
    assert ping == example_ping(SHIPPED)
    assert msgspec.json.format(encode_ping(ping), indent=2).decode() == block.strip()


@pytest.mark.parametrize("plan", [SHIPPED, PLAN], ids=lambda plan: plan.label)
def test_every_field_fact_and_feature_is_explained(plan: Plan) -> None:
    rows = {row.path: row for row in field_rows(plan)}
    parts = {
        "facts": [f"facts.{name}" for name in plan.facts],
        "active_users": [f"active_users.{name}" for name in ActiveUsers.__struct_fields__],
        "features": [f"features.FEATURE.{name}" for name in FeatureUse.__struct_fields__],
    }
    assert list(rows) == [path for field in Ping.__struct_fields__ for path in parts.get(field, [field])]
    for row in rows.values():
        assert all((row.meaning, row.type, row.unit, row.source)), row
    assert all(rows[path].suppression for part in parts.values() for path in part)
    page = ping_page(plan)
    assert all(f"| `{feature}` | {meaning} |" in page for feature, meaning in plan.features.items())


def test_a_field_that_is_not_described_is_noticed() -> None:
    assert all(about.description and about.unit and about.source for about in fields())


def test_the_page_says_what_the_program_does() -> None:
    assert GRACE.total_seconds() == 3_600
    assert MOST_DAYS == MONTH_DAYS
    assert (MOST_FACTS, MOST_FEATURES) == (MAXIMUM_FACTS, MAXIMUM_FEATURES)


@pytest.mark.parametrize("page", ["docs/consent.md", "docs/wire.md", "docs/recording.md", "docs/plan.md"])
def test_the_pages_that_speak_of_it_lead_there(page: str) -> None:
    assert "ping.md" in {link.partition("#")[0] for link in documents.links(documents.read(page))}
