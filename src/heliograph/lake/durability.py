"""The files of a table's snapshots, and that they are on disk: PyIceberg forces its catalog to disk, and no files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from heliograph.frames import sync_folder
from heliograph.lake.tables import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot


def sync_snapshot(table: Table) -> None:
    """Force the files of the newest snapshot to disk: PyIceberg leaves that to its caller."""
    snapshot = table.current_snapshot()
    added = [] if snapshot is None else snapshot_files(table, snapshot, added_by={snapshot.snapshot_id})
    sync_files([table.metadata_location, *added])


def snapshot_files(table: Table, snapshot: Snapshot, *, added_by: set[int] | None = None) -> list[str]:
    """Return the locations of a snapshot's files, or of those that the snapshots `added_by` have added."""
    locations = [snapshot.manifest_list]
    for manifest in snapshot.manifests(table.io):
        if added_by is None or manifest.added_snapshot_id in added_by:
            locations.append(manifest.manifest_path)
            locations += [entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)]
    return locations


def sync_files(locations: Iterable[str]) -> None:
    """Force files, and that they are in their folders, to disk."""
    paths = [Path(local_path(location)) for location in locations]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
