"""`heliograph agent opt-out`, `opt-in`, `opt-outs` and `forget`, as the customer's admin meets them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from heliograph.cli import app
from heliograph.instance.notice import NoticeWriter
from heliograph.instance.opt_outs import OptOutsFile
from heliograph.instance.outbox_reading import Position
from heliograph.instance.progress import Progress
from heliograph.instance.state import State

if TYPE_CHECKING:
    from pathlib import Path

RANDOM_ID = "5" * 32


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HELIOGRAPH_CONFIG", "HELIOGRAPH_AGENT_LEVEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of an agent that knows user 42."""
    state = State(tmp_path / "agent")
    state.begin(1, Progress("recorder", Position(1, 0, 0)), [("user", "42", RANDOM_ID)])
    state.close()
    return tmp_path / "agent"


def run(*words: str, standard_input: str = "", status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["agent", *words], input=standard_input)
    assert result.exit_code == status, result.output
    return result


def test_a_user_opts_out_and_in_again(tmp_path: Path) -> None:
    assert run("opt-out", "42").stdout == "1 opted out\n"
    assert run("opt-out", "-", standard_input="43\n\n a:7f31 \n").stdout == "2 opted out\n"
    assert set(OptOutsFile(tmp_path / "outbox").read().out) == {"42", "43", "a:7f31"}
    run("opt-in", "43")
    listed = run("opt-outs").stdout
    assert "42" in listed
    assert "a:7f31" in listed
    assert str(datetime.now(UTC).year) in listed
    assert set(json.loads(run("opt-outs", "--json").stdout)) == {"42", "a:7f31"}


def test_what_is_no_id_is_told_by_its_place_alone() -> None:
    result = run("opt-out", "-", standard_input="43\n" + "private" * 500 + "\n", status=2)
    assert "standard input, line 2: is no user's id" in result.stderr
    assert "private" not in result.output
    assert "names nobody" in run("opt-out", "-", status=2).stderr


def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    run("opt-out", "42")
    file = tmp_path / "outbox" / "opt-outs"
    file.write_bytes(file.read_bytes() + b"torn")
    result = run("opt-outs", status=1)
    assert "42" in result.stdout
    assert "damaged in line 2" in result.stderr


def test_an_outbox_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    assert "cannot be written" in run("opt-out", "42", status=2).stderr
    assert "cannot be read" in run("opt-outs", status=2).stderr


def test_forgetting_says_what_will_happen_and_keeps_the_id_to_itself(state: Path) -> None:
    said = run("forget", "42").stdout
    assert "1 forgotten; the vendor knew 1 random id of theirs" in said
    assert "at its next contact" in said
    assert RANDOM_ID not in said
    status = run("forget", "--status").stdout
    assert RANDOM_ID in status
    assert "no answer yet" in status


def test_at_level_off_the_admin_is_told_to_tell_the_vendor(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_AGENT_LEVEL", "off")
    said = run("forget", "-", standard_input="42\n").stdout
    assert "the vendor is not told" in said
    assert said.endswith(f"{RANDOM_ID}\n")


def test_at_off_by_the_vendors_word_too(state: Path, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    NoticeWriter(tmp_path / "outbox", keep_local=False).tell("off", until=now + timedelta(hours=1), now=now)
    assert RANDOM_ID in run("forget", "42").stdout


def test_a_file_of_users_is_forgotten_at_once_and_who_was_never_known_is_no_error(state: Path, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("42\n43\n")
    assert "2 forgotten; the vendor knew 1 random id" in run("forget", "--all-of", str(tmp_path / "users")).stdout
    assert "0 random ids" in run("forget", "42").stdout
    assert run("forget", "--status").stdout.count(RANDOM_ID) == 1


def test_bad_calls_are_told_what_to_do(state: Path, tmp_path: Path) -> None:
    assert "name one user" in run("forget", status=2).stderr
    assert "name one user" in run("forget", "42", "--status", status=2).stderr
    assert "cannot be read" in run("forget", "--all-of", "none", status=2).stderr
    (tmp_path / "latin").write_bytes(b"\xff")
    assert "is not UTF-8" in run("forget", "--all-of", "latin", status=2).stderr


def test_without_any_state_there_is_nobody_to_forget() -> None:
    assert "no agent has run" in run("forget", "42", status=2).stderr


def test_users_are_marked_listed_and_marked_otherwise(state: Path) -> None:
    assert state.is_dir()
    assert run("mark", "u:7", "operator").stdout == "1 marked as operator\n"
    assert run("mark", "-", "service", standard_input="8\n9\n").stdout == "2 marked as service\n"
    run("mark", "9", "person")
    assert json.loads(run("mark", "--json").stdout) == {"7": "operator", "8": "service", "9": "person"}
    listed = run("mark").stdout
    assert "operator" in listed
    assert "service" in listed


def test_what_is_no_mark_and_what_is_no_user_is_refused_with_a_remedy() -> None:
    assert "say one of operator, service, person" in run("mark", "7", "root", status=2).stderr
    assert "say whom to mark" in run("mark", "7", status=2).stderr
    assert "belongs to the settings" in run("mark", "operator-*", "operator", status=2).stderr
