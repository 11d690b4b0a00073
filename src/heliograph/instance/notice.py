"""What recorders are told of consent: a small file beside the outbox, which the agent writes and products read.

Here and not in the agent, as a product has nothing of the agent's but this. A notice spares a product the recording
of what may not leave; that nothing leaves which may not, is up to the agent alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec.structs import replace

from heliograph.frames import file_identity, make_folder, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOTICE_FILE: Final = "consent.json"
DO_NOT_TRACK: Final = "DO_NOT_TRACK"
"""The variable of an environment that asks all programs not to track; see consoledonottrack.com."""
_NEGATIVE: Final = frozenset({"", "0", "false"})


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows of consent."""

    level: Literal["off", "critical", "events"] | None
    """The effective level, by the word of those who have a say; None when it is not known."""
    until: datetime
    """Until when this holds: then nothing is known again."""
    keep_local: bool = False
    """Whether events may be kept at ``off`` too, for use on the instance alone."""
    reads_compact: bool = False
    """Whether the agent that wrote this reads compact lines; see `heliograph.instance.compact_lines`."""

    def silences(self, now: datetime) -> bool:
        """Tell whether somebody has said no, so that nothing may be recorded."""
        return self.level == "off" and not self.keep_local and now < self.until


def read_notice(outbox: Path) -> Notice | None:
    """Return the notice of an outbox; None when there is none that can be read: nothing is known."""
    try:
        notice = msgspec.json.decode((outbox / NOTICE_FILE).read_bytes(), type=Notice)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return notice if notice.until.tzinfo else replace(notice, until=notice.until.replace(tzinfo=UTC))


def forbids_tracking(environment: Mapping[str, str]) -> bool:
    """Tell whether ``DO_NOT_TRACK`` is set to anything but nothing, ``0`` or ``false``."""
    return environment.get(DO_NOT_TRACK, "").strip().lower() not in _NEGATIVE


class NoticeWriter:
    """Keeps the notice true: writes it when it changes, when half of its time is over, or when it is gone.

    Args:
        outbox: Where it is.
        keep_local: The admin's word on events at ``off``.
    """

    def __init__(self, outbox: Path, *, keep_local: bool) -> None:
        self._outbox = outbox
        self._keep_local = keep_local
        self._told: Notice | None = None
        self._told_at = datetime.min.replace(tzinfo=UTC)
        self._file: tuple[int, int] | None = None

    def tell(self, level: Literal["off", "critical", "events"] | None, *, until: datetime, now: datetime) -> None:
        """Let the recorders know `level` until `until`.

        Raises:
            OSError: It cannot be written; what was told before goes on until its own end.
        """
        notice = Notice(level=level, until=until, keep_local=self._keep_local, reads_compact=True)
        if self._is_told(notice, now):
            return
        make_folder(self._outbox)
        write_atomically(self._outbox / NOTICE_FILE, msgspec.json.encode(notice))
        self._told, self._told_at, self._file = notice, now, file_identity(self._outbox / NOTICE_FILE)

    def _is_told(self, notice: Notice, now: datetime) -> bool:
        told = self._told
        if told is None or (told.level, told.keep_local) != (notice.level, notice.keep_local):
            return False
        if notice.until < told.until or self._file != file_identity(self._outbox / NOTICE_FILE):
            return False
        return self._told_at <= now < self._told_at + (told.until - self._told_at) / 2
