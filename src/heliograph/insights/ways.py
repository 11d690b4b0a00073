"""How far users come on the steps of a funnel: one pass over the events of all of them, in this process.

DuckDB takes several times as long to put all events of all users in order as to read them, and does so anew for each
window that builds on another. Files have the events of an instance in the order in which they were recorded, and are
read by the time of their first event. So some events at a time are brought to those of the same user, put in order,
which they nearly are, and gone through; what those behind them need to know is a few numbers for each user. The memory
that it takes grows with the users, and not with their events: but for those of whom something comes behind what
happened later, whom `heliograph.insights.ends` has gone through once more, with all that they did at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.engines.embedded import read_batches
from heliograph.insights.listing import microseconds
from heliograph.insights.user_loops import ID_LETTERS, ID_WORDS, Kept, Known, Rows
from heliograph.insights.way_loops import LONG_AGO, STEP_BITS, Ways

if TYPE_CHECKING:
    import ibis

    from heliograph.insights.machine_code import UserLoops
    from heliograph.insights.user_loops import Numbers
    from heliograph.insights.way_windows import Course

    AnyArray: TypeAlias = np.ndarray[Any, Any]

_BATCH_ROWS: Final = 10_000
"""So many that calls cost nothing, and so few that what one is read into is still in a cache."""
_AT_ONCE: Final = 1 << 18
"""Events that are gone through together."""
_MICROSECONDS: Final = 60 * 60 * 1_000_000
"""Of an hour."""


def ways(
    events: ibis.Table, unit: str, course: Course, loops: UserLoops, *, at_once: int = _AT_ONCE
) -> pa.Table | None:
    """Return how far each user came.

    Args:
        events: With `user_id` and the column of the unit, which are never null; `time`; and `step`: its number, 0 for
            none.
        unit: What users belong to, such as ``account``; ``everyone``: to nothing.
        course: Says what a way is.
        loops: Do it, by its order.
        at_once: How many events are gone through together. Those of a user that come later and happened before come
            too late.

    Returns:
        The unit, `user_id`, `reached`, `begun` (a time, or null), `steps`; and `tied` and `late`, which say why the
        others do not: see `heliograph.insights.way_loops.Ways`. None, if an id is not such as users have, or is in
        several units.
    """
    moments = events.select(unit, "user_id", moment=(microseconds(events.time) << STEP_BITS) | events.step)
    found = _Passage(unit, course, loops, at_once)
    for batch in read_batches(moments.drop(unit) if unit == "everyone" else moments, rows=min(at_once, _BATCH_ROWS)):
        if not found.add(batch):
            return None
    return found.result()


class _Passage:
    """What is known of users, and some moments that are not gone through yet; see `ways`."""

    def __init__(self, unit: str, course: Course, loops: UserLoops, at_once: int) -> None:
        self._unit, self._loops, self._at_once = unit, loops, at_once
        self._steps, self._window = course.steps, course.window_hours * _MICROSECONDS
        # Nothing takes from a user the last step of another way than an exact one, which what comes too late may break.
        self._enough = course.steps + 1 if course.order == "exact" else course.steps
        self._units: dict[str, int] = {}
        self._count, self._rows = 0, 0
        self._known = Known(np.empty(0, np.int32), np.empty(0, np.int32), np.empty((0, ID_WORDS), np.uint64))
        self._ways = _no_ways(0, course.steps)
        self._kept = Kept(np.empty(0, np.int32), np.empty(0, np.int64))

    def add(self, batch: pa.RecordBatch) -> bool:
        """Add events; false, if nobody can go through them."""
        ids = batch.column("user_id")
        _, offsets, letters = ids.buffers()
        starts = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
        if starts[-1] - starts[0] != ID_LETTERS * len(ids):
            return False
        words = np.frombuffer(letters or b"", np.uint8, ID_LETTERS * len(ids), starts[0]).view(np.uint64)
        rows = Rows(starts, words.reshape(-1, ID_WORDS), self._units_of(batch), batch.column("moment").to_numpy())
        if self._rows + len(ids) > self._at_once:
            self._go()
        self._make_room(len(ids))
        count, self._rows = self._loops.keep(
            rows, self._known, self._count, self._ways.reached, self._enough, self._kept, self._rows
        )
        self._count = max(self._count, count)
        return bool(count >= 0)

    def result(self) -> pa.Table:
        """Return what `ways` does."""
        self._go()
        starts, letters = np.arange(self._count + 1) * ID_LETTERS, self._known.ids
        units = pa.array(self._units or [self._unit], pa.string())
        begun = self._ways.begun[: self._count]
        columns = {
            self._unit: units.take(pa.array(self._known.units[: self._count])),
            "user_id": pa.LargeStringArray.from_buffers(self._count, pa.py_buffer(starts), pa.py_buffer(letters)),
            "begun": pa.array(begun, mask=begun == LONG_AGO).cast(pa.timestamp("us")),
        }
        told = ("reached", "steps", "tied", "late")
        return pa.table(columns | {name: pa.array(getattr(self._ways, name)[: self._count]) for name in told})

    def _units_of(self, batch: pa.RecordBatch) -> Numbers:
        """Return the number of each user's unit, from 0 on as they come."""
        if self._unit not in batch.schema.names:
            return np.zeros(batch.num_rows, np.int32)
        encoded = batch.column(self._unit).dictionary_encode()
        numbers = [self._units.setdefault(word, len(self._units)) for word in encoded.dictionary.to_pylist()]
        found: Numbers = np.array(numbers, np.int32)[encoded.indices.to_numpy()]
        return found

    def _make_room(self, rows: int) -> None:
        """Make room for so many more users and moments."""
        users, moments = self._count + rows, self._rows + rows
        if users > len(self._known.ids):
            room = 2 << users.bit_length()
            _, units, ids = self._known
            self._known = Known(np.full(2 * room, -1, np.int32), _longer(units, room), _longer(ids, room))
            self._loops.place(self._known, self._count)
            more = _no_ways(room - len(ids), self._steps)
            self._ways = Ways(*(np.concatenate(pair) for pair in zip(self._ways, more, strict=True)))
        if moments > len(self._kept.moments):
            room = max(2 * moments, _AT_ONCE)
            self._kept = Kept(_longer(self._kept.numbers, room), _longer(self._kept.moments, room))

    def _go(self) -> None:
        """Go through what is kept, and keep nothing of it."""
        kept = Kept(self._kept.numbers[: self._rows], self._kept.moments[: self._rows])
        first = np.append(0, np.cumsum(np.bincount(kept.numbers, minlength=self._count)))
        gathered = np.empty(self._rows, np.int64)
        self._loops.gather(kept, first[:-1].copy(), gathered)
        self._loops.go(gathered, first, self._window, self._ways)
        self._rows = 0


def _no_ways(users: int, steps: int) -> Ways:
    """Return the ways of users who have done nothing so far."""
    zeros, flags, long_ago = np.zeros((2, users), np.int64), np.zeros((2, users), np.bool_), np.full(users, LONG_AGO)
    carried = np.full((users, steps + 1), LONG_AGO)
    return Ways(zeros[0], long_ago, zeros[1], flags[0], flags[1], long_ago.copy(), carried)


def _longer(array: AnyArray, rows: int) -> AnyArray:
    """Return an array of so many rows that begins with these."""
    longer = np.empty((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
