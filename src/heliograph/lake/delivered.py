"""What a delivery holds, as rows of the lake's columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.json

from heliograph.gateway.bodies import read_arrow
from heliograph.lake.tables import NOT_KEPT, TIME
from heliograph.wire import ARROW

_ADDED: Final = frozenset({"instance", "account", "epoch", "agreement", "plan", "received"})
"""Columns that the loader adds to what was delivered."""
_WITH_ZONE: Final = pa.timestamp("us", tz="UTC")
_LOOKS_LIKE: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    datetime: TIME,
}


class BodyDecoder:
    """Decodes bodies that the gateway has accepted, whatever the plan was then, into what the lake keeps of them.

    Args:
        schema: The lake's columns; what a body holds beside them is decoded as what it looks like.
    """

    def __init__(self, schema: pa.Schema) -> None:
        fields = [field for field in schema if field.name not in _ADDED]
        fields += [pa.field(name, pa.string()) for name in sorted(NOT_KEPT.difference(schema.names))]
        self._types = {field.name: field.type for field in fields}
        with_zone = [field.with_type(_WITH_ZONE) if field.name == "time" else field for field in fields]
        self._parse = pyarrow.json.ParseOptions(explicit_schema=pa.schema(with_zone), unexpected_field_behavior="error")

    def decode(self, content: bytes, content_type: str) -> pa.Table:
        """Return a body's events as a table of envelope and properties."""
        events = self._decode(content, content_type)
        return events.drop_columns([name for name in events.schema.names if name in NOT_KEPT])

    def _decode(self, content: bytes, content_type: str) -> pa.Table:
        if content_type == ARROW:
            return pa.Table.from_batches([read_arrow(content)])
        try:
            return pyarrow.json.read_json(
                pa.BufferReader(content),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=4 << 20),
                parse_options=self._parse,
            )
        except pa.ArrowInvalid:
            # A property that is not a column yet; or JSON that Arrow does not read, such as 41.0 for an integer.
            return self._decode_one_by_one(content)

    def _decode_one_by_one(self, content: bytes) -> pa.Table:
        rows = [msgspec.json.decode(line, type=dict[str, Any]) for line in content.splitlines() if line.strip()]
        types = dict(self._types)
        for row in rows:
            row["time"] = datetime.fromisoformat(row["time"]).astimezone(UTC).replace(tzinfo=None)
            for name, value in row.items():
                if types.setdefault(name, _LOOKS_LIKE[type(value)]) == pa.int64() and isinstance(value, float):
                    row[name] = int(value)
        return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
