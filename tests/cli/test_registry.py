"""`heliograph registry` and `heliograph agent key`, as the people who use them meet them."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.cli.registry import app as registry_app
from heliograph.keys import load_or_create_key, parse_public_key, public_key_text
from heliograph.registry.chains import append_body
from heliograph.registry.store import Registry
from heliograph.settings import RegistrySettings

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
    assert [" ".join(line.split()) for line in lines[1:5]] == [
        f"contract critical agreement-1 ({document}) vetoes events: “Section [4.2] is struck”.",
        "override off The vendor has narrowed this account to off: asked for in ticket 512.",
        "deployment events Managed instances may send events.",
        "The narrowest decides. On the instance, its admin can narrow it further.",
    ]
    assert lines[5:7] == ["", "Recorded for account acme:"]
    first, second = lines[7:]
    assert re.fullmatch(
        r"   1  20\d\d-\d\d-\d\d  [0-9a-f]{12}  agreement-1: order form OF-2041, Terms 2026-05 \(SHA-256 9f86d081…\), "
        r"from 2026-01-01; redline: “Section \[4\.2\] is struck”  \[vetoes events, recorded by legal\]",
        first,
    )
    assert second.endswith("account narrowed to off: asked for in ticket 512  [in force, recorded by not stated]")


def test_explain_shows_an_account_as_amended_with_every_record() -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE, "--from", "2026-01-01")
    assert registry(
        "amend", "agreement-1", *("--document", "AM-1", "--redline", "struck", "--recorded-by", "legal")
    ) == ("amendment-1 to agreement-1 recorded for account acme\n")
    assert registry("explain", "acme").startswith("acme may send: critical ")
    registry("amend", "agreement-1", "--document", "AM-2", "--lift-redline", "--recorded-by", "legal")
    terms = ("--terms", "2026-11", "--digest", DIGEST, "--to", "2099-01-01")
    registry("amend", "agreement-1", "--document", "AM-3", *terms, "--recorded-by", "legal")
    registry("deactivate", "acme-1", "--reason", "moved", "--recorded-by", "support")
    told = registry("explain", "acme")
    assert told.startswith("acme may send: events ")
    assert "amended by AM-1, amended by AM-2, amended by AM-3, Terms 2026-11, from 2026-01-01 to 2099-01-01" in told
    assert "amendment-2 to agreement-1: AM-2, from 20" in told
    assert ": lifts the redlines before it  [in force, recorded by legal]" in told
    assert "instance acme-1 kept out: moved  [in force, recorded by support]" in told
    shown: dict[str, Any] = json.loads(registry("explain", "acme", "--json"))
    assert (shown["kind"], shown["level"], shown["agreement"]) == ("account", "events", "agreement-1")
    assert [record["number"] for record in shown["records"]] == [1, 2, 3, 4, 5]
    assert shown["head"] == shown["records"][-1]["digest"]
    assert shown["parties"]["contract"]["level"] == "events"


def test_explain_tells_of_the_vendors_decision_on_deployments() -> None:
    key = run("agent", "key").stdout.strip()
    registry("add-account", "acme")
    registry("add-instance", "acme-1", "--account", "acme", "--deployment", "on_premises", "--key", key)
    registry("agree", "acme", *EVIDENCE)
    assert level() == "critical"
    evidence = ("--document", "DEC-7", "--reason", "agreed with security", "--recorded-by", "product")
    assert "at most events from 20" in registry("decide-deployment", "events", *evidence)
    assert level() == "events"
    assert "DEC-7: on-premises instances may send at most events" in registry("explain", "acme-1")
    registry("decide-deployment", "critical", *evidence)
    assert level() == "critical"
    assert refused("decide-deployment", "off", *evidence)


def test_a_name_that_an_account_and_an_instance_have_must_say_which_is_explained() -> None:
    registry("add-account", "acme-1")
    key = run("agent", "key").stdout.strip()
    registry("add-instance", "acme-1", "--account", "acme-1", "--deployment", "managed", "--key", key)
    assert "--kind" in refused("explain", "acme-1")
    assert "Each instance's own" in registry("explain", "acme-1", "--kind", "account")
    assert "its admin" in registry("explain", "acme-1", "--kind", "instance")


def damage(statements: str) -> None:
    """Change the database as somebody would who gets around its triggers."""
    with sqlite3.connect("registry.db") as connection:
        connection.executescript(
            f"DROP TRIGGER records_refuse_update; DROP TRIGGER records_refuse_delete; {statements}"
        )
    connection.close()


def test_verify_prints_the_heads_and_finds_one_that_was_noted() -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE)
    [noted] = re.findall(r"account acme: 1 records, head ([0-9a-f]{64})", registry("verify"))
    registry("end", "agreement-1", "--reason", "replaced")
    assert "account acme: 2 records" in registry("verify", "acme", "--head", noted)
    assert f"head {noted} is record 1 of account acme" in registry("verify", "--head", noted)
    missed = run("registry", "verify", "acme", "--head", "0a" * 32)
    assert missed.exit_code == 1
    assert "is not in the records of account acme" in missed.stderr
    assert "64 hexadecimal" in refused("verify", "--head", noted[:8])
    assert "no account" in refused("verify", "nobody")


SWAP = """
UPDATE records SET number = number - 5 WHERE number > 1;
UPDATE records SET number = -number WHERE number < 0;
"""


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ("UPDATE records SET body = replace(body, 'replaced', 'retracted') WHERE number = 2", "record 2 was changed"),
        ("DELETE FROM records WHERE number = 2", "record 2 is missing"),
        ("DELETE FROM records WHERE number = 3", "record 3 is missing at the end"),
        (SWAP, "record 2 does not follow"),
    ],
    ids=["changed", "removed", "removed at the end", "reordered"],
)
def test_verify_names_the_record_that_is_no_longer_what_was_recorded(statements: str, words: str) -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE)
    registry("end", "agreement-1", "--reason", "replaced")
    registry("agree", "acme", *EVIDENCE)
    registry("add-account", "other")
    damage(statements)
    done = run("registry", "verify")
    assert done.exit_code == 1
    assert f"account acme: {words}" in done.stderr
    assert "account other: 0 records" in done.stdout
    assert "may send: off" in registry("explain", "acme-1")


def test_verify_tells_of_a_record_that_is_whole_but_not_known() -> None:
    add_acme()
    with Registry.open(RegistrySettings(url="sqlite:///registry.db")) as opened, opened._database.write() as connection:
        append_body(connection, "acme", b'{"record":"waiver"}')
    told = registry("verify", "acme")
    assert "account acme: record 1 is as it was recorded, but this version cannot read it" in told
    assert "account acme: 1 records, head" in told


def test_export_prints_what_is_stored_as_lines() -> None:
    add_acme()
    registry("agree", "acme", *EVIDENCE)
    registry("end", "agreement-1", "--reason", "Zürich")
    lines = [json.loads(line) for line in registry("export", "acme").splitlines()]
    assert [(line["chain"], line["number"]) for line in lines] == [("acme", 1), ("acme", 2)]
    assert lines[1]["previous"] == lines[0]["digest"]
    assert json.loads(lines[1]["body"])["reason"] == "Zürich"
    assert registry("export") == ""
    assert "no account" in refused("export", "nobody")


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
