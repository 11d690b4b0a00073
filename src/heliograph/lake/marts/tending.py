"""What the loader does for the marts between its rounds, a small piece at a time.

Marts that are being made get further days; small files are folded; old snapshots of all its tables go, as each makes
every commit slower; and memory that commits have let go of goes back to the system.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from heliograph.engines import EngineError
from heliograph.lake.expiring import Expiring
from heliograph.lake.giving_back import give_back
from heliograph.lake.marts.folding import MOST_FILES, fold_small_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pyiceberg.table import Table

    from heliograph.lake.marts.keeping import Marts
    from heliograph.lake.marts.tables import Mart
    from heliograph.settings import LakeSettings

_LOOK_SECONDS: Final = 5.0
"""How often it is seen whether somebody wants the marts made anew."""
_MORE_FILES: Final = 16
"""By so many a mart's files have to become more before one looks again whether some can be folded."""
_KEEP_SECONDS: Final = 15.0
"""How long memory that nobody uses is kept for the next commits."""
_AGAIN_SECONDS: Final = 60.0
"""Pause after an engine could not be had."""
_log: Final = structlog.get_logger("heliograph.loader")


class Tending:
    """Looks after the marts of one loader.

    Args:
        marts: As the loader keeps them.
        settings: How long snapshots stay.
        now: The clock by which they are old.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(
        self,
        marts: Marts,
        settings: LakeSettings,
        *,
        now: Callable[[], datetime],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._marts = marts
        self._ticks = ticks
        self._looked = ticks()
        self._make_again = ticks()
        self._gave_back = ticks()
        self._expiring = Expiring(settings, now=now, ticks=ticks)
        self._files: dict[Mart, int] = {}

    def round(self, events: Table, *others: Table) -> None:
        """Do one piece, if anything is to be done; all tables stand at the same place of the log.

        Args:
            events: The table of events.
            others: Tables that the loader commits to besides.
        """
        if self._ticks() - self._gave_back >= _KEEP_SECONDS:
            self._gave_back = self._ticks()
            give_back()
        if self._ticks() - self._looked >= _LOOK_SECONDS:
            self._looked = self._ticks()
            self._marts.recall(events)
        if self._make_on(events) or self._fold():
            return
        self._expiring.round([events, *others, *self._marts.tables.values()])

    def _make_on(self, events: Table) -> bool:
        if self._ticks() < self._make_again:
            return False
        try:
            return self._marts.make_on(events)
        except EngineError as error:  # events are loaded all the same
            _log.error("the marts cannot be made", why=str(error))
            self._marts.writer.rest()
            self._make_again = self._ticks() + _AGAIN_SECONDS
            return False

    def _fold(self) -> bool:
        for mart, table in self._marts.tables.items():
            if _count_files(table) > self._files.get(mart, MOST_FILES):
                if fold_small_files(table, mart, self._marts.definitions.connection):
                    return True
                self._files[mart] = _count_files(table) + _MORE_FILES
        return False


def _count_files(table: Table) -> int:
    snapshot = table.current_snapshot()
    summary = None if snapshot is None else snapshot.summary
    return 0 if summary is None else int(summary.additional_properties.get("total-data-files", 0))
