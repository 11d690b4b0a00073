"""Retention: rows older than their class may be kept go for good, and how many events that were stays known.

The account of a lake is what was accepted, less what was erased, less what retention took. So the counts are written
down in the commit that takes the rows, as a property of the table of events, and moved from there to a table of their
own, `retired`: a run that is killed in between is finished by the next.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.types import DateType

from heliograph.lake.commits import commit, holds, replace_files
from heliograph.lake.maintenance.layout import in_order, read_rows, write_file
from heliograph.lake.marts.tables import retired_properties
from heliograph.lake.rewriting import columns_of, table_name
from heliograph.lake.storage import connect, local_path
from heliograph.lake.tables import DELIVERIES, EVENTS, NAMESPACE, PINGS, PROPERTIES, TIME, find_table, is_events

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction

    from heliograph.settings import LakeSettings
    from heliograph.wire import Counts

RETIRED: Final = f"{NAMESPACE}.retired"
RETIRED_SCHEMA: Final = pa.schema(
    [pa.field("run", pa.string()), pa.field("counts", pa.string()), pa.field("recorded", TIME)]
)
"""The columns of `retired`: `counts` is JSON, ``{instance: {name: events}}``, of one commit of one run."""
_PENDING: Final = "heliograph.retired."
"""A property of the table of events, by run: counts that are not in `retired` yet."""
_WHEN: Final = ("time", "day", "begun")
"""The column that says when it was that a row tells of: the first that a table has."""


class Retained(msgspec.Struct, kw_only=True):
    """What retention has taken from one table, or would."""

    table: str
    before: date
    """Rows of earlier days go."""
    rows: int = 0
    files: int = 0
    """Files that held such rows."""
    overtaken: int = 0
    """Files that somebody else replaced meanwhile; the next run looks at what came of them."""


def bound_of(table: Table, settings: LakeSettings, now: datetime) -> Retained | None:
    """Return before which day the rows of a table go; None where all stay.

    Deliveries stay for ever, as they are one half of a ledger; so does what counts what has gone.
    """
    name = table_name(table)
    if name in {DELIVERIES, RETIRED} or not set(_WHEN).intersection(columns_of(table)):
        return None
    by_table = {EVENTS: settings.retain_events_days, PINGS: settings.retain_pings_days}
    days = by_table.get(name, settings.retain_marts_days)
    return Retained(table=name, before=now.astimezone(UTC).date() - timedelta(days=days)) if days else None


def files_to_look_at(table: Table, of: Retained) -> list[DataFile]:
    """Return the files that may hold rows of days before the bound."""
    when, bound = _bound(table, of.before)
    tasks = table.scan(row_filter=f"{when} < '{bound.isoformat()}'").plan_files()
    return [task.file for task in tasks if task.file.spec_id == table.metadata.default_spec_id]


def _bound(table: Table, before: date) -> tuple[str, date | datetime]:
    when = next(name for name in _WHEN if name in columns_of(table))
    is_date = table.schema().find_type(when) == DateType()
    return when, before if is_date else datetime(before.year, before.month, before.day)  # noqa: DTZ001 - as the lake


def retain_file(table: Table, file: DataFile, into: Retained, *, dry_run: bool = False) -> None:
    """Take the rows of days before the bound out of one file, or the file, where that is all it has.

    What older snapshots know of them goes with these: see `heliograph.lake.maintenance.expiry`.

    Raises:
        LayoutError: The file is not as the table says.
        CommitConflictError: Others committed first too often.
    """
    if not holds(table, [file]):
        into.overtaken += 1
        return
    when, bound = _bound(table, into.before)
    rows = read_rows(table, [file])
    is_old = pc.less(rows.column(when), pa.scalar(bound, rows.schema.field(when).type))
    old = rows.filter(is_old)
    if not len(old):
        return
    if not dry_run:
        kept = rows.filter(pc.invert(pc.fill_null(is_old, fill_value=False)))
        new = [write_file(table, in_order(kept), file)] if len(kept) else []
        if not replace_files(table, [file], new, properties=_counts(table, old, into.before)):
            into.overtaken += 1
            return
    into.rows += len(old)
    into.files += 1


def _counts(table: Table, old: pa.Table, before: date) -> dict[str, str]:
    """Return the properties that say how many events of each instance and name go, and of which days; else none."""
    if not is_events(table):
        return {}
    counts: dict[str, Counts] = {}
    for row in old.group_by(["instance", "name"]).aggregate([([], "count_all")]).to_pylist():
        counts.setdefault(row["instance"], {})[row["name"]] = row["count_all"]
    latest = pc.max(old.column("received")).as_py()
    return {f"{_PENDING}{uuid.uuid4()}": json.dumps(counts), **retired_properties(table, before, latest)}


def settle(catalog: SqlCatalog, now: datetime) -> None:
    """Move counts from the table of events to `retired`, each once."""
    try:
        events = catalog.load_table(EVENTS)
    except NoSuchTableError:
        return
    pending = _pending(events)
    if not pending:
        return
    retired = catalog.create_table_if_not_exists(RETIRED, RETIRED_SCHEMA, properties=PROPERTIES)
    there = set(retired.scan(selected_fields=("run",)).to_arrow().column("run").to_pylist())
    moment = now.astimezone(UTC).replace(tzinfo=None)
    rows = [{"run": run, "counts": counts, "recorded": moment} for run, counts in pending.items() if run not in there]
    if rows:
        commit(retired, lambda transaction: transaction.append(pa.Table.from_pylist(rows, RETIRED_SCHEMA)))

    def forget(transaction: Transaction) -> None:
        transaction.remove_properties(*(_PENDING + run for run in pending))

    commit(events, forget)


def _pending(events: Table) -> dict[str, str]:
    return {
        name.removeprefix(_PENDING): value for name, value in events.properties.items() if name.startswith(_PENDING)
    }


def count_retired(settings: LakeSettings) -> dict[str, Counts]:
    """Return the events that retention has taken so far, by instance and name."""
    found: dict[str, str] = {}
    events, retired = find_table(settings, EVENTS), find_table(settings, RETIRED)
    if events is not None:
        found |= _pending(events)
    if retired is not None:
        found |= _read_runs(settings, retired)
    total: dict[str, Counts] = {}
    for text in found.values():
        counts: dict[str, Any] = json.loads(text)
        for instance, names in counts.items():
            into = total.setdefault(instance, {})
            for name, count in names.items():
                into[name] = into.get(name, 0) + count
    return total


def _read_runs(settings: LakeSettings, retired: Table) -> dict[str, str]:
    files = [local_path(task.file.file_path) for task in retired.scan().plan_files()]
    if not files:
        return {}
    with connect(settings) as connection:
        return dict(connection.execute("select run, counts from read_parquet($files)", {"files": files}).fetchall())
