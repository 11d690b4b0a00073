"""What the vendor says of a difference of its half is kept for ever, ends its alarm, and covers nothing later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from typer.testing import CliRunner

from ends import Ends, append
from heliograph.cli import app
from heliograph.gateway import log_reading
from heliograph.gateway.explaining import FILE, Explanations, explain
from heliograph.gateway.metrics import GatewayMetric, snapshot
from heliograph.gateway.readiness import Readiness
from heliograph.instance.outbox import EpochWriter
from heliograph.settings import GatewaySettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heliograph.gateway.account import Account
    from heliograph.gateway.explaining import Explanation
    from heliograph.gateway.log import Log

INSTANCE = "acme-1"
WHY = "the log of [node-3] was put back on 3 May"


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    writer = EpochWriter(ends.outbox, maximum_bytes=1 << 20, segment_bytes=2_000)
    append(writer, *["PageViewed"] * 5)
    ends.drain()
    writer.abandon()
    yield ends
    ends.close()


def differ(account: Account) -> None:
    """Plant a range that was skipped: its numbers count as delivered, and have no outcome."""
    [receipt] = account.latest.values()
    account.add(msgspec.structs.replace(receipt, first=receipt.last + 3, last=receipt.last + 7))


def said(log: Log, account: Account, reason: str = WHY) -> Explanation | None:
    return explain(log.folder, INSTANCE, account, time=1_790_000_000_000_000, by="operations", reason=reason)


def alarm(log: Log) -> float:
    told = snapshot(log, GatewaySettings(log=str(log.folder)), Readiness(ready=True, checks=[]))
    text = told.text().decode()
    name = GatewayMetric.OPEN_DIFFERENCES.metric
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def test_what_is_explained_is_no_alarm_and_what_differs_later_is_one_again(ends: Ends) -> None:
    log = ends.gateway.log
    account = log.account(INSTANCE)
    assert said(log, account) is None
    assert alarm(log) == 0
    differ(account)
    assert alarm(log) == 1
    first = said(log, account)
    assert first is not None
    assert (first.ranges, first.numbers) == (account.differences, 2)
    assert alarm(log) == 0
    assert said(log, account, "once more") is None
    differ(account)
    assert alarm(log) == 1
    second = said(log, account, "and again")
    assert second is not None
    assert second.ranges == account.differences[1:]
    assert Explanations(log.folder).of(INSTANCE) == [first, second]
    account.accepted["PageViewed"] -= 1  # numbers without an outcome, and no range that tells of it
    assert alarm(log) == 1


@pytest.mark.parametrize(("line", "left"), [(0, 0), (1, 1)])
def test_a_word_that_was_changed_and_those_behind_it_explain_nothing(ends: Ends, line: int, left: int) -> None:
    log = ends.gateway.log
    account = log.account(INSTANCE)
    for reason in ("first", "second"):
        differ(account)
        said(log, account, reason)
    file = log.folder / FILE
    lines = file.read_bytes().splitlines()
    lines[line] = lines[line].replace(b"operations", b"operation5")
    file.write_bytes(b"\n".join(lines) + b"\n")
    changed = Explanations(log.folder)
    assert len(changed.found) == left
    assert f"line {line + 1} was changed" in changed.problems[0]
    assert alarm(log) > 0
    with pytest.raises(ValueError, match="was changed"):
        said(log, account)


def test_the_verbs_explain_and_account_ends_well_ever_after(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = ends.gateway.log.account(INSTANCE)
    monkeypatch.setattr(log_reading, "read_accounts", lambda _: {INSTANCE: account})
    file = tmp_path / "vendor.toml"
    file.write_text(f'gateway.log = "{ends.gateway.log.folder}"\n')

    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["--config", str(file), "gateway", *words])
        assert done.exit_code == status, done.output
        return done.output

    word = ("explain-difference", INSTANCE, "--by", "operations", "--reason", WHY)
    assert "nothing to explain" in run(*word, status=2)
    differ(account)
    assert "skipped" in run("account", status=1)
    assert "--by" in run("explain-difference", INSTANCE, "--reason", "x", status=2)
    assert "Known: acme-1" in run("explain-difference", "nobody", *word[2:], status=2)
    run(*word)
    shown = run("account")
    assert WHY in shown
    assert "skipped" in shown
    assert json.loads(run("account", "--json"))[INSTANCE]["explained"][0]["reason"] == WHY
    differ(account)
    assert "skipped" in run("account", status=1)
    (ends.gateway.log.folder / FILE).write_text("{}\n")
    assert "line 1 cannot be read" in run("account", status=1)
    assert "move it away" in run(*word, status=2)
