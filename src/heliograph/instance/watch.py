"""What a recorder knows of consent and of the plan: looked up about once a second, and never while it records."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from heliograph.frames import file_identity
from heliograph.instance.declared import DECLARED_FILE, Declared, read_declared
from heliograph.instance.notice import NOTICE_FILE, Notice, forbids_tracking, read_notice
from heliograph.instance.opt_outs import OptOutsFile, user_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

_MOST_SESSIONS: Final = 10_000


class Watch:
    """The notice, the opt-outs and what the plan declares, beside one outbox, as of the last look.

    Args:
        outbox: The folder that they are in.
        now: The clock.
        environment: Where ``DO_NOT_TRACK`` may be set.
    """

    def __init__(
        self, outbox: Path, *, now: Callable[[], datetime], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._outbox = outbox
        self._now = now
        self._forbidden = forbids_tracking(environment)
        self._sessions: dict[str, None] = {}
        self._insisted: frozenset[str] = frozenset()
        self.out: frozenset[str] = frozenset()
        """The keys of those who have opted out."""
        self.begin_process()

    def begin_process(self) -> None:
        """Be as new in a process that was forked, which has no other threads; what is known of users stays."""
        self._lock = threading.Lock()
        self._file = OptOutsFile(self._outbox, wait=False)
        self._stamp: tuple[int, int] | None = None
        self._notice: Notice | None = None
        self._declared_stamp: tuple[int, int] | None = None
        self.declared: Declared | None = None
        """What the plan declares; None while that is not known: then everything is recorded."""
        self.silent = True
        """Whether nothing may be recorded; so before the first look."""
        self.reads_compact = False
        """Whether the agent reads compact lines; an older one takes them for damaged, and one may never have run."""

    def look(self) -> None:
        """Look whether anything has changed. What cannot be read now leaves what is known as it was."""
        with self._lock:
            with contextlib.suppress(OSError):  # just being written, or no descriptors left: at the next look
                found = self._file.read()
                self.out = found.keys_out() | self._insisted | (self.out if found.damaged else frozenset())
            stamp = file_identity(self._outbox / DECLARED_FILE)
            if stamp != self._declared_stamp:
                self._declared_stamp = stamp
                self.declared = None if stamp is None else read_declared(self._outbox)
            stamp = file_identity(self._outbox / NOTICE_FILE)
            if stamp != self._stamp:
                self._stamp, self._notice = stamp, None if stamp is None else read_notice(self._outbox)
            self.reads_compact = self._notice is not None and self._notice.reads_compact
            self.silent = self._forbidden or (self._notice is not None and self._notice.silences(self._now()))

    def refuses(self, user: object, session: object) -> bool:
        """Tell whether this is by a user who has opted out, or without a user in a session of theirs seen here."""
        if user is None:
            return session is not None and str(session) in self._sessions
        if str(user) not in self.out:
            return False
        if session is not None and len(self._sessions) < _MOST_SESSIONS:
            self._sessions[str(session)] = None
        return True

    def opt_out(self, user: str | int) -> bool:
        """Record nothing of this user from now on; tell whether that is on disk, for all processes."""
        return self._say(user, out=True)

    def opt_in(self, user: str | int) -> bool:
        """Record this user again; tell whether that is on disk."""
        return self._say(user, out=False)

    def _say(self, user: str | int, *, out: bool) -> bool:
        try:
            key = str(user)
            keys = frozenset(user_keys(key))
            with self._lock:
                if out:
                    self.out, self._insisted = self.out | keys, self._insisted | keys
                self._file.append(key, out=out, now=self._now())
                # Once it is on disk, the file alone speaks: another process may say otherwise.
                self._insisted -= keys
                if not out:
                    self.out -= keys
                    self._sessions.clear()
        except Exception as error:  # noqa: BLE001 - nothing may be raised into the product
            what = "opting out" if out else "opting in"
            logging.getLogger("heliograph").warning("%s could not be written down: %s", what, type(error).__name__)
            return False
        return True
