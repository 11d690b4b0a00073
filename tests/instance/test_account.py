"""The instance's account by name: it closes whatever happens, and names the range when somebody has miscounted."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from ends import NOW, Ends, append, say
from heliograph.difference import Difference, Differing, in_words
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance import bookkeeping as bookkeeping_module
from heliograph.instance import counted as counted_module
from heliograph.instance.account import InstanceAccount, read_passed
from heliograph.instance.comparison import compare
from heliograph.instance.outbox import EpochWriter, tell_apart
from heliograph.instance.outbox_reading import START, EpochReader, read_epochs
from heliograph.instance.recorder import Recorder
from heliograph.instance.transport import GatewayAccount, UnreachableError
from heliograph.settings import RecorderSettings

if TYPE_CHECKING:
    from pathlib import Path

    from heliograph.instance.comparison import Comparison
    from heliograph.instance.counted import Counted
    from heliograph.wire import Answer, Receipt


def only(account: InstanceAccount) -> Difference:
    assert not account.closes()
    [difference] = account.differences
    return difference


def test_names_are_counted_by_the_recorder_and_found_again(ends: Ends, tmp_path: Path) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(ends.outbox)), now=lambda: NOW)
    for number in range(30):
        recorder.record("SearchSubmitted" if number % 3 else "PageViewed", user=number)
    recorder.record("Unheard", user=1)
    recorder.record("PageViewed", user=1, sequence=7)  # a reserved name
    recorder.close()
    recorder.record("PageViewed", user=1)
    recorder.close()
    told = [reader.read(START, 100).said for reader in read_epochs(ends.outbox)]
    assert [each and each.counts for each in told] == [
        {"PageViewed": 10, "SearchSubmitted": 20, "Unheard": 1},
        {"PageViewed": 1},
    ]
    before = ends.account()
    ends.drain()
    after = ends.account()
    assert before.closes()
    assert after.closes()
    expected = {"PageViewed": 12, "SearchSubmitted": 20, UNDECLARED: 1}  # one of them unrecordable
    assert after.recorded_names == expected
    assert after.dropped == {"PageViewed": {Verdict.UNRECORDABLE: 1}, UNDECLARED: {Verdict.UNDECLARED_EVENT: 1}}
    assert after.delivered == {"PageViewed": 11, "SearchSubmitted": 20}


@pytest.mark.parametrize("drained", [False, True], ids=["pending", "delivered"])
def test_an_event_that_the_recorder_counts_and_the_outbox_lacks_is_named_with_its_range(
    ends: Ends, writer: EpochWriter, *, drained: bool
) -> None:
    append(writer, *["SearchSubmitted"] * 9)
    say(writer, SearchSubmitted=9)
    append(writer, *["PageViewed"] * 3, *["SearchSubmitted"] * 2)
    say(writer, SearchSubmitted=11, PageViewed=4)  # a lost count: there are three
    append(writer, *["PageViewed"] * 5)
    say(writer, SearchSubmitted=11, PageViewed=9)
    if drained:
        ends.drain()
    account = ends.account()
    difference = only(account)
    assert (difference.kind, difference.epoch) == (Differing.RECORDED, writer.epoch)
    assert difference.names == account.unexplained() == {"PageViewed": 1}
    assert difference.first <= 10
    assert difference.last >= 14
    assert f"epoch {writer.epoch}" in in_words(difference)
    assert "PageViewed -1" in in_words(difference)


def test_an_event_too_many_in_the_outbox_is_named_and_so_is_a_wrong_name(ends: Ends, writer: EpochWriter) -> None:
    append(writer, "SearchSubmitted", "PageViewed", "PageViewed")
    say(writer, SearchSubmitted=2, PageViewed=1)
    ends.drain()
    assert only(ends.account()).names == {"PageViewed": -1, "SearchSubmitted": 1}


def test_a_difference_is_said_once_and_stays(
    ends: Ends, writer: EpochWriter, caplog: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    append(writer, "PageViewed")
    say(writer, PageViewed=2)
    ends.drain()
    append(writer, "PageViewed")
    say(writer, PageViewed=3)
    ends.drain()
    assert capsys.readouterr().out.count("the account differs") == 1
    assert read_passed(ends.state).unexplained() == {"PageViewed": 1}
    assert ends.account().difference_count == 1


def test_what_a_killed_recorder_wrote_after_its_last_word_is_counted_from_the_lines(
    ends: Ends, writer: EpochWriter
) -> None:
    append(writer, "PageViewed")
    say(writer, PageViewed=1)
    append(writer, "PageViewed", "SearchSubmitted")
    writer.abandon()
    ends.drain()
    assert ends.account().closes()
    assert ends.account().recorded_names == {"PageViewed": 2, "SearchSubmitted": 1}


def test_names_of_lost_events_are_known_from_the_recorder_and_are_no_difference(
    ends: Ends, writer: EpochWriter
) -> None:
    while len(list(writer.folder.glob("*.segment"))) < 2:
        append(writer, "PageViewed")
        say(writer, PageViewed=writer.last)
    segment = min(writer.folder.glob("*.segment"))
    content = segment.read_bytes()
    segment.write_bytes(content[: len(content) // 2])  # what a disk may do
    last = writer.last
    append(writer, "PageViewed")
    say(writer, PageViewed=writer.last)
    assert ends.account().closes()
    ends.drain()
    account = ends.account()
    assert account.closes()
    lost = account.dropped[UNDECLARED][Verdict.LOST]
    assert 0 < lost < last
    assert account.delivered == {"PageViewed": last + 1 - lost}


def test_a_range_that_nobody_accounts_for_is_named(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 5)
    say(writer, PageViewed=5)
    ends.drain()
    append(writer, *["PageViewed"] * 4)
    progress = ends.state.progress(writer.epoch)
    assert progress is not None
    [reader] = read_epochs(ends.outbox)
    skipped = reader.read(progress.position, 3)  # planted: the position moves, and nobody has counted
    ends.state.save(writer.epoch, replace(progress, position=skipped.end, acknowledged=8))
    append(writer, "PageViewed")
    say(writer, PageViewed=10)
    ends.gateway.log.account("acme-1").latest[writer.epoch] = replace(
        ends.gateway.log.account("acme-1").latest[writer.epoch], last=8
    )
    ends.drain()
    account = ends.account()
    by_kind = {each.kind: each for each in account.differences}
    skip, recorded = by_kind[Differing.SKIPPED], by_kind[Differing.RECORDED]
    assert (skip.first, skip.last) == (6, 8)
    assert recorded.names == {"PageViewed": 3}
    assert not account.closes()


def test_a_range_that_is_accounted_for_twice_is_named(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 5)
    ends.drain()
    progress = ends.state.progress(writer.epoch)
    assert progress is not None
    ends.state.save(writer.epoch, replace(progress, position=START, acknowledged=0))  # planted: an older position
    ends.gateway.restart()
    ends.gateway.log.account("acme-1").latest.clear()
    ends.drain()
    [difference] = [each for each in ends.account().differences if each.kind is Differing.REPEATED]
    assert (difference.epoch, difference.first, difference.last) == (writer.epoch, 1, 5)


def test_a_receipt_that_is_counted_twice_is_named(
    ends: Ends, writer: EpochWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(writer, *["PageViewed"] * 7)
    ends.drain()

    def doubled(counted: Counted, receipt: Receipt) -> Counted:
        return counted_module.take_receipt(counted_module.take_receipt(counted, receipt), receipt)

    monkeypatch.setattr(bookkeeping_module, "take_receipt", doubled)
    append(writer, *["SearchSubmitted"] * 4)
    ends.drain()
    difference = only(ends.account())
    assert (difference.kind, difference.first, difference.last) == (Differing.UNBALANCED, 8, 11)
    assert difference.names == {"SearchSubmitted": -4}


def test_a_gateway_that_counts_other_events_than_it_was_sent_is_named(
    ends: Ends, writer: EpochWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver = ends.gateway.deliver

    def miscounted(**delivery: Any) -> Answer:
        answer = deliver(**delivery)
        assert answer.receipt is not None
        return msgspec.structs.replace(answer, receipt=replace(answer.receipt, accepted={"SearchSubmitted": 5}))

    monkeypatch.setattr(ends.gateway, "deliver", miscounted)
    append(writer, *["PageViewed"] * 5)
    ends.drain()
    difference = only(ends.account())
    assert (difference.kind, difference.first, difference.last) == (Differing.UNBALANCED, 1, 5)
    assert difference.names == {"PageViewed": 5, "SearchSubmitted": -5}


def test_what_the_gateway_has_forgotten_is_named(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 5)
    ends.drain()
    ends.gateway.log.accounts.clear()  # as if its log were gone
    append(writer, "PageViewed")
    ends.drain()
    kinds = {each.kind: each for each in ends.account().differences}
    assert (kinds[Differing.FORGOTTEN].first, kinds[Differing.FORGOTTEN].last) == (1, 5)


def test_an_outbox_and_a_state_of_an_earlier_release_are_read_and_gone_on_with(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 5, "Unheard")
    ends.drain()
    with sqlite3.connect(ends.folder / "agent" / "agent.db") as database:
        database.execute("update progress set state = cast(json_remove(state, '$.counted') as blob)")
    database.close()
    ends.restart()
    assert ends.state.all_progress()[writer.epoch].counted is None
    expected = {"PageViewed": 5, UNDECLARED: 1}
    assert read_passed(ends.state).recorded_names == ends.account().recorded_names == expected
    append(writer, "PageViewed")
    say(writer, PageViewed=6, Unheard=1)  # its first word since: where it stood before is not known
    append(writer, "PageViewed")
    ends.drain()
    assert ends.account().closes()
    say(writer, PageViewed=8, Unheard=1)
    ends.drain()
    assert ends.account().unexplained() == {"PageViewed": 1}


def test_notes_tell_what_is_new_and_everything_once_a_segment(writer: EpochWriter) -> None:
    reader = EpochReader(writer.folder)
    append(writer, "A", "B")
    say(writer, A=1, B=1)
    append(writer, "B")
    say(writer, A=1, B=2)
    said = reader.read(START, 10).said
    assert said is not None
    assert (said.counts, said.whole, said.at, said.lines) == ({"A": 1, "B": 2}, True, 3, 3)
    first = reader.read(START, 2)
    assert first.said is not None
    assert first.said.at == 2
    later = reader.read(first.end, 10).said
    assert later is not None
    assert (later.counts, later.whole) == ({"B": 2}, False)
    while len(reader.segments()) == 1:
        append(writer, "B")
        say(writer, A=1, B=writer.last - 1)
    last = reader.read(reader.read(START, writer.last - 1).end, 10).said
    assert last is not None
    assert (last.counts, last.whole) == ({"A": 1, "B": writer.last - 1}, True)


def test_a_writer_with_names_without_end_tells_the_later_ones_as_one(ends: Ends, writer: EpochWriter) -> None:
    names = [f"Made{number}" for number in range(1_203)]
    recorded = dict.fromkeys(names, 2)
    told = tell_apart(recorded)
    assert len(told) == 1_001
    assert told[UNDECLARED] == 406
    for _ in range(2):
        for name in names:
            append(writer, name)
    writer.note_dropped({}, recorded=told)
    assert ends.account().closes()
    writer.note_dropped({}, recorded=told | {UNDECLARED: 407})
    assert only(ends.account()).names == {UNDECLARED: 1}


def test_events_that_are_set_aside_are_counted_in_their_own_epochs(ends: Ends, tmp_path: Path) -> None:
    ends.outbox.mkdir()
    (ends.outbox / "declared.json").write_bytes(
        msgspec.json.encode({"plan": "small@1", "events": {"PageViewed": []}, "renamed": {}, "withdrawn": []})
    )
    recorder = Recorder(RecorderSettings(outbox=str(ends.outbox)), look_seconds=0.01)
    recorder.record("PageViewed", user=1)
    while recorder._watch.declared is None:
        recorder._watch.look()
    for _ in range(3):
        recorder.record("Newer", user=1)
    recorder.record("PageViewed", user=1)
    recorder.close()
    told = {reader.series: reader.read(START, 10).said for reader in read_epochs(ends.outbox)}
    assert {series: said and said.counts for series, said in told.items()} == {
        "recorder": {"PageViewed": 2},
        "held:Newer": {"Newer": 3},
    }
    account = ends.account()
    assert account.closes()
    assert account.held == {"Newer": 3}


def compared(ends: Ends) -> Comparison:
    theirs = msgspec.json.encode(ends.gateway.log.account("acme-1"))  # as it crosses the wire
    return compare(ends.state, msgspec.json.decode(theirs, type=GatewayAccount))


def test_both_ends_agree_by_name_also_while_a_receipt_is_on_its_way(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 5, "Unheard", "Unheard")
    ends.drain()
    assert compared(ends).differences == []
    [row] = [row for row in compared(ends).rows if row.name == "PageViewed"]
    assert (row.accepted_here, row.accepted_there, row.on_its_way) == (5, 5, 0)
    append(writer, "SearchSubmitted", "Unheard")
    ends.gateway.lose = "answer"
    with pytest.raises(UnreachableError):
        ends.exporter.deliver_round()
    comparison = compared(ends)
    assert comparison.differences == []
    assert {row.name: row.on_its_way for row in comparison.rows} == {
        "PageViewed": 0,
        "SearchSubmitted": 1,
        UNDECLARED: 1,
    }


def test_what_only_one_end_knows_is_named(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 5)
    ends.drain()
    theirs = ends.gateway.log.account("acme-1")
    theirs.accepted["PageViewed"] = 4  # planted: a lost count
    assert [str(each) for each in compared(ends).differences] == [
        "PageViewed: 5 here, and 4 at the gateway",
        "PageViewed: accepted 5 here, and 4 at the gateway",
    ]
    ends.gateway.log.accounts.clear()
    differences = [str(each) for each in compared(ends).differences]
    assert f"epoch {writer.epoch}: the gateway does not know of the numbers 1 to 5" in differences


def test_after_a_lost_state_both_ends_agree_in_total(ends: Ends, writer: EpochWriter) -> None:
    append(writer, *["PageViewed"] * 4, "Unheard")
    ends.drain()
    append(writer, "PageViewed")
    ends.drain()
    (ends.folder / "agent" / "agent.db").unlink()
    ends.restart()
    append(writer, "SearchSubmitted")
    ends.drain()
    account = ends.account()
    assert account.closes()
    assert account.undecided == 6
    assert compared(ends).differences == []
