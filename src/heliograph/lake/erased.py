"""What was erased of each epoch: what was loaded is known by the rows that are there, and this tells of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pyiceberg.table import Table

ERASED_EPOCHS: Final = "heliograph.erased-epochs"
"""The property of `events` with the last number erased of each epoch: JSON, ``{instance: {epoch: number}}``."""


def read_erased_epochs(table: Table) -> dict[str, dict[int, int]]:
    """Return the last sequence number erased of each epoch, by instance."""
    text = table.properties.get(ERASED_EPOCHS, "{}")
    return msgspec.json.decode(text, type=dict[str, dict[int, int]])
