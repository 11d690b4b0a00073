"""The exporter: takes each epoch of the outbox to the gateway, in order, once.

A step is: read a chunk, build its batch, write down what is about to be sent, send it, write down the receipt. A
crash between any two of them repeats the same range, and the gateway answers a repetition with the first receipt.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from heliograph import spans
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.answers import Action
from heliograph.instance.bandwidth import Bandwidth
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.batch_sizes import BatchSizes
from heliograph.instance.bookkeeping import Bookkeeping
from heliograph.instance.id_table import ENOUGH_WAITING
from heliograph.instance.machine_code import instance_code
from heliograph.instance.outbox_reading import START, Chunk, EpochReader, read_epochs, sweep_removed
from heliograph.instance.progress import Leaving, Owed, Progress
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.read_ahead import Place, ReadAhead, read_events
from heliograph.instance.refusals import Objections
from heliograph.instance.set_aside import SetAside
from heliograph.instance.splitting import Splits
from heliograph.instance.standstill import Standstill
from heliograph.instance.state import StaleError
from heliograph.instance.transport import GatewayRefusalError, StandstillError, TransportError
from heliograph.ledger.entries import GIVEN_UP, SPLIT, Moved, Refused
from heliograph.wire import Receipt, VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heliograph.instance.counted import Counted
    from heliograph.instance.machine_code import InstanceCode
    from heliograph.instance.outbox_reading import Position
    from heliograph.instance.read_ahead import Events
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayClient
    from heliograph.instance.usage import Tallied
    from heliograph.plan.model import Plan
    from heliograph.settings import AgentSettings, RecorderSettings

FUTURE: Final = timedelta(minutes=15)
"""How far ahead of the clock an event's time may lie."""
_MOST_AHEAD: Final = timedelta(minutes=1)
_log: Final = structlog.get_logger("heliograph.exporter")


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
        bandwidth: How fast the client's bodies leave; without a limit if None.
        read_ahead: Whether a thread reads the next batch of a backlog while one is built and on its way.
        code: What has the loops for a long backlog; of its own if None.
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
        bandwidth: Bandwidth | None = None,
        read_ahead: bool = True,
        code: InstanceCode | None = None,
    ) -> None:
        self._code = code or instance_code()
        self._bandwidth = bandwidth or Bandwidth(0)
        self._sizes = BatchSizes(agent.batch_events, self._bandwidth)
        self._reads_ahead = read_ahead
        self._set_aside = SetAside(timedelta(days=agent.held_days), now=now)
        self._outbox = Path(recorder.outbox)
        sweep_removed(self._outbox)
        self._state = state
        self._client = client
        self._now = now
        self._objections = objections or Objections(state, self._outbox)
        self._generation = self._objections.generation
        state.kept.bound(days=agent.ledger_days, maximum_bytes=agent.ledger_bytes)
        self._pseudonyms = Pseudonyms(state)
        self._books = Bookkeeping(agent, state, self._objections, self._latest)
        self.use_plan(plan, withdrawn=withdrawn)
        self.standstill: Final = Standstill(state.connection, now)
        """Whether delivery stands still although the gateway answers."""
        self._splits = Splits(self.standstill, now)
        self._found: list[EpochReader] = []
        """The epochs that this round has found."""
        self._ahead = ReadAhead()
        self.caught_up = False
        """Whether the last round went through all that the outbox held."""
        self.stripped: Counter[str] = Counter()
        """Properties left out as the plan does not declare them, by event name, since this exporter began."""

    def use_plan(self, plan: Plan, *, withdrawn: frozenset[str] = frozenset()) -> None:
        """Deliver by this plan from now on; events that are `withdrawn` are not set aside any more."""
        self._set_aside.use_plan(plan, withdrawn)
        self._sizes.use_plan(plan)
        self._builder = BatchBuilder(plan, self._pseudonyms, self._code)
        self._books.use_plan(plan, self._builder)

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
            self._found = read_epochs(self._outbox, self._found)
            self._set_aside.wake_in_time()
            if self._ahead.epoch not in {reader.epoch for reader in self._found}:
                self._ahead.forget()
            delivered = self._deliver_epochs(self._splits.order(self._found), may_send)
        except Exception:
            self.caught_up = False
            raise
        if not delivered:
            self._state.ids.sort_in(at_least=ENOUGH_WAITING)
        return delivered

    def go_on(self) -> None:
        """Note that the gateway was spoken with: nothing stands still, unless it refuses what is delivered."""
        if not self._splits.stands_still:
            self.standstill.end()

    def _deliver_epochs(self, readers: Sequence[EpochReader], may_send: Callable[[], bool]) -> int:
        delivered = 0
        stands_still: StandstillError | None = None
        for reader in readers:
            try:
                delivered += self._deliver_epoch(reader, may_send)
            except StandstillError as error:  # another epoch's events may pass
                stands_still = error
        if stands_still is not None and not delivered:
            raise stands_still
        return delivered

    def purge(self, *, tally: bool = False, sendable: bool = False) -> int:
        """Drop everything that is pending, as it may not leave any more, and return how much that was.

        Args:
            tally: Whether it counts as use all the same.
            sendable: Whether that use may go into a ping.
        """
        self._set_aside.wake()
        readers = read_epochs(self._outbox)
        purged = sum(self._books.purge(reader, tally=tally, sendable=sendable) for reader in readers)
        self.caught_up = True
        return purged

    def _deliver_epoch(self, reader: EpochReader, may_send: Callable[[], bool]) -> int:
        if self._set_aside.rests(reader.epoch):
            return 0
        closed = reader.is_closed()  # before reading: what is read after this is all there will ever be
        progress = self._books.load(reader)
        limit = self._splits.limit(reader.epoch, progress.position.sequence, self._sizes.wanted(reader.epoch))
        if self._set_aside.waits(reader):
            if not (closed and progress.owed):
                if closed and progress.position != START and not reader.read(progress.position, 1).numbers:
                    self._remove(reader)  # it was purged
                else:
                    self._set_aside.let_rest(reader.epoch)
                return 0
            limit = 0
        boundary = self._boundary(reader.epoch, progress)
        events = self._read(reader, progress, limit, boundary)
        chunk = events.chunk
        progress = replace(
            progress,
            dropped=chunk.dropped or progress.dropped,
            left_out=chunk.left_out or progress.left_out,
        )
        numbers = chunk.numbers
        if numbers == 0 and not (progress.owed and closed):
            if chunk.end != progress.position:
                counted = self._books.accounting.count(progress, chunk)
                self._books.save(reader, replace(progress, position=chunk.end, counted=counted))
                reader.release(chunk.end)
            elif closed and not progress.owed:
                self._remove(reader)
            return 0
        is_backlog = 0 < limit <= numbers
        if is_backlog or boundary is not None:
            self.caught_up = False
        if not may_send():
            self.caught_up = False
            return 0
        with spans.span("export", epoch=reader.epoch, numbers=numbers):
            return self._deliver(reader, progress, events, limit=limit if is_backlog else 0)

    def _read(self, reader: EpochReader, progress: Progress, limit: int, boundary: int | None) -> Events:
        """Read the next events, unless they were read ahead: a moment ago, from the same place and by the same plan."""
        place = Place(reader.epoch, progress.position, limit, self._builder, self._latest())

        def is_it(ahead: Place) -> bool:
            same = ahead._replace(limit=limit, latest=place.latest) == place and ahead.limit <= limit
            return same and boundary is None and abs(place.latest - ahead.latest) < _MOST_AHEAD

        found = self._ahead.take(is_it) if self._ahead.epoch == reader.epoch else None
        return found or read_events(reader, place, last=boundary)

    def _read_ahead(self, reader: EpochReader, position: Position, limit: int) -> None:
        """Begin to read what comes after this batch, of one epoch at a time: so much is held in memory, and no more."""
        if self._reads_ahead and self._ahead.epoch in {None, reader.epoch}:
            self._ahead.begin(reader, Place(reader.epoch, position, limit, self._builder, self._latest()))

    def _latest(self) -> datetime:
        return self._now() + self._client.clock_offset + FUTURE

    def _boundary(self, epoch: int, progress: Progress) -> int | None:
        """Return where the next delivery has to end: it was begun, or went into a bundle, with this boundary."""
        if progress.begun is not None:
            return progress.begun
        return self._state.bundled.end_of(epoch, progress.acknowledged + 1, after=progress.position.sequence)

    def settle_elsewhere(self, receipt: Receipt, signature: str) -> bool:
        """Take the receipt of a delivery that went another way, in a bundle; tell whether it was waited for."""
        for reader in read_epochs(self._outbox):
            if reader.epoch != receipt.epoch:
                continue
            progress = self._books.load(reader)
            if receipt.first == progress.acknowledged + 1:
                self._books.settle_by(reader, progress, receipt, signature=signature)
                return True
        return self._state.settle_late(receipt, signature)

    def _deliver(self, reader: EpochReader, progress: Progress, events: Events, *, limit: int) -> int:
        """Deliver what was read; with a `limit`, that was as much as it allows, so that there may be more."""
        chunk, recorded = events
        numbers = chunk.numbers
        refusals = self._objections.look()
        if self._generation != self._objections.generation:
            self._pseudonyms.clear()
            self._generation = self._objections.generation
        marks = self._books.marks()
        if limit:
            self._read_ahead(reader, chunk.end, self._sizes.after(limit))
        batch = self._builder.build(recorded, numbers=numbers, latest=self._latest(), refusals=refusals, marks=marks)
        self.stripped.update(batch.stripped)
        absent: VerdictCounts = {}
        for counts in (*(self._books.accounting.as_declared(owed.counts) for owed in progress.owed), batch.absent):
            merge_counts(absent, counts)
        counted = self._books.accounting.count(progress, chunk, recorded)
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
            self._bandwidth.learn(numbers, len(batch.body))
            answer = self._client.deliver(
                epoch=reader.epoch, first=first, last=chunk.last, absent=absent, body=batch.body
            )
        except GatewayRefusalError as error:
            return self._take_refusal(reader, progress, chunk, error, counted)
        except TransportError:
            self._sizes.shrink(reader.epoch)
            raise
        if answer.receipt is None:
            latest_receipt = self._client.latest_receipt(reader.epoch)
            return self._catch_up(reader, progress, 1 if latest_receipt is None else latest_receipt.last + 1)
        if answer.duplicate:
            counted = self._books.accounting.by_names_of(answer.receipt, progress, chunk, counted)
        else:
            counted = self._books.accounting.retold(counted, progress.owed)
        tallied = self._books.tally_of(chunk, recorded=recorded, marks=marks)
        self._books.settle(
            reader,
            replace(progress, counted=counted),
            chunk,
            answer.receipt,
            tallied,
            signature=answer.signature or "",
            left_out=batch.stripped,
        )
        self._splits.take(numbers)
        self._sizes.grow(reader.epoch, limit)
        return numbers

    def _take_refusal(
        self, reader: EpochReader, progress: Progress, chunk: Chunk, error: GatewayRefusalError, counted: Counted
    ) -> int:
        """Do what a refusal asks for: catch up, try less at once, or give up on one event; else pass it on."""
        self.caught_up = False
        if error.problem.expected is not None:
            return self._catch_up(reader, progress, error.problem.expected)
        numbers = chunk.numbers
        if error.action is not Action.SPLIT:
            raise error
        progress = replace(progress, sending=None)
        tallied: list[Tallied] = []
        self._state.bundled.drop(reader.epoch, progress.acknowledged + 1)
        entry = Refused(
            time=self._state.moment(),
            epoch=reader.epoch,
            first=progress.acknowledged + 1,
            last=chunk.last,
            reason=error.problem.type,
            outcome=SPLIT,
        )
        if numbers > 1:
            self._splits.refuse(reader.epoch, chunk.last, numbers, error.problem)
        elif numbers == 0 or not self._splits.give_up(reader.epoch, error.problem):
            self._books.save(reader, progress, entry=entry)
            raise StandstillError(f"delivery stands still: {error}")
        else:
            _log.error("the gateway refuses an event for good", epoch=reader.epoch, reason=error.problem.type)
            refused = Owed(chunk.last, self._books.accounting.verdicts_on(chunk, Verdict.REFUSED))
            progress = replace(progress, position=chunk.end, owed=[*progress.owed, refused], counted=counted)
            tallied = self._books.tally_of(chunk)
            entry = replace(entry, outcome=GIVEN_UP)
        self._books.save(reader, progress, tallied, sendable=True, entry=entry)
        if self._splits.stands_still:
            raise StandstillError(f"delivery stands still: {error}")
        return numbers

    def _catch_up(self, reader: EpochReader, progress: Progress, expected: int) -> int:
        """Go where the gateway says that the epoch stands: its receipt, or this state, was lost on the way."""
        self.caught_up = False
        receipt = self._client.latest_receipt(reader.epoch)
        if expected > progress.acknowledged + 1 and receipt is not None and receipt.first == progress.acknowledged + 1:
            # Only the latest receipt never came: it closes the account.
            self._books.settle_by(reader, progress, receipt)
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
            counted=self._books.accounting.caught_up(progress, chunk, expected),
            position=chunk.end,
            acknowledged=expected - 1,
            owed=[owed for owed in progress.owed if owed.last >= expected]
            + ([Owed(progress.acknowledged, {UNDECLARED: {Verdict.LOST: forgotten}})] if forgotten else []),
            sending=None,
            undecided=progress.undecided + skipped,
        )
        self._books.save(reader, progress, self._books.tally_of(chunk), sendable=True, entry=entry)
        return 1

    def _remove(self, reader: EpochReader) -> None:
        """Delete a finished epoch. A source's newest stays, as it holds where the source stands."""
        if not reader.is_recorders:
            # The newest first, and as this round found them: else many finished epochs would cost their square.
            newer = (other for other in reversed(self._found) if other.epoch > reader.epoch)
            if not any(other.series == reader.series and other.last_checkpoint() is not None for other in newer):
                return
        reader.remove()
