"""Local times, made of UTC by the zone's own table of changes: the same in every engine, whatever zones it knows."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import ibis

from heliograph.insights.scope import QuestionError, zone_named

if TYPE_CHECKING:
    from datetime import tzinfo

FIRST_YEAR: Final = 2000
"""Times before it get the offset that held when it began; no product tells of them."""
WIDEST: Final = timedelta(hours=26)
"""No local day begins or ends further from that of UTC."""
YEARS_AHEAD: Final = 2
"""Years after that of asking whose changes are known."""


def local_time(time: ibis.Value, zone: str, *, now: datetime) -> ibis.Value:
    """Return the wall-clock time in `zone` of `time`; both are naive timestamps.

    Raises:
        QuestionError: The zone is not known.
    """
    if zone == "UTC":
        return time
    offsets = _offsets(zone, now.year + YEARS_AHEAD)
    branches = [
        (time < ibis.literal(begun, "timestamp(6)"), time + ibis.interval(seconds=before))
        for (_, before), (begun, _) in itertools.pairwise(offsets)
    ]
    last = time + ibis.interval(seconds=offsets[-1][1])
    return ibis.cases(*branches, else_=last) if branches else last


@lru_cache
def _offsets(name: str, last_year: int) -> list[tuple[datetime, int]]:
    """Return from when on (naive UTC) which offset holds, in seconds, in their order."""
    zone = zone_named(name)
    if zone is None:
        raise QuestionError([f"{name!r} is no time zone; write one such as UTC or Europe/Berlin."])
    day = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    end = datetime(last_year + 1, 1, 1, tzinfo=UTC)
    found = [(day.replace(tzinfo=None), _offset(zone, day))]
    while day < end:
        if _offset(zone, day + timedelta(days=1)) != found[-1][1]:
            moment = _change(zone, day)
            found.append((moment.replace(tzinfo=None), _offset(zone, moment)))
        day += timedelta(days=1)
    return found


def _offset(zone: tzinfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def _change(zone: tzinfo, day: datetime) -> datetime:
    """Return the second within the day after `day` at which the offset changes."""
    low, high, before = 0, 24 * 60 * 60, _offset(zone, day)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, day + timedelta(seconds=middle)) == before else (low, middle)
    return day + timedelta(seconds=high)
