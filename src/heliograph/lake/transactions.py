"""Transactions on a table, at a fraction of their price, and of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.io.pyarrow import _check_pyarrow_schema_compatible, _determine_partitions, schema_to_pyarrow
from pyiceberg.table import Transaction
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.typedef import EMPTY_DICT, Record

from heliograph.lake.maintenance.layout import Part, with_columns, write_quickly

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyiceberg.partitioning import PartitionKey
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableUpdate


class _QuickTransaction(Transaction):
    """PyIceberg's own, which does not copy all of a table's metadata whenever one asks for them.

    That is some twenty times a commit, and the more snapshots there are the longer it takes. Nobody changes what they
    are given. Rows that are appended are written as `heliograph.lake.maintenance.layout` says.
    """

    _known: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """What the table's metadata would be if this were committed now."""
        known = self._known
        if known is None or known[0] is not self._table.metadata or known[1] is not self._updates:
            found = super().table_metadata if self._updates else self._table.metadata
            known = self._known = self._table.metadata, self._updates, found
        return known[2]

    def append(
        self,
        df: pa.Table,
        snapshot_properties: dict[str, str] = EMPTY_DICT,
        branch: str | None = MAIN_BRANCH,
    ) -> None:
        """Write rows, and have the commit add them; columns that they lack are null.

        Raises:
            ValueError: They have a column that the table has not, or of another type.
        """
        metadata = self.table_metadata
        _check_pyarrow_schema_compatible(metadata.schema(), df.schema, format_version=metadata.format_version)
        with self._append_snapshot_producer(snapshot_properties, branch=branch) as appending:
            for number, (key, rows) in enumerate(self._parts(df) if len(df) else ()):
                name = f"{appending.commit_uuid}-{number}.parquet"
                place = load_location_provider(
                    table_location=metadata.location, table_properties=metadata.properties
                ).new_data_location(name, key)
                part = Part(Record() if key is None else key.partition, metadata.default_spec_id)
                appending.append_data_file(write_quickly(self._table, rows, place, part))

    def _parts(self, rows: pa.Table) -> Iterator[tuple[PartitionKey | None, pa.Table]]:
        """Yield the rows of each partition, with the ids by which the table knows its columns."""
        schema, spec = self.table_metadata.schema(), self.table_metadata.spec()
        whole = with_columns(rows, schema_to_pyarrow(schema))
        if spec.is_unpartitioned():
            yield None, whole
            return
        for found in _determine_partitions(spec, schema, whole):
            yield found.partition_key, found.arrow_table_partition


def begin(table: Table) -> Transaction:
    """Begin a transaction on a table, as `Table.transaction` does."""
    return _QuickTransaction(table)
