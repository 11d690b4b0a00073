"""Recording inside the product: one call, which never waits, never raises, and counts what it drops."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time as clock
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heliograph.event import RESERVED, Actor, Verdict
from heliograph.frames import force_and_close
from heliograph.instance.facts import merge_facts
from heliograph.instance.held import HeldEvents
from heliograph.instance.outbox import SEGMENT_BYTES, EpochWriter, outbox_bytes
from heliograph.instance.recorded import LONGEST_WORD, are_plain, check_name, plain_values, refuse_reserved
from heliograph.instance.recorder_counts import RecorderCounts, verdict_on
from heliograph.instance.recorder_lock import RecorderLock
from heliograph.instance.sign_ins import SignInsFile, visitor_key
from heliograph.instance.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heliograph.instance.declared import Declared
    from heliograph.settings import RecorderSettings
    from heliograph.wire import VerdictCounts

_REOPEN_SECONDS: Final = 5.0
_UNRECORDABLE: Final = "?" * (LONGEST_WORD + 1)
_recorders: Final[weakref.WeakSet[Recorder]] = weakref.WeakSet()


class Recorder:
    """Records a product's events into the outbox on its instance.

    Any number of threads may share one. After a fork the child records into an epoch of its own. What was recorded
    survives the end of the process at once, and of the machine after `flush`, which runs every few milliseconds in
    a thread of its own and when the process ends.

    Args:
        settings: Where the outbox is, and its bounds.
        version: The product's version, such as ``5.3.1``.
        source: Where this product's events come from, as the plan lists it; events may say otherwise.
        now: The clock.
        environment: Where ``DO_NOT_TRACK`` may be set, by which nothing is recorded.
        look_seconds: How often to look what consent says, and how much room there is.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        *,
        version: str | None = None,
        source: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        environment: Mapping[str, str] = os.environ,
        look_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._version = version
        self._source = source
        self._now = now
        self._look_seconds = look_seconds
        self._watch = Watch(Path(settings.outbox), now=now, environment=environment)
        self._sign_ins = SignInsFile(Path(settings.outbox))
        self._begin_process()
        _recorders.add(self)
        atexit.register(_close_if_alive, weakref.ref(self))

    def _begin_process(self) -> None:
        self._waiting = RecorderLock(self._place)
        self._lock = self._waiting.lock
        self._writer: EpochWriter | None = None
        self._reopen_at = 0.0
        self._held = HeldEvents(Path(self._settings.outbox), maximum_bytes=self._settings.maximum_bytes)
        self._counts = RecorderCounts(self._held)
        self._synced: tuple[int, int, int] | None = None
        self._lost = False
        self._flusher: threading.Thread | None = None
        self._stop = threading.Event()

    def record(  # noqa: C901, PLR0912 - in one piece, as each function called at some hundred a second is found cold
        self,
        name: str,
        /,
        *,
        user: str | int | None = None,
        anonymous: str | int | None = None,
        session: str | int | None = None,
        outcome: str | None = "ok",
        time: datetime | None = None,
        source: str | None = None,
        actor: str | None = None,
        **properties: str | float | bool | timedelta | None,
    ) -> bool:
        """Record that `user` did something, and tell whether it is in the outbox.

        Args:
            name: The event's name, as the plan declares it.
            user: The product's own id of the user; it stays on the instance, and a random id goes in its place.
            anonymous: The product's own id of a visitor who is not signed in; likewise. Beside `user` it says that the
                visitor is this user, as `identify` does.
            session: The product's own id of the session; likewise.
            outcome: How it ended, as the plan lists it for this event.
            time: When it happened; now if None. A time without a zone is taken as UTC.
            source: Where it came from, when not what the recorder was made with.
            actor: ``operator`` for one of the vendor's people, ``service`` for a program: they count nowhere.
            **properties: What the plan declares for this event. None is the same as leaving it out; a span of time
                becomes whole milliseconds. The agent rounds what the plan wants coarse.
        """
        watch, lock = self._watch, self._lock
        if anonymous is not None:
            user = self._person(user, anonymous)
        if (watch.silent or watch.out) and (refusal := self._refusal(user, session)) is not None:
            return self._counts.drop(name, refusal)
        held = False
        counts = self._counts.recorded
        try:
            if watch.declared is not None and not watch.declared.passes(name, properties):
                name, properties, held = self._admit(watch.declared, name, properties)
            if name not in counts:
                check_name(name)
            if properties:
                if not RESERVED.isdisjoint(properties):
                    refuse_reserved()
                if not are_plain(map(type, properties.values())):
                    properties = plain_values(properties)
            moment = self._now() if time is None else time
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            if type(user) is not str and user is not None:
                user = str(user)
            if type(session) is not str and session is not None:
                session = str(session)
            if actor is not None:
                actor = Actor(actor).value
            where = source or self._source or None
        except Exception as error:  # noqa: BLE001 - nothing may be raised into the product
            return self._counts.drop(name, verdict_on(error))
        if not lock.acquire(False) and not self._waiting.wait():  # noqa: FBT003 - what a keyword costs here is measured
            return self._counts.drop(name, Verdict.RECORDER_BUSY)
        try:
            event = [name, 0, moment, user, session, outcome, self._version, where, actor, properties]
            if held:
                self._held.append(name, event)
            elif watch.reads_compact:
                (self._writer or self._open()).append_recorded(event)
            else:
                (self._writer or self._open()).append_plain(event)
            counts[name] = counts.get(name, 0) + 1
        except Exception as error:  # noqa: BLE001 - nothing may be raised into the product
            if self._writer is not None and self._writer.failed:
                self._give_up(self._writer)
            return self._counts.drop(name, verdict_on(error))
        else:
            return True
        finally:
            lock.release()

    def _admit(self, declared: Declared, name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any], bool]:
        """Return what is recorded of an event by the plan, and whether it is set aside; count what is left out."""
        admitted = declared.admit(name, properties)
        self._counts.leave_out(admitted.name, admitted.left_out)
        return admitted.name, admitted.properties, admitted.held

    def report_facts(self, **facts: str | int | bool | Mapping[str, int] | None) -> bool:
        """Say what is so of the instance as a whole, and tell whether all of it was written down.

        What was said before stays, fact by fact; None takes a fact back. Call it when the product starts, and when
        something changes. The agent leaves out what the plan does not declare.

        Args:
            **facts: By name, as the plan declares them: ``version="5.3.1"``, ``code_hosts={"github": 2}``.
        """
        try:
            return merge_facts(Path(self._settings.outbox), facts, now=self._now())
        except Exception:  # noqa: BLE001 - nothing may be raised into the product
            return False

    def identify(self, user: str | int, *, anonymous: str | int) -> bool:
        """Say that a visitor has signed in as `user`: what the visitor does is the user's from now on.

        All that follows from it stays on the instance; see docs/random-ids.md. Call it when somebody signs in, before
        what they do then is recorded. It waits for other writers at most 50 milliseconds.

        Args:
            user: The product's own id of the user.
            anonymous: The id under which events of the visitor were recorded.

        Returns:
            Whether it is written down. If not, the visitor stays somebody else until it is said again.
        """
        try:
            if self._watch.silent and self._refusal(None, None) is not None:
                return False
            return self._sign_ins.append(anonymous, user)
        except Exception:  # noqa: BLE001 - nothing may be raised into the product
            return False

    def _person(self, user: str | int | None, anonymous: str | int) -> str | int:
        """Return under which key an event is recorded; beside a user, a visitor has signed in."""
        try:
            if user is None:
                return visitor_key(anonymous)
            if not self._watch.silent or self._refusal(None, None) is None:
                self._sign_ins.append(anonymous, user)
        except Exception:  # noqa: BLE001 - nothing may be raised into the product
            return _UNRECORDABLE if user is None else user  # the next event of both says it again
        return user

    def _refusal(self, user: object, session: object) -> Verdict | None:
        """Return why this may not be recorded; before that, look for the first time in this process."""
        watch = self._watch
        if watch.silent and self._flusher is None and not self._begin_looking():
            return Verdict.RECORDER_BUSY
        if watch.silent:
            return Verdict.NOT_PERMITTED
        try:
            return Verdict.OPTED_OUT if watch.refuses(user, session) else None
        except Exception:  # noqa: BLE001 - an id that cannot be made a text
            return Verdict.UNRECORDABLE

    def _begin_looking(self) -> bool:
        if not self._waiting.wait():
            return False
        try:
            if self._flusher is None:
                with self._waiting.opening():
                    self._watch.look()
                    flusher = threading.Thread(target=self._keep_flushing, name="heliograph-flush", daemon=True)
                    flusher.start()
                self._flusher = flusher
        except RuntimeError:  # no more threads: what was seen stays
            pass
        finally:
            self._lock.release()
        return True

    def _place(self) -> object:
        writer = self._writer
        return writer, None if writer is None else writer.last

    def opt_out(self, user: str | int) -> bool:
        """Let nothing of `user` be recorded or sent from now on, by any process of the instance.

        In this process it holds at once, in the others within a second, and in the agent before it sends again.

        Returns:
            Whether it is on disk. If not, it holds for this process only: tell the user that it did not work.
        """
        return self._watch.opt_out(user)

    def opt_in(self, user: str | int) -> bool:
        """Let `user` be recorded again; what was recorded before this is not sent. Tell whether it is on disk."""
        return self._watch.opt_in(user)

    def _open(self) -> EpochWriter:
        if clock.monotonic() < self._reopen_at:
            raise OSError("the outbox could not be opened a moment ago")
        self._reopen_at = clock.monotonic() + _REOPEN_SECONDS
        with self._waiting.opening():
            self._writer = EpochWriter(
                Path(self._settings.outbox),
                maximum_bytes=self._settings.maximum_bytes,
                segment_bytes=min(SEGMENT_BYTES, max(self._settings.maximum_bytes // 8, 4096)),
            )
        self._counts.begin_epoch()
        return self._writer

    def _keep_flushing(self) -> None:
        stop = self._stop
        looked = clock.monotonic()
        while not stop.wait(self._settings.sync_milliseconds / 1000):
            if clock.monotonic() - looked >= self._look_seconds:
                looked = clock.monotonic()
                self._watch.look()
                with contextlib.suppress(OSError):  # the next time it may work
                    self._measure()
            self._sync()

    def _measure(self) -> None:
        with self._lock:
            self._held.tidy((lambda _: True) if self._watch.declared is None else self._watch.declared.holds)
            if self._writer is None and self._counts.are_some_missing():
                self._open()  # where nothing may be recorded, drops are counted all the same
            writer = self._writer
            if writer is None:
                return
            self._counts.note(writer)
            room = writer.room
        taken = outbox_bytes(Path(self._settings.outbox))  # without the lock: this takes longer than to record
        with self._lock:
            writer.measured(taken, room=room)

    def flush(self) -> bool:
        """Wait until all that was recorded is on disk; tell whether it is.

        A disk that has failed once may have lost what it was to take, and takes no notice of it the next time. So
        False also says that it failed since the last call; what is recorded after that is in a new epoch.
        """
        synced = self._sync()
        lost, self._lost = self._lost, False
        return synced and not lost

    def _sync(self) -> bool:
        try:
            self._sign_ins.sync()
            with self._lock:
                writer = self._writer
                place = None if writer is None else (writer.epoch, *writer.place)
                new = writer is not None and place != self._synced
                own = writer.duplicate_descriptor() if writer is not None and new else None
                held = [*self._held.descriptors()]
        except OSError:
            return False
        own_synced = own is None or force_and_close(own)
        held_synced = [*map(force_and_close, held)]  # each, as it closes the descriptor
        if own_synced and all(held_synced):
            self._synced = place
            return True
        with self._lock:
            if not all(held_synced):
                self._held.close()
                self._lost = True
            # Where another thread has given it up, that one has told.
            if writer is not None and writer is self._writer and not own_synced:
                self._give_up(writer)
        return False

    def _give_up(self, writer: EpochWriter) -> None:
        """Write nothing more behind what the disk may have lost: no reader would get past it after a power cut."""
        self._lost = True
        self._writer, self._reopen_at = None, 0.0
        self._end_epoch(writer, EpochWriter.abandon)

    def _end_epoch(self, writer: EpochWriter, end: Callable[[EpochWriter], None]) -> None:
        try:
            self._counts.note(writer)
            end(writer)
        except OSError:
            writer.abandon()
        self._counts.end_epoch()

    def close(self) -> None:
        """Force everything to disk and end this process's epoch. Recording again begins a new one."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._sign_ins.sync()
        with self._lock:
            if self._writer is None and self._counts.are_some_missing():
                with contextlib.suppress(OSError):
                    self._open()
            writer, self._writer = self._writer, None
            self._stop = threading.Event()
            self._flusher = None
            self._watch.begin_process()  # recording again looks again
            self._reopen_at = 0.0
            self._held.close()
            if writer is not None:
                self._end_epoch(writer, EpochWriter.close)

    @property
    def recorded(self) -> dict[str, int]:
        """Events recorded by this process since it began, by name."""
        return dict(self._counts.recorded)

    @property
    def dropped(self) -> VerdictCounts:
        """Events that this process's present epoch dropped, by name and reason."""
        return self._counts.copy_dropped()

    def _after_fork(self) -> None:
        writer = self._writer
        self._held.abandon()
        self._watch.begin_process()
        self._begin_process()
        if writer is not None:
            writer.abandon()


def _close_if_alive(reference: weakref.ref[Recorder]) -> None:
    recorder = reference()
    if recorder is not None:
        recorder.close()


def _after_fork_in_child() -> None:
    for recorder in list(_recorders):
        recorder._after_fork()  # noqa: SLF001 - the fork belongs to this module


os.register_at_fork(after_in_child=_after_fork_in_child)
