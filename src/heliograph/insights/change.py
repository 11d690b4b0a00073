"""Where in a series of windows something changed for good, and how sure that is.

The one place that divides a series best into two levels is found by `ruptures` (Truong, Oudre, Vayatis 2020): its
`KernelCPD` with a linear kernel, which is least squares, exactly and in C. We took it for its exactness at some ten
microseconds a series, where the alternatives in Python took half a millisecond or more, and scipy and statsmodels have
tests for a place that is already known. What is left is done for all series of one length at once.

The score is that of two means with a known deviation: ``(before - after) / sd * sqrt(k (n - k) / n)``, where the
deviation is the larger of what chance alone gives and of what the series shows from window to window. The latter is
the median absolute difference of neighbours, divided by the root of two, which one change does not move.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST: Final = 2
"""Windows on either side of a change: one bad window is none."""
NORMAL_MAD: Final = 1.4826
"""Makes the median absolute deviation estimate the standard deviation of a normal distribution."""


class Series(NamedTuple):
    """The windows of one component, in the order of time: two levels' worth of them, at least."""

    values: Sequence[float]
    levelled: Sequence[float]
    """The same, transformed such that chance alone gives each of them a standard deviation of 1."""


class Change(NamedTuple):
    """The place that divides a series best."""

    at: int
    """The position of the first value of the new level."""
    before: float
    """The mean of the values before it."""
    after: float
    score: float
    """Deviations by which the level fell; negative if it rose."""


def find_changes(series: Sequence[Series]) -> list[Change]:
    """Return the change of each series.

    Raises:
        ValueError: One has fewer than twice `SHORTEST` values.
    """
    import ruptures  # noqa: PLC0415 - with SciPy it takes longer than most questions, which have no use for it

    if any(len(each.levelled) < 2 * SHORTEST for each in series):
        raise ValueError(f"a series has at least {2 * SHORTEST} windows")
    of_length: dict[int, list[int]] = defaultdict(list)
    for number, each in enumerate(series):
        of_length[len(each.levelled)].append(number)
    divider = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST, jump=1)
    found = {}
    for numbers in of_length.values():
        levels = np.array([series[number].levelled for number in numbers])
        deviations = NORMAL_MAD * np.median(np.abs(np.diff(levels)), axis=1) / math.sqrt(2)
        for number, row, deviation in zip(numbers, levels, deviations.tolist(), strict=True):
            at = int(divider.fit(row).predict(n_bkps=1)[0])
            found[number] = _change(series[number], at, max(deviation, 1.0))
    return [found[number] for number in range(len(series))]


def _change(series: Series, at: int, deviation: float) -> Change:
    values, levelled = series
    fall = (_mean(levelled[:at]) - _mean(levelled[at:])) / deviation
    count = len(values)
    return Change(at, _mean(values[:at]), _mean(values[at:]), fall * math.sqrt(at * (count - at) / count))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
