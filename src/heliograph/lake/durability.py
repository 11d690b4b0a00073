"""The files of a table's snapshots, and that they are on disk: PyIceberg forces its catalog to disk, and no files.

The catalog may name a file only once that is on disk: after a power cut between the two there would be a table that
nobody can read, in place of what it held before. `DurableFileIO` sees to that, file by file.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from heliograph.frames import make_folder, sync_folder
from heliograph.lake.storage import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

_BUFFER_BYTES: Final = 1 << 20


class _DurableStream(io.BufferedWriter):
    """A new file, which is on disk, and in its folder, once it is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(io.FileIO(path, "w"), _BUFFER_BYTES)

    def close(self) -> None:
        """Force it to disk, and let go of it."""
        if not self.closed:
            self.flush()
            os.fsync(self.fileno())
            super().close()
            sync_folder(self._path.parent)


class _DurableFile(PyArrowFile):
    """A file of this machine's, to be written."""

    def create(self, overwrite: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyIceberg's signature
        """Begin it.

        Raises:
            FileExistsError: It is there, and may not be written over.
        """
        path = Path(local_path(self.location))
        if not overwrite and path.exists():
            raise FileExistsError(f"a file is there already: {path}")
        make_folder(path.parent)
        return _DurableStream(path)


class DurableFileIO(PyArrowFileIO):
    """PyIceberg's way to files: what it has written to this machine is on disk before the catalog names it."""

    def new_output(self, location: str) -> PyArrowFile:
        """Return a file to be written; one elsewhere, such as an object store, is durable by itself."""
        file = super().new_output(location)
        if not location.startswith(("file:", "/")):
            return file
        return _DurableFile(location, file._path, file._filesystem, file._buffer_size)  # noqa: SLF001 - it has no other


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


def files_of(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    """Return the locations of the files of all these snapshots; what they share is read once."""
    snapshots = list(snapshots)
    manifests = manifests_of(table, snapshots)
    lists = {snapshot.manifest_list for snapshot in snapshots}
    return lists | manifests.keys() | data_files_of(table, manifests.values())


def manifests_of(table: Table, snapshots: Iterable[Snapshot]) -> dict[str, ManifestFile]:
    """Return the manifests of all these snapshots, by location."""
    return {each.manifest_path: each for snapshot in snapshots for each in snapshot.manifests(table.io)}


def data_files_of(table: Table, manifests: Iterable[ManifestFile]) -> set[str]:
    """Return the locations of the data files that these manifests tell of."""
    return {entry.data_file.file_path for each in manifests for entry in each.fetch_manifest_entry(table.io)}


def sync_files(locations: Iterable[str]) -> None:
    """Force files of this machine, and that they are in their folders, to disk."""
    paths = [Path(path) for path in map(local_path, locations) if path.startswith("/")]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
