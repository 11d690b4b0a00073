"""The exporter's bookkeeping: what stands of each epoch, and what goes into the same transaction whenever that changes.

Whoever moves past events tallies their use, and settles the account, with the place itself: a crash leaves all or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from heliograph.event import Verdict
from heliograph.instance.accounting import Accounting
from heliograph.instance.actors import Marks, MarkTable
from heliograph.instance.counted import take_receipt
from heliograph.instance.outbox_reading import START
from heliograph.instance.progress import Owed, Progress
from heliograph.instance.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from heliograph.instance.batch import BatchBuilder, Recorded
    from heliograph.instance.outbox_reading import Chunk, EpochReader
    from heliograph.instance.refusals import Objections
    from heliograph.instance.state import State
    from heliograph.instance.usage import Tallied
    from heliograph.ledger.entries import Moved, Refused
    from heliograph.plan.model import Plan
    from heliograph.settings import AgentSettings
    from heliograph.wire import Receipt

_PURGE_EVENTS: Final = 100_000


class Bookkeeping:
    """Writes down how far an exporter has come.

    Args:
        agent: For how many days use is kept, and who is none of the customer's own people.
        state: The agent's memory.
        objections: Who has said no to what.
        latest: Gives the latest time that an event may have.
    """

    def __init__(
        self, agent: AgentSettings, state: State, objections: Objections, latest: Callable[[], datetime]
    ) -> None:
        self._agent = agent
        self._state = state
        self._objections = objections
        self._latest = latest
        self._marks = MarkTable(state.connection)

    def use_plan(self, plan: Plan, builder: BatchBuilder) -> None:
        """Count by this plan from now on, of events as `builder` reads them."""
        self._builder = builder
        self.accounting = Accounting(plan)
        """What each event has come to."""
        self._tally = Tally(plan, days=self._agent.usage_days)

    def load(self, reader: EpochReader) -> Progress:
        """Return what stands of an epoch."""
        progress = self._state.progress(reader.epoch)
        counted = self._state.counted(reader.epoch, progress)
        return replace(progress or Progress(reader.series, START), counted=counted)

    def settle(
        self,
        reader: EpochReader,
        progress: Progress,
        chunk: Chunk,
        receipt: Receipt,
        tallied: Sequence[Tallied],
        *,
        signature: str = "",
        left_out: dict[str, int] | None = None,
    ) -> None:
        """Write down the receipt of what was delivered, and let go of the events.

        Args:
            reader: The epoch.
            progress: As it was when the delivery began.
            chunk: What was delivered.
            receipt: The gateway's word on it; and
            signature: its signature.
            tallied: The use that it shows.
            left_out: Properties that did not leave, by event.
        """
        progress = self.accounting.settled(
            replace(
                progress,
                position=chunk.end,
                acknowledged=receipt.last,
                owed=[owed for owed in progress.owed if owed.last > receipt.last],
                sending=None,
                counted=take_receipt(progress.account, receipt),
            ),
            first=receipt.first,
        )
        self._state.finish(reader.epoch, progress, receipt, signature, tallied, left_out=left_out)
        reader.release(chunk.end)

    def settle_by(self, reader: EpochReader, progress: Progress, receipt: Receipt, *, signature: str = "") -> None:
        """Settle the next delivery of an epoch by a receipt alone: its answer was lost, or came another way."""
        chunk = reader.read(progress.position, 0, last=max(receipt.last, progress.position.sequence))
        counted = self.accounting.count(progress, chunk)
        counted = self.accounting.by_names_of(receipt, progress, chunk, counted)
        tallied = self.tally_of(chunk)
        self.settle(reader, replace(progress, counted=counted), chunk, receipt, tallied, signature=signature)

    def purge(self, reader: EpochReader, *, tally: bool, sendable: bool) -> int:
        """Drop all that is pending of an epoch; see `Exporter.purge`."""
        purged = 0
        closed = reader.is_closed()
        progress = self.load(reader)
        while True:
            # What was begun is dropped by itself, so that its receipt can still be told apart, should there be one.
            chunk = reader.read(progress.position, _PURGE_EVENTS, last=progress.begun)
            if chunk.end == progress.position:
                break
            numbers = chunk.numbers
            dropped = Owed(chunk.last, self.accounting.verdicts_on(chunk, Verdict.NOT_PERMITTED)) if numbers else None
            progress = replace(
                progress,
                position=chunk.end,
                sending=None,
                owed=[*progress.owed, *([dropped] if dropped else [])],
                dropped=chunk.dropped or progress.dropped,
                left_out=chunk.left_out or progress.left_out,
                counted=self.accounting.count(progress, chunk),
            )
            tallied = self.tally_of(chunk, locally=not sendable) if tally else []
            self.save(reader, progress, tallied, sendable=sendable)
            purged += numbers
        reader.release(progress.position)
        if closed and reader.is_recorders:
            # What is owed is still to be told: only then the epoch itself is deleted.
            reader.clear()
        return purged

    def save(
        self,
        reader: EpochReader,
        progress: Progress,
        tallied: Sequence[Tallied] = (),
        *,
        sendable: bool = False,
        entry: Refused | Moved | None = None,
    ) -> None:
        """Write down how an epoch stands, the use of what it has moved past, and an entry of the ledger."""
        progress = self.accounting.settled(progress, first=progress.acknowledged + 1)
        self._state.save(reader.epoch, progress, tallied, sendable=sendable, entry=entry)

    def tally_of(
        self, chunk: Chunk, *, recorded: Recorded | None = None, marks: Marks | None = None, locally: bool = False
    ) -> list[Tallied]:
        """Count a chunk's use: whoever calls it moves past the chunk in the same transaction.

        What its user, or anybody, has said no to is not even counted, nor is whoever is none of the customer's own
        people; nor is anything while that is not known.

        Args:
            chunk: The chunk.
            recorded: Its events, if they were read before; and
            marks: who is none of the customer's own people, if that was looked up.
            locally: Whether the count stays on the instance.
        """
        if marks is None:
            marks = self.marks()
        try:
            refusals = self._objections.look()
        except OSError:
            return []
        latest = self._latest()
        if recorded is None:
            recorded = self._builder.read(chunk.body, latest=latest)
        marked = marks.marks if marks else None
        left_out = refusals.left_out_rows(recorded.table, locally=locally, marked=marked)
        counts = self._tally.count_rows(recorded.table, latest=latest, left_out=left_out)
        if recorded.unread:  # what may not leave has happened all the same
            leaves_out = refusals.leaves_out(locally=locally, marked=marked)
            counts += self._tally.count(recorded.unread, latest=latest, leaves_out=leaves_out)
        return counts

    def marks(self) -> Marks:
        """Return who is none of the customer's own people, as of now."""
        return Marks(dict(self._marks.read()), self._agent)
