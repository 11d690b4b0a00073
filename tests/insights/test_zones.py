"""Local days are those of the zone's own rules, in an engine that need not know the zone."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pytest

from heliograph.insights.scope import QuestionError
from heliograph.insights.zones import local_time

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "zone", ["America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
)
def test_local_times_are_those_of_the_zone_around_every_change_of_it(zone: str) -> None:
    hours = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(0, 28 * 365 * 24, 7)]
    days_of_change = [
        hour
        for before, hour in itertools.pairwise(hours)
        if before.astimezone(ZoneInfo(zone)).utcoffset() != hour.astimezone(ZoneInfo(zone)).utcoffset()
    ]
    seconds = [-1, 0, 1]
    moments = [day + timedelta(hours=h, seconds=s) for day in days_of_change for h in range(-8, 1) for s in seconds]
    moments += hours[::500]
    naive = [moment.replace(tzinfo=None) for moment in moments]
    table = ibis.memtable(pa.table({"time": pa.array(naive, pa.timestamp("us"))}))
    found = table.select(local=local_time(table.time, zone, now=NOW), time="time").to_pyarrow().to_pylist()
    expected = {
        moment.replace(tzinfo=None): moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in moments
    }
    assert {row["time"]: row["local"] for row in found} == expected


def test_a_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(QuestionError, match="no time zone"):
        local_time(ibis.now(), "Atlantis/Poseidonis", now=NOW)
