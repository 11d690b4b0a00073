"""What the product's processes do, and the admin's command that forgets a user."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Final

from heliograph.instance.state import StateError
from simulation.operations.operation import Operations
from simulation.oracle import Recorded
from simulation.plans import LATER_EVENT
from simulation.processes import CrashError, Process

USERS: Final = ("1", "2", "3", "4", None)
MOST_RECORDERS: Final = 3


class ProductOperations(Operations):
    """The product."""

    def start_recorder(self, _a: int, _b: int) -> None:
        if len(self.world.recorders) < MOST_RECORDERS:
            self._arm(self.world.start_recorder())

    def _recorder(self, which: int) -> int:
        if not self.world.recorders:
            self.start_recorder(0, 0)
        return which % len(self.world.recorders)

    def record(self, a: int, b: int) -> None:
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        self._arm(process)
        lives = self.oracle.erasures.lives
        with self._acting(process):
            for number in range(b % 4 + 1):
                self.values += 1
                user = USERS[(a // 4 + number) % len(USERS)]
                bad = b // 4 % 6 == 0 and number == 0
                name = LATER_EVENT if b // 4 % 6 == 1 else "SearchSubmitted"
                what = Recorded(user, self.world.time + self.world.instance_skew, process.name, name, lives[user])
                said: bool | None = None
                try:
                    said = recorder.record(name, user=user, duration_ms=self.values, source="fax" if bad else None)
                except CrashError:
                    self.oracle.record(self.values, what, said=None, valid=not bad)
                    break
                self.oracle.record(self.values, what, said=said, valid=not bad)
                if said and (name == LATER_EVENT or self.clocks_differed):
                    self.oracle.excuse([self.values])
        if not process.is_alive:
            self.world.kill_recorder(which)

    def flush(self, a: int, _b: int) -> None:
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        self._arm(process)
        try:
            with self._acting(process):
                if recorder.flush():
                    events = self.oracle.events
                    self.oracle.synced |= {value for value, what in events.items() if what.process == process.name}
        except CrashError:
            self.world.kill_recorder(which)

    def look(self, a: int, _b: int) -> None:
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        self._arm(process)
        try:
            with self._acting(process), contextlib.suppress(OSError):
                recorder._watch.look()
                recorder._measure()
        except CrashError:
            self.world.kill_recorder(which)

    def close_recorder(self, a: int, _b: int) -> None:
        if self.world.recorders:
            which = a % len(self.world.recorders)
            process, recorder = self.world.recorders[which]
            with contextlib.suppress(CrashError), self._acting(process):
                recorder.close()
            self.world.kill_recorder(which)

    def kill_recorder(self, a: int, _b: int) -> None:
        if self.world.recorders:
            self.world.kill_recorder(a % len(self.world.recorders))

    def opt_out(self, a: int, _b: int) -> None:
        user = USERS[a % 4]
        assert user is not None
        which = self._recorder(a)
        process, recorder = self.world.recorders[which]
        said: bool | None = None
        try:
            with self._acting(process):
                said = recorder.opt_out(user)
        except CrashError:
            self.world.kill_recorder(which)
        self.oracle.opt_out(user, said=said)

    def forget(self, a: int, _b: int) -> None:
        """Let the admin's command forget a user, beside an agent or without one."""
        user = USERS[a % 4]
        if user is None or not self.world.state.exists():
            return
        process = Process("command", self.world.stage)
        self._arm(process)
        said = False
        try:
            self.world.forget(user, process)
            said = True
        except (CrashError, OSError, sqlite3.Error, StateError) as error:
            self.world.stage.note("forgetting did not come to its end:", type(error).__name__)
        self.oracle.forget(user, self.world.time + self.world.instance_skew, said=said)
