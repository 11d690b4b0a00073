"""Taking rows out of an Iceberg table for good: out of its rows, then out of its past, then off the disk."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType

from heliograph.lake.commits import replace_files
from heliograph.lake.durability import files_of, snapshot_files, sync_files
from heliograph.lake.erased import ERASED_EPOCHS, read_erased_epochs
from heliograph.lake.matching import iceberg_filter
from heliograph.lake.storage import local_path, storage_of
from heliograph.lake.tables import DELIVERIES, EVENTS, NAMESPACE
from heliograph.lake.writers.writer import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from heliograph.lake.matching import Scope
    from heliograph.lake.storage import StoredFile
    from heliograph.lake.writers import Writer

_ERASED: Final = "heliograph.erased."
"""A table's property of this name and an order's id: what the order has erased, in the same commit as the rows."""
_ATTEMPTS: Final = 10


class ErasureError(Exception):
    """An erasure did not succeed, and its order stays pending; the message says why."""


class Erased(msgspec.Struct, kw_only=True):
    """What an order has erased from one table so far."""

    rows: dict[str, dict[str, int]] = {}
    """Events by instance and name; of any other table, nothing."""
    total: int = 0
    files: int = 0
    """Data files that held such rows."""
    first_day: date | None = None
    """The first day on which an erased event happened."""

    def add(self, other: Erased) -> None:
        """Add what a further commit erased."""
        for instance, names in other.rows.items():
            self.rows[instance] = dict(Counter(self.rows.get(instance, {})) + Counter(names))
        self.total += other.total
        self.files += other.files
        days = [day for day in (self.first_day, other.first_day) if day is not None]
        self.first_day = min(days, default=None)


def concerned_tables(catalog: SqlCatalog) -> list[Table]:
    """Return the tables whose rows belong to an account or an instance, the events first.

    Not the deliveries: they are evidence of what arrived, hold nothing of a user, and are one half of a ledger.
    """
    tables = [catalog.load_table(name) for name in sorted(catalog.list_tables(NAMESPACE))]
    found = [table for table in tables if {"account", "instance"}.intersection(columns_of(table))]
    found = [table for table in found if table_name(table) != DELIVERIES]
    return sorted(found, key=lambda table: table_name(table) != EVENTS)


def table_name(table: Table) -> str:
    """Return a table's name with its namespace."""
    return ".".join(table.name())


def columns_of(table: Table) -> list[str]:
    """Return the names of a table's columns."""
    return [field.name for field in table.schema().fields]


def read_erased(table: Table, erasure: str) -> Erased:
    """Return what an order that is not proved yet has erased from a table."""
    return msgspec.json.decode(table.properties.get(_ERASED + erasure, "{}"), type=Erased)


class Matches(NamedTuple):
    """What of a table orders cover."""

    files: list[DataFile]
    """Those that have such rows."""
    erased: dict[str, Erased]
    """By the order's id."""
    epochs: dict[str, dict[int, int]]
    """The last number covered of each epoch, by instance."""


def find_matches(table: Table, scopes: Sequence[Scope], writer: Writer) -> Matches:
    """Return what of a table each order covers."""
    columns = columns_of(table)
    tasks = table.scan(row_filter=iceberg_filter(scopes, columns)).plan_files()
    files = {local_path(task.file.file_path): task.file for task in tasks}
    found: dict[str, Erased] = {}
    epochs: dict[str, dict[int, int]] = {}
    covered: dict[str, set[str]] = {}
    for each in writer.find(table, sorted(files), scopes) if files else []:
        covered.setdefault(each.erasure, set()).add(each.file)
        one = Erased(total=each.rows)
        if each.first is not None:
            one.rows, one.first_day = {each.instance: {each.name: each.rows}}, each.first.date()
            numbers = epochs.setdefault(each.instance, {})
            numbers[each.epoch] = max(each.last, numbers.get(each.epoch, 0))
        found.setdefault(each.erasure, Erased()).add(one)
    for erasure, names in covered.items():
        found[erasure].files = len(names)
    return Matches([files[name] for name in sorted(set().union(*covered.values()))], found, epochs)


def erase_rows(table: Table, scopes: Sequence[Scope], writer: Writer) -> None:
    """Take the rows that the orders cover out of the newest snapshot, and write down how many that were.

    Raises:
        ErasureError: Others wrote to the table at each attempt.
        LayoutError: A file is not as the table says.
        EngineError: The writer's engine could not.
    """
    for _ in range(_ATTEMPTS):
        table.refresh()
        found = find_matches(table, scopes, writer)
        if not found.files:
            return
        # Counted again if others come first, so that what is written down is what was erased.
        new = without_rows(table, found.files, scopes, writer)
        replace_files(table, found.files, new, properties=_properties(table, found.erased, found.epochs))
    raise ErasureError(
        f"{table_name(table)}: others write to it at each attempt. Only the loader may write to the lake"
    )


def without_rows(table: Table, files: Sequence[DataFile], scopes: Sequence[Scope], writer: Writer) -> list[DataFile]:
    """Write files anew without the rows that orders cover; nothing refers to the new ones yet."""
    change = Change(without=tuple(scopes))
    written: list[DataFile] = []
    for first in range(0, len(files), writer.at_once):
        for new in writer.rewrite(table, [[file] for file in files[first : first + writer.at_once]], change):
            written += new
    return written


def _properties(table: Table, found: dict[str, Erased], epochs: dict[str, dict[int, int]]) -> dict[str, str]:
    properties = {}
    for erasure, erased in found.items():
        total = read_erased(table, erasure)
        total.add(erased)
        properties[_ERASED + erasure] = msgspec.json.encode(total).decode()
    if epochs:
        known = read_erased_epochs(table)
        for instance, numbers in epochs.items():
            into = known.setdefault(instance, {})
            for epoch, number in numbers.items():
                into[epoch] = max(number, into.get(epoch, 0))
        properties[ERASED_EPOCHS] = msgspec.json.encode(known).decode()
    return properties


def forget_past(table: Table) -> None:
    """Let the table remember its newest snapshot alone: older ones still name the files with the erased rows."""
    table.refresh()
    newest = _without_deleted_entries(table)
    if newest is None:
        return
    # From here on it stands alone. Files of all ages: who wrote them may have been killed before this.
    sync_files([table.metadata_location, *snapshot_files(table, newest)])
    for name, reference in table.refs().items():
        if name != MAIN_BRANCH and reference.snapshot_id != newest.snapshot_id:
            manage = table.manage_snapshots()
            is_tag = reference.snapshot_ref_type is SnapshotRefType.TAG
            (manage.remove_tag(name) if is_tag else manage.remove_branch(name)).commit()
    table.refresh()
    older = [each.snapshot_id for each in table.snapshots() if each.snapshot_id != newest.snapshot_id]
    if older:
        table.maintenance.expire_snapshots().by_ids(older).commit()
        table.refresh()
        sync_files([table.metadata_location])


def _without_deleted_entries(table: Table) -> Snapshot | None:
    """Return the newest snapshot, made anew if it still tells of the files that it has done away with.

    A snapshot that deletes has a manifest of what it deletes, with the least and greatest values of each column. The
    next one leaves that manifest out, even if it adds nothing.
    """
    newest = table.current_snapshot()
    manifests = [] if newest is None else newest.manifests(table.io)
    if any(not (manifest.has_added_files() or manifest.has_existing_files()) for manifest in manifests):
        with table.transaction() as transaction, transaction.update_snapshot().fast_append():
            pass
        table.refresh()
    return table.current_snapshot()


def unreferenced_files(table: Table) -> list[StoredFile]:
    """Return the files in a table's folder that nothing refers to any more.

    Raises:
        ErasureError: A file that the table refers to is not there, so that nothing can be said of the others.
    """
    storage = storage_of(table)
    # In this order: what is committed meanwhile refers to files that are not among those that were found.
    files = storage.files(table.location())
    table.refresh()
    kept = {storage.identity(location) for location in referenced_files(table)}
    there = {file.location for file in files}
    missing = [each for each in sorted(kept - there) if not storage.exists(each)]
    if missing:
        raise ErasureError(f"{missing[0]}: {table_name(table)} refers to this file, and it is not there")
    return [file for file in files if file.location not in kept]


def referenced_files(table: Table) -> list[str]:
    """Return the locations of all files that any snapshot of a table refers to."""
    metadata = table.metadata
    statistics = [each.statistics_path for each in (*metadata.statistics, *metadata.partition_statistics)]
    return [table.metadata_location, *files_of(table, metadata.snapshots), *statistics]


def delete_files(table: Table, files: Sequence[StoredFile]) -> None:
    """Delete files such that they stay deleted."""
    storage_of(table).delete(file.location for file in files)


def forget_counts(table: Table, pending: set[str]) -> None:
    """Take out what was written down for orders that are proved: their proofs say it."""
    table.refresh()
    done = [key for key in table.properties if key.startswith(_ERASED) and key.removeprefix(_ERASED) not in pending]
    if done:
        with table.transaction() as transaction:
            transaction.remove_properties(*done)
