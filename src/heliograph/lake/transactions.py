"""Transactions on a table, at a fraction of their price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.table import Transaction

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableUpdate


class _QuickTransaction(Transaction):
    """PyIceberg's own, which does not copy all of a table's metadata whenever one asks for them.

    That is some twenty times a commit, and the more snapshots there are the longer it takes. Nobody changes what they
    are given.
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


def begin(table: Table) -> Transaction:
    """Begin a transaction on a table, as `Table.transaction` does."""
    return _QuickTransaction(table)
