"""`heliograph trial`, as customer engineers and operations meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.instance.https import tls_context
from trial_site import SAME_ORIGIN, TrialSite

if TYPE_CHECKING:
    from pathlib import Path

WHO = ("--days", "30", "--created-by", "customer-engineering")


@pytest.fixture
def site(tmp_path: Path) -> TrialSite:
    return TrialSite(tmp_path, f"sqlite:///{tmp_path / 'registry.db'}")


@pytest.fixture(autouse=True)
def environment(site: TrialSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.folder)
    monkeypatch.setenv("HELIOGRAPH_REGISTRY_URL", site.url)
    monkeypatch.setenv("HELIOGRAPH_TRIALS_PUBLIC_ADDRESS", "https://trials.vendor.example")
    for name in ("certificate", "private_key", "terms", "terms_version"):
        monkeypatch.setenv(f"HELIOGRAPH_TRIALS_{name}".upper(), str(getattr(site.settings.trials, name)))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def trial(*words: str) -> str:
    result = run("trial", *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: str) -> str:
    result = run("trial", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trial("list", "--json"))
    return found


def test_a_link_is_printed_once_listed_without_its_token_and_taken_back() -> None:
    assert "trial create" in trial("list")
    run("registry", "add-account", "acme")
    address = trial("create", "acme", *WHO).strip()
    token = address.removeprefix("https://trials.vendor.example/trial/")
    assert len(token) == 43
    trial("create", "acme", *WHO, "--expires", "2099-01-01")
    assert [(link["id"], link["account"], link["days"], link["state"]) for link in listed()] == [
        ("trial-1", "acme", 30, "open"),
        ("trial-2", "acme", 30, "open"),
    ]
    assert listed()[1]["expires"] == "2099-01-01T00:00:00Z"
    assert trial("revoke", "trial-1", "--reason", "sent to the wrong customer").startswith("trial-1 ")
    shown = trial("list")
    for words in ("trial-1", "customer-engineering", "revoked", "sent to the wrong customer", "2099-01-01", "open"):
        assert words in shown
    assert token not in shown + trial("list", "--json")


def test_arguments_that_cannot_be_are_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "add-account" in refused("create", "nobody", *WHO)
    assert "366" in refused("create", "acme", "--days", "367", "--created-by", "us")
    assert "no date" in refused("create", "acme", *WHO, "--expires", "soon")
    assert "trial list" in refused("revoke", "trial-7", "--reason", "why")
    monkeypatch.setenv("HELIOGRAPH_TRIALS_PUBLIC_ADDRESS", "http://trials.vendor.example")
    assert "trials.public_address" in refused("create", "acme", *WHO)


def test_a_server_that_cannot_start_says_why_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_TRIALS_CERTIFICATE", "none.crt")
    assert "trials.certificate" in refused("serve")
    monkeypatch.setenv("HELIOGRAPH_TRIALS_TERMS", "none.md")
    monkeypatch.setenv("HELIOGRAPH_TRIALS_TERMS_VERSION", "")
    told = refused("serve").splitlines()
    assert [line.partition(":")[0] for line in told] == ["trials.terms_version is empty", "trials.terms"]


def test_a_served_link_is_accepted_and_the_server_ends_cleanly(site: TrialSite) -> None:
    run("registry", "add-account", "acme")
    path = trial("create", "acme", *WHO).strip().removeprefix("https://trials.vendor.example")
    port = site.free_port()
    command = [sys.executable, "-m", "heliograph.cli", "trial", "serve"]
    environment = {**os.environ, "HELIOGRAPH_TRIALS_PORT": str(port)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        verify = tls_context(str(site.folder / "trial-authority.pem"))
        transport = httpx.HTTPTransport(verify=verify, retries=12)
        with httpx.Client(base_url=f"https://localhost:{port}", transport=transport, timeout=60) as http:
            assert http.get("/healthz").json() == {"status": "ok"}
            form = {"terms_digest": site.terms_digest, "authorised": "yes"}
            assert http.post(path, data=form, headers=SAME_ORIGIN).status_code == 303
        server.send_signal(signal.SIGTERM)
        _, logged = server.communicate(timeout=60)
    assert [(entry["event"], entry["agreement"]) for entry in map(json.loads, logged.splitlines())] == [
        ("trial accepted", "agreement-1")
    ]
    assert server.returncode in {0, -signal.SIGTERM}
    [link] = listed()
    assert (link["state"], link["agreement"]) == ("accepted", "agreement-1")
