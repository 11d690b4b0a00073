"""A plan on the wire: believed only in full, and only as its digest says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness import SMALL_PLAN
from heliograph.plan.canonical import MOST_BYTES, CanonicalPlanError, decode_canonical, read_canonical
from heliograph.plan.load import load_plan

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

PLAN = Path(__file__).parents[2] / "plans" / "code-intelligence.yaml"


def read(content: bytes) -> Plan:
    return read_canonical(content, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("plan", [SMALL_PLAN, load_plan(PLAN)], ids=["small", "ours"])
def test_a_plan_is_the_same_after_the_wire(plan: Plan) -> None:
    assert read_canonical(plan.canonical(), plan.digest()) == plan
    assert decode_canonical(plan.canonical()) == plan


def test_another_digest_is_another_plan() -> None:
    with pytest.raises(CanonicalPlanError, match="whose digest was signed"):
        read_canonical(SMALL_PLAN.canonical() + b" ", SMALL_PLAN.digest())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"heliograph_plan": 3}, "form of a plan"),
        ({"tracking": "everything"}, "form of a plan"),
        ({"version": 0}, "breaks 1 of the rules"),
        ({"events": {}}, "breaks"),
        ({"description": SMALL_PLAN.description, "sources": "web"}, "form of a plan"),
    ],
)
def test_what_is_no_plan_of_ours_is_refused(change: dict[str, object], why: str) -> None:
    content = msgspec.json.encode(msgspec.json.decode(SMALL_PLAN.canonical()) | change, order="sorted")
    with pytest.raises(CanonicalPlanError, match=why):
        read(content)


def test_a_field_of_a_later_format_that_narrows_a_property_is_not_passed_over() -> None:
    rough = msgspec.json.decode(SMALL_PLAN.canonical())
    rough["events"]["goToDefinition"]["properties"]["duration_ms"]["only_on"] = "weekdays"
    with pytest.raises(CanonicalPlanError, match="more than this release knows"):
        read(msgspec.json.encode(rough, order="sorted"))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"\xff", b"{" * 10_000, b'{"events":' * 2_000, b" " * (MOST_BYTES + 1), b'{"expires":1}'],
)
def test_hostile_bytes_are_refused_and_nothing_else(content: bytes) -> None:
    with pytest.raises(CanonicalPlanError):
        read(content)


def test_a_date_that_is_none_is_refused() -> None:
    content = SMALL_PLAN.canonical().replace(b'"never"', b'"sometime"')
    with pytest.raises(CanonicalPlanError, match="form of a plan"):
        read(content)
