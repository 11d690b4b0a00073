"""Random ids and the users of sessions: whoever asks finds all that was written down, sorted in or not."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.instance import id_table
from heliograph.instance.id_table import SCHEMA, IdTable

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("user", "session")
KEYS = [str(number) for number in range(12)]
SESSIONS = ["s1", "s2", "s3"]


class BrokenOffError(Exception):
    pass


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agent") / "agent.db"


def opened(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = off")
    connection.executescript(SCHEMA)
    return connection


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "sort in", "forget", "reopen"]),
        st.integers(0, 1),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, data=st.data())
def test_two_who_share_the_tables_find_what_was_written_and_nothing_that_was_not(
    database: Path, steps: list[tuple[str, int, bool]], data: st.DataObject
) -> None:
    database.unlink(missing_ok=True)
    connections = [opened(database), opened(database)]
    tables = [IdTable(connection) for connection in connections]
    ids: dict[tuple[str, str], str] = {}
    users: set[tuple[str, str]] = set()
    drawn = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_table, "MOST_WAITING", data.draw(st.sampled_from([1, 5, 100])))
        for what, who, breaks_off in steps:
            before = dict(ids), set(users)
            connection, table = connections[who], tables[who]
            if what == "reopen":
                connection.close()
                connections[who] = opened(database)
                tables[who] = IdTable(connections[who])
                continue
            with suppress(BrokenOffError), connection:
                connection.execute("begin immediate")
                if what == "add":
                    keys = data.draw(
                        st.lists(
                            st.tuples(st.sampled_from(KINDS), st.sampled_from(KEYS)),
                            min_size=1,
                            max_size=4,
                        )
                    )
                    new = [key for key in dict.fromkeys(keys) if key not in ids]
                    fresh = {key: f"{drawn + number:032x}" for number, key in enumerate(new)}
                    drawn += len(new)
                    pairs = data.draw(
                        st.sets(
                            st.tuples(st.sampled_from(SESSIONS), st.sampled_from(KEYS)),
                            max_size=3,
                        )
                    )
                    table.add([(*key, each) for key, each in fresh.items()], pairs)
                    ids |= fresh
                    users |= pairs
                else:
                    table.sort_in_within()
                if what == "forget":
                    gone = data.draw(st.sampled_from(KEYS))
                    connection.execute("delete from pseudonym where key = ?", (gone,))
                    connection.execute("delete from session_user where user = ?", (gone,))
                    ids = {key: each for key, each in ids.items() if key[1] != gone}
                    users = {pair for pair in users if pair[1] != gone}
                if breaks_off:
                    ids, users = before
                    raise BrokenOffError
            check(tables[data.draw(st.integers(0, 1))], ids, users)
    for each, connection in zip(tables, connections, strict=True):
        check(each, ids, users)
        connection.close()


def check(table: IdTable, ids: dict[tuple[str, str], str], users: set[tuple[str, str]]) -> None:
    for kind in KINDS:
        assert table.ids(kind, KEYS) == {key: each for (of, key), each in ids.items() if of == kind}
    found: Any = table.users_of(SESSIONS)
    assert {(session, user) for session, those in found.items() for user in those} == users


def test_only_enough_is_sorted_in(database: Path) -> None:
    database.unlink(missing_ok=True)
    with closing(opened(database)) as connection:
        table = IdTable(connection)
        table.add([("user", "1", "a")], [("s1", "1")])
        table.sort_in(at_least=3)
        assert table.waiting() == 2
        table.sort_in(at_least=2)
        assert table.waiting() == 0
        assert connection.execute("select id from pseudonym").fetchall() == [("a",)]
        assert connection.execute("select user from session_user").fetchall() == [("1",)]
