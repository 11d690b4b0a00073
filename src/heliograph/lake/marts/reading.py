"""Which files hold the lake as of one place in the gateway's log: the events, and the marts made of just these."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from pyiceberg.conversions import from_bytes
from pyiceberg.types import TimestampType

from heliograph.engines import Stored
from heliograph.lake.marts import tables
from heliograph.lake.marts.changing import paths_of
from heliograph.lake.marts.definitions import definition_digest
from heliograph.lake.marts.tables import MARTS, SESSION_SPANS, SPAN_FILE, find_mart, read_state
from heliograph.lake.places import BEGINNING, read_places, snapshot_places
from heliograph.lake.storage import local_path
from heliograph.lake.tables import event_schema, find_events, open_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from heliograph.gateway.log_reading import Place
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings


def read_lake(settings: LakeSettings, plan: Plan) -> dict[str, Stored]:
    """Return events and marts, by name, as of the same place in the log.

    The events are looked at first. Each commit of theirs is preceded by those of the marts, so that each mart has a
    snapshot that stands where the events do, and a later one is left aside. Only a reader that takes minutes for this
    gets marts that stand before or behind the events, by a commit of the loader.

    Args:
        settings: Where the lake is.
        plan: What is asked with.

    Returns:
        ``events``; and the marts, unless one is not there, is being made, or was made by another definition.
    """
    events = find_events(settings)
    if events is None:
        return {"events": Stored((), event_schema(plan))}
    files = _by_time(events, _data_files(events, events.current_snapshot()))
    rows = sum(file.record_count for file in files)
    found = {"events": Stored(tuple(local_path(file.file_path) for file in files), event_schema(plan), rows=rows)}
    return found | (_read_marts(settings, definition_digest(plan), read_places(events.properties)) or {})


def read_raw_from(settings: LakeSettings) -> date | None:
    """Return the first day of which all events are still there; None where nothing has run out."""
    events = find_events(settings)
    day = date.min if events is None else tables.read_raw_from(events)
    return None if day == date.min else day


def _read_marts(settings: LakeSettings, digest: str, places: Mapping[str, Place]) -> dict[str, Stored] | None:
    catalog = open_catalog(settings)
    found = {}
    for mart in MARTS:
        table = find_mart(catalog, mart)
        if table is None or not read_state(table).covers(digest):
            return None
        told = SPAN_FILE if mart is SESSION_SPANS else ""
        found[mart.name] = Stored(_files(table, _snapshot_at(table, places)), mart.schema, told)
    return found


def _by_time(events: Table, files: Iterable[DataFile]) -> list[DataFile]:
    """Return files of events by their first times: read like that, a user's events come nearly in order."""
    time = events.schema().find_field("time").field_id

    def first(file: DataFile) -> int:
        bound = (file.lower_bounds or {}).get(time)
        return 0 if bound is None else int(from_bytes(TimestampType(), bound))

    return sorted(files, key=first)


def _files(table: Table, snapshot: Snapshot | None) -> tuple[str, ...]:
    return tuple(paths_of(_data_files(table, snapshot)))


def _data_files(table: Table, snapshot: Snapshot | None) -> list[DataFile]:
    if snapshot is None:
        return []
    return [task.file for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files()]


def _snapshot_at(table: Table, places: Mapping[str, Place]) -> Snapshot | None:
    """Return the newest snapshot that stands no further in any log than `places`."""
    newest = found = table.current_snapshot()
    while found is not None:
        if all(place <= places.get(log, BEGINNING) for log, place in snapshot_places(found).items()):
            return found
        if found.parent_snapshot_id is None:
            return None  # it was made of what the events do not have yet
        found = table.snapshot_by_id(found.parent_snapshot_id)
    return newest  # all earlier ones have been let go
