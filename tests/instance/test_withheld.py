"""The intervals in which somebody had said no: what opens and closes them, and what they keep back."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from harness import SMALL_PLAN, Vendor
from heliograph.consent.level import Level
from heliograph.consent.policy import Doubt, Policy
from heliograph.event import Verdict, microseconds
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent
from heliograph.instance.notice import NOTICE_FILE, read_notice
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.withheld import ADMIN_WORD, Interval, Withheld, Word, heard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def policy(level: Level, *, received: datetime = NOW) -> Policy:
    agreement = "agreement-1" if level is Level.EVENTS else None
    return Policy(
        level=level,
        agreement=agreement,
        reasons=(),
        plan="",
        plan_digest="",
        issued=0,
        received=received,
        valid_seconds=600,
    )


END = NOW + 10 * MINUTE
LONG = NOW + ADMIN_WORD
OLD = NOW - 11 * MINUTE
AHEAD = NOW + MINUTE


@pytest.mark.parametrize(
    ("decided", "vendor", "admin", "expected"),
    [
        (Level.EVENTS, policy(Level.EVENTS), Level.EVENTS, Word(Level.EVENTS, narrowest=Level.EVENTS, until=END)),
        (
            Level.CRITICAL,
            policy(Level.CRITICAL),
            Level.EVENTS,
            Word(Level.CRITICAL, narrowest=Level.CRITICAL, until=END),
        ),
        (
            Level.CRITICAL,
            policy(Level.EVENTS),
            Level.CRITICAL,
            Word(Level.CRITICAL, narrowest=Level.CRITICAL, until=END),
        ),
        (Level.OFF, policy(Level.OFF), Level.EVENTS, Word(Level.OFF, narrowest=Level.OFF, until=END)),
        # The admin's no needs nobody else's word.
        (Level.OFF, None, Level.OFF, Word(Level.OFF, narrowest=Level.OFF, until=LONG)),
        (Level.OFF, None, Level.CRITICAL, Word(None, narrowest=Level.CRITICAL, until=LONG)),
        # Doubt is nobody's word.
        (Level.OFF, None, Level.EVENTS, Word(None, narrowest=Level.EVENTS, until=LONG)),
        (Level.OFF, policy(Level.EVENTS, received=OLD), Level.EVENTS, Word(None, narrowest=Level.EVENTS, until=LONG)),
        (
            Level.OFF,
            policy(Level.CRITICAL, received=AHEAD),
            Level.EVENTS,
            Word(None, narrowest=Level.EVENTS, until=LONG),
        ),
        (Level.OFF, policy(Level.EVENTS), None, Word(None, narrowest=Level.EVENTS, until=END)),
        # Events without evidence: decided off, by nobody.
        (Level.OFF, policy(Level.EVENTS), Level.EVENTS, Word(None, narrowest=Level.EVENTS, until=END)),
    ],
)
def test_a_no_is_somebodys_word_and_never_a_doubt(
    decided: Level, vendor: Policy | None, admin: Level | None, expected: Word
) -> None:
    assert heard(decided, vendor, admin, NOW) == expected


NO = Word(Level.CRITICAL, narrowest=Level.CRITICAL, until=END)
YES = Word(Level.EVENTS, narrowest=Level.EVENTS, until=END)
UNKNOWN = Word(None, narrowest=None, until=END)


def intervals(folder: Path, *said: tuple[Word, int], restart: bool = False) -> list[tuple[int, int]]:
    """Tell words at minutes, and return the intervals in microseconds since then."""
    state = State(folder)
    withheld = Withheld(state)
    for word, minute in said:
        withheld.tell(word, NOW + minute * MINUTE)
        if restart:
            state.close()
            state = State(folder)
            withheld = Withheld(state)
    found = withheld.intervals
    state.close()
    start = microseconds(NOW)
    return [(since - start, until - start) for since, until in found]


M = 60_000_000


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([(YES, 0), (UNKNOWN, 1)], []),
        ([(NO, 1)], [(M, M + 1)]),
        ([(NO, 1), (NO, 5)], [(M, 5 * M + 1)]),
        ([(NO, 1), (YES, 5)], [(M, 5 * M)]),
        ([(NO, 1), (UNKNOWN, 2), (YES, 5)], [(M, 5 * M)]),
        ([(NO, 1), (YES, 2), (NO, 4), (YES, 5)], [(M, 2 * M), (4 * M, 5 * M)]),
        # Clocks that are set back shrink nothing.
        ([(NO, 5), (NO, 1), (YES, 3)], [(M, 5 * M + 1)]),
        ([(NO, 5), (YES, 1)], [(M, 5 * M + 1)]),
        ([(NO, 3), (YES, 5), (NO, 1), (YES, 4)], [(M, 5 * M)]),
        ([(NO, 3), (YES, 5), (NO, 4), (YES, 4)], [(3 * M, 5 * M)]),
    ],
)
def test_an_interval_goes_from_a_no_to_a_yes(
    tmp_path: Path, said: list[tuple[Word, int]], expected: list[tuple[int, int]], restart: bool
) -> None:
    assert intervals(tmp_path, *said, restart=restart) == expected


def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    state = State(tmp_path)
    withheld = Withheld(state)
    withheld.tell(NO, NOW)
    before = state.connection.total_changes
    withheld.tell(NO, NOW)
    withheld.tell(UNKNOWN, NOW + MINUTE)
    assert state.connection.total_changes == before
    assert withheld.intervals == (Interval(microseconds(NOW), microseconds(NOW) + 1),)
    state.close()


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder).running() as vendor:
        yield vendor


class Site:
    """One instance of a real vendor, with a clock of its own."""

    def __init__(self, vendor: Vendor, folder: Path) -> None:
        self.vendor = vendor
        self.folder = folder
        self.now = datetime.now(UTC) - timedelta(hours=2)
        self.moments: list[datetime] = []

    def agent(self, level: str) -> Agent:
        settings = self.vendor.agent_settings(self.folder, level=level)
        return Agent(settings, SMALL_PLAN, now=lambda: self.now)

    def run(self, level: str, *, minutes: int = 1) -> None:
        """Let an agent run at a level, some minutes after what happened before."""
        self.now += minutes * MINUTE
        agent = self.agent(level)
        agent.round()
        agent.close()

    def append(self, *minutes: int, since: datetime) -> None:
        """Rows of the product's table, read into the outbox only now."""
        writer = EpochWriter(self.folder / "outbox", "event_logs", maximum_bytes=1 << 20)
        writer.append(
            [
                {"name": "SearchSubmitted", "time": since + each * MINUTE, "user": "u:1", "duration_ms": abs(each)}
                for each in minutes
            ]
        )
        writer.close()

    def drain(self) -> Any:
        agent = self.agent("events")
        agent.run(threading.Event(), until_drained=True)
        agent.close()
        state = State(self.folder / "agent", exclusive=False)
        account = read_account(state, self.folder / "outbox", SMALL_PLAN)
        state.close()
        assert account.closes()
        return account


def test_what_happened_while_somebody_had_said_no_is_kept_back_when_it_is_found_later(
    vendor: Vendor, tmp_path: Path
) -> None:
    site = Site(vendor, tmp_path / "instance")
    start = site.now
    site.run("events", minutes=1)
    site.run("critical", minutes=9)  # from the tenth minute on
    site.run("events", minutes=10)  # to the twentieth
    site.append(-1_000, 5, 10, 15, 19, 20, since=start)
    account = site.drain()
    assert account.dropped == {"SearchSubmitted": {Verdict.NOT_PERMITTED: 3}}
    assert account.delivered == {"SearchSubmitted": 3}
    [receipt] = [entry.receipt for entry, _ in vendor.entries()]
    assert receipt.absent == account.dropped


def test_the_agent_tells_the_recorders(vendor: Vendor, tmp_path: Path) -> None:
    site = Site(vendor, tmp_path / "instance")
    outbox = site.folder / "outbox"
    recorder = Recorder(
        vendor.agent_settings(site.folder).recorder, now=lambda: site.now, environment={}, look_seconds=1e9
    )
    for level, recorded in (("events", True), ("critical", True), ("off", False), ("events", True)):
        site.run(level)
        notice = read_notice(outbox)
        assert notice is not None
        assert notice.level == level
        recorder._watch.look()
        assert recorder.record("PageViewed", user=1) is recorded
    recorder.close()


def test_a_policy_that_is_not_known_is_told_as_nothing_known(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(vendor, tmp_path / "instance")
    with contextlib.closing(site.agent("events")) as agent:
        assert agent.decide().level is Level.EVENTS
        monkeypatch.setattr(agent._vendor, "refresh", lambda **_: None)
        agent._vendor.doubt = Doubt.UNKNOWN_LEVEL
        assert agent.decide().level is Level.OFF
        notice = read_notice(site.folder / "outbox")
        assert notice is not None
        assert notice.level is None
        assert agent._objections.withheld.intervals == ()


def test_recorders_that_cannot_be_told_keep_nothing_from_being_withheld(vendor: Vendor, tmp_path: Path) -> None:
    site = Site(vendor, tmp_path / "instance")
    (site.folder / "outbox" / NOTICE_FILE).mkdir(parents=True)
    (site.folder / "outbox" / NOTICE_FILE / "in the way").touch()
    site.append(0, 1, since=site.now)
    site.run("off")
    account = site.drain()
    assert account.dropped == {"SearchSubmitted": {Verdict.NOT_PERMITTED: 2}}
