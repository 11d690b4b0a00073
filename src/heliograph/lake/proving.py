"""The proof of an erasure: every file under the lake's warehouse and the log is looked through, referenced or not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile

from heliograph.gateway.bodies import inflate
from heliograph.gateway.log_entries import PingEntry
from heliograph.gateway.log_reading import SUFFIX
from heliograph.gateway.scrub import look_through
from heliograph.lake.matching import sql_case
from heliograph.lake.tables import are_deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heliograph.gateway.log_entries import Stored
    from heliograph.lake.matching import Scope
    from heliograph.lake.storage import Storage
    from heliograph.settings import GatewaySettings

FOLDER: Final = "erasures"
"""Under the warehouse: lists of scanned files, each named by its own SHA-256."""
_BLOCK: Final = 1 << 20
_BOUND_CHARACTERS: Final = 15
"""Iceberg keeps the first 16 characters of a column's least and greatest value, and may count the last one up."""


class Finding(NamedTuple):
    """Something that is still there."""

    erasure: str
    place: str
    """The file, and what is in it: no value of it."""


class Scanned(NamedTuple):
    """One file that was looked through."""

    place: str
    size: int
    digest: str


class Scan:
    """Looks through files for what orders cover, and keeps the list of them.

    Args:
        scopes: The orders.
        made_anew: Files of marts whose rows were held against what the events left give: only users are searched for.
    """

    def __init__(self, scopes: Sequence[Scope], *, made_anew: frozenset[str] = frozenset()) -> None:
        self.files: list[Scanned] = []
        self.findings: list[Finding] = []
        self._scopes = scopes
        self._of_users = [scope for scope in scopes if scope.pending.order.user_digest is not None]
        self._made_anew = made_anew
        self._shared: set[bytes] = set()
        self._needles = {
            scope.id: scope.pending.user_id.encode() for scope in scopes if scope.pending.user_id is not None
        }

    def scan_warehouse(self, storage: Storage, *, but: frozenset[str] = frozenset()) -> None:
        """Look through every file under the warehouse, but not for users in the files that hold the orders."""
        places = [file.location for file in storage.files(storage.url)]
        for place in places:
            if place.endswith(".parquet"):
                self._scan_parquet(storage, place)
        for place in places:
            with storage.open(place) as file:
                self._scan_bytes(place, file, needles={} if place in but else self._own_needles())
            if place.endswith(".parquet") and place not in but:
                self._scan_words(storage, place)
            if place.endswith(".avro") and not place.rpartition("/")[2].startswith("snap-"):
                self._scan_manifest(storage, place)

    def _own_needles(self) -> dict[str, bytes]:
        """Return the ids that nobody else has: of an instance that was copied, another has the same."""
        return {erasure: needle for erasure, needle in self._needles.items() if needle not in self._shared}

    def scan_log(self, gateway: GatewaySettings, wait: Callable[[float], object]) -> None:
        """Look through every segment of the log, every body in it, and every byte that is no frame."""
        folder = Path(gateway.log)
        for path in sorted(each for each in folder.glob("*") if each.is_file() and each.suffix != SUFFIX):
            with path.open("rb") as file:
                self._scan_bytes(str(path.absolute()), file, needles=self._own_needles())
        for segment in look_through(folder, wait):
            path = folder / f"{segment.generation:010d}{SUFFIX}"
            self.files.append(Scanned(str(path.absolute()), segment.size, segment.digest))
            if segment.remains is not None:
                place = f"{path}: bytes at {segment.remains} that are no delivery of this segment"
                self.findings += [Finding(scope.id, place) for scope in self._scopes]
            for entry, body in segment.entries:
                self.findings += [
                    Finding(erasure, f"{path}: a {_kind(entry)} of {entry.receipt.instance}")
                    for erasure in self._covered(entry, body, gateway.maximum_inflated_bytes)
                ]

    def _covered(self, entry: Stored, body: bytes, most: int) -> Iterator[str]:
        receipt = entry.receipt
        content: bytes | None = None
        for scope in self._scopes:
            if not scope.covers_arrival(entry.account, receipt.instance, receipt.received):
                continue
            needle = self._needles.get(scope.id)
            if needle is not None:
                if content is None:
                    content = _events_of(entry, body, most)
                if needle not in content:
                    continue
            yield scope.id

    def _scan_bytes(self, place: str, file: IO[bytes], *, needles: dict[str, bytes]) -> None:
        digest = hashlib.sha256()
        found: set[str] = set()
        before = b""
        size = 0
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
            window = before + block
            found |= {erasure for erasure, needle in needles.items() if needle in window}
            before = window[-64:]
        self.files.append(Scanned(place, size, digest.hexdigest()))
        self.findings += [Finding(erasure, f"{place}: the user's random id") for erasure in sorted(found)]

    def _scan_parquet(self, storage: Storage, place: str) -> None:
        try:
            with storage.open(place) as file:
                columns = pq.read_schema(file).names
            if are_deliveries(columns):  # evidence of what arrived, which stays; its bytes are looked through
                return
            found = self._count(storage, place, columns)
        except (pa.ArrowException, OSError, duckdb.Error):
            self._unreadable(place)
            return
        for erasure, user_id, count in found:
            if erasure is not None:
                self.findings.append(Finding(erasure, f"{place}: {count:,} rows"))
            else:
                self._shared.add(user_id.encode())

    def _scan_words(self, storage: Storage, place: str) -> None:
        """Look through the dictionaries of a file's columns: they may hold words that no row uses any more."""
        needles = self._own_needles()
        if not needles:
            return
        try:
            groups = _dictionary_columns(storage, place)
        except (pa.ArrowException, OSError):
            return  # told already: it cannot be read
        found: set[str] = set()
        try:
            for number, names in enumerate(groups):
                for words in _words_of(storage, place, number, names) if names else ():
                    found |= {erasure for erasure, needle in needles.items() if needle in words}
        except (pa.ArrowException, OSError):
            self._unreadable(place)
        self.findings += [Finding(each, f"{place}: the user's random id in a column's dictionary") for each in found]

    def _count(self, storage: Storage, place: str, columns: Sequence[str]) -> list[tuple[str | None, str, int]]:
        """Return how many rows of a file each order covers, and those of its users that none does."""
        case = sql_case(self._of_users if place in self._made_anew else self._scopes, columns)
        if case is None:
            return []
        sql, parameters = case
        user = "user_id" if "user_id" in columns else "null"
        query = f"""
            select erasure, case when erasure is null then user_id end, count(*)
            from (select {sql} as erasure, {user} as user_id from read_parquet($file, hive_partitioning = false))
            where erasure is not null or user_id in (select unnest($users::varchar[])) group by all
        """  # noqa: S608 - made from names of columns, with all values as parameters
        users = [needle.decode() for needle in self._needles.values()]
        with duckdb.connect() as connection:
            storage.attach(connection)
            return connection.execute(query, {**parameters, "file": place, "users": users}).fetchall()

    def _scan_manifest(self, storage: Storage, place: str) -> None:
        manifest = ManifestFile.from_args(
            manifest_path=Path(place).as_uri() if place.startswith("/") else place,
            manifest_length=0,
            partition_spec_id=0,
            added_snapshot_id=0,
            sequence_number=0,
            min_sequence_number=0,
        )
        try:
            entries = manifest.fetch_manifest_entry(PyArrowFileIO({**storage.properties}), discard_deleted=False)
        except Exception:  # noqa: BLE001 - whatever its bytes do to the decoder, it cannot be read
            self._unreadable(place)
            return
        bounds = [
            value
            for entry in entries
            for side in (entry.data_file.lower_bounds, entry.data_file.upper_bounds)
            for value in (side or {}).values()
        ]
        for erasure, needle in self._own_needles().items():
            if any(needle[:_BOUND_CHARACTERS] in value for value in bounds):
                self.findings.append(Finding(erasure, f"{place}: the user's random id in a column's bounds"))

    def _unreadable(self, place: str) -> None:
        self.findings += [Finding(scope.id, f"{place}: it cannot be read") for scope in self._scopes]

    def listing(self) -> bytes:
        """Return the list of files, in the form of ``sha256sum``."""
        return "".join(f"{each.digest}  {each.place}\n" for each in self.files).encode()

    def keep_listing(self, storage: Storage) -> str:
        """Keep the list under the warehouse, and return its SHA-256, by which it is named."""
        listing = self.listing()
        digest = hashlib.sha256(listing).hexdigest()
        storage.write(storage.location(f"{FOLDER}/{digest}.sha256"), listing)
        return digest


def _dictionary_columns(storage: Storage, place: str) -> list[list[str]]:
    """Return for each row group of a Parquet file the columns of words that have a dictionary."""
    with storage.open(place) as file:
        metadata = pq.read_metadata(file)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    found = []
    for group in groups:
        columns = [group.column(number) for number in range(group.num_columns)]
        words = [each for each in columns if each.physical_type == "BYTE_ARRAY"]
        found.append([each.path_in_schema for each in words if any("DICTIONARY" in way for way in each.encodings)])
    return found


def _words_of(storage: Storage, place: str, group: int, names: list[str]) -> Iterator[bytes]:
    """Yield the words in the dictionaries of a row group, one after the other, whether a row uses them or not."""
    with storage.open(place) as file, pq.ParquetFile(file, read_dictionary=names) as parquet:
        for column in parquet.read_row_group(group, columns=names).columns:
            for chunk in column.chunks:
                _, _, words = chunk.dictionary.buffers()
                if words is not None:
                    yield words.to_pybytes()


def _kind(entry: Stored) -> str:
    return "ping" if isinstance(entry, PingEntry) else "delivery"


def _events_of(entry: Stored, body: bytes, most: int) -> bytes:
    """Return what may name users: a ping names nobody."""
    if isinstance(entry, PingEntry) or not entry.receipt.accepted:
        return b""
    return inflate(body, entry.content_encoding, most)
