"""The agent: one process beside the product, which asks what may leave, reads the sources, and sends."""

from __future__ import annotations

import enum
import os
import random
import sqlite3
import time as clock
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from heliograph.consent.level import Decision, Level
from heliograph.consent.policy import instance_level
from heliograph.instance.answers import Action
from heliograph.instance.bandwidth import Bandwidth
from heliograph.instance.choice import Chosen, SettingsWatch, chosen, environment_words, recorded_word
from heliograph.instance.declared import DeclaredWriter
from heliograph.instance.erasures import Erasures
from heliograph.instance.event_logs import Cursor, EventLogsSource, SourceError, decode_cursor, encode_cursor
from heliograph.instance.exporter import Exporter
from heliograph.instance.forgetting import scrub
from heliograph.instance.monitor import Monitor
from heliograph.instance.notice import NoticeWriter
from heliograph.instance.outbox import EpochWriter, OutboxFullError, tell_apart
from heliograph.instance.outbox_reading import latest_checkpoint
from heliograph.instance.pauses import BackOff
from heliograph.instance.ping_sender import PingSender
from heliograph.instance.plan_updates import PlanUpdates, declaration_of
from heliograph.instance.refusals import Objections
from heliograph.instance.state import State
from heliograph.instance.superseded import Superseded
from heliograph.instance.transport import (
    GatewayClient,
    GatewayRefusalError,
    SupersededError,
    TransportError,
    UnreachableError,
)
from heliograph.instance.vendor_word import VendorWord
from heliograph.instance.withheld import heard
from heliograph.keys import load_or_create_key

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from heliograph.instance.stitching import Stitching
    from heliograph.instance.withheld import Word
    from heliograph.plan.follow import FollowedPlan
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

EVENT_LOGS: Final = "event_logs"
_log: Final = structlog.get_logger("heliograph.agent")


class Left(enum.Enum):
    """What a round has left to do."""

    NOTHING = enum.auto()
    """Everything there is was read and sent."""
    SOME = enum.auto()
    """There is something that cannot be had yet: a later round looks again."""
    MORE = enum.auto()
    """The next round can go on at once."""


class Agent:
    """Runs rounds until it is told to stop.

    Args:
        settings: All settings of the instance.
        plan: The instance's own tracking plan, which holds until the vendor's is heard, or is a limit to it
            (`agent.plan_updates`); its files, if they are to be followed; None if it has none.
        now: The clock.
        jitter: Spreads the pauses of many agents: gives a number from 0 up to 1.
        client: Replaces the way to the gateway, in tests.
        ticks: Seconds by a clock that nobody sets.
        choice: What the settings file says of the level, now; by default, what `settings` say.
        environment: The agent's own, in which the admin may have chosen a level too.

    Raises:
        StateError: Another agent runs.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan | FollowedPlan | None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
        client: GatewayClient | None = None,
        ticks: Callable[[], float] = clock.monotonic,
        choice: SettingsWatch | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        agent = settings.agent
        self._settings = settings
        self._now = now
        self._pauses = BackOff(jitter)
        self._choice = choice or SettingsWatch(settings)
        self._environment = environment
        self._state = State(Path(agent.state), now=now)
        self._superseded = Superseded(Path(agent.state))
        self._superseded.clear()
        bandwidth = Bandwidth(agent.bytes_per_second, ticks=ticks)
        self._client = client or GatewayClient(
            agent, load_or_create_key(Path(agent.key)), now=now, ticks=ticks, bandwidth=bandwidth
        )
        self._client.after = self._state.senders.begin(self._client.exporter)
        outbox = Path(settings.recorder.outbox)
        self._objections = Objections(self._state, outbox)
        self._notice = NoticeWriter(outbox, keep_local=settings.recorder.keep_local)
        self._declared = DeclaredWriter(outbox)
        pinned = agent.plan_updates == "pinned"
        self._plans = PlanUpdates(self._state.plans, plan, pinned=pinned, now=now)
        self._plan = self._plans.plan
        self._erasures = Erasures(self._state, self._client, scrub=scrub)
        self._exporter = Exporter(
            agent=agent,
            recorder=settings.recorder,
            plan=self._plan,
            state=self._state,
            client=self._client,
            now=now,
            objections=self._objections,
            withdrawn=self._plans.withdrawn,
            bandwidth=bandwidth,
        )
        self._vendor = VendorWord(agent, self._state, self._client, now=now, ticks=ticks, plans=self._plans)
        self._pings = PingSender(
            state=self._state,
            client=self._client,
            plan=self._plan,
            outbox=outbox,
            usage_days=agent.usage_days,
            may_send=lambda: self._may_send(Level.CRITICAL),
            failed=self._vendor.forget_when_heard,
            now=now,
        )
        self._source = _Source(settings, self._plan, self._objections.stitching) if settings.event_logs.dsn else None
        self._monitor = Monitor(settings, self._state, now=now, ticks=ticks)
        self._client.built_by = self._plans.digest
        self._declaration = declaration_of(self._plans)
        self._level: Level | None = None
        self._word: Word | None = None

    def close(self) -> None:
        """Let go of everything."""
        if self._source is not None:
            self._source.close()
        self._client.close()
        self._state.close()

    def run(self, stop: threading.Event, *, until_drained: bool = False) -> None:
        """Run rounds until `stop` is set; or, with `until_drained`, until a round finds nothing left anywhere."""
        while not stop.is_set():
            try:
                left = self.round()
                self._pauses.reset()
                self._exporter.go_on()
                self._tell_monitor()
            except SupersededError as error:
                self._end_superseded(error)
                if not until_drained:
                    stop.wait()
                return
            except (TransportError, OSError, sqlite3.Error) as error:  # the disk, too, may work again later
                self._pause(stop, error)
                continue
            if until_drained and left is Left.NOTHING:
                return
            if left is not Left.MORE:
                stop.wait(self._settings.agent.idle_seconds)

    def _end_superseded(self, error: SupersededError) -> None:
        """Keep in mind that another agent runs with this identity, and send no more: it would be endless strife."""
        self._superseded.tell(self._now())
        self._tell_monitor(error)
        _log.error("another agent sends for this instance: this one stops until it is started again", why=str(error))

    def _pause(self, stop: threading.Event, error: Exception) -> None:
        """Wait, longer after each failure, and at least as long as was asked for."""
        if isinstance(error, GatewayRefusalError) and error.action is not Action.ASK:
            self._exporter.standstill.begin(error.problem.type)
        seconds = self._pauses.next(error.retry_after if isinstance(error, UnreachableError) else None)
        self._tell_monitor(error)
        _log.warning("waiting", why=str(error), seconds=round(seconds, 1))
        stop.wait(seconds)

    def _tell_monitor(self, error: Exception | None = None) -> None:
        doubts = [self._vendor.doubt.code] if self._vendor.doubt else []
        self._monitor.look(self._level, error=error, doubts=doubts, clock_offset=self._client.clock_offset)

    def round(self) -> Left:
        """Do one round, and tell what is left to do.

        Raises:
            TransportError: The gateway did not take a delivery; nothing is lost.
        """
        try:
            return self._round()
        except TransportError:
            self._vendor.forget_when_heard()  # what it said may have changed since: the next round asks first
            raise

    def _round(self) -> Left:
        self._plans.look()
        level = self.decide().level
        self._use_plan()
        if level is Level.OFF:
            return self._withhold()
        self._objections.stitching.look()  # though no event may follow: a ping counts who has signed in once
        self._erasures.send(self._now(), may_send=lambda: self._may_send(Level.CRITICAL))
        unread = self._read_source()
        if level is Level.CRITICAL:
            self._purge(tally=True, sendable=True)
            return self._send_pings(unread)
        delivered = self._exporter.deliver_round(lambda: self._may_send(Level.EVENTS))
        if self._level is not Level.EVENTS or self._plan is not self._plans.plan:  # the vendor was asked again
            return self._round()
        left = self._send_pings(unread)
        return Left.MORE if delivered else left

    def _send_pings(self, unread: Left) -> Left:
        """Send the pings that are due, and tell what a round that left `unread` of the table has left to do."""
        read_up = unread is not Left.MORE and (self._source is None or not self._source.is_failing)
        waiting = self._pings.send_due(caught_up=read_up and self._exporter.caught_up)
        return Left.SOME if waiting and unread is Left.NOTHING else unread

    def _use_plan(self) -> None:
        """Let everything go by the plan in force, and the recorders know of it."""
        if self._plan is not self._plans.plan or self._client.built_by != self._plans.digest:
            self._plan = self._plans.plan
            self._client.built_by = self._plans.digest
            self._exporter.use_plan(self._plan, withdrawn=self._plans.withdrawn)
            self._pings.use_plan(self._plan)
            if self._source is not None:
                self._source.use_plan(self._plan)
            self._declaration = declaration_of(self._plans)
        if self._declaration is not None:
            try:
                self._declared.tell(self._declaration)
            except OSError as error:  # what they record may still not leave
                _log.warning("the recorders cannot be told", why=str(error))

    def decide(self, *, sending: bool = False) -> Decision:
        """Return what may leave now, asking the gateway where what it said is too old. At `off`, ask nobody.

        Args:
            sending: Whether something is about to be delivered: then only a word of a moment ago will do.
        """
        admin = self._chosen()
        if admin.decision.level is not Level.OFF:
            if self._client.clock_was_set():  # before anything is judged by it
                self._vendor.forget_when_heard()
            self._vendor.refresh(sending=sending)
        decision = instance_level(self._vendor.word(), admin.decision)
        self._tell(decision.level, admin)
        if decision.level is not self._level:
            _log.info("level", level=str(decision.level), why=" ".join(decision.reasons))
            self._level = decision.level
        return decision

    def _chosen(self) -> Chosen:
        recorded = recorded_word(self._state.last_choice())
        return chosen([self._choice.word(), *environment_words(self._environment), *recorded])

    def _tell(self, decided: Level, admin: Chosen) -> None:
        """Keep in mind what was said, for what was recorded meanwhile, and let the recorders know."""
        now = self._now()
        word = heard(decided, None if self._vendor.in_doubt else self._vendor.policy, admin.spoken, now)
        self._word = word
        self._objections.tell(word, now)
        try:
            self._notice.tell(word.level_name, until=word.until, now=now)
        except OSError as error:  # what they record may still not leave
            _log.warning("the recorders cannot be told", why=str(error))

    def _may_send(self, least: Level) -> bool:
        """Tell whether what needs the level `least`, and is built by the plan of this round, may leave this moment."""
        return self.decide(sending=True).level >= least and self._plan is self._plans.plan

    def _read_source(self) -> Left:
        return Left.NOTHING if self._source is None else self._source.read(self._now())

    def _withhold(self) -> Left:
        """Purge what is queued when somebody has said no; only keep it back where nothing is known."""
        if self._word is None or not self._word.refuses(Level.EVENTS):
            return Left.SOME
        self._pings.withdraw()
        self._purge(tally=self._settings.recorder.keep_local, sendable=False)
        return Left.NOTHING

    def _purge(self, *, tally: bool, sendable: bool) -> None:
        """Drop what is queued; with `tally` it counts as use, of which pings may tell if it is `sendable`."""
        purged = self._exporter.purge(tally=tally, sendable=sendable)
        if purged:
            _log.info("purged", events=purged, level=str(self._level))


class _Source:
    """The `event_logs` table, read into the outbox."""

    def __init__(self, settings: Settings, plan: Plan, stitching: Stitching) -> None:
        self._source = EventLogsSource(settings.event_logs, plan)
        self._stitching = stitching
        self._pause = timedelta(seconds=settings.event_logs.pause_seconds)
        self._outbox = Path(settings.recorder.outbox)
        self._maximum_bytes = settings.recorder.maximum_bytes
        checkpoint = latest_checkpoint(self._outbox, EVENT_LOGS)
        self._cursor = Cursor() if checkpoint is None else decode_cursor(checkpoint)
        self._writer: EpochWriter | None = None
        self._recorded: Counter[str] = Counter()
        self._left = Left.SOME
        self._looked: datetime | None = None
        self._look_again = datetime.min.replace(tzinfo=UTC)
        self._pauses = BackOff(lambda: 1.0)  # it is this instance's own database: nobody else asks it for us
        self.is_failing = False
        """Whether the last look found no table that could be read."""

    def use_plan(self, plan: Plan) -> None:
        """Take of rows what this plan allows, from the next round on."""
        self._source.use_plan(plan)

    def read(self, now: datetime) -> Left:
        """Read one round into the outbox, unless the last look was a moment ago; tell what is left in the table.

        A database that does not answer is asked again later, and meanwhile keeps nothing else from being sent.
        """
        if self._looked is not None and self._looked <= now < self._look_again:  # unless the clock was set back
            return self._left
        self._looked = self._look_again = now
        try:
            self._left = self._read_round()
            self.is_failing = False
            self._pauses.reset()
        except (SourceError, OSError) as error:  # delivering may be what makes room on the disk
            self._left = Left.SOME
            self.is_failing = True
            seconds = self._pauses.next()
            _log.warning("event_logs cannot be read", why=str(error), seconds=seconds)
            self._look_again = now + timedelta(seconds=seconds)
        else:
            self._look_again = now if self._left is Left.MORE else now + self._pause
        return self._left

    def _read_round(self) -> Left:
        found = self._source.read(self._cursor)
        if found.stripped:
            _log.warning("properties left out", by_event=found.stripped)
        if found.sign_ins:  # before the events: to take a sign-in up twice does nothing
            self._stitching.take(found.sign_ins)
        if found.events or found.cursor != self._cursor:
            if self._writer is None:
                self._writer = EpochWriter(self._outbox, EVENT_LOGS, maximum_bytes=self._maximum_bytes)
            recorded = self._recorded + Counter(event["name"] for event in found.events)
            try:
                self._writer.append(
                    found.events, checkpoint=encode_cursor(found.cursor), recorded=tell_apart(dict(recorded))
                )
            except OutboxFullError:
                self._writer.measure()
                return Left.SOME  # the rows stay in the table until there is room
            self._recorded = recorded
            self._cursor = found.cursor
        if found.events:
            return Left.MORE
        return Left.NOTHING if found.caught_up and not found.cursor.holes else Left.SOME

    def close(self) -> None:
        """End the epoch and the connection."""
        if self._writer is not None:
            self._writer.close()
        self._source.close()
