"""The agent's word on itself: how it stands, for `agent status`, and its metrics, in files. It listens nowhere."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from heliograph.frames import write_atomically
from heliograph.instance.ledger_faults import trusted_keys
from heliograph.instance.ledger_watch import LedgerWatch
from heliograph.instance.metrics import FILE, Standing, read_metrics
from heliograph.instance.transport import GatewayRefusalError, UnreachableError
from heliograph.metrics import write_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from heliograph.consent.level import Level
    from heliograph.instance.state import State
    from heliograph.settings import Settings

STANDING_FILE: Final = "standing.json"
"""In the agent's state: a `Standing`, as of a minute ago at the most."""
SECONDS: Final = 60.0
"""How often the account is looked at; more often only when something begins or ends to fail."""
_log: Final = structlog.get_logger("heliograph.agent")


class Monitor:
    """Looks at the account every minute, and says how the agent stands.

    Args:
        settings: Where its files are.
        state: The agent's memory.
        now: The clock.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(
        self, settings: Settings, state: State, *, now: Callable[[], datetime], ticks: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._state = state
        self._now = now
        self._ticks = ticks
        self._folder = Path(settings.agent.state)
        self._file = Path(settings.agent.metrics_file or self._folder / FILE)
        self._failures = 0
        self._reason = ""
        self._next = 0.0
        self._failed = False
        before = read_standing(self._folder)
        self._ledger = LedgerWatch(
            state.ledger,
            lambda: trusted_keys(settings.agent.vendor_keys, state),
            now=now,
            before=before.ledger if before else None,
        )

    def look(
        self,
        level: Level | None,
        *,
        error: Exception | None = None,
        doubts: list[str] | None = None,
        clock_offset: timedelta,
    ) -> None:
        """Say how the last round went, if that is new, or a minute has passed.

        Args:
            level: What may leave.
            error: Why the round failed; None if it went well.
            doubts: Why the vendor's word is not relied on.
            clock_offset: The gateway's clock minus ours.
        """
        self._failures = 0 if error is None else self._failures + 1
        reason = "none" if error is None else reason_of(error)
        if reason == self._reason and self._ticks() < self._next:
            return
        self._reason, self._next = reason, self._ticks() + SECONDS
        self._verify_ledger()
        standing = Standing(
            at=self._now(),
            level=str(level),
            failures=self._failures,
            why="" if error is None else str(error),
            reason=reason,
            doubts=doubts or [],
            clock_offset=clock_offset.total_seconds(),
            ledger=self._ledger.standing,
        )
        try:
            write_atomically(self._folder / STANDING_FILE, msgspec.json.encode(standing))
            write_metrics(self._file, read_metrics(self._settings, self._state, standing, standing.at).text())
            self._failed = False
        except (OSError, sqlite3.Error) as failure:  # nothing waits for it
            if not self._failed:
                _log.warning("the metrics cannot be written", why=str(failure))
            self._failed = True

    def _verify_ledger(self) -> None:
        """Verify another portion of the ledger: at the next look, where it cannot be read now."""
        with suppress(sqlite3.Error):
            self._ledger.look()


def reason_of(error: Exception) -> str:
    """Return why a round failed as one word of a closed list: a problem's type, or the kind of error."""
    if isinstance(error, GatewayRefusalError):
        return error.problem.type if error.problem.type.replace("_", "").isalpha() else "unknown"
    if isinstance(error, UnreachableError):
        return "unreachable"
    return "disk" if isinstance(error, (OSError, sqlite3.Error)) else "other"


def read_standing(folder: Path) -> Standing | None:
    """Return what the agent said last of itself; None when it never did."""
    try:
        return msgspec.json.decode((folder / STANDING_FILE).read_bytes(), type=Standing)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_alive(folder: Path) -> bool:
    """Tell whether an agent holds this state: the system lets go of its lock when it ends, however it does."""
    try:
        descriptor = os.open(folder / "agent.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
