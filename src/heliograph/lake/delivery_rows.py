"""The rows of a delivery: its events in the lake's columns, with what all of them have in common beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from heliograph.lake.tables import ColumnTypeError

if TYPE_CHECKING:
    from heliograph.gateway.log_entries import Entry


def delivery_rows(events: pa.Table, entry: Entry, schema: pa.Schema) -> pa.Table:
    """Return a delivery's events as rows of the lake.

    Args:
        events: As they were decoded.
        entry: The delivery.
        schema: The lake's columns.

    Raises:
        ColumnTypeError: One of them has another type in the lake.
    """
    receipt = entry.receipt
    constants: dict[str, Any] = {
        "instance": receipt.instance,
        "account": entry.account,
        "epoch": receipt.epoch,
        "agreement": receipt.agreement,
        "plan": entry.plan,
        "received": receipt.received,
    }
    kept = [schema.field(name) for name in events.schema.names if name in schema.names]
    columns = {field.name: _cast(events.column(field.name), field, entry.plan) for field in kept}
    for name, value in constants.items():
        columns[name] = _repeated(value, schema.field(name).type, len(events))
    return pa.table(columns)


def _cast(column: pa.ChunkedArray, field: pa.Field, plan: str) -> pa.ChunkedArray:
    if column.type == field.type or (pa.types.is_dictionary(column.type) and column.type.value_type == field.type):
        return column  # words stay dictionaries until they are written
    try:
        return column.cast(field.type)
    except pa.ArrowException:
        raise ColumnTypeError(
            f"the log holds events of {plan} whose {field.name} is {column.type}, and in the lake it is "
            f"{field.type}. Load them into another lake (lake.warehouse, lake.catalog), and give the property "
            "another name in the plan."
        ) from None


def _repeated(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    """Return a column that has the same value everywhere."""
    if kind == pa.string() and value is not None:
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([value], kind))
    given = pa.scalar(value, pa.int64() if pa.types.is_timestamp(kind) else kind)
    return pa.repeat(given, rows).cast(kind)
