"""A plan as columns: the Arrow form of a batch of events, and the check of all its rows at once.

Strings travel as dictionaries, so that each distinct value is checked once, and a value that no row uses is seen too.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.event import RANDOM_ID_PATTERN, UNDECLARED, VERSION_PATTERN, Actor, Verdict
from heliograph.plan.buffers import (
    as_mask,
    bare_column,
    column_values,
    ends_with_values,
    fresh_column,
    is_bare,
    rows_with_value,
    valid_rows,
)
from heliograph.plan.cells import groups
from heliograph.plan.coarse_columns import event_indices
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)
from heliograph.plan.sensitive.wall import SecondWall, are_hexadecimal
from heliograph.plan.value_tables import PropertyTables, WordList
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import Plan, Property
    from heliograph.wire import Counts, VerdictCounts

    Integers: TypeAlias = npt.NDArray[np.int64]

TIME: Final = pa.timestamp("us", tz="UTC")
SMALL_WORDS: Final = pa.dictionary(pa.int16(), pa.string())
"""Words of a short list: names, outcomes, members."""
IDS: Final = pa.dictionary(pa.int32(), pa.string())
"""Random ids."""
_ENVELOPE_TYPES: Final = {
    "name": SMALL_WORDS,
    "sequence": pa.int64(),
    "time": TIME,
    "user_id": IDS,
    "session_id": IDS,
    "outcome": SMALL_WORDS,
    "version": SMALL_WORDS,
    "source": SMALL_WORDS,
    "actor": SMALL_WORDS,
}
_REQUIRED: Final = ("name", "sequence", "time")
_PROPERTY_TYPES: Final = {
    IntegerProperty: pa.int64(),
    NumberProperty: pa.float64(),
    DurationProperty: pa.int64(),
    CountProperty: pa.int64(),
    BooleanProperty: pa.bool_(),
    MemberProperty: SMALL_WORDS,
}
_VERDICTS: Final = (
    Verdict.ACCEPTED,
    Verdict.UNDECLARED_EVENT,
    Verdict.UNDECLARED_PROPERTY,
    Verdict.INVALID_PROPERTY,
    Verdict.SENSITIVE_VALUE,
    Verdict.INVALID_ENVELOPE,
    Verdict.FUTURE_TIME,
)
_RANDOM_ID_LENGTH: Final = 32
_MOST_LAYOUTS: Final = 64
_LONGEST_FORM: Final = 64 << 10
_CODES: Final = {verdict: code for code, verdict in enumerate(_VERDICTS)}


def wire_schema(plan: Plan) -> pa.Schema:
    """Return the columns that a batch may have; one in which no row has a value is left out."""
    fields = [pa.field(name, kind, nullable=name not in _REQUIRED) for name, kind in _ENVELOPE_TYPES.items()]
    fields += [pa.field(name, _PROPERTY_TYPES[kind]) for name, kind in sorted(plan.property_kinds().items())]
    return pa.schema(fields)


def word_lists(plan: Plan) -> dict[str, list[frozenset[str]]]:
    """Return the words that may stand in fields of the envelope, for each event of the plan."""
    count = len(plan.events)
    return {
        "outcome": [frozenset(event.outcomes) for event in plan.events.values()],
        "source": [frozenset(plan.sources)] * count,
        "actor": [frozenset(map(str, Actor))] * count,
    }


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values once its dictionary is resolved."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


class ColumnsError(Exception):
    """A batch lacks a column that every event needs, or has one of another type."""


class Findings(NamedTuple):
    """The verdict on each row of a batch."""

    codes: npt.NDArray[np.uint8]
    """Per row, an index into the verdicts; zero is accepted."""
    fields: npt.NDArray[np.int16]
    """Per row, the index of the column at fault; -1 for none."""
    events: npt.NDArray[np.int16]
    """Per row, the index of the event in the plan; -1 for none."""
    clean: bool
    """Whether the batch holds nothing but what its rows may hold, in unused dictionary values and metadata too."""
    bare: bool
    """Whether it is clean, and each column has a value, zeros wherever there is none, and nothing behind the last one.

    See `buffers.is_bare` and `buffers.ends_with_values`.
    """


class Layout(NamedTuple):
    """The columns of a batch by what is to be checked in them."""

    envelope: list[tuple[str, int]]
    """Names and positions."""
    properties: list[tuple[int, int]]
    """Lines in the plan's tables, ascending, and positions."""
    others: list[tuple[int, bool]]
    """The positions of columns that the plan does not have, and whether that is for their type alone."""
    clean: bool
    """Whether there are neither others nor metadata."""


class ColumnChecker:
    """The plan, compiled to tables that are looked up by column and event."""

    def __init__(self, plan: Plan) -> None:
        self.schema: Final = wire_schema(plan)
        self.names: Final = list(plan.events)
        self.wall: Final = SecondWall(plan)
        self._shown = [*map(self.wall.shown, plan.events)]
        self.indices: Final = {name: index for index, name in enumerate(self.names)}
        events = plan.events.values()
        lines: dict[pa.DataType, dict[str, list[Property | None]]] = {}
        for name, kind in plan.property_kinds().items():
            definitions = [event.properties.get(name) for event in events]
            lines.setdefault(_PROPERTY_TYPES[kind], {})[name] = definitions
        self.tables: Final = PropertyTables(lines, len(events) + 1)
        self._lists = {name: WordList(lists) for name, lists in word_lists(plan).items()}
        self._layouts: dict[bytes, Layout] = {}
        """By the bytes of the schema: an instance's batches have the same columns again and again."""

    def check(self, batch: pa.RecordBatch, *, latest: int, form: bytes | None = None) -> Findings:
        """Return the verdict on each row.

        Args:
            batch: Columns of `schema`, or others: a row with a value in an undeclared column is rejected.
            latest: The latest time that an event may have, in microseconds since 1970 in UTC.
            form: The bytes that the batch's schema was read from, if it was: equal ones are gone through once.

        Raises:
            ColumnsError: The columns that every event needs are missing or of another type.
        """
        layout = self.layout(batch.schema, form)
        names = batch.column("name")
        check = _Check(event_indices(names, self.indices), len(self.names), clean=layout.clean)
        check.reject(np.flatnonzero(check.events < 0), Verdict.UNDECLARED_EVENT, -1)
        check.clean &= self.indices.keys() >= {*names.dictionary.to_pylist()}
        for name, position in layout.envelope:
            self._check_envelope(check, name, position, batch.column(position), latest)
        self._check_properties(check, batch, layout.properties)
        for position, is_declared in layout.others:
            verdict = Verdict.INVALID_PROPERTY if is_declared else Verdict.UNDECLARED_PROPERTY
            rows = np.flatnonzero(valid_rows(batch.column(position)))
            check.find(rows, verdict, position, field=position if is_declared else -1)
        check.settle()
        for rows_at_fault, position in self.wall.faulty_rows(batch, check.events):
            check.reject(rows_at_fault, Verdict.SENSITIVE_VALUE, position)
            check.clean = False
        bare = check.bare and check.clean and all(map(ends_with_values, batch.columns))
        return Findings(check.codes, check.fields, check.events, check.clean, bare)

    def layout(self, schema: pa.Schema, form: bytes | None) -> Layout:
        """Return what is to be checked in columns of a schema; see `check`."""
        if form is not None and (known := self._layouts.get(form)) is not None:
            return known
        kinds = dict(zip(schema.names, schema.types, strict=True))
        _check_types(kinds, len(schema))
        envelope: list[tuple[str, int]] = []
        properties: list[tuple[int, int]] = []
        others: list[tuple[int, bool]] = []
        for position, (name, kind) in enumerate(kinds.items()):
            if name in _ENVELOPE_TYPES:
                envelope.append((name, position))
            elif name in self.tables.lines and kind == self.tables.types[name]:
                properties.append((self.tables.lines[name], position))
            else:
                others.append((position, name in self.tables.lines))
        clean = not others and schema.metadata is None and all(field.metadata is None for field in schema)
        layout = Layout(envelope, sorted(properties), others, clean)
        # Nothing is kept in mind but what the plan has.
        if form is not None and clean and len(form) <= _LONGEST_FORM:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts[form] = layout
        return layout

    def _check_envelope(self, check: _Check, name: str, position: int, column: pa.Array, latest: int) -> None:
        check.bare = check.bare and is_bare(column)
        if name == "time":
            check.find_times(column.view(pa.int64()), position, latest)
        elif name in ("user_id", "session_id"):
            if not are_random_ids(column.dictionary):
                check.find_words(column, position, RANDOM_ID_PATTERN)
        elif name == "version":
            check.find_words(column, position, VERSION_PATTERN)
        elif name in self._lists:
            rows, is_clean = self._lists[name].judge(column, check.places)
            check.find(rows, Verdict.INVALID_ENVELOPE, position)
            check.clean &= is_clean

    def _check_properties(self, check: _Check, batch: pa.RecordBatch, properties: Sequence[tuple[int, int]]) -> None:
        if not batch.num_rows:
            columns = [batch.column(position) for _, position in properties]
            check.clean &= not any(len(each.dictionary) for each in columns if pa.types.is_dictionary(each.type))
            return
        for group in groups(properties, batch.num_rows):
            columns = [batch.column(position) for _, position in group]
            judged = self.tables.judge(columns, [line for line, _ in group], check.places)
            check.bare = check.bare and judged.is_bare
            check.clean &= judged.is_clean
            if not (judged.undeclared.any() or judged.invalid.any()):
                continue
            for (_, position), where in zip(group, judged.cells.each(), strict=True):
                rows = judged.cells.rows[where]
                check.find(rows[judged.undeclared[where]], Verdict.UNDECLARED_PROPERTY, position)
                check.find(rows[judged.invalid[where]], Verdict.INVALID_PROPERTY, position)

    def accepted_counts(self, findings: Findings) -> Counts:
        """Return the accepted events by name."""
        return self.counts(findings.events[findings.codes == 0] if findings.codes.any() else findings.events)

    def counts(self, events: npt.NDArray[np.integer[Any]]) -> Counts:
        """Return how many there are of each event, by name; `events` are indices in the plan."""
        counts = np.bincount(events, minlength=len(self.names))
        return {self.names[index]: int(counts[index]) for index in np.flatnonzero(counts)}

    def rejected_counts(self, findings: Findings) -> VerdictCounts:
        """Return the rejected events by name and verdict."""
        counts: VerdictCounts = {}
        rows = np.flatnonzero(findings.codes)
        pairs, numbers = np.unique(
            np.stack((findings.events[rows], findings.codes[rows].astype(np.int16))),
            axis=1,
            return_counts=True,
        )
        for (event, code), number in zip(pairs.T, numbers, strict=True):
            counts.setdefault(self._name(event), {})[_VERDICTS[code]] = int(number)
        return counts

    def skeletons(self, batch: pa.RecordBatch, findings: Findings, most: int) -> list[Skeleton]:
        """Return what may be said of the first rejected rows, at most `most`."""
        sequences = batch.column("sequence")
        return [
            Skeleton(
                verdict=_VERDICTS[findings.codes[row]],
                name=self._name(findings.events[row]),
                sequence=sequences[int(row)].as_py(),
                field=batch.schema.names[findings.fields[row]] if findings.fields[row] >= 0 else None,
            )
            for row in np.flatnonzero(findings.codes)[:most]
        ]

    def verdict(self, code: int) -> Verdict:
        """Return the verdict that a code of `Findings` stands for."""
        return _VERDICTS[code]

    def _name(self, event: int) -> str:
        return self._shown[event] if event >= 0 else UNDECLARED

    def keep_accepted(self, batch: pa.RecordBatch, findings: Findings) -> pa.RecordBatch:
        """Return the accepted rows alone, in the plan's columns that have a value, and with nothing beside the values.

        Neither what was rejected leaves a trace, nor what Arrow's buffers may hold where no value is.
        """
        faultless = findings.clean and not findings.codes.any()
        if faultless and findings.bare:
            return batch
        accepted = as_mask(findings.codes == 0)
        columns, fields = [], []
        for field in self.schema:
            if field.name not in batch.schema.names or batch.schema.field(field.name).type != field.type:
                continue
            column = batch.column(field.name)
            if not faultless:
                column = fresh_column(column.filter(accepted))
            if column.null_count < len(column) or field.name in _REQUIRED:
                columns.append(bare_column(column))
                fields.append(field)
        return pa.record_batch(columns, schema=pa.schema(fields))


def _check_types(kinds: Mapping[str, pa.DataType], count: int) -> None:
    problems = [f"no column {name}" for name in _REQUIRED if name not in kinds]
    if len(kinds) != count:
        problems.append("two columns of one name")
    problems += [
        f"column {name} is not {kind}"
        for name, kind in _ENVELOPE_TYPES.items()
        if name in kinds and kinds[name] != kind
    ]
    if problems:
        raise ColumnsError("; ".join(problems))


def are_random_ids(words: pa.StringArray) -> bool:
    """Tell whether all words match `RANDOM_ID_PATTERN`: a batch has hundreds of them, and nearly always they do."""
    if len(words) == 0:
        return True
    offsets = np.frombuffer(words.buffers()[1], np.int32, len(words) + 1, words.offset * 4)
    if words.null_count or not bool((np.diff(offsets) == _RANDOM_ID_LENGTH).all()):
        return False
    return are_hexadecimal(np.frombuffer(words.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])


class _Check:
    """The verdicts while they are being found: of all faults of a row, that of its first column stays."""

    def __init__(self, events: npt.NDArray[np.int16], last: int, *, clean: bool) -> None:
        self.codes = np.zeros(len(events), np.uint8)
        self.fields = np.full(len(events), -1, np.int16)
        self.events = events
        self.places: Integers = np.where(events < 0, last, events)
        """Of each row, the event's place in tables; the last one for those that the plan does not have."""
        self.clean = clean
        self.bare = len(events) > 0
        self._found: list[tuple[int, Integers, Verdict, int]] = []

    def reject(self, rows: Integers, verdict: Verdict, field: int) -> None:
        """Give a verdict on those of `rows` that have none yet."""
        if len(rows):
            rows = rows[self.codes[rows] == 0]
            self.codes[rows] = _CODES[verdict]
            self.fields[rows] = field

    def find(self, rows: Integers, verdict: Verdict, position: int, *, field: int | None = None) -> None:
        """Keep in mind what is at fault in a column; of one column, the worst first."""
        if len(rows):
            self._found.append((position, rows, verdict, position if field is None else field))

    def settle(self) -> None:
        """Reject what was found, in the order of the columns."""
        for _, rows, verdict, field in sorted(self._found, key=itemgetter(0)):
            self.reject(rows, verdict, field)

    def find_times(self, microseconds: pa.Int64Array, position: int, latest: int) -> None:
        """Find the rows without a time, with one before 1970, or with one after `latest`."""
        times = column_values(microseconds)
        if microseconds.null_count:
            times = np.where(valid_rows(microseconds), times, -1)
        self.find(np.flatnonzero(times < 0), Verdict.INVALID_ENVELOPE, position)
        self.find(np.flatnonzero(times > latest), Verdict.FUTURE_TIME, position)

    def find_words(self, column: pa.DictionaryArray, position: int, pattern: re.Pattern[str]) -> None:
        """Find the rows whose word is none of `pattern`; null is."""
        good = [word is not None and bool(pattern.fullmatch(word)) for word in column.dictionary.to_pylist()]
        if all(good):
            return
        self.clean = False
        rows = rows_with_value(column)
        passes = np.array(good)[column_values(column.indices)[rows]]
        self.find(rows[~passes], Verdict.INVALID_ENVELOPE, position)
