"""Where in a series of windows something changed for good, and how sure that is.

The one place that divides a series best into two levels is the one that leaves the least squares unexplained. Thousands
of short series are looked at together: what `ruptures` (Truong, Oudre, Vayatis 2020) does for one of them, its
`KernelCPD` with a linear kernel, is done for all of one length at once, by the same steps in the same order. A test
holds the two equal to the last bit, which is what decides where two places are as good as each other.

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

    import numpy.typing as npt

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
    of_length: dict[int, list[int]] = defaultdict(list)
    for number, each in enumerate(series):
        of_length[len(each.levelled)].append(number)
    found = {}
    for numbers in of_length.values():
        levels = np.array([series[number].levelled for number in numbers])
        own = NORMAL_MAD * np.median(np.abs(np.diff(levels)), axis=1) / math.sqrt(2)
        for number, at, deviation in zip(numbers, _places(levels).tolist(), own.tolist(), strict=True):
            found[number] = _change(series[number], at, max(deviation, 1.0))
    return [found[number] for number in range(len(series))]


def _change(series: Series, at: int, deviation: float) -> Change:
    values, levelled = series
    fall = (_mean(levelled[:at]) - _mean(levelled[at:])) / deviation
    count = len(values)
    return Change(at, _mean(values[:at]), _mean(values[at:]), fall * math.sqrt(at * (count - at) / count))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _places(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return for each row where the second of its two levels begins.

    What a stretch from `s` to `t` leaves unexplained is the sum of its squares, less the sum of the products of all its
    pairs divided by its length.
    """
    rows, count = levels.shape
    squares, alone, pairs = np.zeros((rows, count + 1)), np.zeros((rows, count + 1)), np.zeros((rows, count))
    squares[:, 1:] = np.cumsum(levels * levels, axis=1)
    for end in range(1, count + 1):
        products = levels[:, :end] * levels[:, end - 1 : end]
        pairs[:, :end] += 2 * np.cumsum(products[:, ::-1], axis=1)[:, ::-1] - products[:, -1:]
        alone[:, end] = squares[:, end] - pairs[:, 0] / end
    places = np.arange(SHORTEST, count - SHORTEST + 1)
    rest = squares[:, -1:] - squares[:, places] - pairs[:, places] / (count - places)
    best: npt.NDArray[np.int64] = SHORTEST + np.argmin(alone[:, places] + rest, axis=1)
    return best
