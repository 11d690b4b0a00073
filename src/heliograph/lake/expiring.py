"""The loader lets its tables forget, so that neither its memory nor its commits grow with each commit.

`lake upkeep` does so for all tables; but a lake has to be level where that is run rarely, or never.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from heliograph.lake.exclusion import BusyError, Exclusion
from heliograph.lake.maintenance.expiry import expire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from pyiceberg.table import Table

    from heliograph.settings import LakeSettings

_MOST_SNAPSHOTS: Final = 64
"""So many of one table are no trouble."""
_SECONDS: Final = 60.0
"""Between two looks at one table: the files of its snapshots are read each time."""


class Expiring:
    """Lets tables forget snapshots that no question reads any more, one table at a time, in turn with maintenance.

    Args:
        settings: Which lake, and how long snapshots stay.
        now: The clock by which they are old.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(
        self,
        settings: LakeSettings,
        *,
        now: Callable[[], datetime],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._exclusion = Exclusion(settings)
        self._now = now
        self._ticks = ticks
        self._looked: dict[str, float] = {}

    def round(self, tables: Iterable[Table]) -> None:
        """See to the first table that is due; none while maintenance or an erasure is at work on the lake."""
        for table in tables:
            name = ".".join(table.name())
            is_due = self._ticks() - self._looked.get(name, -_SECONDS) >= _SECONDS
            if is_due and len(table.metadata.snapshots) > _MOST_SNAPSHOTS:
                self._looked[name] = self._ticks()
                self._expire(table)
                return

    def _expire(self, table: Table) -> None:
        try:
            with self._exclusion.rewriting(seconds=0):
                expire(table, self._settings, self._now())
        except BusyError:
            """They forget, too, or will have gone by the next look: nobody waits for that."""
