"""The product's own `event_logs` table as a source: each row once, in the order of ids, also when it appears late.

A row gets its id from a sequence before its transaction commits, so that a higher id can become visible first. What
was seen to be missing below it is a *hole*, and is looked up again until nobody is left who could fill it.

Why no row is skipped. Each statement is its own transaction and has its own snapshot. Say that a statement with
snapshot S saw id v, and not a lower id h. The sequence had given h before v, and v's transaction had ended before S;
so the transaction W that was given h held its lock on the sequence before S, and it holds it until it has ended or is
prepared, and as a prepared transaction until that has ended. In PostgreSQL a transaction becomes visible first, and
lets go of its locks afterwards. The *writers* of the hole are read from the locks after S. If W is not among them,
it ended before, and any later snapshot sees its row. If W is among them, the hole stays open until a later reading A
of the locks shows W neither as itself nor, perhaps, as a prepared transaction; then W ended before A, and any
snapshot after A sees its row. So a look whose snapshot is after A, with A after the hole was noticed and no writer of
the hole in A, sees h, or nobody ever will: it was rolled back, or deleted. The hole is then kept for `linger_seconds`
more, for products that take ids in one transaction and use them in another, and given up after one more look.

Why no row is taken twice. A round reads ids above `high`, which then moves to the highest of them, and ids in holes,
which then leave their hole; the two sets are disjoint, and the caller stores events and cursor together or not at all.

The ids above the highest visible one need no hole, as `high` does not pass them. Those below the first one are a
hole like any other.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
import structlog

from heliograph.event import microseconds
from heliograph.instance.event_logs_table import EventLogsTable, connect_gently, explain
from heliograph.instance.event_rows import EventRows, row_sign_in
from heliograph.instance.id_ranges import (
    Cursor,
    count_within,
    decode_cursor,
    encode_cursor,
    fill,
    find_gaps,
    notice,
    settle,
)
from heliograph.instance.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heliograph.instance.event_logs_table import Connection, Row
    from heliograph.instance.sign_ins import SignIn
    from heliograph.plan.model import Plan
    from heliograph.settings import EventLogsSettings

__all__ = ["Cursor", "EventLogsSource", "Round", "SourceError", "decode_cursor", "encode_cursor"]

LOOK_AGAIN: Final = timedelta(seconds=1)
"""The pause between two looks for what is missing, however fast the rounds follow each other."""
_MOST_TOLD: Final = 100_000
_MICROSECOND: Final = timedelta(microseconds=1)
_log: Final = structlog.get_logger("heliograph.event_logs")


class Round(NamedTuple):
    """What one round has read."""

    events: list[dict[str, Any]]
    """One for each row, as JSON's types: see `heliograph.instance.event_rows`."""
    cursor: Cursor
    """Where the next round goes on, once `events` are stored."""
    caught_up: bool
    """Whether there was nothing more to read for now."""
    stripped: dict[str, int]
    """Properties left out as the plan does not declare them, by event name."""
    sign_ins: list[SignIn]
    """Visitors and users who stand in one row, where the settings take that for a sign-in; those not told before."""


class _Late(NamedTuple):
    rows: list[Row]
    cursor: Cursor


class EventLogsSource:
    """Reads the table, one round a call. Not thread-safe.

    Args:
        settings: Where the table is, and how gently to read it.
        plan: What may be taken of a row.
        connect: Makes a connection with autocommit.
        now: The clock.
    """

    def __init__(
        self,
        settings: EventLogsSettings,
        plan: Plan,
        *,
        connect: Callable[[EventLogsSettings], Connection] = connect_gently,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._rows = EventRows(plan)
        self._connect = connect
        self._now = now
        self._linger = timedelta(seconds=settings.linger_seconds) // _MICROSECOND
        self._connection: Connection | None = None
        self._table: EventLogsTable | None = None
        self._looked: datetime | None = None
        self._told: set[SignIn] = set()

    def use_plan(self, plan: Plan) -> None:
        """Take of rows what this plan allows, from the next round on."""
        self._rows = EventRows(plan)

    def read(self, cursor: Cursor) -> Round:
        """Read the next round.

        Args:
            cursor: Where the round before ended, or `Cursor()` at the very beginning.

        Raises:
            SourceError: The table could not be read; the same cursor goes on where it stood, once it can.
        """
        try:
            return self._round(cursor)
        except psycopg.Error as error:
            self.close()
            raise explain(error, self._settings) from None  # the cause may quote a row
        except SourceError:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; the next round makes another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._table = self._looked = None

    def _round(self, cursor: Cursor) -> Round:
        table = self._table or self._open(cursor)
        late, cursor = self._look_again(table, cursor)
        fresh, cursor, caught_up = self._read_on(table, cursor, self._settings.rows - len(late))
        stripped: dict[str, int] = {}
        events = [self._rows.event(row, stripped) for rows in (late, fresh) for row in rows]
        return Round(
            events, cursor, caught_up, stripped, self._new_sign_ins(late, fresh) if self._settings.stitch else []
        )

    def _new_sign_ins(self, *rows: Iterable[Row]) -> list[SignIn]:
        found = dict.fromkeys(sign_in for part in rows for row in part if (sign_in := row_sign_in(row)) is not None)
        if len(self._told) > _MOST_TOLD:
            self._told.clear()
        new = [sign_in for sign_in in found if sign_in not in self._told]
        self._told.update(new)
        return new

    def _open(self, cursor: Cursor) -> EventLogsTable:
        self._connection = self._connect(self._settings)
        self._table = EventLogsTable(self._connection, self._settings.table)
        last = self._table.last_given
        if last is not None and last < cursor.high:
            _log.warning(
                "the table's ids have gone back, as after a restored backup: those already read are skipped",
                table=self._settings.table,
                last_given=last,
                read=cursor.high,
            )
        return self._table

    def _look_again(self, table: EventLogsTable, cursor: Cursor) -> _Late:
        """Look for what is missing, and give up what nobody can bring any more."""
        now = self._now()
        just_looked = self._looked is not None and timedelta() <= now - self._looked < LOOK_AGAIN
        if not cursor.holes or just_looked:
            return _Late([], cursor)
        running = table.read_writers()  # before the rows: see above
        rows = table.read_holes(cursor.ranges, self._settings.rows)
        complete = len(rows) < self._settings.rows
        ids = [row[0] for row in rows]
        left = []
        for holes in cursor.holes:
            open_holes = fill(holes, ids)
            if open_holes is not None and complete:
                open_holes = settle(open_holes, running, self._microseconds(), self._linger)
            if open_holes is not None:
                left.append(open_holes)
        self._looked = now if complete else None
        return _Late(rows, Cursor(cursor.high, tuple(left)))

    def _read_on(self, table: EventLogsTable, cursor: Cursor, limit: int) -> tuple[list[Row], Cursor, bool]:
        """Read rows above the cursor, and notice what is missing between them."""
        if limit <= 0 or cursor.room <= 0:
            return [], cursor, False
        rows = table.read_range(cursor.high, limit)
        ids = [row[0] for row in rows]
        kept = count_within(cursor.high, ids, cursor.room)
        caught_up = kept == len(ids) < limit
        gaps = find_gaps(cursor.high, ids[:kept])
        writers = table.read_writers() if gaps else frozenset()  # after the rows: see above
        cursor = Cursor(
            high=ids[kept - 1] if kept else cursor.high, holes=notice(cursor.holes, gaps, writers, self._microseconds())
        )
        return rows[:kept], cursor, caught_up

    def _microseconds(self) -> int:
        return microseconds(self._now())
