"""Names of events that were renamed: what was recorded under an earlier name leaves under the present one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    from heliograph.plan.model import Plan


class PresentNames:
    """The present names by earlier ones, of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._present = present_names(plan)

    def name(self, name: str) -> str:
        """Return the present name of an event."""
        return self._present.get(name, name)

    def rename(self, table: pa.Table) -> pa.Table:
        """Return a table of events under their present names."""
        if not self._present or not table.num_rows:
            return table
        names = table.column("name").combine_chunks().dictionary_encode()
        words = names.dictionary.to_pylist()
        if self._present.keys().isdisjoint(words):
            return table
        renamed = pa.array([self._present.get(word, word) for word in words], pa.string())
        column = pa.DictionaryArray.from_arrays(names.indices, renamed).cast(pa.string())
        return table.set_column(table.schema.get_field_index("name"), "name", column)
