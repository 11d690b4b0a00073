"""Where the lake's files are: a folder of this machine, or a bucket of an object store that speaks S3.

All that differs between the two is here: how files are found, read, deleted and kept, and how PyIceberg and DuckDB
come to them. In an object store a file is durable, and there as a whole, once it is written; in a folder it is forced
to disk.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

import duckdb
from pyarrow import fs
from pyiceberg.io import S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_REGION, S3_SECRET_ACCESS_KEY

from heliograph.frames import make_folder, sync_folder, write_atomically
from heliograph.settings import LakeSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiceberg.table import Table

_OBJECTS: Final = "s3://"


class StoredFile(NamedTuple):
    """A file of the lake."""

    location: str
    """As the catalog names it, if it does: equal for two names of one file."""
    size: int
    """In bytes."""
    written: float
    """When it was written, in seconds since 1970."""


class Storage(Protocol):
    """The files of one lake."""

    url: str
    """The warehouse, as the catalog has it."""
    properties: dict[str, str]
    """What PyIceberg needs to come to it."""

    def make(self) -> None:
        """Make the place of the files, where it is missing."""

    def location(self, name: str) -> str:
        """Return where the warehouse keeps, or may keep, a file of its own by this name."""

    def identity(self, location: str) -> str:
        """Return the one name of a file that the catalog may name in several ways."""

    def files(self, under: str) -> list[StoredFile]:
        """Return all files under a location, by their names."""

    def exists(self, location: str) -> bool:
        """Tell whether a file is there."""

    def open(self, location: str) -> IO[bytes]:
        """Open a file for reading.

        Raises:
            FileNotFoundError: It is not there.
        """

    def write(self, location: str, content: bytes) -> None:
        """Keep a small file, whole or not at all."""

    def delete(self, locations: Iterable[str]) -> None:
        """Delete files such that they stay deleted; those that are gone already are no matter."""

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a connection of DuckDB read the files."""

    def arrow_files(self) -> fs.FileSystem:
        """Return the files as Arrow reads them."""


class LocalStorage:
    """A folder of this machine, or one that it shares with others."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).absolute()
        self.url = self._folder.as_uri()
        self.properties: dict[str, str] = {}

    def make(self) -> None:
        """Make the folder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def location(self, name: str) -> str:
        """Return the path in the folder."""
        return str(self._folder / name)

    def identity(self, location: str) -> str:
        """Return the path, without links on the way."""
        return str(Path(local_path(location)).resolve())

    def files(self, under: str) -> list[StoredFile]:
        """Return all files below a folder."""
        found = []
        for path in sorted(Path(local_path(under)).resolve().rglob("*")):
            try:
                status = path.lstat()
            except FileNotFoundError:  # somebody has deleted it meanwhile
                continue
            if path.is_file():
                found.append(StoredFile(str(path), status.st_size, status.st_mtime))
        return found

    def exists(self, location: str) -> bool:
        """Tell whether a file is there."""
        return Path(local_path(location)).exists()

    def open(self, location: str) -> IO[bytes]:
        """Open a file."""
        return Path(local_path(location)).open("rb")

    def write(self, location: str, content: bytes) -> None:
        """Write a file anew, and force it to disk."""
        path = Path(local_path(location))
        make_folder(path.parent)
        write_atomically(path, content)

    def delete(self, locations: Iterable[str]) -> None:
        """Delete files, and force that to disk."""
        paths = [Path(local_path(each)) for each in locations]
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            if folder.is_dir():
                sync_folder(folder)

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """DuckDB reads this machine's files by itself."""

    def arrow_files(self) -> fs.FileSystem:
        """Return the files of this machine."""
        return fs.LocalFileSystem()


class ObjectStorage:
    """A bucket, or a part of one."""

    def __init__(self, settings: LakeSettings) -> None:
        self.url = settings.warehouse.rstrip("/")
        given = {
            S3_ENDPOINT: settings.store_endpoint,
            S3_REGION: settings.store_region,
            S3_ACCESS_KEY_ID: settings.store_access_key,
            S3_SECRET_ACCESS_KEY: settings.store_secret_key,
        }
        self.properties = {name: value for name, value in given.items() if value}
        self._files = _object_files(
            settings.store_endpoint, settings.store_region, settings.store_access_key, settings.store_secret_key
        )

    def make(self) -> None:
        """Nothing is to be made: the bucket is its owner's, and prefixes need not be there."""

    def location(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.url}/{name}"

    def identity(self, location: str) -> str:
        """Return the URL, which an object has but one of."""
        return location

    def files(self, under: str) -> list[StoredFile]:
        """Return all objects whose names begin so."""
        found = self._files.find(under.rstrip("/") + "/", detail=True)
        return [
            StoredFile(f"{_OBJECTS}{name}", about["size"], about["LastModified"].timestamp())
            for name, about in sorted(found.items())
            if about["type"] == "file"
        ]

    def exists(self, location: str) -> bool:
        """Tell whether an object is there."""
        return bool(self._files.exists(location))

    def open(self, location: str) -> IO[bytes]:
        """Open an object."""
        return cast("IO[bytes]", self._files.open(location, "rb"))

    def write(self, location: str, content: bytes) -> None:
        """Write an object, which is there as a whole or not at all."""
        self._files.pipe_file(location, content)

    def delete(self, locations: Iterable[str]) -> None:
        """Delete objects, many with one request."""
        wanted = list(locations)
        if wanted:
            self._files.rm(wanted)

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let DuckDB read through s3fs."""
        connection.register_filesystem(self._files)

    def arrow_files(self) -> fs.FileSystem:
        """Return the objects, by their names without ``s3://``."""
        return fs.PyFileSystem(fs.FSSpecHandler(self._files))


@functools.cache
def _object_files(endpoint: str, region: str, key: str, secret: str) -> Any:
    """Return the way to an object store; empty fields are left to the environment, as all S3 clients read it."""
    import s3fs  # noqa: PLC0415 - a third of what a process takes to start, most of which have a folder

    return s3fs.S3FileSystem(
        key=key or None,
        secret=secret or None,
        endpoint_url=endpoint or None,
        client_kwargs={"region_name": region} if region else {},
        use_listings_cache=False,  # others write, too
        skip_instance_cache=True,
    )


def open_storage(settings: LakeSettings) -> Storage:
    """Return the files of the lake that the settings name."""
    return ObjectStorage(settings) if is_remote(settings) else LocalStorage(settings.warehouse)


def storage_of(table: Table) -> Storage:
    """Return the files of the lake that a table belongs to, as its catalog was opened."""
    url, properties = table.location(), table.io.properties
    if not url.startswith(_OBJECTS):
        return LocalStorage(local_path(url))
    return ObjectStorage(
        LakeSettings(
            warehouse=url,
            store_endpoint=properties.get(S3_ENDPOINT, ""),
            store_region=properties.get(S3_REGION, ""),
            store_access_key=properties.get(S3_ACCESS_KEY_ID, ""),
            store_secret_key=properties.get(S3_SECRET_ACCESS_KEY, ""),
        )
    )


def is_remote(settings: LakeSettings) -> bool:
    """Tell whether the lake's files are in an object store."""
    return settings.warehouse.startswith(_OBJECTS)


def connect(lake: LakeSettings | Table) -> duckdb.DuckDBPyConnection:
    """Open DuckDB so that it can read the files of a lake, or of a table's."""
    connection = duckdb.connect()
    storage = open_storage(lake) if isinstance(lake, LakeSettings) else storage_of(lake)
    storage.attach(connection)
    return connection


def local_path(location: str) -> str:
    """Return a file's path from its URL in the catalog; what is elsewhere keeps its URL."""
    return unquote(urlsplit(location).path) if location.startswith("file:") else location
