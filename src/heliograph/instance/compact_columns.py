"""Compact lines as columns, without an object for each: of thousands, the parts are found at once.

Parts that are the same text, as most are, are decoded once; of each line at most the properties are. A line that is
anything but compact is read as a plain one: nothing is guessed, and none is refused.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heliograph.instance.compact_lines import is_compact, plain_line
from heliograph.instance.compact_parts import NAMES, WORDS, find_parts
from heliograph.instance.line_columns import LineColumns, line_fields
from heliograph.instance.new_columns import Part, column_of_parts, column_per_group
from heliograph.plan.buffers import column_values
from heliograph.plan.changes import present_names
from heliograph.plan.columns import IDS, SMALL_WORDS, TIME, wire_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import Plan

    Integers: TypeAlias = npt.NDArray[np.int64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]
    Mend: TypeAlias = Callable[[list[bytes]], list[bytes]]

_SPACE: Final = ord(" ")
_list_decoder: Final = msgspec.json.Decoder(list[str | None])


class _Spans(NamedTuple):
    """Where a part of each line begins and ends."""

    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]


class _Kind(NamedTuple):
    """One event of the plan, under its present name or an earlier one."""

    name: str
    """The present one."""
    decoder: msgspec.json.Decoder[Any]
    """Of its properties."""
    values: list[tuple[str, Callable[[Any], Any]]]
    """The properties, and how to get each of what was decoded."""

    def decode(self, texts: pa.StringArray) -> list[Any] | None:
        """Return the properties in each text; None where some have a fault."""
        try:
            found = self.decoder.decode_lines(_letters(texts))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return found if len(found) == len(texts) else None

    def is_faulty(self, text: bytes) -> bool:
        """Tell whether a text has a fault."""
        try:
            self.decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return True
        return False


class _FaultyError(Exception):
    """Some rows are not as the plan declares them."""

    def __init__(self, rows: Integers) -> None:
        super().__init__()
        self.rows = rows


class CompactColumns:
    """Makes columns of the lines of one plan's events, compact or plain."""

    def __init__(self, plan: Plan) -> None:
        schema = wire_schema(plan)
        self._types = {name: schema.field(name).type for name in sorted(plan.property_kinds())}
        names = {name: name for name in plan.events} | present_names(plan)
        self._kinds = {recorded: self._kind(plan, name) for recorded, name in names.items()}
        self._plain = LineColumns(plan)

    def _kind(self, plan: Plan, name: str) -> _Kind:
        properties = plan.events[name].properties
        fields = line_fields({key: self._types[key] for key in properties})
        kind = msgspec.defstruct("Properties", fields, gc=False, forbid_unknown_fields=True, kw_only=True)
        return _Kind(name, msgspec.json.Decoder(kind), [(key, attrgetter(key)) for key in properties])

    def read(self, body: bytes, mend: Mend) -> pa.Table:
        """As `LineColumns.read`; `mend` is given plain lines."""
        if not may_be_compact(body):
            return self._plain.read(body, mend)
        lines = _Lines(body)
        try:
            while True:
                try:
                    table = self._table(lines)
                    break
                except _FaultyError as error:
                    lines.leave_out(error.rows)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, pa.ArrowInvalid):
            lines.leave_out(np.arange(lines.rows))
            table = self._table(lines)
        others = lines.others()
        if not others:
            return table
        rest = self._plain.read(b"\n".join(map(plain_line, others)), mend)
        return by_number(table, rest) if table.num_rows else rest

    def _table(self, lines: _Lines) -> pa.Table:
        name_of, names = lines.words(lines.part("name"))
        kinds = [self._kinds.get(name or "") for name in names]
        if None in kinds:
            unknown = np.array([kind is None for kind in kinds])
            raise _FaultyError(np.flatnonzero(unknown[name_of]))
        declared = [kind for kind in kinds if kind is not None]
        properties = self._properties(lines, name_of, declared)
        columns = {
            "name": column_per_group([kind.name for kind in declared], name_of, SMALL_WORDS),
            "sequence": pa.array(lines.numbers),
            "time": lines.texts(lines.time).cast(TIME),
        }
        for whose in ("user", "session"):
            key_of, keys = lines.words(lines.part(whose))
            columns[whose] = column_per_group(keys, key_of, IDS)
        # Few combinations of all these words differ.
        group_of, words = lines.words(lines.part("words"))
        for nth, word in enumerate(WORDS):
            columns[word] = column_per_group(words[nth :: len(WORDS)], group_of, SMALL_WORDS)
        return pa.table(columns | properties)

    def _properties(self, lines: _Lines, name_of: npt.NDArray[np.int32], kinds: Sequence[_Kind]) -> dict[str, pa.Array]:
        order = np.argsort(name_of, kind="stable")
        texts = lines.texts(lines.properties, order)
        begins = np.searchsorted(name_of[order], np.arange(len(kinds) + 1)).tolist()
        found: dict[str, list[Part]] = {}
        faulty: list[Integers] = []
        for kind, begin, end in zip(kinds, begins, begins[1:], strict=False):
            coded = texts.slice(begin, end - begin).dictionary_encode()
            code_of, rows = column_values(coded.indices), order[begin:end]
            different = kind.decode(coded.dictionary)
            if different is None:
                is_faulty = np.array([*map(kind.is_faulty, coded.dictionary.cast(pa.binary()).to_pylist())])
                faulty.append(rows[is_faulty[code_of]])
                continue
            for key, value_of in kind.values:
                found.setdefault(key, []).append(Part(rows, [*map(value_of, different)], code_of))
        if faulty:
            raise _FaultyError(np.concatenate(faulty))
        columns = {
            key: column_of_parts(found[key], kind, lines.rows) for key, kind in self._types.items() if key in found
        }
        return {key: column for key, column in columns.items() if column is not None}


class _Lines:
    """Lines that are being read: those rows that are compact, and where their parts are."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._letters = np.frombuffer(bytearray(body + b"\n"), np.uint8)
        self._parts = find_parts(self._letters)
        ends = self._parts.place("end")
        # What follows the properties, so that their texts are lines.
        self._letters[ends[self._parts.is_compact] - 1] = _SPACE
        self._compact = np.flatnonzero(self._parts.is_compact)
        self.time = _Spans(self._parts.place("time") + 1, self._parts.place("user") - 2)
        self.properties = _Spans(self._parts.place("properties"), ends + 1)

    def part(self, name: str) -> _Spans:
        """Return where a part is; see `compact_parts.NAMES`."""
        return _Spans(self._parts.place(name), self._parts.place(NAMES[NAMES.index(name) + 1]))

    @property
    def rows(self) -> int:
        """How many lines are compact."""
        return len(self._compact)

    @property
    def numbers(self) -> Integers:
        """Their numbers."""
        numbers: Integers = self._parts.numbers[self._compact]
        return numbers

    def leave_out(self, rows: Integers) -> None:
        """Take some of the rows for lines that are not compact."""
        self._compact = np.delete(self._compact, rows)

    def others(self) -> list[bytes]:
        """Return the lines that are not compact."""
        is_other = np.ones(len(self._parts.numbers), np.bool_)
        is_other[self._compact] = False
        starts, ends = self._parts.place("line")[is_other], self._parts.place("end")[is_other]
        return [self._body[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def texts(self, spans: _Spans, order: Integers | None = None) -> pa.StringArray:
        """Return the text of each row, in an order."""
        starts, ends = spans.starts[self._compact], spans.ends[self._compact]
        # Every second text is one that is wanted, and what is between two of them is not.
        offsets = np.zeros(2 * self.rows + 1, np.int32)
        offsets[:-1:2], offsets[1::2] = starts, ends
        offsets[-1] = ends.max(initial=0)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._letters)]
        every = pa.Array.from_buffers(pa.string(), 2 * self.rows, buffers)
        return every.take(pa.array(2 * (np.arange(self.rows) if order is None else order)))

    def words(self, spans: _Spans) -> tuple[npt.NDArray[np.int32], list[str | None]]:
        """Return which of the different texts each row has, and the words in them: as many in each."""
        coded = self.texts(spans).dictionary_encode()
        # Each ends with a comma.
        return column_values(coded.indices), _list_decoder.decode(b"[%s]" % bytes(_letters(coded.dictionary)[:-1]))


def may_be_compact(body: bytes) -> bool:
    """Tell whether any of some lines may be compact."""
    return is_compact(body) or b"\n[" in body


def _letters(texts: pa.StringArray) -> memoryview:
    """Return all texts, joined."""
    if not len(texts):
        return memoryview(b"")
    offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, 4 * texts.offset)
    data = texts.buffers()[2]
    return memoryview(b"" if data is None else data)[offsets[0] : offsets[-1]]


def by_number(*tables: pa.Table) -> pa.Table:
    """Return the rows of tables, in the order of their numbers."""
    table = pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()
    return table.take(pc.sort_indices(table["sequence"]))
