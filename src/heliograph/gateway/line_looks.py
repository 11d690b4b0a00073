"""A quick look at lines: whether all of them are right, and as the gateway would write them itself.

Nearly all are, where their sender holds them to the same plan and leaves out what has no value. This sees so by one
pass over their letters (`heliograph.gateway.line_loops`), without making an event of each and without writing them
anew. It gives no verdicts: wherever it finds a fault, or is in doubt, lines are decoded, judged and written by
`heliograph.plan.lines`. So it may be stricter than the plan, never more lenient, and the same comes of lines whether
they are looked at or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from heliograph.gateway.line_loops import FIRST, ID_LETTERS, IDS, LAST, LINES, VERSIONS
from heliograph.gateway.line_tables import tables_of
from heliograph.gateway.plan_tables import is_version
from heliograph.plan.sensitive.random_ids import looks_derived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from heliograph.plan.model import Plan
    from heliograph.plan.sensitive.wall import Looks
    from heliograph.wire import Counts

    LineLoop: TypeAlias = Callable[..., Any]
    """`heliograph.gateway.line_loops.read_lines`, as it is to be run."""

_PADDING: Final = bytes(256)
"""Behind the last line: more than is read of whatever stands there."""
_MOST_LOOKS: Final = 10_000
"""Ids that may look derived, and versions, of one body: far more than there are."""


class Faultless(NamedTuple):
    """Lines in which nothing is at fault, and which are as the gateway writes them."""

    rows: int
    first: int
    """The lowest sequence number."""
    last: int
    names: Counts
    """Events by name."""


class LineLook:
    """Knows what a plan allows in lines.

    Args:
        plan: The plan.
        looks: What its second wall looks at in each event.
        most: A bound on the lines.
    """

    def __init__(self, plan: Plan, looks: Mapping[str, Looks], most: int) -> None:
        self._names = [*plan.events]
        self._tables = tables_of(plan, looks)
        self._most = most

    def faultless(self, content: bytes, *, latest: int, read_lines: LineLoop) -> Faultless | None:
        """Return what is in lines that are right and written as the gateway would; None if anything is in doubt.

        Args:
            content: Lines; the last one may lack its end.
            latest: The latest time that an event may have, in microseconds since 1970 in UTC.
            read_lines: How to go through them.
        """
        padded = content + _PADDING
        words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
        found = np.zeros(5, np.int64)
        counts = np.zeros(len(self._names), np.int64)
        ids, versions = np.empty(_MOST_LOOKS, np.int64), np.empty((_MOST_LOOKS, 2), np.int64)
        if not read_lines(
            np.frombuffer(padded, np.uint8),
            words,
            len(content),
            self._tables,
            latest,
            self._most,
            found,
            counts,
            ids,
            versions,
        ):
            return None
        places = ids[: found[IDS]].tolist()
        if any(looks_derived(word.decode()) for word in {content[place : place + ID_LETTERS] for place in places}):
            return None
        told = versions[: found[VERSIONS]].tolist()
        if not all(map(is_version, {content[place : place + length] for place, length in told})):
            return None
        names = {name: count for name, count in zip(self._names, counts.tolist(), strict=True) if count}
        return Faultless(int(found[LINES]), int(found[FIRST]), int(found[LAST]), names)
