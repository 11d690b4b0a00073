"""Expiry: snapshots that no question reads any more go, with the files that they alone had.

And orphans: files that nothing refers to, from processes that were killed before they committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from pyiceberg.table.update.snapshot import ExpireSnapshots

from heliograph.lake.commits import commit
from heliograph.lake.durability import data_files_of, manifests_of, sync_files
from heliograph.lake.rewriting import table_name, unreferenced_files
from heliograph.lake.storage import storage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot

    from heliograph.lake.storage import StoredFile
    from heliograph.settings import LakeSettings


class Removed(msgspec.Struct, kw_only=True):
    """What was removed of one table, or would be."""

    table: str
    snapshots: int = 0
    files: int = 0
    bytes: int = 0


def outdated_snapshots(table: Table, settings: LakeSettings, now: datetime) -> set[int]:
    """Return the snapshots that were replaced longer ago than a question may take.

    It counts from when the next one came, not from when a snapshot was made: what was the newest until a moment ago may
    be read right now, however old it is.
    """
    before = now.timestamp() - settings.keep_snapshots_seconds
    replaced: dict[int, float] = {}
    for snapshot in table.metadata.snapshots:
        if snapshot.parent_snapshot_id is not None:
            moment = snapshot.timestamp_ms / 1_000
            replaced[snapshot.parent_snapshot_id] = min(moment, replaced.get(snapshot.parent_snapshot_id, moment))
    named = {reference.snapshot_id for reference in table.metadata.refs.values()}
    return {
        snapshot.snapshot_id
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id not in named
        and replaced.get(snapshot.snapshot_id, snapshot.timestamp_ms / 1_000) < before
    }


def expire(table: Table, settings: LakeSettings, now: datetime, *, dry_run: bool = False) -> Removed:
    """Let a table forget its outdated snapshots, and delete the files that only these had.

    They had been committed, so that nobody is about to commit them: they need no further grace. Whoever is killed in
    between leaves them for `clean`.
    """
    table.refresh()
    outdated = outdated_snapshots(table, settings, now)
    going = [each for each in table.metadata.snapshots if each.snapshot_id in outdated]
    if outdated and not dry_run:

        def change(transaction: Transaction) -> None:
            left = outdated.intersection(each.snapshot_id for each in transaction.table_metadata.snapshots)
            if left:
                ExpireSnapshots(transaction).by_ids(sorted(left)).commit()

        commit(table, change)
        sync_files([table.metadata_location])
    storage = storage_of(table)
    gone = {storage.identity(each) for each in _files_of_none_but(table, going)}
    found = [file for file in storage.files(table.location()) if file.location in gone] if gone else []
    if not dry_run:
        storage.delete(file.location for file in found)
    return _removed(table, found, snapshots=len(outdated))


def _files_of_none_but(table: Table, going: Sequence[Snapshot]) -> set[str]:
    """Return the locations of the files that some snapshots have, and no other of the table's has.

    A commit that adds rows leaves the manifests of before as they are, so that most often no data file needs a look.
    """
    left = [each for each in table.metadata.snapshots if each not in going]
    kept = manifests_of(table, left) if going else {}
    gone = {path: manifest for path, manifest in manifests_of(table, going).items() if path not in kept}
    files = data_files_of(table, gone.values()) - data_files_of(table, kept.values() if gone else ())
    return {each.manifest_list for each in going} | gone.keys() | files


def clean(table: Table, settings: LakeSettings, now: datetime, *, dry_run: bool = False) -> Removed:
    """Delete the files in a table's folder that nothing refers to, and nobody can be about to commit.

    Raises:
        ErasureError: A file that the table refers to is not there, so that nothing can be said of the others.
    """
    before = now.timestamp() - settings.orphan_seconds
    orphans = [file for file in unreferenced_files(table) if file.written < before]
    storage = storage_of(table)
    # PyIceberg deletes what the table was before its last few commits by itself.
    logged = {storage.identity(entry.metadata_file) for entry in table.metadata.metadata_log}
    orphans = [file for file in orphans if file.location not in logged]
    if not dry_run:
        storage.delete(file.location for file in orphans)
    return _removed(table, orphans)


def _removed(table: Table, files: Iterable[StoredFile], *, snapshots: int = 0) -> Removed:
    sizes = [file.size for file in files]
    return Removed(table=table_name(table), snapshots=snapshots, files=len(sizes), bytes=sum(sizes))
