"""Where a table stands in the gateway's log: a property of its own, written in the same commit as its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heliograph.gateway.log import Place

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

_PROPERTY: Final = "heliograph.loaded"
"""``generation:offset``."""


def read_place(table: Table) -> Place:
    """Return the place up to which `table` has all that it takes from the log."""
    return _parse(table.properties.get(_PROPERTY))


def snapshot_place(snapshot: Snapshot) -> Place:
    """Return the place that a mart's snapshot was made for; the beginning of the log, if it does not say."""
    return _parse(None if snapshot.summary is None else snapshot.summary.additional_properties.get(_PROPERTY))


def _parse(text: str | None) -> Place:
    if text is None:
        return Place(0, 0)
    generation, _, offset = text.partition(":")
    return Place(int(generation), int(offset))


def standing_at(place: Place) -> dict[str, str | None]:
    """Return what the table's properties say as long as nobody has loaded more than up to `place`."""
    return {_PROPERTY: None} if place == Place(0, 0) else {**place_property(place)}


def place_property(place: Place) -> dict[str, str]:
    """Return the property that says so."""
    return {_PROPERTY: f"{place.generation}:{place.offset}"}
