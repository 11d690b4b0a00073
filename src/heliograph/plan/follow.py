"""A plan's file that may change while a program runs: looked at about once a second, and loaded when it has changed."""

from __future__ import annotations

import enum
import os
import time as clock
from typing import TYPE_CHECKING, Final

from heliograph.plan.load import PlanError, load_plan, plan_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.plan.model import Plan
    from heliograph.plan.problem import PlanProblem

LOOK_SECONDS: Final = 1.0
"""How often the files are looked at, at most."""
QUIET_SECONDS: Final = 1.0
"""For how long nobody may have written to them: half a file would withdraw all that its other half declares."""

_Stamp = tuple[tuple[str, int, int, int], ...]


class Look(enum.Enum):
    """What a look at the plan's files has found."""

    SAME = enum.auto()
    """Nothing new; or what is new is just being written."""
    CHANGED = enum.auto()
    """Another plan, which can be used."""
    REFUSED = enum.auto()
    """Something that cannot be used: `FollowedPlan.problems` says why. It is told once for each change."""


class FollowedPlan:
    """The plan in a file or a folder.

    Args:
        path: As `heliograph.plan.load.load_plan` takes it.
        ticks: Seconds by a clock that nobody sets: how often to look.
        wall: Seconds since 1970, the clock by which files are stamped.

    Raises:
        PlanError: It cannot be used as it is now.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        ticks: Callable[[], float] = clock.monotonic,
        wall: Callable[[], float] = clock.time,
    ) -> None:
        self.path: Final = path
        self._ticks = ticks
        self._wall = wall
        self._looked = ticks()
        self._stamp = self._seen = self._read_stamp()  # before the content: a change meanwhile is seen at the next look
        self.plan: Plan = load_plan(path)
        """The last one that could be used."""
        self.problems: list[PlanProblem] = []
        """What is wrong with the files as they are now; empty if nothing is."""

    def look(self) -> Look:
        """Look whether there is another plan, unless the last look was a moment ago."""
        ticks = self._ticks()
        if 0 <= ticks - self._looked < LOOK_SECONDS:
            return Look.SAME
        self._looked = ticks
        return self.look_now()

    def look_now(self) -> Look:
        """Look whether there is another plan."""
        stamp = self._read_stamp()
        seen, self._seen = self._seen, stamp
        if stamp == self._stamp or (stamp != seen and not self._is_quiet(stamp)):
            return Look.SAME
        self._stamp = stamp
        try:
            plan = load_plan(self.path)
        except PlanError as error:
            self.problems = error.problems
            return Look.REFUSED
        self.problems = []
        if plan.canonical() == self.plan.canonical():
            return Look.SAME
        self.plan = plan
        return Look.CHANGED

    def _is_quiet(self, stamp: _Stamp) -> bool:
        latest = max((modified for _, modified, _, _ in stamp), default=0) / 1e9
        return not 0 <= self._wall() - latest < QUIET_SECONDS

    def _read_stamp(self) -> _Stamp:
        """Return what tells one state of the files from another; a file that is not there has no part in it."""
        found = []
        try:
            files = plan_files(self.path)
        except PlanError:
            return ()
        for file in files:
            try:
                status = os.stat(file)  # noqa: PTH116 - a Path refuses some of the strings that loading explains
            except (OSError, ValueError):
                continue
            found.append((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)
