"""Where users stop on the steps of a funnel: found by loops in this process, or by windows of SQL."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from heliograph.engines.embedded import beside
from heliograph.insights.listing import is_in_process
from heliograph.insights.machine_code import compiled_loops
from heliograph.insights.way_windows import by_windows
from heliograph.insights.ways import ways

if TYPE_CHECKING:
    from heliograph.insights.machine_code import UserLoops
    from heliograph.insights.way_windows import Course

_PAYS_FROM: Final = 1_000_000
"""Events of a lake: to import Numba takes as long as to put those of a funnel among so many in order by windows."""


class End(NamedTuple):
    """Where a user stops."""

    unit: str
    """What the user belongs to."""
    reached: int
    """The number of the last step; 0 for none."""
    is_pending: bool
    """Whether a way begun so late that it can still go on."""


def count_ends(
    events: ibis.Table, unit: str, course: Course, *, until: datetime, stored: int | None = None
) -> Counter[End]:
    """Return how many users stop where, of those who did any step at all.

    Args:
        events: With the unit, `user_id`, `time`, `sequence`, and `step`: its number, 0 for none.
        unit: The column of what users belong to; ``everyone`` is the same word in all rows.
        course: Says what a way is.
        until: When events end (naive UTC).
        stored: How many events there are at all; None: many.
    """
    latest = until - timedelta(hours=course.window_hours)
    is_worth_it = is_in_process(events) and (stored is None or stored >= _PAYS_FROM)
    loops = compiled_loops(course.order) if is_worth_it else None
    found = None if loops is None else _gone_through(events, unit, course, loops)
    if found is None:
        return _by_windows(events, unit, course, latest)
    # Sequence numbers are not read, as they matter to next to nobody: the events of those few are read once more.
    tied, certain = _parted(found, "tied")
    ends = _counted(certain, unit, latest)
    if tied.num_rows:
        with beside(events, tied.select(["user_id"])) as users:
            ends += _by_windows(events.semi_join(users, "user_id"), unit, course, latest)
    return ends


def _gone_through(events: ibis.Table, unit: str, course: Course, loops: UserLoops) -> pa.Table | None:
    """Return how far each user came, as `heliograph.insights.ways.ways` does, and nobody too late."""
    found = ways(events, unit, course, loops)
    if found is None:
        return None
    late, in_time = _parted(found, "late")
    if not late.num_rows:
        return found
    with beside(events, late.select(["user_id"])) as users:
        again = ways(events.semi_join(users, "user_id"), unit, course, loops, at_once=sys.maxsize)
    return None if again is None else pa.concat_tables([in_time, again])


def _parted(users: pa.Table, flag: str) -> tuple[pa.Table, pa.Table]:
    """Return the users of whom a column holds, and those of whom it does not."""
    return users.filter(users[flag]), users.filter(pc.invert(users[flag]))


def _counted(users: pa.Table, unit: str, latest: datetime) -> Counter[End]:
    users = users.filter(pc.greater(users["steps"], 0))
    pending = pc.greater(users["begun"], pa.scalar(latest, pa.timestamp("us"))).fill_null(False)  # noqa: FBT003 - the value
    by = [unit, "reached", "pending"]
    counts = users.append_column("pending", pending).group_by(by).aggregate([([], "count_all")])
    return _ends(counts.select([*by, "count_all"]))


def _by_windows(events: ibis.Table, unit: str, course: Course, latest: datetime) -> Counter[End]:
    # The user alone where the unit is the same word in all rows.
    key = ["user_id"] if unit == "everyone" else [unit, "user_id"]
    users = by_windows(events, key, course)
    users = users.filter(users.steps > 0).select(
        (users[unit] if unit in key else ibis.literal(unit)).name(unit),
        "reached",
        pending=(users.begun > ibis.literal(latest, "timestamp(6)")).fill_null(False),  # noqa: FBT003 - the value it stands for
    )
    counts = users.group_by(users.columns).agg(users=users.count())
    return _ends(counts.to_pyarrow())


def _ends(counts: pa.Table) -> Counter[End]:
    """Return ends, with the number of users behind what else there is of each."""
    columns = (column.to_pylist() for column in counts.columns)
    return Counter({End(*end): users for *end, users in zip(*columns, strict=True)})
