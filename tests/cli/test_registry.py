"""`heliograph registry` and `heliograph agent key`, as the people who use them meet them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.cli.registry import app as registry_app
from heliograph.keys import load_or_create_key, parse_public_key, public_key_text

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
EVIDENCE = [
    *("--route", "order_form", "--document", "OF-2041", "--terms", "2026-05"),
    *("--digest", DIGEST, "--recorded-by", "legal"),
]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_REGISTRY_URL", f"sqlite:///{tmp_path / 'registry.db'}")
    monkeypatch.setenv("HELIOGRAPH_AGENT_KEY", str(tmp_path / "instance.pem"))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def registry(*words: str) -> str:
    result = run("registry", *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*words: str) -> str:
    result = run("registry", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr


def add_acme() -> None:
    key = run("agent", "key").stdout.strip()
    registry("add-account", "acme")
    registry("add-instance", "acme-1", "--account", "acme", "--deployment", "managed", "--key", key)


def level() -> str:
    found = re.match(r"acme-1 may send: (\w+)  \(at 20", registry("explain", "acme-1"))
    assert found is not None
    return found[1]


def test_the_key_is_made_once_and_its_public_half_is_all_that_is_printed(tmp_path: Path) -> None:
    first, again = run("agent", "key"), run("agent", "key")
    assert first.exit_code == again.exit_code == 0
    assert first.stdout == again.stdout == public_key_text(load_or_create_key(tmp_path / "instance.pem")) + "\n"
    assert parse_public_key(first.stdout)
    assert "instance.pem" in first.stderr.replace("\n", "")


def test_a_key_that_others_can_read_ends_with_the_remedy(tmp_path: Path) -> None:
    run("agent", "key")
    (tmp_path / "instance.pem").chmod(0o644)
    result = run("agent", "key")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "chmod 600" in result.stderr


def test_a_customer_comes_agrees_is_narrowed_and_leaves() -> None:
    add_acme()
    assert level() == "critical"
    assert registry("agree", "acme", *EVIDENCE) == "agreement-1 recorded for account acme\n"
    assert level() == "events"
    registry("override", "acme-1", "critical", "--reason", "asked for in ticket 512")
    assert level() == "critical"
    registry("override", "acme-1", "events", "--reason", "taken back in ticket 513")
    assert level() == "events"
    assert registry("agree", "acme", *EVIDENCE, "--redline", "Section 4.2 is struck").startswith("agreement-2 ")
    assert level() == "critical"
    registry("end", "agreement-2", "--reason", "replaced")
    assert level() == "events"
    registry("deactivate", "acme-1")
    assert level() == "off"
    registry("activate", "acme-1")
    registry("end", "agreement-1", "--reason", "contract over")
    assert level() == "critical"


def test_explain_gives_the_word_of_each_party_in_plain_words() -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE, "--from", "2026-01-01", "--redline", "Section [4.2] is struck")
    registry("override", "acme", "off", "--reason", "asked for in ticket 512")
    document = "order form OF-2041, Terms 2026-05, from 2026-01-01"
    lines = registry("explain", "acme-1").splitlines()
    assert lines[0].startswith("acme-1 may send: off  (at 20")
    assert [" ".join(line.split()) for line in lines[1:]] == [
        f"contract critical agreement-1 ({document}) vetoes events: “Section [4.2] is struck”.",
        "override off The vendor has narrowed this account to off: asked for in ticket 512.",
        "deployment events Managed instances may send events.",
        "The narrowest decides. On the instance, its admin can narrow it further.",
    ]


def test_explain_answers_for_the_past_and_for_instances_that_are_not_there() -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE, "--from", "2026-01-01")
    past = registry("explain", "acme-1", "--at", "2020-01-01T12:00:00+02:00")
    assert past.startswith("acme-1 may send: off  (at 2020-01-01T10:00:00.000000Z)\n  No instance 'acme-1'")
    assert "No instance 'nobody' is registered" in registry("explain", "nobody")


def test_an_agreement_with_a_term_holds_between_its_moments() -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE, "--from", "2020-01-01", "--to", "2020-02-01T00:00:00Z")
    registry("agree", "acme", *EVIDENCE, "--from", "2099-01-01")
    assert level() == "critical"
    assert registry("explain", "acme-1", "--at", "2099-01-01").startswith("acme-1 may send: events ")


def test_list_shows_everything_in_tables_and_as_json() -> None:
    assert "add-account" in registry("list")
    add_acme()
    registry("agree", "acme", *EVIDENCE)
    registry("agree", "acme", *EVIDENCE, "--redline", "struck", "--from", "2099-01-01")
    registry("end", "agreement-2", "--reason", "replaced", "--at", "2099-02-01")
    text = registry("list")
    for words in (
        "acme-1",
        "managed",
        "events",
        "agreement-1",
        "OF-2041",
        "in force",
        "not yet in force",
        "2099-02-01",
    ):
        assert words in text
    shown: dict[str, Any] = json.loads(registry("list", "--json"))
    [account], [instance] = shown["accounts"], shown["instances"]
    assert [record["record"] for record in account["records"]] == ["agreement", "agreement", "ending"]
    assert account["records"][0]["terms_digest"] == DIGEST
    assert (instance["name"], instance["level"], instance["agreement"]) == ("acme-1", "events", "agreement-1")


def test_a_key_may_be_given_as_a_file_and_be_replaced(tmp_path: Path) -> None:
    add_acme()
    public = tmp_path / "acme-1.pub"
    public.write_text(public_key_text(load_or_create_key(tmp_path / "other.pem")) + "\n")
    registry("replace-key", "acme-1", "--key", str(public))
    [instance] = json.loads(registry("list", "--json"))["instances"]
    assert instance["public_key"] == public.read_text().strip()


def test_all_problems_are_told_at_once_without_a_traceback() -> None:
    told = refused("add-instance", "Acme 1", "--account", "acme", "--deployment", "managed", "--key", "?").splitlines()
    assert len(told) == 3
    assert refused("agree", "acme", *EVIDENCE[:-2], "--recorded-by", "", "--redline", "").count("is empty") == 2


@pytest.mark.parametrize(
    "words",
    [
        ["agree", "acme", *EVIDENCE, "--from", "tomorrow"],
        ["agree", "acme", *EVIDENCE, "--route", "handshake"],
        ["override", "acme", "some", "--reason", "?"],
        ["add-instance", "acme-1", "--account", "acme", "--deployment", "managed", "--key", "./private.bin"],
    ],
    ids=["time", "route", "level", "key"],
)
def test_arguments_that_cannot_be_are_told(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "private.bin").write_bytes(b"\xff\x00")
    assert refused(*words)


def test_a_registry_that_cannot_be_opened_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_REGISTRY_URL", "sqlite:////nowhere/at/all/registry.db")
    assert "registry.url" in refused("list")


def test_every_verb_teaches_with_an_example() -> None:
    group = typer.main.get_command(registry_app)
    assert isinstance(group, typer.core.TyperGroup)
    for name, command in group.commands.items():
        assert f"Example: heliograph registry {name}" in (command.help or "")
        assert f"registry {name}" in registry(name, "--help").replace("\n", " ")
