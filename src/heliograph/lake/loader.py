"""The loader: takes deliveries from the gateway's log into the lake, each event once.

Where it stands in the log is a property of the table, written in the same commit as the rows: a crash leaves both or
neither. Rows are known by (instance, epoch, sequence); what a disk error made the log hold twice is left out here.
Pings and deliveries go to tables of their own in the same pass: `heliograph.lake.pings` says how these agree; and what
the rows add to the marts is committed before them, as `heliograph.lake.marts.keeping` explains.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import structlog

from heliograph import spans
from heliograph.frames import write_atomically
from heliograph.gateway.bodies import inflate
from heliograph.gateway.log_entries import Checkpoint, Entry, PingEntry, Stored
from heliograph.gateway.log_reading import RELEASED, Place, accounts_at, read_segment, segments
from heliograph.lake.account import LoadAccount
from heliograph.lake.commits import CommitConflictError, commit
from heliograph.lake.delivered import BodyDecoder
from heliograph.lake.deliveries import DeliveryTable
from heliograph.lake.delivery_rows import delivery_rows
from heliograph.lake.differences import found_property
from heliograph.lake.durability import sync_snapshot
from heliograph.lake.elsewhere import elsewhere_property
from heliograph.lake.erased import read_erased_epochs
from heliograph.lake.exclusion import BusyError
from heliograph.lake.gathering import gathered, in_order, in_plain_words
from heliograph.lake.loader_locks import hold_folder, hold_lake
from heliograph.lake.marts.keeping import Marts
from heliograph.lake.marts.tending import Tending
from heliograph.lake.metrics import LoaderMetric, LoaderMonitor
from heliograph.lake.pings import PingTable
from heliograph.lake.places import place_property, read_place, standing_at
from heliograph.lake.storage import connect
from heliograph.lake.tables import (
    ColumnTypeError,
    event_files,
    event_schema,
    lake_columns,
    open_events,
    widen,
)
from heliograph.lake.turns import Turns, numbers_in_lake, without_known
from heliograph.plan.columns import plain_type
from heliograph.plan.follow import FollowedPlan, Look

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pyiceberg.table import Transaction

    from heliograph.lake.writers import Writer
    from heliograph.plan.model import Plan
    from heliograph.settings import GatewaySettings, LakeSettings
    from heliograph.wire import Receipt

_POLL_SECONDS: Final = 0.3
_log: Final = structlog.get_logger("heliograph.loader")


class Loader:
    """Loads one gateway's log into one lake, and is alone at both; or, if the log has a name, takes turns at the lake.

    Args:
        gateway: Where the log is.
        lake: Where the lake is, and how often to commit.
        plan: What its columns are, at the least; a plan's files are followed as they change.
        writer: Does the heavy work on what is stored; None: this process does.

    Raises:
        LoaderRunningError: It is not alone.
        ColumnTypeError: The plan would give a column another type.
    """

    def __init__(
        self, gateway: GatewaySettings, lake: LakeSettings, plan: Plan | FollowedPlan, writer: Writer | None = None
    ) -> None:
        self._file = plan if isinstance(plan, FollowedPlan) else None
        self._folder = Path(gateway.log)
        self._turns = Turns(lake) if lake.log else None
        with ExitStack() as stack:
            stack.enter_context(hold_folder(self._folder))
            stack.enter_context(hold_lake(lake))
            self._locks = stack.pop_all()
        self._settings = lake
        self._inflated = gateway.maximum_inflated_bytes
        present = plan.plan if isinstance(plan, FollowedPlan) else plan
        try:
            self._table = open_events(lake, present)
        except ColumnTypeError:
            self._locks.close()
            raise
        self._use_columns()
        self._pings = PingTable(lake)
        self._deliveries = DeliveryTable(lake)
        self.marts: Final = Marts(lake, present, writer)
        """What it keeps beside the events."""
        self._tending = Tending(self.marts, lake, now=lambda: datetime.now(UTC))
        self._held_back: int | None = None
        self.account: Final = LoadAccount(None)
        """What it has passed of the gateway's account."""
        self.monitor: Final = LoaderMonitor(gateway, lake)
        self._seen = 0
        self._recall()
        self.release()

    def close(self) -> None:
        """Let go of the log and the lake."""
        self._locks.close()

    def _recall(self) -> None:
        """Read from the lake how far it has come."""
        self._table.refresh()
        self._loaded = self._read_loaded()
        self._place = read_place(self._table)
        self.account.stand_at(accounts_at(self._folder, self._place))
        self._pings.recall()
        self._deliveries.recall()
        self.marts.recall(self._table)
        self._is_sure = True

    def _read_loaded(self) -> dict[tuple[str, int], int]:
        """Return the last sequence number of each epoch in the lake."""
        loaded = {
            (instance, epoch): sequence
            for instance, epochs in read_erased_epochs(self._table).items()
            for epoch, sequence in epochs.items()
        }
        files = event_files(self._settings)
        if not files:
            return loaded
        with connect(self._settings) as connection:
            rows = connection.execute(
                "select instance, epoch, max(sequence) from read_parquet($files) group by all", {"files": files}
            ).fetchall()
        for instance, epoch, sequence in rows:
            loaded[instance, epoch] = max(sequence, loaded.get((instance, epoch), 0))
        return loaded

    @property
    def place(self) -> Place:
        """Where in the log it stands."""
        return self._place

    def _use_columns(self) -> None:
        """Fill all columns that the table has: no plan takes one away."""
        self._schema = lake_columns(self._table)
        self._decoder = BodyDecoder(self._schema)

    def _follow(self, found: Look) -> None:
        """Widen the table when the plan has changed; what cannot be used is logged, and changes nothing."""
        if self._file is None or found is Look.SAME:
            return
        problems = [str(problem) for problem in self._file.problems]
        if found is Look.CHANGED:
            try:
                widen(self._table, event_schema(self._file.plan))
            except ColumnTypeError as error:
                problems.append(str(error))
            else:
                self._use_columns()
                self.marts.use(self._file.plan)
                self.marts.recall(self._table)
                _log.info("the plan has changed", now=self._file.plan.label)
        if problems:
            _log.error("the plan has changed, and cannot be used", problems=problems)

    def _learn(self, unknown: pa.Schema, plan: str) -> None:
        """Get columns for what a delivery holds: by the plan, which may have changed, and else by its own types.

        The gateway has taken it by a plan that declares it, so that whatever the plan's file says now, it is stored.
        """
        if self._file is not None:
            self._follow(self._file.look_now())
        left = [field for field in unknown if field.name not in self._schema.names]
        if left:
            names = [field.name for field in left]
            _log.warning("the plan's file lacks columns of what was delivered", plan=plan, columns=names)
            widen(self._table, pa.schema(left))
            self._use_columns()

    def recall(self) -> None:
        """Look at the lake again before loading more: somebody else has written to it."""
        self._is_sure = False

    def run(self, stop: threading.Event, between: Callable[[], object] = lambda: None) -> None:
        """Load whatever arrives, until told to stop; `between` is called between any two rounds."""
        while not stop.is_set():
            between()
            try:
                rows = self.load_round()
            except (ColumnTypeError, CommitConflictError, BusyError) as error:
                if isinstance(error, (CommitConflictError, BusyError)):
                    _log.warning("the lake was busy", why=str(error))
                else:
                    _log.error("nothing is loaded until this is mended", why=str(error))
                self.monitor.meters.count(LoaderMetric.FAILURES)
                rows = 0
                caught_up = False
            else:
                caught_up = rows == 0
            self.monitor.look(self._table, self._place, self.account, caught_up=caught_up)
            if rows == 0:
                stop.wait(_POLL_SECONDS)
            else:
                # Rows that arrive while waiting share a commit: each one makes a snapshot and files of its own.
                stop.wait(self._settings.commit_seconds)

    def load_round(self) -> int:
        """Load what the log holds, up to one commit's rows, and return how many rows that was.

        Raises:
            BusyError: Other loaders were at work on the lake for too long.
        """
        with self._turn():
            return self._load_round()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the one who loads, where several do, and look again at the lake if others have been at it."""
        if self._turns is None:
            yield
            return
        with self._turns.mine(self._table) as is_changed:
            self._is_sure = self._is_sure and not is_changed
            yield

    def _load_round(self) -> int:
        if not self._is_sure:
            self._recall()
        if self._file is not None:
            self._follow(self._file.look())
        self._is_sure = False  # whatever fails from here on, it may be before or after the commit
        began = time.time_ns()
        batches: list[tuple[Place, pa.Table]] = []
        rows = 0
        place = self._place
        loaded: dict[tuple[str, int], int] = {}
        deliveries: list[tuple[Receipt, int]] = []
        for place, entry, body in self._entries():
            if isinstance(entry, PingEntry):
                self._pings.take(place, entry, body)
            elif entry is not None:
                self._deliveries.take(place, entry)
                batches.append((place, self._new_rows(entry, body, loaded, batches)))
                deliveries.append((entry.receipt, len(batches[-1][1])))
                rows += len(batches[-1][1])
            if rows + self._pings.waiting >= self._settings.commit_rows:
                break
        if place == self._place:
            ping_rows = self._commit_others(place)
        else:
            with spans.span("load", began=began, rows=rows):
                ping_rows = self._commit_all(batches, rows, place)
                _tell_loaded(deliveries)
            self._place = place
            self._loaded |= loaded
            self.monitor.received = self._seen
            self.release()
        self._tending.round(self._table, self._deliveries.table, self._pings.table)
        self._is_sure = True
        return rows + ping_rows

    def _commit_all(self, batches: list[tuple[Place, pa.Table]], rows: int, place: Place) -> int:
        """Commit what was read up to a place, and return how many rows of pings that was."""
        with spans.span("commit_others"):
            ping_rows = self._commit_others(place)  # before the events, whose place alone says what is released
        if rows:
            whole = gathered([table for _, table in batches], self._schema)
            with spans.span("commit_marts"):
                self.marts.commit(whole, [(behind, len(table)) for behind, table in batches], place)
            with spans.span("commit_events", rows=rows):
                self._commit_events(whole, place)
            _log.info("loaded", rows=rows, generation=place.generation, offset=place.offset)
        else:
            self._commit(None, place)
        return ping_rows

    def make_on(self) -> bool:
        """Make a few days more of the marts that are being made anew; return whether there were any.

        Raises:
            EngineError: The writer's engine could not.
        """
        with self._turn():
            return self.marts.make_on(self._table)

    def _entries(self) -> Iterable[tuple[Place, Stored | None, bytes]]:
        """Yield the deliveries and pings after where the loader stands, over all segments; None where one begins.

        A segment that has begun says that all before it are complete: that leaves them behind, too.
        """
        for generation in segments(self._folder):
            if generation < self._place.generation:
                continue
            offset = self._place.offset if generation == self._place.generation else 0
            for place, header, body in read_segment(self._folder, generation, offset):
                if isinstance(header, Checkpoint):
                    self.account.begin_segment(header.accounts)
                    yield place, None, body
                else:
                    self._seen = header.receipt.received
                    yield place, header, body

    def _new_rows(
        self, entry: Entry, body: bytes, loaded: dict[tuple[str, int], int], batches: Sequence[tuple[Place, pa.Table]]
    ) -> pa.Table:
        """Return the rows of a delivery that neither the lake has nor, as `loaded` says, this round."""
        receipt = entry.receipt
        key = (receipt.instance, receipt.epoch)
        before = loaded.get(key, self._loaded.get(key, 0))
        loaded[key] = max(before, receipt.last)
        if self._turns is not None and receipt.first <= before:
            # Of an epoch that went to several gateways another log may hold lower numbers than the lake has.
            rows = self._rows_after(read_erased_epochs(self._table).get(key[0], {}).get(key[1], 0), entry, body)
            known = numbers_in_lake(self._settings, receipt, self._schema)
            rows = without_known(rows, receipt, [known, *(batch for _, batch in batches)])
        else:
            rows = self._rows_after(before, entry, body)
        self.account.take(receipt, rows, before=before)
        return rows

    def _rows_after(self, before: int, entry: Entry, body: bytes) -> pa.Table:
        """Return the rows of a delivery whose numbers are above `before`."""
        receipt = entry.receipt
        if receipt.last <= before or not receipt.accepted:
            return self._schema.empty_table()
        content = inflate(body, entry.content_encoding, self._inflated)
        events = self._decoder.decode(content, entry.content_type)
        unknown = [field for field in events.schema if field.name not in self._schema.names]
        if unknown := [field for field in unknown if events.column(field.name).null_count < len(events)]:
            self._learn(pa.schema([pa.field(field.name, plain_type(field.type)) for field in unknown]), entry.plan)
        if receipt.first <= before:
            events = events.filter(pc.field("sequence") > before)
        return delivery_rows(events, entry, self._schema)

    def _commit_events(self, events: pa.Table, place: Place) -> None:
        rows = in_order(events)
        counts = self.account.commit(rows)
        began = time.perf_counter()
        self._commit(in_plain_words(rows, self._schema), place)
        self.monitor.meters.observe(LoaderMetric.COMMIT_SECONDS, time.perf_counter() - began)
        for name, count in counts.items():
            self.monitor.meters.count(LoaderMetric.EVENTS, count, event=name)

    def _commit(self, rows: pa.Table | None, place: Place) -> None:
        def change(transaction: Transaction) -> None:
            if rows is not None:
                transaction.append(rows)
            left_out = {} if self._turns is None else elsewhere_property(self._table, self.account.left_out)
            found = found_property(self._table, self.account.fresh)
            transaction.set_properties(place_property(place, self._table) | left_out | found)

        commit(self._table, change, relying_on=standing_at(self._place, self._table))
        self.account.committed()
        sync_snapshot(self._table)

    def _commit_others(self, place: Place) -> int:
        """Commit deliveries and pings, and return how many rows of pings that was."""
        if self._deliveries.commit(place):
            sync_snapshot(self._deliveries.table)
        rows = self._pings.commit(place)
        if rows:
            sync_snapshot(self._pings.table)
            self.monitor.meters.count(LoaderMetric.PINGS, rows)
            _log.info("loaded pings", rows=rows, generation=place.generation, offset=place.offset)
        return rows

    def release(self) -> None:
        """Tell the gateway which segments it may use again."""
        generation = self._place.generation
        if self._held_back is not None:
            generation = min(generation, self._held_back)
        write_atomically(self._folder / RELEASED, str(generation).encode())

    def hold_back(self, generation: int | None) -> None:
        """Let no segment from `generation` on be used again for now, so that none has remains; None: it is over."""
        self._held_back = generation
        self.release()


def _tell_loaded(deliveries: list[tuple[Receipt, int]]) -> None:
    for receipt, rows in deliveries:
        name, epoch, first, last = receipt.delivery, receipt.epoch, receipt.first, receipt.last
        _log.info("delivery loaded", delivery=name, epoch=epoch, first=first, last=last, rows=rows)
        spans.note("delivery loaded", delivery=name, rows=rows)
