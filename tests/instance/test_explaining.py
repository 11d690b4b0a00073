"""What is known of a difference is said once, ends its alarm, and covers nothing that differs later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner

from ends import NOW, Ends, append, say
from harness import SMALL_PLAN
from heliograph.cli import agent_status, app
from heliograph.instance.account import read_passed
from heliograph.instance.comparison import compare
from heliograph.instance.explaining import explain, explain_ends
from heliograph.instance.metrics import AgentMetric, read_metrics
from heliograph.instance.transport import GatewayAccount
from heliograph.keys import fingerprint
from heliograph.ledger.verify import read_entries, verify
from heliograph.settings import AgentSettings, RecorderSettings, Settings
from test_once import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.instance.comparison import Comparison
    from heliograph.instance.outbox import EpochWriter

WHY = "the disk of [node-3] was replaced on 3 May"


def differ(ends: Ends, writer: EpochWriter, *, recorded: int) -> None:
    """Let the recorder say that it recorded so many, whatever the outbox holds."""
    append(writer, "PageViewed")
    say(writer, PageViewed=recorded)
    ends.drain()


def alarm(ends: Ends) -> float:
    settings = Settings(agent=AgentSettings(), recorder=RecorderSettings(outbox=str(ends.outbox)))
    text = read_metrics(settings, ends.state, None, NOW).text().decode()
    name = AgentMetric.OPEN_DIFFERENCES.metric
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def test_a_difference_that_is_explained_is_no_alarm_and_stays_in_sight(ends: Ends, writer: EpochWriter) -> None:
    differ(ends, writer, recorded=3)
    assert alarm(ends) == 1
    before = read_passed(ends.state)
    entry = explain(ends.state, by="operations", reason=WHY)
    assert entry is not None
    assert (entry.differences, entry.names, entry.ranges) == (1, {"PageViewed": 2}, before.differences)
    after = read_passed(ends.state)
    assert after.closes()
    assert after.open_ranges() == []
    assert after.differences == before.differences
    assert after.unexplained() == before.unexplained() == {"PageViewed": 2}
    assert after.explained == [entry]
    assert alarm(ends) == 0
    assert explain(ends.state, by="operations", reason="once more") is None
    links = list(ends.state.ledger.links())
    assert verify(links, {fingerprint(KEY): KEY.public_key()}).problems == []
    assert read_entries(links)[-1][1] == entry


def test_what_differs_later_is_an_alarm_again_and_needs_a_word_of_its_own(ends: Ends, writer: EpochWriter) -> None:
    differ(ends, writer, recorded=3)
    first = explain(ends.state, by="operations", reason=WHY)
    differ(ends, writer, recorded=9)
    account = read_passed(ends.state)
    assert not account.closes()
    assert alarm(ends) == 1
    assert len(account.open_ranges()) == 1
    second = explain(ends.state, by="operations", reason="and again")
    assert first is not None
    assert second is not None
    assert second.differences == 2
    assert second.ranges == account.open_ranges() != first.ranges
    assert read_passed(ends.state).closes()
    ends.restart()
    assert read_passed(ends.state).closes()


def test_nothing_is_explained_where_the_account_closes(ends: Ends, writer: EpochWriter) -> None:
    differ(ends, writer, recorded=1)
    before = ends.state.ledger.head()
    assert explain(ends.state, by="operations", reason=WHY) is None
    assert ends.state.ledger.head() == before


@pytest.fixture
def run(ends: Ends, tmp_path: Path) -> Any:
    plan = tmp_path / "plan.json"
    plan.write_bytes(SMALL_PLAN.canonical())
    file = tmp_path / "instance.toml"
    file.write_text(
        f'plan.file = "{plan}"\nagent.state = "{tmp_path}/agent"\nrecorder.outbox = "{ends.outbox}"\n'
        f'agent.vendor_keys = "{tmp_path}/vendor.keys"\n'
    )

    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, ["--config", str(file), *words])
        assert done.exit_code == status, done.output
        return done.output

    return run


def test_the_verb_explains_and_status_shows_it_ever_after(ends: Ends, writer: EpochWriter, run: Any) -> None:
    explained = ("agent", "explain-difference", "--by", "operations", "--reason", WHY)
    assert "nothing to explain" in run(*explained, status=2)
    differ(ends, writer, recorded=3)
    assert "PageViewed -2" in run("agent", "status", status=1)
    assert "--reason" in run("agent", "explain-difference", "--by", "operations", status=2)
    assert "--by" in run("agent", "explain-difference", "--by", " ", "--reason", "x" * 1_001, status=2)
    run(*explained)
    shown = run("agent", "status")
    assert WHY in shown
    assert f"epoch {writer.epoch}" in shown
    told = json.loads(run("agent", "status", "--json"))
    assert told["explained"][0]["reason"] == WHY
    assert WHY in run("ledger", "show")


def compared(ends: Ends) -> Comparison:
    theirs = msgspec.json.encode(ends.gateway.log.account("acme-1"))
    return compare(ends.state, msgspec.json.decode(theirs, type=GatewayAccount))


def forget_at_the_gateway(ends: Ends, name: str, count: int) -> None:
    """Plant at the gateway what a log that was put back from a copy has: fewer events than there are receipts."""
    ends.gateway.log.account("acme-1").accepted[name] -= count


def test_how_the_two_ends_differ_is_explained_as_far_apart_as_they_are_and_no_further(
    ends: Ends, writer: EpochWriter
) -> None:
    append(writer, *["PageViewed"] * 7, *["SearchSubmitted"] * 3)
    ends.drain()
    forget_at_the_gateway(ends, "PageViewed", 2)
    entry = explain_ends(ends.state, compared(ends).differences, by="operations", reason=WHY)
    assert entry is not None
    assert {each.name for each in entry.differences} == {"PageViewed"}
    after = compared(ends)
    assert after.differences == []
    assert {(each.difference.name, each.by, each.reason) for each in after.explained} == {
        ("PageViewed", "operations", WHY)
    }
    append(writer, *["PageViewed"] * 5)  # both go on alike
    ends.drain()
    assert compared(ends).differences == []
    forget_at_the_gateway(ends, "SearchSubmitted", 1)
    assert {each.name for each in compared(ends).differences} == {"SearchSubmitted"}
    forget_at_the_gateway(ends, "PageViewed", 1)
    assert {each.name for each in compared(ends).differences} == {"PageViewed", "SearchSubmitted"}
    assert compared(ends).explained == []
    explain_ends(ends.state, compared(ends).differences, by="operations", reason="and again")
    assert {each.reason for each in compared(ends).explained} == {"and again"}
    assert explain_ends(ends.state, compared(ends).differences, by="operations", reason="no more") is None
    assert verify(list(ends.state.ledger.links()), {fingerprint(KEY): KEY.public_key()}).problems == []


def test_numbers_that_the_gateway_lost_are_explained_until_there_are_more(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 2)
    ends.drain()
    account = ends.gateway.log.account("acme-1")
    receipt = account.latest.pop(writer.epoch)
    explain_ends(ends.state, compared(ends).differences, by="operations", reason=WHY)
    assert compared(ends).differences == []
    assert {each.difference.last for each in compared(ends).explained} == {2}
    account.latest[writer.epoch] = receipt
    append(writer, "PageViewed")
    ends.drain()
    account.latest.pop(writer.epoch)
    assert [str(each) for each in compared(ends).differences] == [
        f"epoch {writer.epoch}: the gateway does not know of the numbers 1 to 3"
    ]


def test_the_verbs_compare_explain_and_then_end_well(
    ends: Ends, writer: EpochWriter, run: Any, monkeypatch: Any
) -> None:
    append(writer, *["PageViewed"] * 7)
    ends.drain()
    forget_at_the_gateway(ends, "PageViewed", 2)
    monkeypatch.setattr(agent_status, "_compare", lambda *_: compared(ends))
    assert "7 here, and 5 at the gateway" in run("agent", "status", "--compare", status=1)
    said = ("--by", "operations", "--reason", WHY)
    assert "nothing to explain" in run("agent", "explain-difference", *said, status=2)
    run("agent", "explain-difference", "--compare", *said)
    shown = run("agent", "status", "--compare")
    assert WHY in shown
    assert "PageViewed" in shown
    told = json.loads(run("agent", "status", "--compare", "--json"))["comparison"]
    assert (told["differences"], told["explained"][0]["reason"]) == ([], WHY)
    forget_at_the_gateway(ends, "PageViewed", 1)
    assert "7 here, and 4 at the gateway" in run("agent", "status", "--compare", status=1)


def test_a_word_that_was_changed_explains_nothing_and_breaks_nothing(ends: Ends, writer: EpochWriter) -> None:
    differ(ends, writer, recorded=3)
    explain(ends.state, by="operations", reason=WHY)
    for name in ("changed", "deleted"):
        ends.state.connection.execute(f"drop trigger ledger_is_not_{name}")
    ends.state.connection.execute("update ledger set body = '{}' where kind = 'explained'")
    assert alarm(ends) == 1
