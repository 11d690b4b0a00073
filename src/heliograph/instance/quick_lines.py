"""Compact lines as columns by a compiled loop: those that a recorder writes, and no others.

What comes of a line is what `heliograph.instance.compact_columns` makes of it, which reads all that is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from heliograph.instance.compact_lines import PROPERTIES
from heliograph.instance.compact_parts import WORDS as WORD_PLACES
from heliograph.instance.line_loops import (
    FLAG,
    KEY,
    MEMBER,
    MEMBERS,
    MOST_CELLS,
    NAME,
    NAMES,
    OTHERS,
    REAL,
    REALS,
    ROWS,
    SESSION,
    SPARE,
    USER,
    WHOLE,
    WORDS,
    Columns,
    Declared,
    Line,
)
from heliograph.instance.new_columns import column_per_group, number_column
from heliograph.instance.quick_frames import at_any_byte
from heliograph.instance.text_loops import BEGIN, END, SPACE, Texts
from heliograph.plan.changes import present_names
from heliograph.plan.columns import IDS, SMALL_WORDS, TIME, wire_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import Plan

_KINDS: Final = {pa.int64(): WHOLE, pa.float64(): REAL, pa.bool_(): FLAG, SMALL_WORDS: MEMBER}
_FIRST_SLOTS: Final = 1 << 10
_KEY_SPACES: Final = {"user": USER, "session": SESSION}
_words_decoder: Final = msgspec.json.Decoder(list[str | None])


class QuickLook(NamedTuple):
    """What was read of some lines."""

    table: pa.Table
    """As `CompactColumns.read` returns it; words and keys stand in the order in which the rows have them."""
    others: list[bytes]
    """The lines that are not in it."""


class QuickLines:
    """Reads lines of one plan's events."""

    def __init__(self, plan: Plan) -> None:
        schema = wire_schema(plan)
        self._types = {name: schema.field(name).type for name in sorted(plan.property_kinds())}
        self._events = list(plan.events)
        names = {name: name for name in plan.events} | present_names(plan)
        given = [(name, NAME) for name in names] + [(key, KEY) for key in self._types]
        sizes = np.array([len(text.encode()) for text, _ in given], np.int64)
        ends = np.cumsum(sizes)
        self._given = b"".join(text.encode() for text, _ in given)
        spaces = np.array([space for _, space in given], np.int64)
        self._bounds = np.stack((ends - sizes, ends, spaces), axis=1)
        self._event_of = np.array([self._events.index(name) for name in names.values()], np.int64)
        declared = [[key in event.properties for key in self._types] for event in plan.events.values()]
        self._declared = np.array(declared, np.uint8).reshape(len(self._events), len(self._types))
        kinds = [_KINDS[kind] for kind in self._types.values()]
        self._kinds = np.array([(kind, kinds[:nth].count(kind)) for nth, kind in enumerate(kinds)], np.int64)
        self._kinds = self._kinds.reshape(len(kinds), 2)
        self._sizes = [kinds.count(kind) for kind in range(len(_KINDS))]

    def read(self, body: bytes, loop: Callable[..., None]) -> QuickLook:
        """Read lines, joined."""
        rows = body.count(b"\n") + 1
        letters = b"".join((body, b"\n", self._given, bytes(SPARE)))
        bounds = self._bounds + np.array([len(body) + 1, len(body) + 1, 0])
        table = _room_for_texts(rows + len(bounds), len(self._types))
        found = _room_for_rows(rows, self._sizes, len(self._types), len(self._events))
        loop(
            np.frombuffer(letters, np.uint8),
            at_any_byte(np.frombuffer(letters, np.uint8)),
            len(body) + 1,
            Declared(bounds, self._event_of, self._declared, self._kinds),
            table,
            _room_for_line(len(self._types)),
            found,
        )
        others = found.others[: found.counts[OTHERS]].tolist()
        texts = _texts(table, body, len(bounds))
        return QuickLook(self._table(found, texts, body), [body[begin:end] for begin, end in others])

    def _table(self, found: Columns, texts: Callable[[int], list[str]], body: bytes) -> pa.Table:
        rows = int(found.counts[ROWS])
        events = np.argsort(np.where(found.shown > 0, found.shown, len(found.shown) + 1), kind="stable")
        names = [self._events[event] for event in events[: found.counts[NAMES]]]
        columns = {
            "name": _words(found.names[:rows], names, SMALL_WORDS),
            "sequence": pa.array(found.sequences[:rows]),
            "time": pa.Array.from_buffers(TIME, rows, [None, pa.py_buffer(found.times[:rows])]),
        }
        for line, (name, space) in enumerate(_KEY_SPACES.items()):
            columns[name] = _words(found.keys[line, :rows], texts(space), IDS)
        combined = _words_decoder.decode(f"[{''.join(texts(WORDS))[:-1]}]")
        for nth, word in enumerate(WORD_PLACES):
            columns[word] = column_per_group(combined[nth :: len(WORD_PLACES)], found.words[:rows], SMALL_WORDS)
        for line, row, begin, end in found.reals[: found.counts[REALS]].tolist():
            found.real[line, row] = float(body[begin:end])
        for place, (key, kind) in enumerate(self._types.items()):
            if found.cells[place]:
                columns[key] = self._property(found, place, kind, rows, texts)
        return pa.table(columns)

    def _property(
        self, found: Columns, place: int, kind: pa.DataType, rows: int, texts: Callable[[int], list[str]]
    ) -> pa.Array:
        which, line = self._kinds[place].tolist()
        size = (rows + 7) // 8
        validity = None if found.cells[place] == rows else pa.py_buffer(found.valid[place, :size])
        if which == FLAG:
            return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(found.flags[line, :size])])
        columns: dict[int, npt.NDArray[Any]] = {WHOLE: found.whole, REAL: found.real, MEMBER: found.members}
        values = columns[which][line, :rows]
        if which != MEMBER:
            return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(values)])
        indices = pa.Array.from_buffers(kind.index_type, rows, [validity, pa.py_buffer(values)])
        words = pa.array(texts(MEMBERS + place), pa.string())
        return pa.DictionaryArray.from_arrays(indices, words, safe=False)


def _room_for_texts(count: int, properties: int) -> Texts:
    """Return room for the texts of so many rows, and of what is given."""
    slots = _FIRST_SLOTS << (4 * count // _FIRST_SLOTS).bit_length()
    return Texts(
        slots=np.zeros(slots, np.int32),
        lines=np.zeros((slots, 5), np.int64),
        numbers=np.zeros(MEMBERS + properties, np.int64),
        total=np.zeros(1, np.int64),
    )


def _room_for_line(properties: int) -> Line:
    """Return room for the line that is being read."""
    return Line(
        own=np.zeros(3, np.int64),
        bounds=np.zeros((PROPERTIES + 1, 2), np.int64),
        codes=np.zeros(PROPERTIES, np.uint64),
        cells=np.zeros((MOST_CELLS, 5), np.int64),
        reals=np.zeros(MOST_CELLS, np.float64),
        cell_codes=np.zeros(MOST_CELLS, np.uint64),
        last=np.zeros(properties, np.int64),
    )


def _room_for_rows(rows: int, sizes: Sequence[int], properties: int, events: int) -> Columns:
    """Return room for so many rows; what is not filled in takes no memory."""
    bits = (rows + 7) // 8
    return Columns(
        shown=np.zeros(events, np.int64),
        names=np.zeros(rows, np.int16),
        sequences=np.zeros(rows, np.int64),
        times=np.zeros(rows, np.int64),
        keys=np.zeros((2, rows), np.int32),
        words=np.zeros(rows, np.int32),
        cells=np.zeros(properties, np.int64),
        valid=np.zeros((properties, bits), np.uint8),
        whole=np.zeros((sizes[WHOLE], rows), np.int64),
        real=np.zeros((sizes[REAL], rows), np.float64),
        flags=np.zeros((sizes[FLAG], bits), np.uint8),
        members=np.zeros((sizes[MEMBER], rows), np.int16),
        reals=np.zeros((rows + _FIRST_SLOTS, 4), np.int64),
        others=np.zeros((rows, 2), np.int64),
        counts=np.zeros(4, np.int64),
    )


def _texts(table: Texts, body: bytes, given: int) -> Callable[[int], list[str]]:
    """Return what gives the texts of a space, in the order of their numbers."""
    texts = table.lines[given : table.total[0]]
    order = np.argsort(texts[:, SPACE], kind="stable")
    texts = texts[order]
    begins, ends = texts[:, BEGIN].tolist(), texts[:, END].tolist()
    firsts = np.searchsorted(texts[:, SPACE], np.arange(len(table.numbers) + 1)).tolist()

    def of(space: int) -> list[str]:
        those = slice(firsts[space], firsts[space + 1])
        return [body[begin:end].decode("ascii") for begin, end in zip(begins[those], ends[those], strict=True)]

    return of


def _words(numbers: npt.NDArray[Any], words: Sequence[str], kind: pa.DictionaryType) -> pa.Array:
    """Return a column of words by their numbers; -1 stands for none."""
    has_word = numbers >= 0
    is_full = bool(has_word.all())
    indices = number_column(
        kind.index_type, numbers if is_full else np.maximum(numbers, 0), None if is_full else has_word
    )
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()), safe=False)
