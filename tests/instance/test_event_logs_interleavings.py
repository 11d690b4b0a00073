"""Any interleaving of writers, rounds and restarts: after all is quiet, each committed row was read exactly once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from heliograph.instance import id_ranges
from product_database import LINGER, Reading, insert, next_id

if TYPE_CHECKING:
    import psycopg

    from product_database import ProductDatabase

WRITERS = 4
_gids = itertools.count(1)


@dataclass
class Writer:
    """A session of the product, and what it has done since its transaction began."""

    connection: psycopg.Connection
    began: bool = False
    ids: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)

    def end(self) -> None:
        self.began = False
        self.ids, self.rows, self.deleted = [], [], []


class Interleavings(RuleBasedStateMachine):
    """Sessions take ids, insert, commit and roll back while the table is read."""

    product: ProductDatabase

    @initialize(rounds=st.integers(1, 7))
    def begin(self, rounds: int) -> None:
        owner = self.product.connect()
        owner.execute("TRUNCATE event_logs RESTART IDENTITY")
        owner.close()
        self.writers = [Writer(self.product.begin()) for _ in range(WRITERS)]
        self.prepared: dict[str, Writer] = {}
        self.committed: set[int] = set()
        self.gone: set[int] = set()
        self.rows = rounds
        self.reading = Reading(self.product, self.product.source(rows=rounds))

    which = st.integers(0, WRITERS - 1)

    @rule(which=which)
    def take_an_id(self, which: int) -> None:
        writer = self.writers[which]
        writer.ids.append(next_id(writer.connection))
        writer.began = True

    @rule(which=which, count=st.integers(1, 4))
    def insert_new_rows(self, which: int, count: int) -> None:
        writer = self.writers[which]
        writer.rows += [insert(writer.connection) for _ in range(count)]
        writer.began = True

    @precondition(lambda self: any(writer.ids for writer in self.writers))
    @rule(data=st.data())
    def insert_with_an_id_taken_before(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from([writer for writer in self.writers if writer.ids]), label="writer")
        writer.rows.append(insert(writer.connection, writer.ids.pop()))

    @rule(which=which, back=st.integers(0, 20))
    def delete_an_old_row(self, which: int, back: int) -> None:
        writer = self.writers[which]
        # Nobody else's: that would wait for them to end, and for ever.
        others = {row for each in (*self.writers, *self.prepared.values()) for row in each.deleted}
        candidates = sorted(self.committed - self.gone - others)
        if candidates:
            row = candidates[-1 - back % len(candidates)]
            writer.connection.execute("DELETE FROM event_logs WHERE id = %s", (row,))
            writer.deleted.append(row)
            writer.began = True

    @rule(which=which)
    def commit(self, which: int) -> None:
        writer = self.writers[which]
        writer.connection.commit()
        self._committed(writer)
        writer.end()

    @rule(which=which)
    def roll_back(self, which: int) -> None:
        writer = self.writers[which]
        writer.connection.rollback()
        writer.end()

    @rule(which=which)
    def prepare(self, which: int) -> None:
        writer = self.writers[which]
        if not writer.began or len(self.prepared) == 3:
            return
        gid = f"transaction-{next(_gids)}"
        writer.connection.execute(f"PREPARE TRANSACTION '{gid}'")
        writer.connection.rollback()
        self.prepared[gid] = Writer(writer.connection, rows=writer.rows, deleted=writer.deleted)
        writer.end()

    @precondition(lambda self: self.prepared)
    @rule(first=st.booleans(), commit=st.booleans())
    def end_a_prepared_transaction(self, first: bool, commit: bool) -> None:
        gid = list(self.prepared)[0 if first else -1]
        with self.product.cluster.connect(self.product.name) as session:
            session.execute(f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{gid}'")
        ended = self.prepared.pop(gid)
        if commit:
            self._committed(ended)

    def _committed(self, writer: Writer) -> None:
        self.committed.update(writer.rows)
        self.gone.update(writer.deleted)

    @rule(seconds=st.sampled_from([0.0, 1.0, LINGER - 1, LINGER + 1]), rounds=st.integers(1, 3))
    def read(self, seconds: float, rounds: int) -> None:
        for _ in range(rounds):
            found = self.reading.read(seconds)
            assert self.committed.issuperset(found), "a row was read before it was committed"
            self._check_once()

    @rule()
    def restart(self) -> None:
        self.reading.source.close()
        self.reading.source = self.product.source(rows=self.rows)

    def _check_once(self) -> None:
        assert len(self.reading.taken) == len(set(self.reading.taken)), "a row was read twice"

    def teardown(self) -> None:
        if not hasattr(self, "reading"):
            return
        try:
            for which in range(WRITERS):
                self.commit(which)
            while self.prepared:
                self.end_a_prepared_transaction(first=True, commit=True)
            self.reading.settle()
            self._check_once()
            # A row that was deleted may have been read before.
            assert self.committed - self.gone <= set(self.reading.taken) <= self.committed
        finally:
            for writer in self.writers:
                writer.connection.close()
            with self.product.cluster.connect(self.product.name) as session:
                for gid in self.prepared:
                    session.execute(f"ROLLBACK PREPARED '{gid}'")


@pytest.mark.parametrize("maximum_groups", [64, 2])
def test_whatever_the_order_of_things_each_committed_row_is_read_exactly_once(
    product: ProductDatabase, maximum_groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_ranges, "MAXIMUM_GROUPS", maximum_groups)
    monkeypatch.setattr(Interleavings, "product", product, raising=False)
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
