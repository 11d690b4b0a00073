"""What a recorder counts: what it has recorded, and what it has dropped or left out, for the account of its epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.difference import subtract
from heliograph.event import NAME_PATTERN, UNDECLARED, Verdict
from heliograph.instance.declared import UndeclaredError
from heliograph.instance.outbox import OutboxFullError, tell_apart

if TYPE_CHECKING:
    from heliograph.instance.held import HeldEvents
    from heliograph.instance.outbox import EpochWriter
    from heliograph.wire import Counts, VerdictCounts


class RecorderCounts:
    """The counts of one process.

    Args:
        held: What is set aside, which is counted in epochs of its own.
    """

    def __init__(self, held: HeldEvents) -> None:
        self._held = held
        self.recorded: dict[str, int] = {}
        """Events since the process began, by name."""
        self._before: Counts = {}
        self._noted = 0
        self.dropped: VerdictCounts = {}
        """Events of the present epoch, by name and reason."""
        self._left_out: dict[str, int] = {}

    def drop(self, name: object, verdict: Verdict) -> bool:
        """Count an event that is not recorded; False, for whoever says so."""
        # No lock: two threads may rarely count one drop for two, and recording must not wait for that.
        known = name if isinstance(name, str) and NAME_PATTERN.fullmatch(name) else UNDECLARED
        verdicts = self.dropped.setdefault(known, {})
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        return False

    def leave_out(self, name: str, properties: int) -> None:
        """Count properties of an event that are left out."""
        if properties:
            self._left_out[name] = self._left_out.get(name, 0) + properties

    def are_some_missing(self) -> bool:
        """Tell whether something of the present epoch was dropped or left out."""
        return bool(self.dropped or self._left_out)

    def begin_epoch(self) -> None:
        """Count from here on for a new epoch; what was dropped before it is its own."""
        self._before = self._recorded_beside_held()

    def end_epoch(self) -> None:
        """The next epoch counts its own drops."""
        self.dropped, self._left_out, self._noted = {}, {}, 0

    def _recorded_beside_held(self) -> Counts:
        """Return what was recorded since the process began, without what was set aside, which has its own epochs."""
        return subtract(dict(self.recorded), self._held.recorded)

    def note(self, writer: EpochWriter) -> None:
        """Write down what is new since the last time.

        Raises:
            OSError: It could not be written.
        """
        left_out = dict(self._left_out)
        recorded = tell_apart(subtract(self._recorded_beside_held(), self._before))
        count = sum(sum(verdicts.values()) for verdicts in list(self.dropped.values())) + sum(left_out.values())
        count += sum(recorded.values())
        if count != self._noted:
            writer.note_dropped(self.copy_dropped(), left_out, recorded)
            self._noted = count

    def copy_dropped(self) -> VerdictCounts:
        """Return what was dropped, while other threads may go on."""
        return {name: dict(verdicts) for name, verdicts in list(self.dropped.items())}


def verdict_on(error: Exception) -> Verdict:
    """Return why an event was not recorded."""
    match error:
        case UndeclaredError():
            return Verdict.UNDECLARED_EVENT
        case OutboxFullError():
            return Verdict.OUTBOX_FULL
        case OSError():
            return Verdict.OUTBOX_FAILED
    return Verdict.UNRECORDABLE
