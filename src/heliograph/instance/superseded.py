"""Whether this agent has stopped because another one sends for its instance: a file beside its state.

The file is what `heliograph agent status` reads, which is another process. The next agent to start removes it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from heliograph.frames import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

_FILE: Final = "superseded"


class Superseded:
    """The word on it, in the state's folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE

    def tell(self, moment: datetime) -> None:
        """Say that the agent has stopped at `moment`."""
        write_atomically(self._file, moment.isoformat().encode())

    def clear(self) -> None:
        """Say that it has not."""
        self._file.unlink(missing_ok=True)

    def since(self) -> datetime | None:
        """Return when the agent has stopped; None if it has not."""
        try:
            return datetime.fromisoformat(self._file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
