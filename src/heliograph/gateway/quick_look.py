"""A quick look at a body of Arrow: whether it is right throughout, and as the gateway would write it itself.

Nearly all bodies are, as their exporter has held them to the same plan. This sees so by one pass over each column
(`heliograph.gateway.loops`), without reading the body by Arrow and without writing it anew. It gives no verdicts:
wherever it finds a fault, or is in doubt, the body is read, judged and written by Arrow and `heliograph.plan.columns`.
So it may be stricter than the plan, never more lenient, and the same comes of a body whether it is looked at or not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.gateway.arrow_forms import form_of
from heliograph.gateway.arrow_messages import schema_message
from heliograph.gateway.layout_loops import LETTERS, OFFSETS, VALUES, WORDS, Form, Layout
from heliograph.gateway.loops import (
    FLAG,
    HAS_NEW_WORDS,
    ID,
    ID_LETTERS,
    IDS_FIELD,
    NAME,
    NUMBER,
    PASSES,
    SEQUENCE,
    TIME,
    WHOLE,
    WORD,
    Allowed,
    Looks,
    Room,
)
from heliograph.gateway.plan_tables import Limits, Words
from heliograph.plan.sensitive.random_ids import looks_derived

if TYPE_CHECKING:
    import numpy.typing as npt

    from heliograph.gateway.loops import Loops
    from heliograph.plan.columns import ColumnChecker
    from heliograph.plan.model import Plan
    from heliograph.wire import Counts

    Bytes: TypeAlias = npt.NDArray[np.uint8]

_MOST_SHAPES: Final = 64
_LONGEST_SCHEMA: Final = 64 << 10
_SHORTEST_STREAM: Final = 16
_MOST_WORDS: Final = 10_000
"""Of one body: far more than a plan has, and no more than are looked up in a moment."""
_MOST_SUSPECTS: Final = 1_000
"""Ids of one body that are looked at one by one: of random ones, some three in a thousand."""
_ENVELOPE: Final = {"name": NAME, "time": TIME, "sequence": SEQUENCE, "user_id": ID, "session_id": ID}


class Faultless(NamedTuple):
    """A body in which nothing is at fault, and which holds nothing but its events."""

    rows: int
    first: int
    """The lowest sequence number."""
    last: int
    counts: Counts
    """The events by name."""


class _Shape(NamedTuple):
    """What bodies of one schema have in common."""

    form: Form
    layout: Layout
    """Of the last one that was looked at."""
    looks: Looks
    sequence: int
    """The position of this column."""
    version: int | None
    """The dictionary of versions, if there is one."""


class QuickLook:
    """Knows what a plan allows, and what bodies are like that were right. It looks at one body at a time.

    Args:
        plan: The plan.
        checker: The same plan, as it judges what this is in doubt about.
        most: A bound on a body's rows, and on the words of a dictionary.
    """

    def __init__(self, plan: Plan, checker: ColumnChecker, most: int) -> None:
        self._checker = checker
        self._most = most
        looks = checker.wall.looks
        limits = Limits(plan, checker.tables.lines, looks)
        self._words = Words(plan, looks)
        self._allowed = Allowed(
            limits.whole_numbers, limits.buckets, limits.numbers, limits.declared, self._words.allowed
        )
        self._room = Room.of(
            events=len(plan.events),
            columns=len(checker.schema),
            rows=most,
            words=_MOST_WORDS,
            suspects=_MOST_SUSPECTS,
        )
        self._shapes: dict[bytes, _Shape] = {}
        """By the bytes of the schema: an instance's bodies have the same columns again and again."""

    def faultless(self, content: bytes, *, latest: int, loops: Loops) -> Faultless | None:
        """Return what is in a body that is right and written as the gateway would; None if anything is in doubt.

        Args:
            content: Whatever was delivered.
            latest: The latest time that an event may have, in microseconds since 1970 in UTC.
            loops: How to go through it.
        """
        shape = None if len(content) < _SHORTEST_STREAM else self._shapes.get(schema_message(content))
        if shape is None:
            return None
        memory = np.frombuffer(content, np.uint8)
        rows = loops.find(memory, shape.form, self._most, shape.layout)
        if not rows:
            return None
        judged = memory, rows, latest, shape.layout, shape.looks, self._words.vocabulary, self._allowed, self._room
        verdict = loops.judge(*judged)
        if verdict == HAS_NEW_WORDS and self._words.learn_versions(_versions(content, memory, shape)):
            verdict = loops.judge(*judged)
        if verdict != PASSES or any(map(looks_derived, self._suspects(content))):
            return None
        start = shape.layout.columns[shape.sequence, VALUES]
        numbers = memory[start : start + 8 * rows].view(np.int64)
        names = self._checker.names
        counts = {names[event]: count for event, count in enumerate(self._room.counts.tolist()) if count}
        return Faultless(rows, int(numbers[0]), int(numbers[-1]), counts)

    def _suspects(self, content: bytes) -> list[str]:
        """Return ids that may be derived."""
        count, *starts = self._room.suspects[: 1 + self._room.suspects[0]].tolist()
        return [content[start : start + ID_LETTERS].decode("ascii") for start in starts[:count]]

    def learn(self, batch: pa.RecordBatch, content: bytes, loops: Loops) -> None:
        """Keep in mind what a body is like that was right, and byte for byte what the gateway would write.

        Args:
            batch: As Arrow has read it.
            content: The body.
            loops: How to go through it.
        """
        schema = schema_message(content)
        if schema in self._shapes or len(schema) > _LONGEST_SCHEMA or not batch.num_rows:
            return
        types = [each.index_type if pa.types.is_dictionary(each) else each for each in batch.schema.types]
        form = form_of(content, [each.bit_width for each in types])
        if form is None:
            return
        shape = self._shape_of(batch.schema, form)
        memory = np.frombuffer(content, np.uint8)
        rows = loops.find(memory, form, self._most, shape.layout)
        if not rows or not _is_as_read(batch, memory, rows, shape.layout):
            return
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[schema] = shape

    def _shape_of(self, schema: pa.Schema, form: Form) -> _Shape:
        worded = [name for name, kind in zip(schema.names, schema.types, strict=True) if pa.types.is_dictionary(kind)]
        columns = []
        for position, (name, kind) in enumerate(zip(schema.names, schema.types, strict=True)):
            holds = _ENVELOPE.get(name, _held(kind))
            line = worded.index(name) if name in worded else self._checker.tables.lines.get(name, 0)
            columns.append((position, holds, line))
        columns.sort(key=lambda column: column[1] != NAME)
        fields = [IDS_FIELD if _ENVELOPE.get(name) == ID else self._words.fields[name] for name in worded]
        return _Shape(
            form=form,
            layout=Layout.of(form),
            looks=Looks(np.array(columns, np.int64), np.array(fields, np.int64)),
            sequence=schema.names.index("sequence"),
            version=worded.index("version") if "version" in worded else None,
        )


def _held(kind: pa.DataType) -> int:
    """Return what a column of a type holds, if it is none of the envelope's own."""
    if pa.types.is_dictionary(kind):
        return WORD
    return FLAG if pa.types.is_boolean(kind) else WHOLE if pa.types.is_integer(kind) else NUMBER


def _versions(content: bytes, memory: Bytes, shape: _Shape) -> list[bytes]:
    """Return the versions that a body has, as far as its offsets are right."""
    if shape.version is None:
        return []
    start, letters, _, count = shape.layout.dictionaries[shape.version].tolist()
    offsets = memory[start : start + 4 * (count + 1)].view(np.int32).tolist()
    return [content[letters + first : letters + end] for first, end in pairwise(offsets)]


def _is_as_read(batch: pa.RecordBatch, memory: Bytes, rows: int, layout: Layout) -> bool:
    """Tell whether what was found in a stream is what Arrow has read from it."""
    base = memory.ctypes.data

    def place(buffer: pa.Buffer | None) -> int:
        return -1 if buffer is None else buffer.address - base

    columns = [[*map(place, column.buffers()[:2]), column.null_count] for column in batch.columns]
    dictionaries = [column.dictionary for column in batch.columns if isinstance(column, pa.DictionaryArray)]
    words = [[*map(place, each.buffers()[1:]), len(each)] for each in dictionaries]
    return bool(
        rows == batch.num_rows
        and layout.columns.tolist() == columns
        and layout.dictionaries[:, [OFFSETS, LETTERS, WORDS]].tolist() == words
    )
