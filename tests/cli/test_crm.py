"""`heliograph crm`, as legal and sales operations meet it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.consent.agreement import Agreement, Route
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.keys import public_key_text
from heliograph.registry.crm_report import AtYes, as_csv, plain_cell
from heliograph.registry.store import Registry
from heliograph.settings import RegistrySettings
from salesforce_server import KEY, SECRET, VALUE, FakeSalesforce, Reply, error, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_REGISTRY_URL", f"sqlite:///{tmp_path / 'registry.db'}")
    monkeypatch.setenv("HELIOGRAPH_CRM_KIND", "csv")
    monkeypatch.setenv("HELIOGRAPH_CRM_FILE", str(tmp_path / "crm.csv"))


@pytest.fixture
def salesforce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSalesforce]:
    with FakeSalesforce(tmp_path) as server:
        for name, value in {
            "KIND": "salesforce",
            "URL": server.url,
            "CERTIFICATE_AUTHORITY": str(server.authority),
            "CONSUMER_KEY": KEY,
            "CONSUMER_SECRET": SECRET,
        }.items():
            monkeypatch.setenv(f"HELIOGRAPH_CRM_{name}", value)
        yield server


def run(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["crm", *words])
    assert result.exit_code == status, result.output
    assert SECRET not in result.output
    return result


def registry(tmp_path: Path) -> Registry:
    return Registry.open(RegistrySettings(url=f"sqlite:///{tmp_path / 'registry.db'}"))


def agree(registry: Registry, account: str, document: str = "OF-2041") -> Agreement:
    return registry.add_agreement(
        account,
        route=Route.ORDER_FORM,
        document=document,
        terms_version="2026-05",
        terms_digest="0a" * 32,
        recorded_by="legal",
    )


@pytest.fixture
def agreement(tmp_path: Path) -> str:
    """Make a registry in which acme has agreed, with two instances, and globex has not; return the agreement's id."""
    with registry(tmp_path) as opened:
        for account in ("acme", "globex"):
            opened.add_account(account)
        for name in ("acme-1", "acme-2"):
            key = public_key_text(Ed25519PrivateKey.generate())
            opened.add_instance(name, account="acme", deployment=Deployment.MANAGED, public_key=key)
        opened.set_override("acme-2", Level.OFF, reason="asked for")
        return agree(opened, "acme").id


def write_crm(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "crm.csv"
    file.write_text("\n".join(["account,value,date", *lines]) + "\n", encoding="utf-8")
    return file


def test_the_report_lists_every_account_at_yes_with_its_evidence(agreement: str) -> None:
    shown = run("report").stdout
    assert "globex" not in shown
    for cell in ("acme", TODAY, agreement, "order_form", "OF-2041", "2026-05", "acme-1: events; acme-2: off"):
        assert cell in shown


def test_the_report_as_json_and_csv_says_the_same(agreement: str, tmp_path: Path) -> None:
    [row] = json.loads(run("report", "--json").stdout)
    assert row.pop("since").startswith(TODAY)
    assert row == {
        "account": "acme",
        "agreement": agreement,
        "route": "order_form",
        "document": "OF-2041",
        "terms_version": "2026-05",
        "instances": {"acme-1": "events", "acme-2": "off"},
    }
    said = run("report", "--csv", "at-yes.csv")
    assert (said.stdout, said.stderr) == ("", "1 accounts at Yes written to at-yes.csv\n")
    text = (tmp_path / "at-yes.csv").read_bytes().decode()
    assert text.encode() == run("report", "--csv", "-").stdout_bytes
    [line] = csv.DictReader(io.StringIO(text))
    assert line.pop("since").startswith(TODAY)
    assert line == {**row, "instances": "acme-1: events; acme-2: off"}


def test_the_report_needs_no_crm_and_says_when_nobody_is_at_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_CRM_KIND", "none")
    assert "no account is at Yes" in run("report").stdout
    assert run("report", "--json").stdout == "[]\n"
    assert "cannot" not in run("report", "--csv", "-").stdout
    assert "name a file in a folder" in run("report", "--csv", "nowhere/x.csv", status=2).stderr


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "＝1+1", '=HYPERLINK("x")', "\u00a0=1"],  # noqa: RUF001
)
def test_a_document_that_is_a_formula_is_shown_and_not_run(text: str) -> None:
    row = AtYes(
        account="acme",
        since=datetime(2026, 10, 1, tzinfo=UTC),
        agreement="agreement-1",
        route=Route.ORDER_FORM,
        document=text,
        terms_version=text,
        instances={},
    )
    [line] = csv.DictReader(io.StringIO(as_csv([row]), newline=""))
    assert (line["document"], line["terms_version"], line["instances"]) == (f"'{text}", f"'{text}", "none")


@given(st.text())
def test_a_cell_never_begins_as_a_formula_and_loses_nothing(text: str) -> None:
    cell = plain_cell(text)
    assert cell.lstrip()[:1] not in {*"=+-@"}
    assert cell.removeprefix("'") == text.removeprefix("'")


def test_a_file_is_filled_and_then_agrees(agreement: str, tmp_path: Path) -> None:
    assert run("check").stdout.count("notice (low): ") == 2
    run("sync", "--dry-run")
    assert not (tmp_path / "crm.csv").exists()
    assert run("sync").stdout == f"acme: Yes since {TODAY} (new)\nglobex: No since {TODAY} (new)\n2 written\n"
    assert run("check").stdout == "0 alarms; 0 notices; 2 of 2 agree\n"
    assert run("sync").stdout == "0 written\n"


def test_each_alarm_says_the_account_what_differs_and_what_to_do(agreement: str, tmp_path: Path) -> None:
    file = write_crm(tmp_path, "acme,No,2026-01-01", "globex,Yes,2026-02-01", "hooli,Yes,", "initech,No,")
    before = file.read_bytes()
    shown = run("check", status=1).stdout
    assert "alarm (medium): acme: evidence_says_yes_crm_does_not\n" in shown
    assert f"  the CRM says No since 2026-01-01; the evidence says Yes since {TODAY}: {agreement} (order form" in shown
    assert f"`heliograph registry end {agreement}`" in shown
    assert "alarm (high): globex: crm_says_yes_without_evidence\n" in shown
    assert "  the CRM says Yes since 2026-02-01; the evidence says No since" in shown
    assert "`heliograph registry agree globex`" in shown
    assert "alarm (high): hooli: unknown_here\n" in shown
    assert "  the CRM says Yes, without a date; the registry does not know it\n" in shown
    assert shown.endswith("3 alarms; 0 notices; 1 of 4 agree\n")
    assert file.read_bytes() == before
    said = run("sync").stdout
    assert f"acme: Yes since {TODAY} (was No since 2026-01-01)\n" in said
    assert f"hooli: No since {TODAY} (was Yes)\n" in said
    assert run("check").stdout == "0 alarms; 0 notices; 4 of 4 agree\n"


def test_a_check_as_json_has_all_accounts_and_the_same_exit_status(agreement: str, tmp_path: Path) -> None:
    write_crm(tmp_path, "globex,Yes,")
    found = json.loads(run("check", "--json", status=1).stdout)
    assert [(each["account"], each["standing"], each["alarm"]) for each in found] == [
        ("acme", "unknown_in_crm", False),
        ("globex", "crm_says_yes_without_evidence", True),
    ]
    assert found[0]["evidence"]["agreement"]["document"] == "OF-2041"
    assert found[1]["crm"]["allowed"] is True


def test_an_agreement_that_ends_is_an_alarm_until_the_crm_has_it(agreement: str, tmp_path: Path) -> None:
    run("sync")
    with registry(tmp_path) as opened:
        opened.end_agreement(agreement, reason="over")
    assert "acme: crm_says_yes_without_evidence" in run("check", status=1).stdout
    assert f"acme: No since {TODAY} (was Yes since {TODAY})" in run("sync").stdout
    run("check")
    assert "no account is at Yes" in run("report").stdout


def test_malformed_lines_end_with_all_of_them(agreement: str, tmp_path: Path) -> None:
    file = write_crm(tmp_path, "acme,perhaps,", "globex,Yes,soon")
    for verb in ("check", "sync"):
        result = run(verb, status=2)
        assert result.stdout == ""
        assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [f"{file}:2", f"{file}:3"]


def test_without_a_crm_check_and_sync_end_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_CRM_KIND", "none")
    for verb in ("check", "sync"):
        assert run(verb, status=2).stderr == (
            "crm.kind: no CRM is set; set it to csv or to salesforce, see docs/crm.md\n"
        )


def test_a_registry_that_does_not_answer_ends_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_REGISTRY_URL", "sqlite:////nowhere/registry.db")
    for verb in ("report", "check", "sync"):
        assert "look at registry.url" in run(verb, status=2).stderr


def test_salesforce_is_set_right_and_what_it_refuses_is_told(agreement: str, salesforce: FakeSalesforce) -> None:
    acme, globex = salesforce.add("acme", "No"), salesforce.add("globex", "Yes", "2026-02-01")
    unlinked = salesforce.add(None, "Yes")
    shown = run("check", status=1).stdout
    assert f"alarm (high): record {unlinked}: unknown_here" in shown
    salesforce.refused[globex] = [refusal("INSUFFICIENT_ACCESS_OR_READONLY")]
    result = run("sync", status=1)
    assert f"record {unlinked}: No since {TODAY} (was Yes)\n2 written\n" in result.stdout
    assert result.stderr.startswith("globex: not written: INSUFFICIENT_ACCESS_OR_READONLY: as told; ")
    assert [salesforce.records[each][VALUE] for each in (acme, globex, unlinked)] == ["Yes", "Yes", "No"]
    run("sync")
    assert run("check").stdout == "0 alarms; 0 notices; 2 of 2 agree\n"


def test_what_people_wrote_in_the_crm_does_not_steer_the_terminal(salesforce: FakeSalesforce) -> None:
    salesforce.add("x\x1b[2J", "Yes")
    shown = run("check", status=1).stdout
    assert "\x1b" not in shown
    assert "x\N{REPLACEMENT CHARACTER}[2J: unknown_here" in shown


def test_salesforce_that_cannot_be_asked_ends_with_the_remedy_and_no_traceback(salesforce: FakeSalesforce) -> None:
    salesforce.fail("/query", error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403))
    result = run("check", status=2)
    assert result.stdout == ""
    assert result.stderr == (
        f"{salesforce.url}: Salesforce answered 403 REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded.; "
        "the organisation has used up its API requests: try again in some hours\n"
    )


def test_the_secret_is_in_no_output_log_or_exception_of_a_real_process(
    agreement: str, salesforce: FakeSalesforce, tmp_path: Path
) -> None:
    salesforce.add("acme", "No")
    refused = Reply(400, {"error": "invalid_client", "error_description": f"{SECRET} is wrong"})
    everything = "import logging; logging.basicConfig(level=0); from heliograph.cli import main; main()"
    words = [["crm", "check"], ["crm", "sync"], ["config", "show"], ["crm", "check"], ["crm", "report"]]
    statuses = []
    for number, line in enumerate(words):
        if number == 3:
            salesforce.fail("/oauth2/token", refused)
        done = subprocess.run(
            [sys.executable, "-c", everything, *line],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONFAULTHANDLER": "1"},
        )
        statuses.append(done.returncode)
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert (number in {0, 1, 3}) == ("DEBUG:urllib3" in done.stderr)
    assert statuses == [1, 0, 0, 2, 0]
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in held
