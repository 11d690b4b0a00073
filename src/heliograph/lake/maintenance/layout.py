"""How rows lie in the files that maintenance writes: their order, and how each column is encoded.

PyIceberg's writer, which the loader uses, takes no encodings; these files are written by Arrow. All encodings are ones
that DuckDB and Spark read.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from heliograph.lake.storage import storage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyiceberg.table import Table
    from pyiceberg.typedef import Record

_ORDER: Final = (
    "instance",
    "user_id",
    "feature",
    "day",
    "time",
    "begun",
    "sequence",
    "name",
    "epoch",
    "first",
    "measure",
    "key",
)
"""Rows are sorted by those of these columns that a table has: what questions look for comes together."""
RISING: Final = frozenset({"sequence", "received", "first", "last"})
"""Numbers near those before them: their differences are kept."""
UNLIKE: Final = frozenset({"time", "session_id", "begun", "ended", "digest", "receipt", "ledger"})
"""Values of which hardly two are equal, or only those side by side: a dictionary of them costs more than it saves."""
LEVEL: Final = 9
ROW_GROUP_ROWS: Final = 262_144
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
        parts.append(_with_columns(rows, schema))
    # In one piece: sorting what lies in many takes several times as long.
    return pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table()


def _with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
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


def write_file(table: Table, rows: pa.Table, like: DataFile) -> DataFile:
    """Write rows to a new file beside another of the same partition, and see that it holds them.

    It is on disk, and nothing refers to it yet.

    Raises:
        LayoutError: What is read from it is something else.
    """
    place = new_location(like)
    with table.io.new_output(place).create() as stream:
        pq.write_table(rows, stream, row_group_size=ROW_GROUP_ROWS, **encodings(rows.schema.names))
    with storage_of(table).open(place) as stream, pq.ParquetFile(stream) as parquet:
        if not parquet.read().equals(rows):
            raise LayoutError(f"{place}: it does not hold what was written to it")
    return data_file(table, place, like.partition, like.spec_id)


def data_file(table: Table, place: str, partition: Record, spec_id: int) -> DataFile:
    """Return what a snapshot says of a file, with the statistics that its footer tells."""
    with storage_of(table).open(place) as stream, pq.ParquetFile(stream) as parquet:
        metadata = parquet.metadata
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
        partition=partition,
        file_size_in_bytes=len(table.io.new_input(place)),
        sort_order_id=None,
        spec_id=spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def count_rows(table: Table, place: str) -> int:
    """Return how many rows a file has, as it says itself."""
    with storage_of(table).open(place) as stream, pq.ParquetFile(stream) as parquet:
        return int(parquet.metadata.num_rows)


def encodings(names: Sequence[str]) -> dict[str, Any]:
    """Return how Arrow's Parquet writer is to write columns of these names."""
    plain = {name: "PLAIN" for name in names if name in UNLIKE}
    rising = {name: "DELTA_BINARY_PACKED" for name in names if name in RISING}
    return {
        "compression": "zstd",
        "compression_level": LEVEL,
        "column_encoding": {**plain, **rising},
        "use_dictionary": [name for name in names if name not in plain and name not in rising],
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
        "bloom_filter_options": {name: BLOOM for name in names if name in SOUGHT},
    }
