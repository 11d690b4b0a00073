"""What does not leave although the level allows it now: found when a batch is built, for all its rows at once.

Three have a say here: the intervals in which somebody had said no (`heliograph.instance.withheld`), users who have
opted out (`heliograph.instance.opt_outs`), and users who were forgotten (`heliograph.instance.forgetting`). An event
of a visitor who has signed in since (`heliograph.instance.stitching`) is the user's, and either's word counts. An event
without a user, in a session that is known to be of such a user, is treated as theirs.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from heliograph.consent.level import Level
from heliograph.event import UNDECLARED, Verdict, microseconds
from heliograph.instance.forgetting import Forgotten
from heliograph.instance.opt_outs import OptOuts, OptOutsFile
from heliograph.instance.pseudonyms import SESSION, USER
from heliograph.instance.sessions import SessionUsers
from heliograph.instance.stitching import Stitching
from heliograph.instance.withheld import Interval, Withheld
from heliograph.plan.buffers import as_mask, column_values, fresh_column, rows_with_value, valid_rows
from heliograph.wire import VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from heliograph.instance.state import State
    from heliograph.instance.withheld import Word
    from heliograph.plan.buffers import Booleans, Integers

_ALWAYS: Final = (1 << 63) - 1
_NEVER: Final = -1
_SCHEMA: Final = "create table if not exists seen_once (what text primary key) without rowid"


class OptOutsUnknownError(OSError):
    """It is not known who has opted out, so that nothing may be sent; the message says what to do."""


class Kept(NamedTuple):
    """The rows that may leave."""

    table: pa.Table
    held_back: VerdictCounts
    """The others, by name and verdict."""


class Refusals:
    """All that is known at one moment; with it one batch is built."""

    def __init__(
        self,
        *,
        intervals: Sequence[Interval],
        silent: Sequence[Interval],
        opt_outs: OptOuts,
        forgotten: Forgotten,
        sessions: SessionUsers,
        stitching: Stitching,
    ) -> None:
        self._intervals = intervals
        self._silent = silent
        self._out = opt_outs.keys_out()
        self._back = {user: microseconds(moment) for user, moment in opt_outs.keys_back().items()}
        self._forgotten = forgotten
        self._sessions = sessions
        self._stitching = stitching
        self._concerns_users = bool(self._out or self._back or forgotten)

    def keep(self, table: pa.Table, names: frozenset[str]) -> Kept:
        """Return what may leave of events as recorded, visitors as the users they are, and learn whose sessions are.

        Args:
            table: The outbox's columns, among them ``time``, and with words ``name``, ``user`` and ``session``.
            names: Those that may stand in counts.
        """
        if table.num_rows == 0:
            return Kept(table, {})
        recorded = table.column("user").combine_chunks()
        users, keys = self._signed_in(recorded)
        sessions = table.column("session").combine_chunks()
        times = _times(table.column("time").combine_chunks())
        withheld = self._withheld_rows(times)
        refused = self._refused_rows(times, users, sessions)
        if users is not recorded and self._concerns_users:  # somebody may have said no as a visitor
            refused |= times < _per_row(recorded, map(self._limit, keys))
        refused &= ~withheld
        held_back: VerdictCounts = {}
        if users is not recorded:
            table = _with_column(table, "user", users)
        if withheld.any() or refused.any():
            for rows, verdict in ((withheld, Verdict.NOT_PERMITTED), (refused, Verdict.OPTED_OUT)):
                merge_counts(held_back, _count_names(table.column("name").filter(as_mask(rows)), names, verdict))
            table = _without_unused(table.filter(as_mask(~(withheld | refused))))
        return Kept(table, held_back)

    def _signed_in(self, recorded: pa.DictionaryArray) -> tuple[pa.DictionaryArray, list[str]]:
        """Return the users, as whom visitors count who have signed in, and the keys as recorded."""
        keys = recorded.dictionary.to_pylist()
        users = self._stitching.users_of(keys)
        if not users:
            return recorded, keys
        words = pa.array([users.get(key, key) for key in keys], pa.string())
        # Encoded anew, as a word that stands there twice would show that two keys are one user.
        return pa.DictionaryArray.from_arrays(recorded.indices, words).cast(pa.string()).dictionary_encode(), keys

    def leaves_out(
        self, *, locally: bool, marked: Callable[[str], bool] | None = None
    ) -> Callable[[str, datetime], bool] | None:
        """Return what tells of a user and a time whether an event may not even be counted as use; None: none may not.

        Args:
            locally: Whether the count stays on the instance, where the time does not matter at which all was off.
            marked: Tells who is none of the customer's own people; None: nobody.
        """
        silent = () if locally else self._silent
        if not self._concerns_users and not silent and marked is None:
            return None

        def tell(key: str, time: datetime) -> bool:
            moment = microseconds(time)
            for user in {key, *self._stitching.users_of((key,)).values()}:
                if marked is not None and marked(user):
                    return True
                if self._concerns_users and moment < self._limit(user):
                    return True
            return any(since <= moment < until for since, until in silent)

        return tell

    def left_out_rows(self, table: pa.Table, *, locally: bool, marked: Callable[[str], bool] | None = None) -> Booleans:
        """As `leaves_out`, tell it of all rows of events as recorded."""
        silent = () if locally else self._silent
        users = table.column("user").combine_chunks()
        times = _times(table.column("time").combine_chunks())
        rows = np.zeros(len(times), np.bool_)
        if self._concerns_users or marked is not None:
            keys = users.dictionary.to_pylist()
            signed_in = self._stitching.users_of(keys)
            rows |= times < _per_row(users, [self._count_limit({key, signed_in.get(key, key)}, marked) for key in keys])
        for since, until in silent:
            rows |= (since <= times) & (times < until)
        return rows

    def _count_limit(self, users: Iterable[str], marked: Callable[[str], bool] | None) -> int:
        """Return the moment before which nothing of one who has these keys is counted."""
        limits = (_ALWAYS if marked is not None and marked(user) else self._limit(user) for user in users)
        return max(limits)

    def _withheld_rows(self, times: Integers) -> Booleans:
        rows = np.zeros(len(times), np.bool_)
        first, last = times.min(), times.max()
        for since, until in self._intervals:
            if since <= last and first < until:
                rows |= (since <= times) & (times < until)
        return rows

    def _refused_rows(self, times: Integers, users: pa.DictionaryArray, sessions: pa.DictionaryArray) -> Booleans:
        """Tell which rows are by users who want none of it, and learn the sessions of all but the forgotten."""
        if not self._concerns_users:
            self._sessions.learn(sessions, users)
            return np.zeros(len(times), np.bool_)
        keys = users.dictionary.to_pylist()
        forgotten = times < _per_row(users, [self._forgotten.until(USER, key) for key in keys])
        if forgotten.any():
            kept = as_mask(~forgotten)
            self._sessions.learn(sessions.filter(kept), users.filter(kept))
        else:
            self._sessions.learn(sessions, users)
        rows = forgotten | (times < _per_row(users, [self._choice(key) for key in keys]))
        nobodys = valid_rows(sessions) & ~valid_rows(users)
        if nobodys.any():
            rows |= nobodys & (times < _per_row(sessions, self._session_limits(sessions.dictionary.to_pylist())))
        return rows

    def _limit(self, user: str) -> int:
        """Return the moment before which this user's events stay."""
        return max(self._choice(user), self._forgotten.until(USER, user))

    def _choice(self, user: str) -> int:
        """Return the moment before which this user's events stay, by the user's own choice."""
        return _ALWAYS if user in self._out else self._back.get(user, _NEVER)

    def _session_limits(self, sessions: Sequence[str]) -> list[int]:
        users = self._sessions.users_of(sessions)
        return [
            max(
                self._forgotten.until(SESSION, session),
                *(self._limit(user) for user in users.get(session, ())),
                _NEVER,
            )
            for session in sessions
        ]


class Objections:
    """Keeps at hand who has said no to what.

    Args:
        state: The agent's memory.
        outbox: Where the opt-outs are.
    """

    def __init__(self, state: State, outbox: Path) -> None:
        self._state = state
        self._file = OptOutsFile(outbox)
        self._forgotten = Forgotten.read(state.connection)
        self.withheld: Final = Withheld(state, Level.EVENTS)
        self._silent: Final = Withheld(state, Level.CRITICAL)
        self.sessions: Final = SessionUsers(state)
        self.stitching: Final = Stitching(state, outbox)
        state.connection.execute(_SCHEMA)
        query = "select 1 from seen_once where what = 'opt-outs'"
        self._has_been_there = state.connection.execute(query).fetchone() is not None

    @property
    def generation(self) -> int:
        """The generation, as `State.generation`, that the last look found."""
        return self._forgotten.generation

    def tell(self, word: Word, now: datetime) -> None:
        """Take note of what is said now of the level, before anything is done about it."""
        self.withheld.tell(word, now)
        self._silent.tell(word, now)

    def look(self) -> Refusals:
        """Look who has said no, and who has signed in.

        Raises:
            OptOutsUnknownError: The file of the opt-outs is damaged or gone.
            OSError: It, or the file of the sign-ins, cannot be read.
        """
        self.stitching.look()
        if self._state.generation() != self._forgotten.generation:
            self._forgotten = Forgotten.read(self._state.connection)
            self.sessions.clear()
            self.stitching.clear()
        return Refusals(
            intervals=self.withheld.intervals,
            silent=self._silent.intervals,
            opt_outs=self._opt_outs(),
            forgotten=self._forgotten,
            sessions=self.sessions,
            stitching=self.stitching,
        )

    def _opt_outs(self) -> OptOuts:
        found = self._file.read()
        path = self._file.path
        if found.damaged:
            raise OptOutsUnknownError(
                f"{path}: damaged in line {', '.join(map(str, found.damaged[:10]))}, so that it is not known who has "
                "opted out there, and nothing is sent. Let those users opt out again, and delete these lines."
            )
        if found.lines:
            if not self._has_been_there:
                self._state.connection.execute("insert or ignore into seen_once values ('opt-outs')")
                self._has_been_there = True
            with contextlib.suppress(OSError):  # a full disk: later
                self._file.compact()
        elif self._has_been_there:
            raise OptOutsUnknownError(
                f"{path}: is gone, so that it is not known who has opted out, and nothing is sent. Put back a copy, "
                "or, if there is none and everybody may be recorded again, make an empty file."
            )
        return found


def _without_unused(table: pa.Table) -> pa.Table:
    """Return a table with words that some row uses alone: who may not leave gets no random id, either."""
    columns = [column.combine_chunks() for column in table.columns]
    words = [pa.types.is_dictionary(column.type) for column in columns]
    return pa.table(
        [fresh_column(column) if is_word else column for column, is_word in zip(columns, words, strict=True)],
        names=table.column_names,
    )


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def _times(column: pa.Array) -> Integers:
    """Return microseconds since 1970; 0 where there is no time, which the plan rejects."""
    times = np.zeros(len(column), np.int64)
    rows = rows_with_value(column)
    times[rows] = column_values(column.view(pa.int64()))[rows]
    return times


def _per_row(words: pa.DictionaryArray, values: Iterable[int]) -> Integers:
    """Return for each row the value of its word; `_NEVER` where it has none."""
    result = np.full(len(words), _NEVER, np.int64)
    rows = rows_with_value(words)
    if len(rows):
        result[rows] = np.array(list(values), np.int64)[column_values(words.indices)[rows]]
    return result


def _count_names(column: pa.ChunkedArray, names: frozenset[str], verdict: Verdict) -> VerdictCounts:
    counts: VerdictCounts = {}
    encoded = column.combine_chunks().dictionary_encode()
    words = encoded.dictionary.to_pylist()
    rows = rows_with_value(encoded)
    numbers = np.bincount(column_values(encoded.indices)[rows], minlength=len(words)).tolist() if len(rows) else []
    for word, number in [*zip(words, numbers, strict=False), (None, len(encoded) - len(rows))]:
        if number:
            merge_counts(counts, {word if word in names else UNDECLARED: {verdict: number}})
    return counts
