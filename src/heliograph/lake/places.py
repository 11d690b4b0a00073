"""Where a table stands in a gateway's log: a property of its own, written in the same commit as its rows.

Each gateway has a log. Where several fill one lake, each log has a name (`lake.log`), and a place of its own; a table
knows by its catalog which log it is filled from in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heliograph.gateway.log_reading import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

LOG: Final = "heliograph.log"
"""The catalog's property with the log's name, as this process has been told it."""
_PROPERTY: Final = "heliograph.loaded"
"""``generation:offset``; of a log with a name, with a dot and the name behind."""
BEGINNING: Final = Place(0, 0)
"""Of any log: where a table stands that no property says anything of."""


def read_place(table: Table) -> Place:
    """Return the place up to which `table` has all that it takes from this process's log."""
    return _parse(table.properties.get(_property(table)))


def read_places(properties: Mapping[str, str]) -> dict[str, Place]:
    """Return the places in all logs that a table's, or a snapshot's, properties tell of."""
    return {name: _parse(text) for name, text in properties.items() if _is_place(name)}


def read_logs(properties: Mapping[str, str]) -> dict[str, Place]:
    """Return the places that a table's properties tell of, by the names of the logs: empty of the one without."""
    return {name.removeprefix(_PROPERTY)[1:]: place for name, place in read_places(properties).items()}


def snapshot_places(snapshot: Snapshot) -> dict[str, Place]:
    """Return the places that a mart's snapshot was made for; none is the beginning of a log."""
    return {} if snapshot.summary is None else read_places(snapshot.summary.additional_properties)


def standing_at(place: Place, table: Table) -> dict[str, str | None]:
    """Return what the table's properties say as long as nobody has loaded more of this log than up to `place`."""
    return {_property(table): None} if place == BEGINNING else {**place_property(place, table)}


def place_property(place: Place, table: Table) -> dict[str, str]:
    """Return the property that says so, of this process's log; the beginning is where no property says anything."""
    return {} if place == BEGINNING else {_property(table): f"{place.generation}:{place.offset}"}


def all_places(place: Place, table: Table) -> dict[str, str]:
    """Return the properties with the places in all logs, this process's being `place`."""
    known = {name: text for name, text in table.properties.items() if _is_place(name)}
    return known | place_property(place, table)


def log_name(table: Table) -> str:
    """Return the name of this process's log; empty where it has none."""
    return str(table.catalog.properties.get(LOG, ""))


def _property(table: Table) -> str:
    log = log_name(table)
    return f"{_PROPERTY}.{log}" if log else _PROPERTY


def _is_place(name: str) -> bool:
    return name == _PROPERTY or name.startswith(f"{_PROPERTY}.")


def _parse(text: str | None) -> Place:
    if text is None:
        return BEGINNING
    generation, _, offset = text.partition(":")
    return Place(int(generation), int(offset))
