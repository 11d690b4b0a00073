"""The `event_logs` source on a real PostgreSQL: each row once, in whatever order rows become visible."""

from __future__ import annotations

import random
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from heliograph.instance import event_logs, id_ranges
from heliograph.instance.event_logs import Cursor, EventLogsSource
from heliograph.instance.event_logs_table import EventLogsTable
from product_database import LINGER, PLAN, Reading, insert, next_id, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from product_database import ProductDatabase


@pytest.fixture
def reading(product: ProductDatabase) -> Reading:
    return Reading(product, product.source())


def test_an_empty_table_is_caught_up(reading: Reading) -> None:
    found = reading.round()
    assert (found.events, found.caught_up, found.cursor) == ([], True, Cursor())


def test_rows_are_read_in_rounds_in_the_order_of_their_ids(product: ProductDatabase) -> None:
    writer = product.connect()
    for _ in range(25):
        insert(writer)
    reading = Reading(product, product.source(rows=10))
    rounds = [reading.round() for _ in range(3)]
    assert [numbers(found.events) for found in rounds] == [[*range(1, 11)], [*range(11, 21)], [*range(21, 26)]]
    assert [found.caught_up for found in rounds] == [False, False, True]


def test_rows_that_become_visible_late_are_read_once(product: ProductDatabase, reading: Reading) -> None:
    late, early = product.begin(), product.connect()
    insert(late)
    insert(early)
    assert reading.read() == [2]
    late.commit()
    assert reading.read() == [1]
    reading.settle()
    assert reading.taken == [2, 1]


def test_a_row_is_not_read_before_it_is_committed(product: ProductDatabase, reading: Reading) -> None:
    open_writer = product.begin()
    insert(open_writer)
    assert reading.read() == []
    open_writer.commit()
    assert reading.read() == [1]


def test_the_first_rows_of_the_table_may_be_the_late_ones(product: ProductDatabase, reading: Reading) -> None:
    late, early = product.begin(), product.connect()
    for _ in range(3):
        insert(late)
    insert(early)
    assert reading.read() == [4]
    reading.read(LINGER * 10)
    reading.read(LINGER * 10)
    late.commit()
    assert reading.read() == [1, 2, 3]


def test_ids_of_a_rolled_back_transaction_are_given_up(product: ProductDatabase, reading: Reading) -> None:
    failing, writer = product.begin(), product.connect()
    insert(writer)
    insert(failing)
    insert(writer)
    assert reading.read() == [1, 3]
    failing.rollback()
    assert reading.cursor.ranges[-1] == (2, 2)
    reading.settle()
    assert reading.taken == [1, 3]
    assert reading.cursor == Cursor(3)


def test_an_id_is_waited_for_as_long_as_its_transaction_runs(product: ProductDatabase, reading: Reading) -> None:
    slow, writer = product.begin(), product.connect()
    number = next_id(slow)  # it has only taken an id, and has written nothing
    insert(writer)
    for _ in range(10):
        reading.read(LINGER * 100)
    insert(slow, number)
    slow.commit()
    assert reading.read() == [number]


def test_an_id_outlives_the_savepoint_in_which_it_was_taken(product: ProductDatabase, reading: Reading) -> None:
    slow, writer = product.begin(), product.connect()
    slow.execute("SAVEPOINT before")
    number = next_id(slow)
    slow.execute("ROLLBACK TO before")
    insert(writer)
    for _ in range(3):
        reading.read(LINGER + 1)
    insert(slow, number)
    slow.commit()
    assert reading.read() == [number]


def test_a_prepared_transaction_is_waited_for(product: ProductDatabase, reading: Reading) -> None:
    preparing, writer = product.begin(), product.connect()
    insert(preparing)
    insert(writer)
    assert reading.read() == [2]
    preparing.execute(f"PREPARE TRANSACTION '{product.name}'")
    preparing.close()
    for _ in range(5):
        assert reading.read(LINGER + 1) == []
        reading.restart()
    writer.execute(f"COMMIT PREPARED '{product.name}'")
    assert reading.read() == [1]
    reading.settle()


def test_linger_protects_ids_that_are_taken_in_one_transaction_and_used_in_another(
    product: ProductDatabase, reading: Reading
) -> None:
    first, writer = product.connect(), product.connect()
    number = next_id(first)
    insert(writer)
    assert reading.read() == [2]
    for _ in range(4):
        reading.read(LINGER / 5)
    insert(first, number)
    assert reading.read(LINGER / 5) == [number]


def test_linger_counts_from_the_end_of_the_last_writer(product: ProductDatabase, reading: Reading) -> None:
    slow, writer = product.begin(), product.connect()
    number = next_id(slow)
    insert(writer)
    for _ in range(3):
        reading.read(LINGER * 3)
    slow.commit()
    reading.read(LINGER * 3)
    reading.read(LINGER - 1)
    insert(writer, number)
    assert reading.read(0) == []  # looked a moment ago
    assert reading.read(1) == [number]


def test_a_long_reader_holds_up_nothing(product: ProductDatabase, reading: Reading) -> None:
    reader, failing, writer = product.begin(), product.begin(), product.connect()
    reader.execute("SELECT count(*) FROM event_logs")
    insert(failing)
    failing.rollback()
    for _ in range(3):
        insert(writer)
        reading.read(LINGER + 1)
    assert reading.taken == [2, 3, 4]
    assert reading.cursor.holes == ()


def test_a_long_writer_holds_up_only_its_own_holes(product: ProductDatabase, reading: Reading) -> None:
    slow, failing, writer = product.begin(), product.begin(), product.connect()
    insert(slow)
    insert(writer)
    reading.read()
    insert(failing)
    failing.rollback()
    insert(writer)
    for _ in range(3):
        insert(writer)
        reading.read(LINGER + 1)
    assert reading.taken == [2, 4, 5, 6, 7]
    slow.commit()
    assert reading.read() == [1]


def test_a_writer_in_another_database_holds_up_nothing(product: ProductDatabase) -> None:
    for connection in product.connections:
        connection.close()
    with product.cluster.connect() as admin:
        # A copy has the same object numbers.
        admin.execute(f"CREATE DATABASE {product.name}_copy TEMPLATE {product.name}")
    copy = product.cluster.connect(f"{product.name}_copy")
    copy.autocommit = False
    insert(copy)
    insert(product.connect())
    Reading(product, product.source()).settle()
    copy.close()


def test_a_row_with_an_id_from_elsewhere_is_waited_for_once_it_is_written(
    product: ProductDatabase, reading: Reading
) -> None:
    slow, writer = product.begin(), product.connect()
    number = next_id(writer)
    insert(slow, number)
    insert(writer)
    for _ in range(3):
        reading.read(LINGER + 1)
    slow.commit()
    assert reading.read() == [number]


@pytest.mark.parametrize("place", range(7))
def test_a_restart_at_any_point_skips_nothing_and_repeats_nothing(
    product: ProductDatabase, reading: Reading, place: int
) -> None:
    late, failing, writer = product.begin(), product.begin(), product.connect()
    steps: list[Callable[[], object]] = [
        lambda: [insert(late), insert(failing), insert(writer)],
        reading.read,
        lambda: insert(writer),
        failing.rollback,
        reading.read,
        late.commit,
        reading.read,
    ]
    for number, step in enumerate(steps):
        if number == place:
            reading.restart()
        step()
    reading.settle()
    assert sorted(reading.taken) == [1, 3, 4]


def test_deletes_of_old_rows_do_not_matter(product: ProductDatabase, reading: Reading) -> None:
    late, writer = product.begin(), product.connect()
    for _ in range(5):
        insert(writer)
    insert(late)
    insert(writer)
    assert reading.read() == [1, 2, 3, 4, 5, 7]
    writer.execute("DELETE FROM event_logs WHERE id <= 4")
    late.commit()
    assert reading.read() == [6]
    writer.execute("DELETE FROM event_logs")
    insert(writer)
    reading.settle()
    assert reading.taken == [1, 2, 3, 4, 5, 7, 6, 8]


def test_an_hour_that_the_clock_was_set_back_is_not_waited_for(product: ProductDatabase, reading: Reading) -> None:
    insert(product.connect())
    reading.read()
    reading.read(-3600)
    reading.settle()


def during(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    *,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Do something right before, or right after, the source's next statement of a kind."""
    original = getattr(EventLogsTable, name)

    def wrapped(table: EventLogsTable, *arguments: object) -> object:
        monkeypatch.setattr(EventLogsTable, name, original)
        before()
        result = original(table, *arguments)
        after()
        return result

    monkeypatch.setattr(EventLogsTable, name, wrapped)


def test_a_writer_that_begins_just_before_the_rows_are_read_is_known(
    product: ProductDatabase, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = product.begin(), product.connect()
    insert(early)
    reading.settle()
    during(monkeypatch, "read_range", before=lambda: [insert(late), insert(early)])
    assert reading.read() == [3]
    for _ in range(5):
        reading.read(LINGER + 1)
    late.commit()
    assert reading.read() == [2]


def test_a_writer_that_ends_right_after_the_rows_were_read_is_not_missed(
    product: ProductDatabase, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = product.begin(), product.connect()
    insert(late)
    insert(early)
    during(monkeypatch, "read_range", after=late.commit)
    assert reading.read() == [2]
    assert reading.read(LINGER * 100) == [1]


def test_a_writer_that_ends_right_after_a_hole_was_looked_up_is_not_missed(
    product: ProductDatabase, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = product.begin(), product.connect()
    insert(late)
    insert(early)
    reading.read()
    during(monkeypatch, "read_holes", after=late.commit)
    assert reading.read(LINGER * 100) == []
    assert reading.read(LINGER * 100) == [1]


def test_many_late_rows_are_read_in_rounds(product: ProductDatabase) -> None:
    reading = Reading(product, product.source(rows=10))
    late, early = product.begin(), product.connect()
    for _ in range(35):
        insert(late)
    insert(early)
    reading.read()
    late.commit()
    found = [reading.round() for _ in range(5)]
    assert [len(each.events) for each in found] == [10, 10, 10, 5, 0]
    assert [each.caught_up for each in found] == [False, False, False, True, True]
    assert sorted(reading.taken) == [*range(1, 37)]


def test_late_rows_that_a_round_has_no_room_for_are_not_given_up(
    product: ProductDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(product, product.source(rows=3))
    late, early = product.begin(), product.connect()
    for _ in range(5):
        insert(late)
    insert(early)
    during(monkeypatch, "read_range", after=late.commit)
    assert reading.read() == [6]
    assert reading.read(LINGER * 10) == [1, 2, 3]
    assert reading.read(LINGER * 10) == [4, 5]


def test_reading_waits_rather_than_forget_what_is_missing(
    product: ProductDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_ranges, "MAXIMUM_RANGES", 5)
    reading = Reading(product, product.source())
    slow, writer = product.begin(), product.connect()
    taken_by_slow = []
    for _ in range(12):
        taken_by_slow.append(insert(slow))
        insert(writer)
    for _ in range(4):
        assert not reading.round().caught_up
        product.clock.advance(LINGER + 1)
    assert len(reading.cursor.ranges) == 5
    assert reading.taken == [2, 4, 6, 8, 10]
    slow.commit()
    reading.settle()
    assert sorted(reading.taken) == [*range(1, 25)]


def test_groups_of_holes_are_merged_and_still_waited_for(
    product: ProductDatabase, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_ranges, "MAXIMUM_GROUPS", 3)
    writer = product.connect()
    slow = [product.begin() for _ in range(8)]
    for transaction in slow:
        insert(transaction)
        insert(writer)
        reading.read(0.01)
    assert len(reading.cursor.holes) == 3
    for transaction in reversed(slow):
        reading.read(LINGER + 1)
        transaction.commit()
    reading.settle()
    assert sorted(reading.taken) == [*range(1, 17)]


def test_concurrent_writers_lose_nothing(product: ProductDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_logs, "LOOK_AGAIN", timedelta())
    committed: list[int] = []
    stop = threading.Event()

    def write(writer: psycopg.Connection, chance: random.Random) -> None:
        while not stop.is_set():
            mine = [insert(writer) for _ in range(chance.randrange(1, 4))]
            time.sleep(chance.random() * 0.004)
            if chance.random() < 0.2:
                writer.rollback()
            else:
                writer.commit()
                committed.extend(mine)

    threads = [threading.Thread(target=write, args=(product.begin(), random.Random(seed))) for seed in range(6)]
    reading = Reading(product, EventLogsSource(product.settings(linger_seconds=0.001), PLAN))
    for thread in threads:
        thread.start()
    until = time.monotonic() + 2
    while time.monotonic() < until:
        reading.round()
    stop.set()
    for thread in threads:
        thread.join()
    reading.restart()
    product.clock.advance(10**9)
    reading.settle()
    assert len(committed) > 100
    assert sorted(reading.taken) == sorted(committed)
