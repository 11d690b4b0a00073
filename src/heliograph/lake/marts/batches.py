"""What the definitions say of some events, by integers: several times quicker than queries on them.

Each word is replaced by its place in an ordered dictionary, so that a row's key is one number, and rows come in the
order in which files keep them without being sorted once more. It gives the same rows as
`heliograph.lake.marts.definitions`; tests hold it to that.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heliograph.lake.marts.definitions import PART_GAP_MINUTES
from heliograph.lake.marts.feature_sets import BITS, count_pages, numbered_features, numbers_of_names
from heliograph.lake.marts.tables import (
    ACTIVE_DAYS,
    INSTANCE_DAYS,
    SESSION_PARTS,
    SESSION_SPANS,
    USER_DAYS,
    USER_FEATURE_DAYS,
)
from heliograph.lake.tables import TIME
from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from heliograph.lake.marts.tables import Mart
    from heliograph.plan.model import Plan

    Integers: TypeAlias = npt.NDArray[np.int64]

_MINUTE: Final = 60 * 1_000_000
_DAY: Final = 24 * 60 * _MINUTE
_MOST: Final = 2**62
_USER: Final = ("account", "instance", "user_id")
_INSTANCE: Final = ("account", "instance")


class _Codes(NamedTuple):
    """A column as integers from 0 on, in the order of its values; null is the last of them."""

    values: Integers
    distinct: int

    def of(self, rows: Integers) -> _Codes:
        """Return those of some rows."""
        return _Codes(self.values[rows], self.distinct)


class _Words(NamedTuple):
    """A column of words."""

    codes: _Codes
    words: pa.Array
    """What each code stands for, in their order; null behind them."""


class _Groups(NamedTuple):
    """Rows with the same key, in the order of the keys."""

    order: Integers
    """The rows, those of a group side by side."""
    starts: Integers
    """Where each group begins among them."""

    @property
    def first(self) -> Integers:
        """A row of each group."""
        return self.order[self.starts]

    @property
    def counts(self) -> Integers:
        """How many rows each has."""
        return np.diff(self.starts, append=len(self.order))

    def sums(self, values: Integers) -> Integers:
        """Add up the values of each group's rows."""
        return np.add.reduceat(values[self.order], self.starts) if len(self.starts) else self.starts

    def unions(self, bits: Integers) -> Integers:
        """Unite the sets of each group's rows."""
        return np.bitwise_or.reduceat(bits[self.order], self.starts) if len(self.starts) else self.starts


class _Counted(NamedTuple):
    """Rows that stand for several events of one key each."""

    at: Integers
    """An event of each."""
    counts: dict[str, Integers]

    def grouped(self, groups: _Groups) -> _Counted:
        """Return a row for each group, with the sums of all counts."""
        return _Counted(self.at[groups.first], {name: groups.sums(values) for name, values in self.counts.items()})


class Batch:
    """The events of one commit, or of some days, that are counted.

    Args:
        events: With the columns of the lake; words may be dictionaries.
        plan: What the definitions depend on.
    """

    def __init__(self, events: pa.Table, plan: Plan) -> None:
        if events.column("actor").null_count < len(events):
            events = events.filter(pc.field("actor").is_null())
        self._plan = plan
        self._events = _renamed(events, present_names(plan))
        self._times = np.asarray(self._events.column("time").cast(pa.int64()), np.int64)
        self._days = self._times // _DAY
        self._known: dict[str, _Words] = {}

    def marts(self) -> dict[Mart, pa.Table]:
        """Return the rows of each mart that events are added to: of all but `instance_days`."""
        return {
            USER_DAYS: self.user_days(),
            USER_FEATURE_DAYS: self.user_feature_days(),
            ACTIVE_DAYS: self.active_days(),
            SESSION_PARTS: self.session_parts(),
            SESSION_SPANS: self.session_spans(),
        }

    def user_days(self) -> pa.Table:
        """Return the rows of `user_days`."""
        rows = self._of_days
        words = self._words((*_USER, "name", "outcome", "version", "source"), rows.at)
        kind = self._kind.words.take(pa.array(self._kind.codes.values[rows.at]))
        return _table(USER_DAYS, words | {"kind": kind} | self._day(rows.at) | rows.counts)

    def user_feature_days(self) -> pa.Table:
        """Return the rows of `user_feature_days`."""
        rows = self._of_features
        features = pa.array(list(numbered_features(self._plan)), pa.string())
        words = self._words((*_USER, "version", "source"), rows.at)
        words["feature"] = features.take(pa.array(self._numbers[rows.at]))
        return _table(USER_FEATURE_DAYS, words | self._day(rows.at) | rows.counts)

    def active_days(self) -> pa.Table:
        """Return the rows of `active_days`."""
        rows = self._of_features
        pages = self._pages(rows.at)
        groups = _groups([*self._codes(_USER, rows.at), self._day_codes.of(rows.at), pages])
        whole = rows.grouped(groups)
        sets = {"page": pages.values[groups.first], "features": groups.unions(self._bits(rows.at))}
        return _table(ACTIVE_DAYS, self._words(_USER, whole.at) | self._day(whole.at) | sets | whole.counts)

    def session_parts(self) -> pa.Table:
        """Return the rows of `session_parts`."""
        parts = self._parts
        words = ("name", "version", "source")
        groups = _groups([_Codes(parts.numbers, len(parts.begun)), *self._codes(words, parts.rows)])
        at = groups.first
        columns = {"events": groups.counts} | parts.times(parts.numbers[at])
        rows = parts.rows[at]
        return _table(SESSION_PARTS, self._words((*_USER, *words), rows) | self._day(rows) | columns)

    def session_spans(self) -> pa.Table:
        """Return the rows of `session_spans`."""
        parts = self._parts
        pages = self._pages(parts.rows)
        groups = _groups([_Codes(parts.numbers, len(parts.begun)), pages])
        at = groups.first
        sets = {"page": pages.values[at], "features": groups.unions(self._bits(parts.rows))}
        columns = {"events": groups.counts} | parts.times(parts.numbers[at]) | sets
        rows = parts.rows[at]
        return _table(SESSION_SPANS, self._words(_USER, rows) | self._day(rows) | columns)

    def instance_days(self) -> pa.Table:
        """Return the rows of `instance_days`, provided that these are all events of their days."""
        days, active = self._of_days, self._of_features
        groups = _groups([*self._codes(_INSTANCE, days.at), self._day_codes.of(days.at)])
        whole = days.grouped(groups)
        # What is active is a part of all: the groups of both are told by the same number of an instance's day.
        keys = _combined([*self._codes(_INSTANCE), self._day_codes])
        of_active = np.searchsorted(keys.values[whole.at], keys.values[active.at])
        count = len(whole.at)
        users = self._code("user_id")
        pairs = np.unique(of_active * users.distinct + users.values[active.at])
        used = np.unique(of_active * (len(self._plan.events) + 1) + self._numbers[active.at])
        columns = {
            "active_users": np.bincount(pairs // users.distinct, minlength=count),
            "features": np.bincount(used // (len(self._plan.events) + 1), minlength=count),
            **{
                name: np.bincount(of_active, active.counts[name], minlength=count).astype(np.int64)
                for name in ("core_actions", "outcomes", "failures")
            },
        }
        return _table(INSTANCE_DAYS, self._words(_INSTANCE, whole.at) | self._day(whole.at) | whole.counts | columns)

    @cached_property
    def _of_days(self) -> _Counted:
        """The rows of `user_days`."""
        of_name = [self._code(name) for name in ("name", "outcome", "version", "source")]
        groups = _groups([self._code("user_id"), self._day_codes, *of_name, self._kind.codes, *self._codes(_INSTANCE)])
        return _Counted(groups.first, {"events": groups.counts})

    @cached_property
    def _of_features(self) -> _Counted:
        """The rows of `user_feature_days`."""
        days = self._of_days
        chosen = np.flatnonzero(self._is_active[days.at])
        at, events = days.at[chosen], days.counts["events"][chosen]
        outcome = self._word("outcome")
        ended = outcome.codes.values[at] < len(outcome.words) - 1
        ok = pc.index(outcome.words, "ok").as_py()
        cores = {name for name, event in self._plan.events.items() if event.core}
        is_core = np.array([word in cores for word in self._word("name").words.to_pylist()], np.bool_)
        counts = {
            "events": events,
            "core_actions": events * is_core[self._code("name").values[at]],
            "outcomes": events * ended,
            "failures": events * (ended & (outcome.codes.values[at] != ok)),
        }
        keys = [*self._codes(_USER, at), self._day_codes.of(at), _Codes(self._numbers[at], len(self._plan.events) + 1)]
        return _Counted(at, counts).grouped(_groups([*keys, *self._codes(("version", "source"), at)]))

    @cached_property
    def _parts(self) -> _Parts:
        rows = np.flatnonzero(self._is_active)
        users = _combined(self._codes(_USER, rows)).values
        times = self._times[rows]
        order = _order_of(users, times)
        rows, users, times = rows[order], users[order], times[order]
        begins = np.ones(len(rows), np.bool_)
        days = self._days[rows]
        begins[1:] = (np.diff(users) != 0) | (np.diff(days) != 0) | (np.diff(times) > PART_GAP_MINUTES * _MINUTE)
        starts = np.flatnonzero(begins)
        return _Parts(rows, np.cumsum(begins) - 1, times[starts], times[np.append(starts, len(rows))[1:] - 1])

    @cached_property
    def _numbers(self) -> Integers:
        """The number of each event's feature; -1 for none."""
        known = dict(numbers_of_names(self._plan))
        words = self._word("name")
        return np.array([known.get(word, -1) for word in words.words.to_pylist()], np.int64)[words.codes.values]

    @cached_property
    def _is_active(self) -> npt.NDArray[np.bool_]:
        users = self._word("user_id")
        return (self._numbers >= 0) & (users.codes.values < len(users.words) - 1)

    @cached_property
    def _day_codes(self) -> _Codes:
        return _dense(self._days)

    @cached_property
    def _kind(self) -> _Words:
        """What kind each search is of; null for all else."""
        searches = self._plan.searches
        if searches is None or searches.by not in self._events.schema.names:
            return _Words(_Codes(np.zeros(len(self._events), np.int64), 1), pa.nulls(1, pa.string()))
        by = _encoded(self._events.column(searches.by).cast(pa.string()))
        names = self._word("name")
        place = pc.index(names.words, searches.event).as_py()
        is_search = names.codes.values == place
        return by._replace(codes=by.codes._replace(values=np.where(is_search, by.codes.values, len(by.words) - 1)))

    def _pages(self, rows: Integers) -> _Codes:
        return _Codes(self._numbers[rows] // BITS, count_pages(self._plan))

    def _bits(self, rows: Integers) -> Integers:
        return np.int64(1) << self._numbers[rows] % BITS

    def _word(self, name: str) -> _Words:
        if name not in self._known:
            self._known[name] = _encoded(self._events.column(name))
        return self._known[name]

    def _code(self, name: str) -> _Codes:
        return self._word(name).codes

    def _codes(self, names: Sequence[str], rows: Integers | None = None) -> list[_Codes]:
        return [self._code(name) if rows is None else self._code(name).of(rows) for name in names]

    def _words(self, names: Sequence[str], rows: Integers) -> dict[str, pa.Array]:
        return {name: self._word(name).words.take(pa.array(self._code(name).values[rows])) for name in names}

    def _day(self, rows: Integers) -> dict[str, pa.Array]:
        return {"day": pa.array(self._days[rows].astype(np.int32), pa.int32()).cast(pa.date32())}


class _Parts(NamedTuple):
    """The parts of sessions, in the order of users and times."""

    rows: Integers
    """The events of users who are active, in that order."""
    numbers: Integers
    """In which part each is: 0, 1, ..."""
    begun: Integers
    """When each part begins, in microseconds."""
    ended: Integers

    def times(self, numbers: Integers) -> dict[str, pa.Array]:
        """Return when some parts begin and end."""
        return {
            "begun": pa.array(self.begun[numbers]).cast(TIME),
            "ended": pa.array(self.ended[numbers]).cast(TIME),
        }


def _renamed(events: pa.Table, names: dict[str, str]) -> pa.Table:
    """Return events with the names that they have now, as words."""
    if not names:
        return events
    column = events.column("name").cast(pa.string())
    place = pc.index_in(column, pa.array(list(names), pa.string()))
    column = pc.coalesce(pa.array(list(names.values()), pa.string()).take(place.combine_chunks()), column)
    column = pa.chunked_array([column] if isinstance(column, pa.Array) else column.chunks, pa.string())
    return events.set_column(events.schema.get_field_index("name"), "name", column)


def _encoded(column: pa.ChunkedArray) -> _Words:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    order = pc.sort_indices(whole.dictionary)
    ranks = np.empty(len(order) + 1, np.int64)
    ranks[np.asarray(order)] = np.arange(len(order))
    ranks[-1] = len(order)
    indices = np.asarray(pc.fill_null(whole.indices.cast(pa.int64()), -1), np.int64)
    words = whole.dictionary.take(order).cast(pa.string())
    return _Words(_Codes(ranks[indices], len(ranks)), pa.concat_arrays([words, pa.nulls(1, pa.string())]))


def _dense(values: Integers) -> _Codes:
    least = int(values.min()) if len(values) else 0
    return _Codes(values - least, int(values.max()) - least + 1 if len(values) else 1)


def _combined(keys: Sequence[_Codes]) -> _Codes:
    """Return one number for each combination of values, in their order."""
    whole = keys[0]
    for key in keys[1:]:
        if whole.distinct * key.distinct > _MOST:
            distinct, values = np.unique(whole.values, return_inverse=True)
            whole = _Codes(values.astype(np.int64), max(1, len(distinct)))
        whole = _Codes(whole.values * key.distinct + key.values, whole.distinct * key.distinct)
    return whole


def _groups(keys: Sequence[_Codes]) -> _Groups:
    """Return which rows have the same values."""
    values = _combined(keys).values
    order = np.argsort(values)
    ordered = values[order]
    begins = np.ones(len(values), np.bool_)
    begins[1:] = ordered[1:] != ordered[:-1]
    return _Groups(order, np.flatnonzero(begins))


def _order_of(users: Integers, times: Integers) -> Integers:
    """Return the rows in the order of users and their times."""
    codes = _dense(times)
    if (int(users.max(initial=0)) + 1) * codes.distinct > _MOST:
        return np.lexsort((codes.values, users))
    return np.argsort(users * codes.distinct + codes.values)


def _table(mart: Mart, columns: dict[str, pa.Array | Integers]) -> pa.Table:
    return pa.table([columns[name] for name in mart.schema.names], names=mart.schema.names).cast(mart.schema)
