"""Who is none of the customer's own people: the vendor's operators, and services. Marked here, and counted nowhere.

A product says it with the event, or the admin says it once: in the settings, with patterns, or by
``heliograph agent mark``, which is kept in the agent's database and goes before the settings. A mark counts for what is
sent and tallied after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heliograph.event import Actor
from heliograph.instance.opt_outs import own_id
from heliograph.plan.buffers import as_mask, column_values, rows_with_value
from heliograph.plan.columns import SMALL_WORDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

    from heliograph.settings import AgentSettings

PERSON: Final = "person"
"""The mark of one of the customer's own people, whatever the settings say."""
MARKS: Final = (*(actor.value for actor in Actor), PERSON)
_SCHEMA: Final = "create table if not exists mark (user text primary key, mark text not null) without rowid"
_WORDS: Final = list(Actor)
_WILDCARD: Final = "*"


class Marks:
    """All that is known at one moment of who is what.

    Args:
        said: The admin's marks, by the product's own ids.
        settings: The settings' lists, whose members may end in ``*``.
    """

    def __init__(self, said: Mapping[str, str], settings: AgentSettings) -> None:
        listed = {Actor.OPERATOR: settings.operators, Actor.SERVICE: settings.service_accounts}
        self._exact: dict[str, str] = {
            user: actor for actor, users in listed.items() for user in users if not user.endswith(_WILDCARD)
        }
        self._exact.update(said)
        self._prefixes = [
            (user.removesuffix(_WILDCARD), actor)
            for actor, users in listed.items()
            for user in users
            if user.endswith(_WILDCARD)
        ]

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def actor_of(self, key: str) -> Actor | None:
        """Return what the user of a key is; None: one of the customer's own people."""
        user = own_id(key)
        found = self._exact.get(user) or next(
            (actor for prefix, actor in self._prefixes if user.startswith(prefix)), PERSON
        )
        return None if found == PERSON else Actor(found)

    def marks(self, key: str) -> bool:
        """Tell whether the user of a key is none of the customer's own people."""
        return self.actor_of(key) is not None

    def mark(self, table: pa.Table) -> pa.Table:
        """Return events with their ``actor``: what the event says itself, or else the mark of its ``user``."""
        if not self or table.num_rows == 0:
            return table
        users = table.column("user").combine_chunks()
        if not pa.types.is_dictionary(users.type):
            users = users.dictionary_encode()
        actors = [self.actor_of(key) for key in users.dictionary.to_pylist()]
        if not any(actors):
            return table
        marks = _per_row(users, actors)
        said = table.column("actor").combine_chunks()
        actor = pc.coalesce(said.cast(pa.string()), marks.cast(pa.string())).dictionary_encode().cast(SMALL_WORDS)
        return table.set_column(table.schema.get_field_index("actor"), "actor", actor)


def _per_row(users: pa.DictionaryArray, actors: Sequence[Actor | None]) -> pa.DictionaryArray:
    """Return for each row the actor of its user."""
    codes = np.array([-1 if actor is None else _WORDS.index(actor) for actor in actors], np.int16)
    rows = rows_with_value(users)
    found = np.full(len(users), -1, np.int16)
    found[rows] = codes[column_values(users.indices)[rows]]
    buffers = [as_mask(found >= 0).buffers()[1], pa.py_buffer(np.maximum(found, 0))]
    indices = pa.Array.from_buffers(pa.int16(), len(found), buffers)
    return pa.DictionaryArray.from_arrays(indices, pa.array([actor.value for actor in Actor], pa.string()))


class MarkTable:
    """The admin's marks, in the agent's database.

    Args:
        connection: The database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(_SCHEMA)

    def put(self, user: str, mark: str) -> None:
        """Mark a user as one of `MARKS`; a running agent takes notice with its next batch."""
        self._connection.execute(
            "insert into mark values (?, ?) on conflict do update set mark = excluded.mark", (own_id(user), mark)
        )

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield all users who were marked, and how."""
        yield from self._connection.execute("select user, mark from mark order by mark, user")
