"""Which process sends for an instance: two that run at once, as after a machine was cloned, are told apart.

Each agent process draws a random id. A new one takes the place of the one before, as after a restart; one that has been
superseded and is heard again shows that two run.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MOST_SUPERSEDED: Final = 32
"""Of one instance: ids that are remembered; an agent that hears that it was superseded stops."""
_ID: Final = re.compile("[0-9a-f]{32}")


class Exporters(msgspec.Struct):
    """The processes that have sent for one instance."""

    current: str = ""
    superseded: list[str] = []
    """The latest last, and no more than `MOST_SUPERSEDED`."""

    def see(self, exporter: str) -> bool:
        """Take note of who sends; return False if it was superseded, and change nothing.

        Args:
            exporter: Its id; empty for a client that does not name itself, which is never refused.
        """
        if exporter in ("", self.current):
            return True
        if exporter in self.superseded:
            return False
        if self.current:
            self.superseded = [*self.superseded, self.current][-MOST_SUPERSEDED:]
        self.current = exporter
        return True


def is_exporter(text: str) -> bool:
    """Tell whether `text` is such an id: 32 hexadecimal digits in lower case."""
    return _ID.fullmatch(text) is not None
