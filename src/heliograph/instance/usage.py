"""The instance's own use: which events happened on which UTC day, by whom, and how often.

It is tallied from the outbox's lines where an exporter's position passes them, in the same transaction, so that each
event is tallied once whatever crashes. It stays on the instance: only a ping's numbers, added up and anonymised
(`heliograph.instance.ping`), are made from it. Users are under the product's own keys, as the outbox has them.

What a transaction tallied goes to a journal, as one row; `UsageTable.merge` adds the journal up when there is time. A
visitor who has signed in since (`heliograph.instance.stitching`) is read as the user. Whoever is none of the customer's
own people (`heliograph.instance.actors`) is not tallied at all.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np

from heliograph.instance.stitched_table import SCHEMA as STITCHED_SCHEMA
from heliograph.instance.stitched_table import StitchedTable
from heliograph.plan.buffers import column_values, valid_rows
from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from heliograph.plan.buffers import Booleans
    from heliograph.plan.model import Plan

SCHEMA: Final = f"""{STITCHED_SCHEMA}
create table if not exists usage (
    day integer not null, event text not null, user text not null, sendable integer not null, events integer not null,
    primary key (day, event, user, sendable)
) without rowid;
create table if not exists usage_journal (
    number integer primary key, sendable integer not null, tallied blob not null
);
"""
MERGED_AT_ONCE: Final = 64
"""Rows of the journal in one transaction: enough to be quick, and few enough to fit in memory."""
_1970: Final = date(1970, 1, 1)
_1970_ORDINAL: Final = _1970.toordinal()
_1970_MIDNIGHT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1) // _MICROSECOND


class Usage(NamedTuple):
    """What one user did with one event on one day, or a part of it: equal keys add up."""

    day: date
    event: str
    """The event's name; the plan declares it."""
    user: str
    """The product's own key of the user."""
    events: int


Tallied: TypeAlias = tuple[int, str, str, int]
"""As `Usage`, the day as a number from 1970 on."""


class _Line(msgspec.Struct, gc=False):
    name: str
    time: datetime
    user: str | None = None
    actor: str | None = None


class Tally:
    """Counts the outbox's lines by day, event and user, as far as the plan declares the event.

    An event without a user is nobody's, and does not count; nor does one that says that it is an operator's or a
    service's, or a line that cannot be read.

    Args:
        plan: Whose events count.
        days: How many days are looked back; whatever is older does not count.
    """

    def __init__(self, plan: Plan, *, days: int) -> None:
        self._names = {name: name for name in plan.events} | present_names(plan)
        self._days = timedelta(days=days)
        # Three fields of a line are quicker read into objects than into columns.
        self._decoder = msgspec.json.Decoder(_Line)

    def count(
        self, lines: Sequence[bytes], *, latest: datetime, leaves_out: Callable[[str, datetime], bool] | None = None
    ) -> list[Tallied]:
        """Return the counts of `lines`.

        Args:
            lines: Events as recorded.
            latest: An event after this does not count.
            leaves_out: Tells of a user and a time whether that does not count either; None: nothing is left out.
        """
        earliest = datetime.combine(latest.astimezone(UTC).date() - self._days, datetime.min.time(), UTC)
        events = self._decode(lines)
        if not _all_plain(events, earliest, latest):
            events = [_in_utc(event) for event in events if earliest <= _with_zone(event.time) <= latest]
        if leaves_out is not None:
            events = [event for event in events if event.user is not None and not leaves_out(event.user, event.time)]
        counts = Counter([(event.time.toordinal(), event.name, event.user) for event in events])
        return [
            (ordinal - _1970_ORDINAL, self._names[name], user, count)
            for (ordinal, name, user), count in counts.items()
            if user is not None and name in self._names
        ]

    def count_rows(self, table: pa.Table, *, latest: datetime, left_out: Booleans | None = None) -> list[Tallied]:
        """As `count`, of events in columns, all of which the plan declares.

        Args:
            table: As `heliograph.instance.line_columns.LineColumns.read` returns it.
            latest: An event after this does not count.
            left_out: The rows that do not count either.
        """
        users, names, actors = (table.column(name).combine_chunks() for name in ("user", "name", "actor"))
        times = column_values(table.column("time").combine_chunks().cast("int64"))
        days = times // _DAY
        earliest = day_number((latest.astimezone(UTC) - self._days).date())
        counted = valid_rows(users) & ~valid_rows(actors)
        counted &= (days >= earliest) & (times <= (latest - _1970_MIDNIGHT) // _MICROSECOND)
        if left_out is not None:
            counted &= ~left_out
        shape = (int(days.max(initial=earliest)) + 1 - earliest, len(names.dictionary), len(users.dictionary))
        places = (days - earliest, column_values(names.indices), column_values(users.indices))
        cells, numbers = np.unique(
            np.ravel_multi_index([place[counted] for place in places], shape) if counted.any() else np.empty(0, int),
            return_counts=True,
        )
        found = np.unravel_index(cells, shape) if len(cells) else (cells, cells, cells)
        words, keys = names.dictionary.to_pylist(), users.dictionary.to_pylist()
        return [
            *zip(
                (found[0] + earliest).tolist(),
                map(words.__getitem__, found[1].tolist()),
                map(keys.__getitem__, found[2].tolist()),
                numbers.tolist(),
                strict=True,
            )
        ]

    def _decode(self, lines: Sequence[bytes]) -> list[_Line]:
        try:
            events = self._decoder.decode_lines(b"\n".join(lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            events = list(self._decode_one_by_one(lines))
        return [event for event in events if event.actor is None]

    def _decode_one_by_one(self, lines: Iterable[bytes]) -> Iterator[_Line]:
        for line in lines:
            try:
                yield self._decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue


class UsageTable:
    """The tally in the agent's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, tallied: Sequence[Tallied], *, sendable: bool) -> None:
        """Add counts, within a transaction of the caller's. Only what is `sendable` may ever go into a ping."""
        if tallied:
            self._connection.execute(
                "insert into usage_journal (sendable, tallied) values (?, ?)",
                (int(sendable), msgspec.msgpack.encode(tallied)),
            )

    def read(self, last: date, *, days: int, sendable_only: bool) -> Iterator[Usage]:
        """Yield what was tallied for the `days` that end with `last`; `sendable_only` is what may go into a ping."""
        end = day_number(last)
        begin, least = end - days + 1, int(sendable_only)
        # One statement sees one state, though an agent may be merging meanwhile.
        query = (
            "select day, event, user, events, null from usage where day between ? and ? and sendable >= ? "
            "union all select null, null, null, null, tallied from usage_journal where sendable >= ?"
        )
        days_by_number = {number: as_date(number) for number in range(begin, end + 1)}
        signed_in = StitchedTable(self._connection).all()
        for *row, tallied in self._connection.execute(query, (begin, end, least, least)):
            for day, event, user, events in [row] if tallied is None else _decode_tallied(tallied):
                if day in days_by_number:
                    yield Usage(days_by_number[day], event, signed_in.get(user, user), events)

    def merge(self, *, at_least: int = 1) -> None:
        """Add the journal up into the table, if it has `at_least` so many rows."""
        while self._journal_rows() >= max(at_least, 1):
            with self._connection:
                self._connection.execute("begin immediate")
                self._merge_some()

    def _journal_rows(self) -> int:
        first, last = self._connection.execute("select min(number), max(number) from usage_journal").fetchone()
        return 0 if first is None else int(last - first + 1)

    def _merge_some(self) -> None:
        rows = self._connection.execute(
            "select number, sendable, tallied from usage_journal order by number limit ?", (MERGED_AT_ONCE,)
        ).fetchall()
        total: Counter[tuple[int, str, str, int]] = Counter()
        for _, sendable, tallied in rows:
            for day, event, user, events in _decode_tallied(tallied):
                total[day, event, user, sendable] += events
        self._connection.executemany(
            "insert into usage (day, event, user, sendable, events) values (?, ?, ?, ?, ?) "
            "on conflict do update set events = events + excluded.events",
            [(*key, events) for key, events in sorted(total.items())],
        )
        self._connection.execute("delete from usage_journal where number <= ?", (rows[-1][0],))

    def forget_users(self, users: Sequence[str]) -> None:
        """Delete what is known of these users, within a transaction of the caller's."""
        while self._journal_rows():
            self._merge_some()
        self._connection.executemany("delete from usage where user = ?", [(user,) for user in users])

    def give(self, visitor: str, user: str) -> None:
        """Let what is known of a visitor be a user's, within a transaction of the caller's."""
        while self._journal_rows():
            self._merge_some()
        self._connection.execute(
            "insert into usage (day, event, user, sendable, events) "
            "select day, event, ?, sendable, events from usage where user = ? "
            "on conflict do update set events = events + excluded.events",
            (user, visitor),
        )
        self._connection.execute("delete from usage where user = ?", (visitor,))

    def forget_before(self, day: date) -> None:
        """Delete what lies before a day."""
        self.merge()
        with self._connection:
            self._connection.execute("delete from usage where day < ?", (day_number(day),))


def day_number(day: date) -> int:
    """Return a day as a number from 1970 on."""
    return day.toordinal() - _1970_ORDINAL


def as_date(number: int) -> date:
    """Return the day of a number."""
    return _1970 + timedelta(days=number)


def _all_plain(events: Sequence[_Line], earliest: datetime, latest: datetime) -> bool:
    """Tell whether all times are in UTC and count, as nearly always: to look at each by itself is slow."""
    times = [event.time for event in events]
    return not times or ({time.tzinfo for time in times} == {UTC} and earliest <= min(times) and max(times) <= latest)


def _in_utc(event: _Line) -> _Line:
    event.time = _with_zone(event.time).astimezone(UTC)
    return event


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _decode_tallied(tallied: bytes) -> list[Tallied]:
    return msgspec.msgpack.decode(tallied, type=list[Tallied])
