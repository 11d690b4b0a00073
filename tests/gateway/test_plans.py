"""The plan at a gateway: answered to instances, and swapped as a whole when its file changes."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from msgspec.structs import replace

from harness import SMALL_PLAN, Vendor, as_arrow, as_lines, definition, deliver, event, told, zstd
from heliograph.gateway.plans import PlanInForce, retyped_columns
from heliograph.instance.https import tls_context
from heliograph.plan.model import NumberProperty
from heliograph.wire import ARROW, NDJSON
from updating import CELL_RUN, changed, followed, write_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "plan.yaml"
    write_plan(file, SMALL_PLAN)
    return file


@pytest.fixture
def vendor(tmp_path: Path, file: Path) -> Iterator[Vendor]:
    (tmp_path / "vendor").mkdir()
    with Vendor(tmp_path / "vendor").running(plan=PlanInForce(followed(file))) as vendor:
        yield vendor


@pytest.fixture
def http(vendor: Vendor) -> Iterator[httpx.Client]:
    with vendor.http() as http:
        yield http


def test_the_plan_is_answered_in_the_bytes_whose_digest_the_policy_names(http: httpx.Client) -> None:
    answer = http.get("/v1/plan")
    digest = hashlib.sha256(answer.content).hexdigest()
    assert answer.content == SMALL_PLAN.canonical()
    assert told(http.get("/v1/policy")).plan_digest == digest
    assert answer.headers["etag"] == f'"{digest}"'
    for tag in (f'"{digest}"', f'W/"{digest}"', f'"other", "{digest}"', "*"):
        again = http.get("/v1/plan", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
    assert http.get("/v1/plan", headers={"if-none-match": '"other"'}).status_code == 200


def test_nobody_else_is_told_the_plan(vendor: Vendor) -> None:
    verify = tls_context(str(vendor.authority_file))
    with httpx.Client(base_url=vendor.address, verify=verify) as stranger:
        assert stranger.get("/v1/plan").json()["type"] == "invalid_token"


def test_policy_plan_and_checks_change_together(http: httpx.Client, vendor: Vendor, file: Path) -> None:
    def send(number: int) -> dict[str, object]:
        line = as_lines([event(number, "CellRun", kind="code")])
        answer = deliver(http, zstd(line), numbers=(number, number), content_type=NDJSON).json()
        return {key: answer["receipt"][key] for key in ("accepted", "rejected")}

    assert send(1) == {"accepted": {}, "rejected": {"(undeclared)": {"undeclared_event": 1}}}
    plan = changed(CellRun=CELL_RUN)
    write_plan(file, plan)
    assert told(http.get("/v1/policy")).plan == "small@2"
    assert http.get("/v1/plan").content == plan.canonical()
    assert send(2) == {"accepted": {"CellRun": 1}, "rejected": {}}
    assert [entry.plan for entry, _ in vendor.entries()] == ["small@1", "small@2"]


def test_a_plan_that_cannot_be_used_changes_nothing(
    http: httpx.Client, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = changed(CellRun=CELL_RUN).canonical().replace(b'"owner"', b'"ovner"')
    file.write_bytes(broken)
    os.utime(file, (time.time() - 60, time.time() - 60))
    for _ in range(3):
        assert told(http.get("/v1/policy")).plan == "small@1"
    logged = capsys.readouterr().out
    assert logged.count("cannot be used") == 1
    assert "ovner" in logged


def test_a_property_does_not_change_its_type(http: httpx.Client, file: Path) -> None:
    retyped = {"duration_ms": NumberProperty(description="How long.", maximum=1.0)}
    search = replace(SMALL_PLAN.events["SearchSubmitted"], properties={})
    plan = changed(SearchSubmitted=search, goToDefinition=definition("navigation", properties=retyped))
    write_plan(file, plan)
    assert told(http.get("/v1/policy")).plan == "small@1"
    [problem] = retyped_columns(SMALL_PLAN, plan)
    assert "duration_ms" in problem
    write_plan(file, SMALL_PLAN)
    assert told(http.get("/v1/policy")).plan == "small@1"


def test_a_delivery_by_another_plan_is_refused_unless_it_is_a_repetition(http: httpx.Client, file: Path) -> None:
    def send(number: int, digest: str) -> httpx.Response:
        http.headers["heliograph-plan"] = digest
        body = zstd(as_arrow([event(number)]))
        return deliver(http, body, numbers=(number, number), content_type=ARROW)

    assert send(1, SMALL_PLAN.digest()).status_code == 200
    plan = changed()
    write_plan(file, plan)
    assert send(1, SMALL_PLAN.digest()).json()["duplicate"] is True
    refused = send(2, SMALL_PLAN.digest())
    assert (refused.status_code, refused.json()["type"]) == (409, "plan_changed")
    assert "small@2" in refused.json()["detail"]
    assert send(2, plan.digest()).status_code == 200
