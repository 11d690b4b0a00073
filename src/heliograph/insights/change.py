"""Where in a series of windows something changed for good, and how sure that is.

The one place that divides a series best into two levels is found by `ruptures` (Truong, Oudre, Vayatis 2020): its
`KernelCPD` with a linear kernel, which is least squares, exactly and in C. We took it for its exactness at tens of
microseconds a series, where the alternatives in Python took half a millisecond or more, and scipy and statsmodels have
tests for a place that is already known.

The score is that of two means with a known deviation: ``(before - after) / sd * sqrt(k (n - k) / n)``, where the
deviation is the larger of what chance alone gives and of what the series shows from window to window. The latter is
the median absolute difference of neighbours, divided by the root of two, which one change does not move.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST: Final = 2
"""Windows on either side of a change: one bad window is none."""
NORMAL_MAD: Final = 1.4826
"""Makes the median absolute deviation estimate the standard deviation of a normal distribution."""


class Change(NamedTuple):
    """The place that divides a series best."""

    at: int
    """The position of the first value of the new level."""
    before: float
    """The mean of the values before it."""
    after: float
    score: float
    """Deviations by which the level fell; negative if it rose."""


def find_change(values: Sequence[float], levelled: Sequence[float]) -> Change | None:
    """Return the change of a series; None where there are too few values for two levels.

    A series is a handful of numbers, of which there are thousands: all but the search computes without arrays, which
    cost more to be made than to be gone through.

    Args:
        values: In the order of time.
        levelled: The same, transformed such that chance alone gives each of them a standard deviation of 1.
    """
    import ruptures  # noqa: PLC0415 - with SciPy it takes longer than most questions, which have no use for it

    count = len(values)
    if count < 2 * SHORTEST:
        return None
    model = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST, jump=1).fit(np.array(levelled))
    at = int(model.predict(n_bkps=1)[0])
    own = NORMAL_MAD * median(abs(after - before) for before, after in pairwise(levelled)) / math.sqrt(2)
    fall = (fmean(levelled[:at]) - fmean(levelled[at:])) / max(own, 1.0)
    return Change(at, fmean(values[:at]), fmean(values[at:]), fall * math.sqrt(at * (count - at) / count))
