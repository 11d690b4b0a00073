"""A quick look at a body of Arrow: whether it is right throughout, and as the gateway would write it itself.

Nearly all bodies are, as their exporter has held them to the same plan. This sees so by one pass over each column
(`heliograph.gateway.loops`), without reading the body by Arrow and without writing it anew. It gives no verdicts:
wherever it finds a fault, or is in doubt, the body is read, judged and written by Arrow and `heliograph.plan.columns`.
So it may be stricter than the plan, never more lenient, and the same comes of a body whether it is looked at or not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.gateway.arrow_forms import Form
from heliograph.gateway.arrow_messages import schema_message
from heliograph.gateway.loops import LENGTH, LETTERS, MOST_NUMBERED, NULLS, OFFSETS, SPARE, VALUES, WORDS
from heliograph.gateway.plan_tables import Limits, Words
from heliograph.plan.sensitive.wall import are_hexadecimal, derived_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from heliograph.gateway.loops import Loops
    from heliograph.plan.columns import ColumnChecker
    from heliograph.plan.model import Plan

    Integers: TypeAlias = npt.NDArray[np.int64]
    Events: TypeAlias = npt.NDArray[np.uint16]
    Bytes: TypeAlias = npt.NDArray[np.uint8]

_MOST_SHAPES: Final = 64
_LONGEST_SCHEMA: Final = 64 << 10
_SHORTEST_STREAM: Final = 16
_MOST_WORDS: Final = 10_000
"""Of one body: far more than a plan has, and no more than are looked up in a moment."""


class Faultless(NamedTuple):
    """A body in which nothing is at fault, and which holds nothing but its events."""

    events: Events
    """Per row, the index of the event in the plan."""
    numbers: Integers
    """Per row, the sequence number."""


class _Shape(NamedTuple):
    """What bodies of one schema have in common: columns by their positions, dictionaries by their numbers."""

    form: Form
    widths: Integers
    """Of each column, the bits of a value."""
    name: int
    time: int
    sequence: int
    looked_at: Integers
    """Columns with cells: whole numbers, numbers, flags, words and ids, in this order."""
    parts: list[slice]
    """Where each of the five is in `looked_at`."""
    lines: npt.NDArray[np.uint32]
    """Of the first three, the line of each in the plan's tables."""
    worded: Integers
    """The dictionaries of names, and of words."""
    lookups: list[Callable[[bytes], int | None]]
    """Of each of `worded`: what tells the line of a word, None if it has none."""
    ids: Integers
    """The dictionaries of ids."""


class QuickLook:
    """Knows what a plan allows, and what bodies are like that were right.

    Args:
        plan: The plan.
        checker: The same plan, as it judges what this is in doubt about.
        most: A bound on a body's rows, and on the words of a dictionary.
    """

    def __init__(self, plan: Plan, checker: ColumnChecker, most: int) -> None:
        self._checker = checker
        self._most = most
        self._limits = Limits(plan, checker.tables.lines, checker.wall.looks)
        self._words = Words(plan, checker.wall.looks)
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
        found = _Stream.found(memory, shape, self._most, loops)
        if found is None or found.columns[[shape.name, shape.time, shape.sequence], NULLS].any():
            return None
        rows, dictionaries, columns = found
        words = _word_lines(content, memory, dictionaries[shape.worded], shape.lookups, loops)
        if words is None:
            return None
        events = _events(_values(memory, columns[shape.name], rows, np.uint16), *words)
        times = _values(memory, columns[shape.time], rows, np.int64)
        numbers = _values(memory, columns[shape.sequence], rows, np.int64)
        if events is None or times.min() < 0 or times.max() > latest or (numbers[1:] <= numbers[:-1]).any():
            return None
        cells = _Cells.found(memory, columns[shape.looked_at], rows, loops)
        if cells is None or not self._do_values_pass(
            memory, shape, cells, events=events, words=words, dictionaries=dictionaries, loops=loops
        ):
            return None
        return Faultless(events, numbers)

    def _do_values_pass(
        self,
        memory: Bytes,
        shape: _Shape,
        cells: _Cells,
        *,
        events: Events,
        words: tuple[Integers, npt.NDArray[np.uint32]],
        dictionaries: Integers,
        loops: Loops,
    ) -> bool:
        whole_numbers, numbers, flags, worded, ids = shape.parts
        limits, lines = self._limits, shape.lines
        ends, word_lines = words
        id_dictionaries = dictionaries[shape.ids]
        return bool(
            loops.whole_numbers_pass(
                memory, *cells.of(whole_numbers), events, lines[whole_numbers], limits.whole_numbers, limits.buckets
            )
            and loops.numbers_pass(memory, *cells.of(numbers), events, lines[numbers], limits.numbers)
            and loops.flags_pass(
                memory, cells.columns[flags], *cells.of(flags)[1:], events, lines[flags], limits.declared
            )
            and loops.words_pass(memory, *cells.of(worded), events, ends[1:], word_lines, self._words.allowed)
            and loops.ids_pass(memory, cells.of(ids)[0], len(events), *cells.of(ids)[1:], id_dictionaries)
            and all(are_hexadecimal(each) and not len(derived_ids(each)) for each in _letters(memory, id_dictionaries))
        )

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
        form = Form.of(content, batch.num_columns)
        if form is None:
            return
        shape = self._shape_of(batch.schema, form, schema)
        memory = np.frombuffer(content, np.uint8)
        found = _Stream.found(memory, shape, self._most, loops)
        if found is None or not _is_as_read(batch, memory, found):
            return
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[schema] = shape

    def _shape_of(self, schema: pa.Schema, form: Form, schema_bytes: bytes) -> _Shape:
        layout = self._checker.layout(schema, schema_bytes)
        names, types = schema.names, schema.types
        envelope = dict(layout.envelope)
        properties = {names[position]: line for line, position in layout.properties}
        groups: list[list[str]] = [[], [], [], [], []]
        for name in properties:
            groups[_group(types[names.index(name)])].append(name)
        groups[3] += [name for name in envelope if name in self._words.lookups]
        groups[4] += [name for name in ("user_id", "session_id") if name in envelope]
        worded = [name for name, kind in zip(names, types, strict=True) if pa.types.is_dictionary(kind)]
        ends = [0, *np.cumsum([*map(len, groups)]).tolist()]
        return _Shape(
            form=form,
            widths=np.array([(each.index_type if pa.types.is_dictionary(each) else each).bit_width for each in types]),
            name=envelope["name"],
            time=envelope["time"],
            sequence=envelope["sequence"],
            looked_at=np.array([names.index(name) for group in groups for name in group], np.int64),
            parts=[slice(start, end) for start, end in pairwise(ends)],
            lines=np.array([properties[name] for group in groups[:3] for name in group], np.uint32),
            worded=np.array([worded.index(name) for name in ("name", *groups[3])], np.int64),
            lookups=[self._words.event, *(self._words.lookups[name] for name in groups[3])],
            ids=np.array([worded.index(name) for name in groups[4]], np.int64),
        )


class _Stream(NamedTuple):
    """Where what a stream holds is in it."""

    rows: int
    dictionaries: Integers
    columns: Integers

    @classmethod
    def found(cls, memory: Bytes, shape: _Shape, most: int, loops: Loops) -> _Stream | None:
        """Return what is in a stream of a shape; None if it is of another one."""
        messages = shape.form.messages
        bodies = np.empty((len(messages), 3), np.int64)
        dictionaries = np.empty((len(messages) - 2, 4), np.int64)
        columns = np.empty((len(shape.widths), 3), np.int64)
        if not loops.follow_form(memory, *shape.form, bodies):
            return None
        if not loops.find_dictionaries(memory, messages, bodies, most, dictionaries):
            return None
        rows = loops.find_columns(memory, messages, bodies, shape.widths, most, columns)
        return cls(rows, dictionaries, columns) if rows else None


class _Cells(NamedTuple):
    """The cells of columns, as loops take them."""

    columns: Integers
    starts: Integers
    cells: npt.NDArray[np.uint32]
    begins: Integers

    @classmethod
    def found(cls, memory: Bytes, columns: Integers, rows: int, loops: Loops) -> _Cells | None:
        """Return the cells of columns as `follow_form` fills them in; None where one has no value."""
        cells = np.empty(len(columns) * rows - int(columns[:, NULLS].sum()) + SPARE, np.uint32)
        begins = np.empty(len(columns) + 1, np.int64)
        if not loops.find_cells(memory, columns, rows, cells, begins):
            return None
        return cls(columns, columns[:, VALUES].copy(), cells, begins)

    def of(self, part: slice) -> tuple[Integers, npt.NDArray[np.uint32], Integers]:
        """Return where the values of some of the columns begin, and their cells."""
        return self.starts[part], self.cells, self.begins[part.start : part.stop + 1]


def _group(kind: pa.DataType) -> int:
    """Return the number of those that look at properties of a type; see `_Shape.looked_at`."""
    if pa.types.is_dictionary(kind):
        return 3
    return 2 if pa.types.is_boolean(kind) else 0 if pa.types.is_integer(kind) else 1


def _values(memory: Bytes, column: Integers, rows: int, kind: type[np.generic]) -> npt.NDArray[Any]:
    """Return the values of a column that has one in each row."""
    start = int(column[VALUES])
    return memory[start : start + rows * np.dtype(kind).itemsize].view(kind)


def _letters(memory: Bytes, dictionaries: Integers) -> list[Bytes]:
    """Return the letters of dictionaries of ids."""
    return [memory[line[LETTERS] : line[LETTERS] + line[LENGTH]] for line in dictionaries.tolist()]


def _word_lines(
    content: bytes,
    memory: Bytes,
    dictionaries: Integers,
    lookups: Sequence[Callable[[bytes], int | None]],
    loops: Loops,
) -> tuple[Integers, npt.NDArray[np.uint32]] | None:
    """Return where the words of each dictionary begin, at last where they all end, and the line of each word.

    None is returned if one has none.
    """
    ends = np.zeros(len(dictionaries) + 1, np.int64)
    dictionaries[:, WORDS].cumsum(out=ends[1:])
    if ends[-1] > _MOST_WORDS:
        return None
    bounds = np.empty((int(ends[-1]), 2), np.int64)
    if not loops.find_words(memory, dictionaries, bounds):
        return None
    words = [content[start:end] for start, end in bounds.tolist()]
    each = zip(lookups, pairwise(ends.tolist()), strict=True)
    lines = [line for lookup, (start, end) in each for line in map(lookup, words[start:end])]
    return None if None in lines else (ends, np.array(lines, np.uint32))


def _events(names: Events, ends: Integers, lines: npt.NDArray[np.uint32]) -> Events | None:
    """Return each row's event, of the number of its name; None where one has no name."""
    if names.max() >= min(int(ends[1]), MOST_NUMBERED):
        return None
    events: Events = lines[: ends[1]].astype(np.uint16).take(names)
    return events


def _is_as_read(batch: pa.RecordBatch, memory: Bytes, found: _Stream) -> bool:
    """Tell whether what was found in a stream is what Arrow has read from it."""
    base = memory.ctypes.data

    def place(buffer: pa.Buffer | None) -> int:
        return -1 if buffer is None else buffer.address - base

    columns = [[*map(place, column.buffers()[:2]), column.null_count] for column in batch.columns]
    dictionaries = [column.dictionary for column in batch.columns if isinstance(column, pa.DictionaryArray)]
    words = [[*map(place, each.buffers()[1:]), len(each)] for each in dictionaries]
    return bool(
        found.rows == batch.num_rows
        and found.columns.tolist() == columns
        and found.dictionaries[:, [OFFSETS, LETTERS, WORDS]].tolist() == words
    )
