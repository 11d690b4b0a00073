"""The ledger is verified while the agent runs: in portions that find what verifying it at once finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from heliograph.cli import app
from heliograph.instance import ledger_faults
from heliograph.instance.ledger_faults import acknowledge
from heliograph.instance.ledger_watch import MOST_TOLD, LedgerStanding, LedgerWatch
from heliograph.instance.metrics import AgentMetric, read_metrics
from heliograph.instance.monitor import SECONDS, Monitor, read_standing
from heliograph.instance.state import State
from heliograph.keys import public_key_text
from heliograph.ledger.verify import verify
from heliograph.settings import AgentSettings, RecorderSettings, Settings, load_settings
from ledgers import KEYS, VENDOR, Book

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from heliograph.ledger.entries import Acknowledged

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def watch(book: Book, portion: int = 1_000, before: LedgerStanding | None = None, **fields: Any) -> LedgerWatch:
    given: dict[str, Any] = {"keys": lambda: KEYS, "now": lambda: NOW}
    return LedgerWatch(book.ledger, before=before, portion=portion, **(given | fields))


def walked(book: Book, portion: int = 1_000, **fields: Any) -> LedgerStanding:
    """What one whole walk has come to."""
    found = watch(book, portion, **fields)
    while found.standing.verified is None:
        found.look()
    return found.standing


def filled(deliveries: int, events: int = 2) -> Book:
    book = Book()
    for number in range(deliveries):
        if number % 3 == 2:
            book.send(1, 2, salt="an attempt that was lost")
        book.deliver(1 + number % 2, events, number % 2)
    return book


def unlock(connection: sqlite3.Connection) -> None:
    for name in ("changed", "deleted"):
        connection.execute(f"drop trigger if exists ledger_is_not_{name}")


def tamper(book: Book, number: int, how: str, at: int) -> None:
    """Change an entry of the database, as somebody may who can write to its file."""
    unlock(book.connection)
    rows = book.connection.execute("select body from ledger where number = ?", (number,)).fetchall()
    if how == "deleted":
        book.connection.execute("delete from ledger where number = ?", (number,))
    elif how == "digest":
        book.connection.execute("update ledger set digest = ? where number = ?", (f"{number:064}", number))
    for (body,) in rows if how == "body" else []:
        changed = bytearray(body)
        changed[at % len(changed)] ^= 1
        book.connection.execute("update ledger set body = ? where number = ?", (bytes(changed), number))


@settings(max_examples=60)
@given(st.data())
def test_portions_of_any_size_find_what_verifying_at_once_finds(data: st.DataObject) -> None:
    book = filled(data.draw(st.integers(1, 5)))
    numbers = st.integers(1, book.ledger.head().length)
    hows = st.sampled_from(["deleted", "digest", "body"])
    for number, how, at in data.draw(st.lists(st.tuples(numbers, hows, st.integers(0, 900)), max_size=2)):
        tamper(book, number, how, at)
    problems = map(str, verify(list(book.ledger.links()), KEYS).problems)
    # A key may have been pinned before, and be pinned no more: that is no fault of the ledger.
    expected = list(dict.fromkeys(each for each in problems if "a key that does not follow" not in each))
    found = walked(book, data.draw(st.integers(1, 6)))
    assert found.problems == expected[:MOST_TOLD] or sorted(found.problems) == sorted(expected)
    assert (found.fault_count > 0) == bool(expected)


def test_a_ledger_is_walked_again_and_again_and_grows_meanwhile() -> None:
    book, moments = filled(3), iter(range(100))
    found = watch(book, portion=4, now=lambda: NOW + timedelta(minutes=next(moments)))
    verified = []
    for _ in range(12):
        found.look()
        verified.append(found.standing.verified)
        book.deliver(7, 1)
    assert found.standing.problems == []
    assert len(set(verified)) > 2  # None, and more than one whole walk
    tamper(book, 2, "body", 40)
    for _ in range(9):
        found.look()
    assert found.standing.problems
    assert {problem.split()[1] for problem in found.standing.problems} <= {"2", "3"}


@pytest.mark.parametrize("restarted", [False, True])
def test_an_end_that_is_cut_off_or_written_anew_is_missed(*, restarted: bool) -> None:
    def seen(book: Book, then: Book) -> LedgerStanding:
        found = watch(book)
        found.look()
        standing = msgspec.json.decode(msgspec.json.encode(found.standing), type=LedgerStanding)
        assert standing.problems == []
        if restarted:
            found = watch(then, before=standing)
        else:
            found._ledger = then.ledger
        found.look()
        return found.standing

    whole, cut = filled(3), filled(3)
    unlock(cut.connection)
    cut.connection.execute("delete from ledger where number > 4")
    assert "is gone or another" in seen(whole, cut).problems[0]
    assert "is gone or another" in seen(whole, filled(3, events=3)).problems[0]
    longer = filled(3)
    longer.deliver(9, 1)
    assert seen(whole, longer).problems == []


def test_receipts_of_a_key_that_is_pinned_no_more_are_no_fault() -> None:
    assert walked(filled(3), keys=dict).problems == []
    assert verify(list(filled(3).ledger.links()), {}).problems


def test_each_thing_is_logged_once_and_of_a_ruin_only_the_first_things_are_told() -> None:
    book = filled(30)
    for number in range(1, book.ledger.head().length, 2):
        tamper(book, number, "digest", 0)
    found = watch(book)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            found.look()
    assert len(found.standing.problems) == MOST_TOLD < found.standing.fault_count
    told = [problem for line in lines for problem in line["problems"]]
    assert len(told) == len(set(told))


def acknowledge_all(book: Book, watched: LedgerWatch, reason: str = "known") -> Acknowledged | None:
    state: Any = SimpleNamespace(ledger=book.ledger, connection=book.connection, moment=lambda: book.time)
    return acknowledge(state, KEYS, watched.standing.ends, by="operations", reason=reason)


@settings(max_examples=25)
@given(st.data())
def test_what_is_acknowledged_is_no_alarm_and_stays_a_fault_and_any_later_change_is_an_alarm(
    data: st.DataObject,
) -> None:
    book = filled(data.draw(st.integers(2, 5)))
    numbers = st.integers(2, book.ledger.head().length - 1)
    hows = st.sampled_from(["deleted", "digest", "body"])
    for number, how, at in data.draw(st.lists(st.tuples(numbers, hows, st.integers(0, 900)), min_size=1, max_size=2)):
        tamper(book, number, how, at)
    portion = data.draw(st.integers(3, 50))
    watched = watch(book, portion)
    for _ in range(20):
        watched.look()
    faults = verify(list(book.ledger.links()), KEYS).problems
    word = acknowledge_all(book, watched)
    assert (word is not None) == bool(watched.standing.problems)
    assert acknowledge_all(book, watched) is None
    for _ in range(20):
        watched.look()
    assert (watched.standing.problems, watched.standing.fault_count) == ([], 0)
    assert walked(book, portion).problems == []  # a new process knows it, too
    assert set(faults) <= set(verify(list(book.ledger.links()), KEYS).problems)  # for ever
    left = [link.number for link in book.ledger.links() if link.number > 1]
    book.connection.execute("update ledger set body = 'x' where number = ?", (data.draw(st.sampled_from(left)),))
    for _ in range(20):
        watched.look()
    assert watched.standing.problems


def test_an_acknowledged_entry_that_changes_once_more_is_an_alarm_again() -> None:
    book = filled(3)
    watched = watch(book)
    tamper(book, 2, "digest", 0)
    assert acknowledge_all(book, watched) is not None
    watched.look()
    assert watched.standing.problems == []
    book.connection.execute("update ledger set digest = ? where number = 2", ("f" * 64,))  # wrong in the same way
    watched.look()
    assert watched.standing.problems


def test_an_end_that_was_cut_off_is_told_until_it_is_acknowledged_whoever_starts_the_agent_anew() -> None:
    book = filled(3)
    found = watch(book)
    found.look()
    unlock(book.connection)
    book.connection.execute("delete from ledger where number > 4")
    for _ in range(5):
        found.look()
    assert found.standing.fault_count == 1
    stored = msgspec.json.encode(found.standing)
    found = watch(book, before=msgspec.json.decode(stored, type=LedgerStanding))
    found.look()
    assert "was cut off" in found.standing.problems[0]
    assert acknowledge_all(book, found) is not None
    found.look()
    assert found.standing.problems == []
    notes = verify(list(book.ledger.links()), KEYS).notes
    assert any("operations says why: known" in note.why for note in notes)


def test_a_word_covers_so_many_faults_and_says_which_and_the_next_one_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_faults, "MOST_FAULTS", 3)
    book = filled(3)
    for number in range(2, 5):
        tamper(book, number, "digest", 0)
    watched = watch(book)
    words = []
    while word := acknowledge_all(book, watched):
        words.append(word)
    assert {len(word.faults) for word in words[:-1]} == {3}
    watched.look()
    assert watched.standing.problems == []


def test_the_verbs_acknowledge_and_status_ends_well_while_verify_does_not(tmp_path: Path) -> None:
    file = tmp_path / "instance.toml"
    file.write_text(
        f'[agent]\nstate = "{tmp_path}/agent"\nvendor_keys = "{tmp_path}/vendor.keys"\n'
        f'[recorder]\noutbox = "{tmp_path}/outbox"\n'
    )
    (tmp_path / "vendor.keys").write_text(public_key_text(VENDOR.public_key()) + "\n")

    def run(*words: str, status: int) -> str:
        done = CliRunner().invoke(app, ["--config", str(file), *words])
        assert done.exit_code == status, done.output
        return done.output

    state = State(tmp_path / "agent", now=lambda: NOW)
    state.ledger.append_erasure("0" * 64)
    state.ledger.append_erasure("1" * 64)
    unlock(state.connection)
    state.connection.execute("update ledger set body = ? where number = 2", (b"{}",))
    read = load_settings(file)
    Monitor(read, state, now=lambda: NOW, ticks=lambda: 0.0).look(None, clock_offset=timedelta())
    said = ("ledger", "acknowledge", "--by", "operations", "--reason", "the disk of [node-3]")
    assert "entry 2" in run("agent", "status", status=1)
    assert "--reason" in run(*said[:4], status=2)
    assert "entry 2" in run(*said, status=0)
    assert "the disk of [node-3]" in run("agent", "status", status=0)
    verified = run("ledger", "verify", status=1)
    assert "entry 2 was changed" in verified
    assert "acknowledges" in verified
    assert "is acknowledged" in run(*said, status=2)
    assert "the disk of [node-3]" in run("ledger", "show", status=0)
    text = read_metrics(read, state, read_standing(tmp_path / "agent"), NOW).text().decode()
    assert f"{AgentMetric.LEDGER_ACKNOWLEDGED.metric} 2.0" in text
    state.close()


def test_the_monitor_verifies_and_its_metrics_tell(tmp_path: Path) -> None:
    settings = Settings(
        agent=AgentSettings(state=str(tmp_path / "agent"), vendor_keys=str(tmp_path / "none")),
        recorder=RecorderSettings(outbox=str(tmp_path / "outbox")),
    )
    state = State(tmp_path / "agent", now=lambda: NOW)
    state.ledger.append_erasure("0" * 64)
    ticks = iter(range(0, 10_000, int(SECONDS) + 1))
    monitor = Monitor(settings, state, now=lambda: NOW, ticks=lambda: next(ticks))

    def value(metric: AgentMetric) -> float:
        monitor.look(None, clock_offset=timedelta())
        text = read_metrics(settings, state, read_standing(tmp_path / "agent"), NOW).text()
        [line] = [line for line in text.splitlines() if line.startswith(f"{metric.metric} ".encode())]
        return float(line.split()[1])

    assert value(AgentMetric.LEDGER_PROBLEMS) == 0
    assert value(AgentMetric.LEDGER_ENTRIES) == 2
    assert value(AgentMetric.LEDGER_VERIFIED) == NOW.timestamp()
    unlock(state.connection)
    state.connection.execute("update ledger set body = ? where number = 2", (b"{}",))
    assert value(AgentMetric.LEDGER_PROBLEMS) == 2
    state.close()
