"""How rows lie in the lake's files: their order, and how each column is encoded.

PyIceberg's writer takes no encodings; these files are written by Arrow. All encodings are ones that DuckDB and Spark
read. Events are in the order of their times: so their times, their numbers and when they arrived are all near those
before them, which spares more bytes than users cost that do not lie together.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import TableProperties

from heliograph.lake.storage import storage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyiceberg.table import Table
    from pyiceberg.typedef import Record

_ORDER: Final = (
    "instance",
    "time",
    "sequence",
    "user_id",
    "feature",
    "day",
    "begun",
    "name",
    "epoch",
    "first",
    "measure",
    "key",
)
"""Rows are sorted by those of these columns that a table has: what questions look for comes together."""
RISING: Final = frozenset({"time", "sequence", "received", "first", "last"})
"""Numbers near those before them: their differences are kept."""
UNLIKE: Final = frozenset({"begun", "ended", "digest", "receipt", "ledger"})
"""Values of which hardly two are equal, or only those side by side: a dictionary of them costs more than it saves."""
LEVEL: Final = 9
"""Of zstd, for what stays. The 19th takes three times as long, and spares 4 % of the bytes."""
QUICK_LEVEL: Final = 3
"""For what is written once for a time, until it is compacted."""
ROW_GROUP_ROWS: Final = 262_144
PAGE_BYTES: Final = 8 << 20
"""A column of a group of rows is one page, or few: each is compressed by itself, and most columns are small."""
DICTIONARY_BYTES: Final = 16 << 20
SOUGHT: Final = ("user_id",)
"""What somebody looks for by itself. It is spread over the range in each group of rows, so that bounds exclude none."""
BLOOM: Final = {"ndv": 4096, "fpp": 0.01}
"""5 KiB for each group of rows. With more distinct values, more groups are read in vain."""


class LayoutError(Exception):
    """A file does not hold what it should; nothing was changed. The message says which."""


def read_rows(table: Table, files: Iterable[DataFile]) -> pa.Table:
    """Return the rows of files in the columns that the table has now: files from before a column lack it.

    Raises:
        LayoutError: A file has not as many rows as the table says.
    """
    storage = storage_of(table)
    schema = schema_to_pyarrow(table.schema())
    parts = []
    for file in files:
        with storage.open(file.file_path) as stream, pq.ParquetFile(stream) as parquet:
            rows = parquet.read()
        if len(rows) != file.record_count:
            raise LayoutError(f"{file.file_path}: it has {len(rows)} rows, and should have {file.record_count}")
        parts.append(with_columns(rows, schema))
    # In one piece: sorting what lies in many takes several times as long.
    return pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table()


def with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with just the columns of a schema; those that they lack are null."""
    names = set(rows.schema.names)
    columns = [
        rows.column(field.name).cast(field.type) if field.name in names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def order_of(names: Sequence[str]) -> list[str]:
    """Return the columns by which the rows of a table with these columns are sorted, nulls last."""
    return [name for name in _ORDER if name in names]


def in_order(rows: pa.Table) -> pa.Table:
    """Return rows in the order in which they are kept."""
    keys = [(name, "ascending") for name in order_of(rows.schema.names)]
    return rows.sort_by(keys) if keys else rows


def new_location(like: DataFile) -> str:
    """Return where a file goes that is made of another, of the same partition."""
    return f"{like.file_path.rpartition('/')[0]}/{uuid.uuid4()}-kept.parquet"


class Part(NamedTuple):
    """Which part of a table a file belongs to."""

    partition: Record
    spec_id: int


def write_file(table: Table, rows: pa.Table, like: DataFile) -> DataFile:
    """Write rows to a new file beside another of the same partition, and see that it holds them.

    It is on disk, and nothing refers to it yet.

    Raises:
        LayoutError: What is read from it is something else.
    """
    place = new_location(like)
    how = encodings(rows.schema.names) | {"bloom_filter_options": _sought(rows.schema.names)}
    metadata = _write(table, place, rows, how)
    with storage_of(table).open(place) as stream, pq.ParquetFile(stream) as parquet:
        if not parquet.read().cast(rows.schema).equals(rows):
            raise LayoutError(f"{place}: it does not hold what was written to it")
    return _described(table, place, metadata, Part(like.partition, like.spec_id))


def write_quickly(table: Table, rows: pa.Table, place: str, part: Part) -> DataFile:
    """Write rows to a new file that is small and soon compacted: what takes time is left for then.

    It is compressed less, has no Bloom filter, and is not read again. Its groups of rows are as the table asks.
    """
    group = int(table.properties.get(TableProperties.PARQUET_ROW_GROUP_LIMIT, ROW_GROUP_ROWS))
    how = encodings(rows.schema.names) | {"compression_level": QUICK_LEVEL, "row_group_size": group}
    return _described(table, place, _write(table, place, rows, how), part)


def _write(table: Table, place: str, rows: pa.Table, how: Mapping[str, Any]) -> pq.FileMetaData:
    found: list[pq.FileMetaData] = []
    with table.io.new_output(place).create() as stream:
        pq.write_table(rows, stream, metadata_collector=found, **how)
    return found[0]


def data_file(table: Table, place: str, partition: Record, spec_id: int) -> DataFile:
    """Return what a snapshot says of a file, with the statistics that its footer tells."""
    with storage_of(table).open(place) as stream, pq.ParquetFile(stream) as parquet:
        metadata = parquet.metadata
    return _described(table, place, metadata, Part(partition, spec_id))


def _described(table: Table, place: str, metadata: pq.FileMetaData, part: Part) -> DataFile:
    schema = table.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=metadata,
        stats_columns=compute_statistics_plan(schema, table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=place,
        file_format=FileFormat.PARQUET,
        partition=part.partition,
        file_size_in_bytes=len(table.io.new_input(place)),
        sort_order_id=None,
        spec_id=part.spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def count_rows(table: Table, place: str) -> int:
    """Return how many rows a file has, as it says itself."""
    with storage_of(table).open(place) as stream, pq.ParquetFile(stream) as parquet:
        return int(parquet.metadata.num_rows)


def _sought(names: Sequence[str]) -> dict[str, Any]:
    return {name: BLOOM for name in names if name in SOUGHT}


def encodings(names: Sequence[str]) -> dict[str, Any]:
    """Return how Arrow's Parquet writer is to write columns of these names.

    Arrow's own account of the columns is left out: Parquet's says all of it, and it is a third of a file of few rows.
    """
    plain = {name: "PLAIN" for name in names if name in UNLIKE}
    rising = {name: "DELTA_BINARY_PACKED" for name in names if name in RISING}
    return {
        "compression": "zstd",
        "compression_level": LEVEL,
        "store_schema": False,
        "row_group_size": ROW_GROUP_ROWS,
        "max_rows_per_page": ROW_GROUP_ROWS,
        "data_page_size": PAGE_BYTES,
        "column_encoding": {**plain, **rising},
        "use_dictionary": [name for name in names if name not in plain and name not in rising],
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
    }
