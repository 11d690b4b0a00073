"""A plan as columns: the Arrow form of a batch of events, and the check of all its rows at once.

Strings travel as dictionaries, so that each distinct value is checked once, and a value that no row uses is seen too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.event import RANDOM_ID_PATTERN, UNDECLARED, VERSION_PATTERN, Actor, Verdict
from heliograph.plan.buffers import (
    as_mask,
    bare_column,
    column_values,
    fresh_column,
    is_bare,
    rows_with_value,
    valid_rows,
)
from heliograph.plan.coarse_columns import coarse_properties, event_indices
from heliograph.plan.coarsen import least
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    DurationProperty,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
)
from heliograph.plan.sensitive.wall import SecondWall
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import Plan, Property
    from heliograph.wire import Counts, VerdictCounts

    Integers: TypeAlias = npt.NDArray[np.int64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]

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
_ACTORS: Final = frozenset(Actor)
_RANDOM_ID_LENGTH: Final = 32
_IS_HEXADECIMAL: Final = np.isin(np.arange(256), list(b"0123456789abcdef"))
_CODES: Final = {verdict: code for code, verdict in enumerate(_VERDICTS)}


def wire_schema(plan: Plan) -> pa.Schema:
    """Return the columns that a batch may have; one in which no row has a value is left out."""
    fields = [pa.field(name, kind, nullable=name not in _REQUIRED) for name, kind in _ENVELOPE_TYPES.items()]
    fields += [pa.field(name, _PROPERTY_TYPES[kind]) for name, kind in sorted(plan.property_kinds().items())]
    return pa.schema(fields)


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


class ColumnChecker:
    """The plan, compiled to arrays that are looked up by event."""

    def __init__(self, plan: Plan) -> None:
        self.schema: Final = wire_schema(plan)
        self.names: Final = list(plan.events)
        self._wall = SecondWall(plan)
        self._shown = [*map(self._wall.shown, plan.events)]
        self._indices = {name: index for index, name in enumerate(self.names)}
        self._sources = frozenset(plan.sources)
        self._outcomes = _Members([frozenset(event.outcomes) for event in plan.events.values()])
        self._properties = {
            name: [event.properties.get(name) for event in plan.events.values()] for name in plan.property_kinds()
        }
        self._members = {
            name: _Members(
                [
                    frozenset(definition.members) if isinstance(definition, MemberProperty) else frozenset[str]()
                    for definition in definitions
                ]
            )
            for name, definitions in self._properties.items()
        }
        self._allowed = {
            name: np.array([definition is not None for definition in definitions] + [False])
            for name, definitions in self._properties.items()
        }
        self._bounds = {name: _bounds(definitions) for name, definitions in self._properties.items()}
        self._coarse = coarse_properties(plan)

    def check(self, batch: pa.RecordBatch, *, latest: int) -> Findings:
        """Return the verdict on each row.

        Args:
            batch: Columns of `schema`, or others: a row with a value in an undeclared column is rejected.
            latest: The latest time that an event may have, in microseconds since 1970 in UTC.

        Raises:
            ColumnsError: The columns that every event needs are missing or of another type.
        """
        self._check_types(batch.schema)
        rows = batch.num_rows
        check = _Check(
            np.zeros(rows, np.uint8),
            np.full(rows, -1, np.int16),
            event_indices(batch.column("name"), self._indices),
            clean=batch.schema.metadata is None,
        )
        check.reject(check.events < 0, Verdict.UNDECLARED_EVENT, -1)
        check.clean &= all(name in self._indices for name in batch.column("name").dictionary.to_pylist())
        for position, field in enumerate(batch.schema):
            column = batch.column(position)
            check.clean &= field.metadata is None
            if field.name in self._properties and field.type == self.schema.field(field.name).type:
                self._check_property(check, field.name, position, column)
            elif field.name in _ENVELOPE_TYPES:
                self._check_envelope(check, field.name, position, column, latest)
            else:
                declared = field.name in self._properties
                verdict = Verdict.INVALID_PROPERTY if declared else Verdict.UNDECLARED_PROPERTY
                check.reject(valid_rows(column), verdict, position if declared else -1)
                check.clean = False
        for rows_at_fault, position in self._wall.faulty_rows(batch, check.events):
            check.reject_rows(rows_at_fault, Verdict.SENSITIVE_VALUE, position)
            check.clean = False
        return Findings(check.codes, check.fields, check.events, check.clean)

    def _check_types(self, schema: pa.Schema) -> None:
        problems = [f"no column {name}" for name in _REQUIRED if name not in schema.names]
        if len(set(schema.names)) != len(schema.names):
            problems.append("two columns of one name")
        problems += [
            f"column {name} is not {kind}"
            for name, kind in _ENVELOPE_TYPES.items()
            if schema.names.count(name) == 1 and schema.field(name).type != kind
        ]
        if problems:
            raise ColumnsError("; ".join(problems))

    def _check_envelope(self, check: _Check, name: str, position: int, column: pa.Array, latest: int) -> None:
        if name == "time":
            check.reject_times(column.view(pa.int64()), position, latest)
        elif name in ("user_id", "session_id"):
            if not _are_random_ids(column.dictionary):
                check.reject_words(column, position, lambda word: bool(RANDOM_ID_PATTERN.fullmatch(word)))
        elif name == "version":
            check.reject_words(column, position, lambda word: bool(VERSION_PATTERN.fullmatch(word)))
        elif name == "source":
            check.reject_words(column, position, self._sources.__contains__)
        elif name == "actor":
            check.reject_words(column, position, _ACTORS.__contains__)
        elif name == "outcome":
            check.reject_members(rows_with_value(column), column, position, self._outcomes, Verdict.INVALID_ENVELOPE)

    def _check_property(self, check: _Check, name: str, position: int, column: pa.Array) -> None:
        if column.null_count == len(column):
            if pa.types.is_dictionary(column.type) and len(column.dictionary):
                check.clean = False
            return
        rows = rows_with_value(column)
        events = check.events[rows]
        check.reject_rows(rows[~self._allowed[name][events]], Verdict.UNDECLARED_PROPERTY, position)
        if pa.types.is_dictionary(column.type):
            check.reject_members(rows, column, position, self._members[name], Verdict.INVALID_PROPERTY)
        elif not pa.types.is_boolean(column.type):
            minimum, maximum = self._bounds[name]
            values = column_values(column)[rows]
            # Written so that NaN, which compares false with everything, is out of range.
            passes = (values >= minimum[events]) & (values <= maximum[events])
            if coarse := self._coarse[name]:
                passes &= coarse.are_coarse(values, events)
            check.reject_rows(rows[~passes], Verdict.INVALID_PROPERTY, position)

    def accepted_counts(self, findings: Findings) -> Counts:
        """Return the accepted events by name."""
        counts = np.bincount(findings.events[findings.codes == 0], minlength=len(self.names))
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
        if faultless and all(map(is_bare, batch.columns)):
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


def _bounds(definitions: Sequence[Property | None]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Return the lowest and the highest value that each event takes."""
    bounds: list[tuple[float, float]] = []
    for definition in definitions:
        match definition:
            case IntegerProperty() | NumberProperty() | DurationProperty():
                bounds.append((least(definition), definition.maximum))
            case CountProperty():
                bounds.append((definition.buckets[0], definition.buckets[-1]))
            case _:
                bounds.append((0, 0))
    # The last place stands for undeclared events, whose index is -1.
    lowest, highest = zip(*bounds, (0, 0), strict=True)
    return np.array(lowest), np.array(highest)


def _are_random_ids(words: pa.StringArray) -> bool:
    """Tell whether all words match `RANDOM_ID_PATTERN`: a batch has hundreds of them, and nearly always they do."""
    if len(words) == 0:
        return True
    offsets = np.frombuffer(words.buffers()[1], np.int32, len(words) + 1, words.offset * 4)
    if words.null_count or not bool((np.diff(offsets) == _RANDOM_ID_LENGTH).all()):
        return False
    letters = np.frombuffer(words.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    return bool(_IS_HEXADECIMAL[letters].all())


class _Members:
    """The words that each event allows for one column."""

    def __init__(self, lists: Sequence[frozenset[str]]) -> None:
        # The last place stands for undeclared events, whose index is -1 and whose verdict is known already.
        self._allowing = {
            word: np.array([*(word in allowed for allowed in lists), True])
            for word in sorted(frozenset[str]().union(*lists))
        }
        self._unknown = np.array([False] * len(lists) + [True])

    def know_all(self, words: Sequence[str | None]) -> bool:
        """Tell whether each of `words` is allowed by some event."""
        return all(word in self._allowing for word in words)

    def table(self, words: Sequence[str]) -> Booleans:
        """Return, for each of `words` and each event, whether it allows the word."""
        return np.stack([self._allowing.get(word, self._unknown) for word in words])


class _Check:
    """The verdicts while they are being found: the first one on a row stays."""

    def __init__(
        self,
        codes: npt.NDArray[np.uint8],
        fields: npt.NDArray[np.int16],
        events: npt.NDArray[np.int16],
        *,
        clean: bool,
    ) -> None:
        self.codes = codes
        self.fields = fields
        self.events = events
        self.clean = clean

    def reject(self, mask: Booleans, verdict: Verdict, position: int) -> None:
        if mask.any():
            self.reject_rows(np.flatnonzero(mask), verdict, position)

    def reject_rows(self, rows: Integers, verdict: Verdict, position: int) -> None:
        if not len(rows):
            return
        rows = rows[self.codes[rows] == 0]
        self.codes[rows] = _CODES[verdict]
        self.fields[rows] = position

    def reject_times(self, microseconds: pa.Int64Array, position: int, latest: int) -> None:
        """Reject the rows without a time, with one before 1970, or with one after `latest`."""
        rows = rows_with_value(microseconds)
        times = np.full(len(microseconds), -1)
        times[rows] = column_values(microseconds)[rows]
        self.reject(times < 0, Verdict.INVALID_ENVELOPE, position)
        self.reject(times > latest, Verdict.FUTURE_TIME, position)

    def reject_words(self, column: pa.DictionaryArray, position: int, is_good: Callable[[str], bool]) -> None:
        """Reject the rows whose word is not good; null is."""
        words = column.dictionary.to_pylist()
        good = [word is not None and is_good(word) for word in words]
        if all(good):
            return
        self.clean = False
        rows = rows_with_value(column)
        passes = np.array(good)[column_values(column.indices)[rows]]
        self.reject_rows(rows[~passes], Verdict.INVALID_ENVELOPE, position)

    def reject_members(
        self, rows: Integers, column: pa.DictionaryArray, position: int, members: _Members, verdict: Verdict
    ) -> None:
        """Reject those of `rows`, which have a word each, whose word is not a member of their event's list."""
        words = column.dictionary.to_pylist()
        self.clean &= members.know_all(words)
        if len(rows):
            indices = column_values(column.indices)[rows]
            inside = members.table(words)[indices, self.events[rows]]
            self.reject_rows(rows[~inside], verdict, position)
