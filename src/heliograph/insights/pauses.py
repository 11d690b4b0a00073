"""Sessions of users' events: one pass over the events of some users, by numpy."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pyarrow as pa

from heliograph.insights.listing import INTEGERS, in_order, moments
from heliograph.lake.marts.feature_sets import numbered_features, numbers_of_names

if TYPE_CHECKING:
    from heliograph.insights.listing import Flags, InOrder, Numbers
    from heliograph.plan.model import Plan

_WORD_BITS: Final = 63
_TIME: Final = dt.Timestamp(scale=6)
_SESSION: Final = dt.Struct({"begun": _TIME, "ended": _TIME, "events": dt.int64, "features": dt.int64})


class FeatureNumbers(NamedTuple):
    """The features of events that make their user active, by number."""

    table: ibis.Table
    """The `name` of each such event, and `feature_number`, from 0 on."""
    features: int
    """How many there are."""


def feature_numbers(plan: Plan) -> FeatureNumbers:
    """Return the plan's features, the same table each time: expressions of equal parts are compiled once."""
    return FeatureNumbers(_table_of(numbers_of_names(plan)), len(numbered_features(plan)))


@lru_cache(maxsize=16)
def _table_of(numbers: tuple[tuple[str, int], ...]) -> ibis.Table:
    columns = {
        "name": pa.array([name for name, _ in numbers], pa.string()),
        "feature_number": pa.array([number for _, number in numbers], pa.int64()),
    }
    return ibis.memtable(pa.table(columns))


def use(events: ibis.Table, features: int) -> ibis.Value:
    """Return the list of all events, as `sessions_of` takes it.

    Args:
        events: With `time`, `feature_number` and `counts` (whether the filters leave it).
        features: How many there are.
    """
    kind = (events.feature_number << 1) | events.counts.cast("int64")
    return moments(events.time, kind, bits=_bits(features))


def _bits(features: int) -> int:
    """Return how many bits beside the time tell what an event is."""
    return max(features - 1, 0).bit_length() + 1


@ibis.udf.scalar.pyarrow(signature=((INTEGERS, "int64", "int64", "int64"), dt.Array(_SESSION)))  # type: ignore[untyped-decorator]  # Ibis's, which has no types
def sessions_of(use: pa.ChunkedArray, features: pa.ChunkedArray, gap: pa.ChunkedArray) -> pa.Array:
    """Return the sessions of each user.

    Args:
        use: A list for each user.
        features: How many there are.
        gap: The longest pause within a session, in microseconds.
    """
    bits = _bits(features[0].as_py())
    pause = gap[0].as_py()
    return pa.concat_arrays([_cut(events, pause) for events in in_order(use, bits=bits, apart=pause)])


def _cut(events: InOrder, pause: int) -> pa.ListArray:
    """Return the sessions of some users, who are further from each other than a pause."""
    times = events.times
    begins = np.ones(len(times), np.bool_)
    begins[1:] = times[1:] - times[:-1] > pause
    begun = np.flatnonzero(begins)
    ended = np.append(begun[1:], len(times)) - 1
    offsets = np.append(np.searchsorted(begun, events.first), len(begun))
    since = np.repeat(events.begun, np.diff(offsets))
    counts = (events.kinds & 1).astype(np.bool_)
    sessions = pa.StructArray.from_arrays(
        [
            pa.array(times[begun] + since).cast(pa.timestamp("us")),
            pa.array(times[ended] + since).cast(pa.timestamp("us")),
            pa.array(np.add.reduceat(counts.astype(np.int64), begun)),
            pa.array(_distinct(events.kinds >> 1, counts, begun)),
        ],
        _SESSION.names,
    )
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), sessions)


def _distinct(features: Numbers, counts: Flags, begun: Numbers) -> Numbers:
    """Return how many features each session has among its events that count."""
    found = np.zeros(len(begun), np.int64)
    for least in range(0, int(features.max()) + 1, _WORD_BITS):
        here = counts & (features >= least) & (features < least + _WORD_BITS)
        bits = np.where(here, np.int64(1) << np.where(here, features - least, 0), 0)
        found += np.bitwise_count(np.bitwise_or.reduceat(bits, begun))
    return found
