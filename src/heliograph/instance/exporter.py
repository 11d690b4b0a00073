"""The exporter: takes each epoch of the outbox to the gateway, in order, once.

A step is: read a chunk, build its batch, write down what is about to be sent, send it, write down the receipt. A
crash between any two of them repeats the same range, and the gateway answers a repetition with the first receipt.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from msgspec.structs import replace

from heliograph.event import UNDECLARED, Verdict, epoch_began
from heliograph.instance.actors import Marks, MarkTable
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.outbox import START, Chunk, EpochReader, read_epochs
from heliograph.instance.present_names import PresentNames
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.refusals import Objections
from heliograph.instance.state import Leaving, Owed, Progress, StaleError
from heliograph.instance.transport import GatewayRefusalError
from heliograph.instance.usage import Tally
from heliograph.ledger.entries import GIVEN_UP, SPLIT, Moved, Refused
from heliograph.wire import Receipt, VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayClient
    from heliograph.instance.usage import Tallied
    from heliograph.plan.model import Plan
    from heliograph.settings import AgentSettings, RecorderSettings

FUTURE: Final = timedelta(minutes=15)
"""How far ahead of the clock an event's time may lie."""
_SPLIT_STATUSES: Final = frozenset({400, 413, 415, 422})
"""Answers about this very batch: a smaller one may pass."""
_PURGE_EVENTS: Final = 100_000
_log: Final = structlog.get_logger("heliograph.exporter")


class _Named(msgspec.Struct):
    name: str = UNDECLARED


class Exporter:
    """Delivers what the outbox holds.

    Args:
        agent: Batch size, and who is none of the customer's own people.
        recorder: Where the outbox is.
        plan: What may leave.
        state: The agent's memory.
        client: The way to the gateway.
        now: The clock.
        objections: Who has said no to what; of this state and outbox if None.
        withdrawn: Events that are not set aside any more.
    """

    def __init__(
        self,
        *,
        agent: AgentSettings,
        recorder: RecorderSettings,
        plan: Plan,
        state: State,
        client: GatewayClient,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        objections: Objections | None = None,
        withdrawn: frozenset[str] = frozenset(),
    ) -> None:
        self._batch_events = agent.batch_events
        self._agent = agent
        self._usage_days = agent.usage_days
        self._held_for = timedelta(days=agent.held_days)
        self._outbox = Path(recorder.outbox)
        self._state = state
        self._client = client
        self._now = now
        self._objections = objections or Objections(state, self._outbox)
        self._generation = self._objections.generation
        state.kept.bound(days=agent.ledger_days, maximum_bytes=agent.ledger_bytes)
        self._pseudonyms = Pseudonyms(state)
        self._marks = MarkTable(state.connection)
        self.use_plan(plan, withdrawn=withdrawn)
        self._limits: dict[int, int] = {}
        self.caught_up = False
        """Whether the last round went through all that the outbox held."""
        self.stripped: Counter[str] = Counter()
        """Properties left out as the plan does not declare them, by event name, since this exporter began."""

    def use_plan(self, plan: Plan, *, withdrawn: frozenset[str] = frozenset()) -> None:
        """Deliver by this plan from now on; events that are `withdrawn` are not set aside any more."""
        self._names = frozenset(plan.events)
        self._present = PresentNames(plan)
        self._withdrawn = withdrawn
        self._builder = BatchBuilder(plan, self._pseudonyms)
        self._tally = Tally(plan, days=self._usage_days)

    def deliver_round(self, may_send: Callable[[], bool] = lambda: True) -> int:
        """Deliver one batch of each epoch that has something, and return how many numbers were delivered.

        Args:
            may_send: Asked before each delivery, when there is one; what may not leave stays where it is.

        Raises:
            TransportError: The gateway could not be reached, or refuses; nothing is lost.
            OSError: It is not known who has opted out, or the outbox cannot be read; nothing is lost.
        """
        self.caught_up = True
        try:
            return sum(self._deliver_epoch(reader, may_send) for reader in read_epochs(self._outbox))
        except Exception:
            self.caught_up = False
            raise

    def purge(self, *, tally: bool = False, sendable: bool = False) -> int:
        """Drop everything that is pending, as it may not leave any more, and return how much that was.

        Args:
            tally: Whether it counts as use all the same.
            sendable: Whether that use may go into a ping.
        """
        purged = 0
        for reader in read_epochs(self._outbox):
            closed = reader.is_closed()
            progress = self._load(reader)
            while True:
                # What was begun is dropped by itself, so that its receipt can still be told apart, should there be one.
                chunk = reader.read(progress.position, _PURGE_EVENTS, last=progress.begun)
                if chunk.end == progress.position:
                    break
                numbers = chunk.numbers
                dropped = Owed(chunk.last, self._names_of(chunk, Verdict.NOT_PERMITTED)) if numbers else None
                progress = replace(
                    progress,
                    position=chunk.end,
                    sending=None,
                    owed=[*progress.owed, *([dropped] if dropped else [])],
                    dropped=chunk.dropped or progress.dropped,
                    left_out=chunk.left_out or progress.left_out,
                )
                tallied = self._tally_of(chunk, locally=not sendable) if tally else []
                self._state.save(reader.epoch, progress, tallied, sendable=sendable)
                purged += numbers
            reader.release(progress.position)
            if closed and reader.is_recorders:
                # What is owed is still to be told: only then the epoch itself is deleted.
                reader.clear()
        self.caught_up = True
        return purged

    def _load(self, reader: EpochReader) -> Progress:
        return self._state.progress(reader.epoch) or Progress(reader.series, START)

    def _deliver_epoch(self, reader: EpochReader, may_send: Callable[[], bool]) -> int:
        closed = reader.is_closed()  # before reading: what is read after this is all there will ever be
        progress = self._load(reader)
        limit = self._limits.get(reader.epoch, self._batch_events)
        if self._waits(reader):
            if not (closed and progress.owed):
                if closed and progress.position != START and not reader.read(progress.position, 1).numbers:
                    self._remove(reader)  # it was purged
                return 0
            limit = 0
        chunk = reader.read(progress.position, limit, last=self._boundary(reader.epoch, progress))
        progress = replace(
            progress,
            dropped=chunk.dropped or progress.dropped,
            left_out=chunk.left_out or progress.left_out,
        )
        numbers = chunk.numbers
        if numbers == 0 and not (progress.owed and closed):
            if chunk.end != progress.position:
                self._state.save(reader.epoch, replace(progress, position=chunk.end))
                reader.release(chunk.end)
            elif closed and not progress.owed:
                self._remove(reader)
            return 0
        if numbers >= limit or progress.begun is not None:
            self.caught_up = False
        if not may_send():
            self.caught_up = False
            return 0
        return self._deliver(reader, progress, chunk)

    def _boundary(self, epoch: int, progress: Progress) -> int | None:
        """Return where the next delivery has to end: it was begun, or went into a bundle, with this boundary."""
        if progress.begun is not None:
            return progress.begun
        return self._state.bundled.end_of(epoch, progress.acknowledged + 1, after=progress.position.sequence)

    def settle_elsewhere(self, receipt: Receipt, signature: str) -> bool:
        """Take the receipt of a delivery that went another way, in a bundle; tell whether it was waited for."""
        progress = self._state.progress(receipt.epoch)
        for reader in read_epochs(self._outbox):
            if reader.epoch == receipt.epoch and progress is not None and receipt.first == progress.acknowledged + 1:
                chunk = reader.read(progress.position, 0, last=max(receipt.last, progress.position.sequence))
                self._settle(reader, progress, chunk, receipt, signature=signature)
                return True
        return self._state.settle_late(receipt, signature)

    def _waits(self, reader: EpochReader) -> bool:
        """Tell whether these events are set aside: no plan has declared them yet, and none has taken them back."""
        name = reader.held_name
        if name is None or not reader.segments():
            return False
        if self._present.name(name) in self._names or name in self._withdrawn:
            return False
        return self._now() - epoch_began(reader.epoch) < self._held_for

    def _deliver(self, reader: EpochReader, progress: Progress, chunk: Chunk) -> int:
        numbers = chunk.numbers
        latest = self._now() + self._client.clock_offset + FUTURE
        refusals = self._objections.look()
        if self._generation != self._objections.generation:
            self._pseudonyms.clear()
            self._generation = self._objections.generation
        batch = self._builder.build(
            chunk.lines, numbers=numbers, latest=latest, refusals=refusals, marks=self._look_at_marks()
        )
        self.stripped.update(batch.stripped)
        absent: VerdictCounts = {}
        for counts in (*(self._as_declared(owed.counts) for owed in progress.owed), batch.absent):
            merge_counts(absent, counts)
        progress = replace(progress, sending=chunk.end)
        sessions = self._objections.sessions
        first, plan = progress.acknowledged + 1, self._client.built_by
        try:
            self._client.ledger_head = self._state.begin(
                reader.epoch,
                progress,
                self._pseudonyms.fresh(),
                sessions.fresh(),
                generation=self._generation,
                leaving=Leaving(first, chunk.last, batch.counts, absent, batch.body, plan),
            )
        except StaleError:  # somebody was forgotten, or has signed in, in this very moment
            return 1
        self._pseudonyms.forget_fresh()
        sessions.forget_fresh()
        try:
            answer = self._client.deliver(
                epoch=reader.epoch, first=first, last=chunk.last, absent=absent, body=batch.body
            )
        except GatewayRefusalError as error:
            return self._take_refusal(reader, progress, chunk, error)
        if answer.receipt is None:
            latest_receipt = self._client.latest_receipt(reader.epoch)
            return self._catch_up(reader, progress, 1 if latest_receipt is None else latest_receipt.last + 1)
        self._settle(reader, progress, chunk, answer.receipt, signature=answer.signature or "", left_out=batch.stripped)
        self._limits.pop(reader.epoch, None)
        return numbers

    def _settle(
        self,
        reader: EpochReader,
        progress: Progress,
        chunk: Chunk,
        receipt: Receipt,
        *,
        signature: str = "",
        left_out: dict[str, int] | None = None,
    ) -> None:
        progress = replace(
            progress,
            position=chunk.end,
            acknowledged=receipt.last,
            owed=[owed for owed in progress.owed if owed.last > receipt.last],
            sending=None,
        )
        self._state.finish(reader.epoch, progress, receipt, signature, self._tally_of(chunk), left_out=left_out)
        reader.release(chunk.end)

    def _take_refusal(self, reader: EpochReader, progress: Progress, chunk: Chunk, error: GatewayRefusalError) -> int:
        """Do what a refusal asks for: catch up, try less at once, or give up on one event; else pass it on."""
        self.caught_up = False
        if error.problem.expected is not None:
            return self._catch_up(reader, progress, error.problem.expected)
        if error.problem.status not in _SPLIT_STATUSES:
            raise error
        progress = replace(progress, sending=None)
        numbers = chunk.numbers
        tallied: list[Tallied] = []
        self._state.bundled.drop(reader.epoch, progress.acknowledged + 1)
        outcome = SPLIT if numbers > 1 else GIVEN_UP
        if numbers > 1:
            self._limits[reader.epoch] = numbers // 2
        else:
            _log.error("the gateway refuses an event for good", epoch=reader.epoch, reason=error.problem.type)
            refused = Owed(chunk.last, self._names_of(chunk, Verdict.REFUSED))
            progress = replace(progress, position=chunk.end, owed=[*progress.owed, refused])
            tallied = self._tally_of(chunk)
        entry = Refused(
            time=self._state.moment(),
            epoch=reader.epoch,
            first=progress.acknowledged + 1,
            last=chunk.last,
            reason=error.problem.type,
            outcome=outcome,
        )
        self._state.save(reader.epoch, progress, tallied, sendable=True, entry=entry)
        return numbers

    def _catch_up(self, reader: EpochReader, progress: Progress, expected: int) -> int:
        """Go where the gateway says that the epoch stands: its receipt, or this state, was lost on the way."""
        self.caught_up = False
        receipt = self._client.latest_receipt(reader.epoch)
        if expected > progress.acknowledged + 1 and receipt is not None and receipt.first == progress.acknowledged + 1:
            # Only the latest receipt never came: it closes the account.
            chunk = reader.read(progress.position, 0, last=max(receipt.last, progress.position.sequence))
            self._settle(reader, progress, chunk, receipt)
            return 1
        _log.error(
            "the two ends differ",
            epoch=reader.epoch,
            acknowledged=progress.acknowledged,
            expected=expected,
            remedy="compare both accounts: `agent status` here, `gateway account` at the vendor",
        )
        skipped = max(expected - 1 - progress.acknowledged, 0)
        forgotten = max(progress.acknowledged + 1 - expected, 0)
        entry = Moved(
            time=self._state.moment(), epoch=reader.epoch, acknowledged=progress.acknowledged, expected=expected
        )
        chunk = reader.read(progress.position, 0, last=max(expected - 1, progress.position.sequence))
        progress = replace(
            progress,
            position=chunk.end,
            acknowledged=expected - 1,
            owed=[owed for owed in progress.owed if owed.last >= expected]
            + ([Owed(progress.acknowledged, {UNDECLARED: {Verdict.LOST: forgotten}})] if forgotten else []),
            sending=None,
            undecided=progress.undecided + skipped,
        )
        self._state.save(reader.epoch, progress, self._tally_of(chunk), sendable=True, entry=entry)
        return 1

    def _tally_of(self, chunk: Chunk, *, locally: bool = False) -> list[Tallied]:
        """Count a chunk's use: whoever calls it moves past the chunk in the same transaction.

        What its user, or anybody, has said no to is not even counted, nor is whoever is none of the customer's own
        people; nor is anything while that is not known.
        """
        marks = self._look_at_marks()
        try:
            leaves_out = self._objections.look().leaves_out(locally=locally, marked=marks.marks if marks else None)
        except OSError:
            return []
        latest = self._now() + self._client.clock_offset + FUTURE
        return self._tally.count(chunk.lines, latest=latest, leaves_out=leaves_out)

    def _look_at_marks(self) -> Marks:
        return Marks(dict(self._marks.read()), self._agent)

    def _names_of(self, chunk: Chunk, verdict: Verdict) -> VerdictCounts:
        """Count a chunk's events under one verdict, by declared name."""
        names = Counter(event_name(line) for line in chunk.lines)
        counts: VerdictCounts = {}
        for recorded, count in names.items():
            name = self._present.name(recorded)
            merge_counts(counts, {name if name in self._names else UNDECLARED: {verdict: count}})
        missing = chunk.numbers - len(chunk.lines)
        if missing:
            merge_counts(counts, {UNDECLARED: {Verdict.LOST: missing}})
        return counts

    def _as_declared(self, counts: VerdictCounts) -> VerdictCounts:
        """Return counts under the names of the plan in force: they may be older than it."""
        found: VerdictCounts = {}
        for recorded, verdicts in counts.items():
            name = self._present.name(recorded)
            merge_counts(found, {name if name in self._names else UNDECLARED: verdicts})
        return found

    def _remove(self, reader: EpochReader) -> None:
        """Delete a finished epoch. A source's newest stays, as it holds where the source stands."""
        if not reader.is_recorders:
            newer = (other for other in read_epochs(self._outbox) if other.epoch > reader.epoch)
            if not any(other.series == reader.series and other.last_checkpoint() is not None for other in newer):
                return
        reader.remove()


def event_name(line: bytes) -> str:
    """Return the name of an event as recorded; `UNDECLARED` when it cannot be read."""
    try:
        return msgspec.json.decode(line, type=_Named).name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UNDECLARED
