"""What the engine in process hands over as it is read, and what it is lent."""

from __future__ import annotations

import gc
import weakref

import ibis
import pyarrow as pa

from heliograph.engines.embedded import beside, read_batches


def test_batches_have_all_rows_in_order() -> None:
    table = ibis.memtable(pa.table({"number": range(100_000)})).filter(lambda rows: rows.number % 3 == 0)
    batches = list(read_batches(table, rows=1_000))
    assert len(batches) > 1
    assert pa.Table.from_batches(batches)["number"].to_pylist() == list(range(0, 100_000, 3))


def test_rows_that_are_lent_to_the_engine_are_given_back() -> None:
    connection = ibis.duckdb.connect()
    connection.con.sql("CREATE TABLE numbers AS SELECT range AS number FROM range(10)")
    table = connection.table("numbers")
    lent = pa.table({"number": [3, 4, 11]})
    kept = weakref.ref(lent)
    with beside(table, lent) as rows:
        assert table.semi_join(rows, "number").order_by("number").to_pyarrow()["number"].to_pylist() == [3, 4]
    del lent, rows
    gc.collect()
    assert kept() is None
