"""Which process sends for an instance: two that run at once, as after a machine was cloned, are told apart.

Each agent process draws a random id. A new one takes the place of the one before, as after a restart, with the first
delivery of its own that is stored; one that has been superseded and is heard again shows that two run.

What a process had on its way when it died may come late, and is no sign of life: a repetition takes nobody's place. Nor
does what is stored of those that the one which sends now has named: it began after them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SUPERSEDED: Final = 32
"""Of one instance: ids that are remembered; an agent that hears that it was superseded stops."""
_ID: Final = re.compile("[0-9a-f]{32}")


class Exporters(msgspec.Struct):
    """The processes that have sent for one instance."""

    current: str = ""
    superseded: list[str] = []
    """The latest last, and no more than `MOST_SUPERSEDED`."""

    def take_over(self, exporter: str, after: Sequence[str] = ()) -> None:
        """Take note of who has stored a delivery; one that was superseded stays so.

        Args:
            exporter: Its id; empty for a client that does not name itself.
            after: Those that ran before it, as far as it knows: whatever comes of them yet, it began later.
        """
        if exporter in ("", self.current) or exporter in self.superseded:
            return
        before = [each for each in dict.fromkeys((*after, self.current)) if each not in ("", exporter)]
        self.superseded = [*(each for each in self.superseded if each not in before), *before][-MOST_SUPERSEDED:]
        self.current = exporter


def is_exporter(text: str) -> bool:
    """Tell whether `text` is such an id: 32 hexadecimal digits in lower case."""
    return _ID.fullmatch(text) is not None
