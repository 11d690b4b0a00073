"""The second wall of one plan: what must be looked at in each event, found once, when the plan is compiled.

No event can have a word that the plan does not list, so that the lists themselves are looked at, once. What is left
for each event are its ids and version, and numbers where the plan leaves room for ten digits: with a plan whose
words and ranges are sane, two columns of distinct ids and one of distinct versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.event import UNDECLARED, VERSION_PATTERN
from heliograph.plan.buffers import column_values, rows_with_value
from heliograph.plan.model import MemberProperty
from heliograph.plan.sensitive import find_sensitive
from heliograph.plan.sensitive.numbers import LONGEST_AMOUNT, allows_digit_runs, is_digit_run, is_no_version
from heliograph.plan.sensitive.random_ids import looks_derived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import EventDefinition, Plan

    Integers: TypeAlias = npt.NDArray[np.int64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]

_PLAIN_TYPES: Final = (pa.int64(), pa.float64(), pa.bool_(), pa.dictionary(pa.int16(), pa.string()))
"""A property's column of another type is rejected whatever it holds."""
_ID_LENGTH: Final = 32
_ID_FIELDS: Final = ("user_id", "session_id")
_ZERO, _NINE, _LETTER_A, _LETTER_F = np.uint8(ord("0")), np.uint8(9), np.uint8(ord("a")), np.uint8(5)
_FOUR_TIMES: Final = np.uint32(0x01010101)
_LAST_BYTE: Final = np.uint32(0xFF)
_FIRST_IS_LETTER: Final = np.uint64(0x0040004000400040)
"""In ASCII a bit that the digits a to f have, and 0 to 9 have not; here in the first digit of each byte."""


class Looks(NamedTuple):
    """What must be looked at in one event beside its ids and its version."""

    is_hidden: bool
    """Its own name is sensitive: the event passes in no case, and its name is not repeated."""
    words: dict[str, frozenset[str]]
    """Sensitive words by field."""
    numbers: frozenset[str]
    """Properties whose range leaves room for a digit run."""
    keys: frozenset[str]
    """Properties whose own name is sensitive."""
    fields: tuple[str, ...]
    """All of these, in the order in which they are looked at."""


def _looks(name: str, event: EventDefinition, sources: Iterable[str]) -> Looks:
    lists = {"outcome": [*event.outcomes], "source": [*sources]}
    lists |= {key: [*kind.members] for key, kind in event.properties.items() if isinstance(kind, MemberProperty)}
    words = {field: frozenset(word for word in listed if find_sensitive(word)) for field, listed in lists.items()}
    words = {field: found for field, found in words.items() if found}
    numbers = frozenset(key for key, kind in event.properties.items() if allows_digit_runs(kind))
    keys = frozenset(filter(find_sensitive, event.properties))
    return Looks(find_sensitive(name) is not None, words, numbers, keys, tuple(sorted({*words, *numbers, *keys})))


class SecondWall:
    """A plan's second wall, for events that are right by everything else in the plan.

    Args:
        plan: A plan, with whatever lists: its sensitive words are in no event that passes.
    """

    def __init__(self, plan: Plan) -> None:
        self.looks: Final = {name: _looks(name, event, plan.sources) for name, event in plan.events.items()}
        self.needed: Final = frozenset(name for name, looks in self.looks.items() if looks.is_hidden or looks.fields)
        """The events in which more is looked at than ids and version."""
        looks = [*self.looks.values()]
        fields = sorted({field for each in looks for field in each.fields})
        self._columns = {field: _ColumnLooks.of(looks, field) for field in fields}
        self._hidden = _by_event(each.is_hidden for each in looks)

    def shown(self, name: str) -> str:
        """Return an event's name as it may be repeated."""
        return UNDECLARED if self.looks[name].is_hidden else name

    def fault(self, name: str, event: Any) -> Fault | None:
        """Return what is at fault in one decoded event, None if nothing is."""
        for field in _ID_FIELDS:
            if (random_id := getattr(event, field)) is not None and looks_derived(random_id):
                return Fault(field)
        if event.version is not None and is_no_version(event.version):
            return Fault("version")
        return self.value_fault(name, event)

    def value_fault(self, name: str, event: Any) -> Fault | None:
        """Return what is at fault in one decoded event beside its ids and its version, None if nothing is."""
        return next(self._faults(self.looks[name], event), None) if name in self.needed else None

    @staticmethod
    def _faults(looks: Looks, event: Any) -> Iterator[Fault]:
        if looks.is_hidden:
            yield Fault("name")
        for field in looks.fields:
            value = getattr(event, field)
            if value is None:
                continue
            if field in looks.keys:
                yield Fault(None)
            if value in looks.words.get(field, ()) or (field in looks.numbers and is_digit_run(value)):
                yield Fault(field)

    def faulty_rows(self, batch: pa.RecordBatch, events: npt.NDArray[np.int16]) -> Iterator[tuple[Integers, int]]:
        """Yield rows at fault, and the position of the column; -1 for one whose name may not be repeated.

        No rows are yielded as well, where only a word that no row uses is at fault.

        Args:
            batch: Columns, those of the plan's names with the plan's types.
            events: For each row the event's index in the plan, or -1.
        """
        positions = {name: position for position, name in enumerate(batch.schema.names)}
        for name, choose in _ENVELOPE_LOOKS:
            if (position := positions.get(name)) is not None:
                yield from _rows_of_words(batch.column(position), position, choose)
        if self._hidden.any():
            yield np.flatnonzero(self._hidden[events]), positions["name"]
        for name, looks in self._columns.items():
            if (position := positions.get(name)) is not None and batch.schema.field(position).type in _PLAIN_TYPES:
                yield from looks.faulty_rows(batch.column(position), position, events)


class Fault(NamedTuple):
    """What is at fault in an event."""

    field: str | None
    """The field; None where its name may not be repeated."""


class _ColumnLooks(NamedTuple):
    """What must be looked at in one column, by event; the last place stands for events that are not in the plan."""

    words: dict[str, Booleans]
    numbers: Booleans
    keys: Booleans

    @classmethod
    def of(cls, looks: Sequence[Looks], field: str) -> _ColumnLooks:
        none: frozenset[str] = frozenset()
        words = none.union(*(each.words.get(field, none) for each in looks))
        return cls(
            {word: _by_event(word in each.words.get(field, none) for each in looks) for word in words},
            _by_event(field in each.numbers for each in looks),
            _by_event(field in each.keys for each in looks),
        )

    def faulty_rows(
        self, column: pa.Array, position: int, events: npt.NDArray[np.int16]
    ) -> Iterator[tuple[Integers, int]]:
        rows = rows_with_value(column) if column.null_count < len(column) else np.empty(0, np.int64)
        if self.keys.any():
            yield rows[self.keys[events[rows]]], -1
        if self.words and pa.types.is_dictionary(column.type):
            words = column.dictionary.to_pylist()
            if not self.words.keys().isdisjoint(words):
                none = np.zeros(len(self.keys), np.bool_)
                table = np.stack([self.words.get(word, none) for word in words])
                yield rows[table[column_values(column.indices)[rows], events[rows]]], position
        if self.numbers.any():
            rows = rows[self.numbers[events[rows]]]
            values = column_values(column)[rows]
            large = np.flatnonzero(~(np.abs(values) < 10**LONGEST_AMOUNT))
            found = [index for index in large if is_digit_run(values[index].item())]
            if found:
                yield rows[found], position


def _by_event(flags: Iterable[bool]) -> Booleans:
    return np.array([*flags, False])


def _rows_of_words(
    column: pa.DictionaryArray, position: int, choose: Callable[[pa.StringArray], Integers]
) -> Iterator[tuple[Integers, int]]:
    chosen = choose(column.dictionary)
    if len(chosen):
        rows = rows_with_value(column)
        yield rows[np.isin(column_values(column.indices)[rows], chosen)], position


def _no_versions(words: pa.StringArray) -> Integers:
    return _chosen(words, lambda word: VERSION_PATTERN.fullmatch(word) is not None and is_no_version(word))


def _chosen(words: pa.StringArray, is_chosen: Callable[[str], bool]) -> Integers:
    return np.flatnonzero([word is not None and is_chosen(word) for word in words.to_pylist()])


def derived_words(words: pa.StringArray) -> Integers:
    """Return the places of those random ids that look derived; see `random_ids.looks_derived`."""
    if len(words) == 0:
        return np.empty(0, np.int64)
    offsets = np.frombuffer(words.buffers()[1], np.int32, len(words) + 1, words.offset * 4)
    if words.null_count or not bool((np.diff(offsets) == _ID_LENGTH).all()):
        return _chosen(words, looks_derived)
    return derived_ids(np.frombuffer(words.buffers()[2], np.uint8)[offsets[0] : offsets[-1]])


def are_hexadecimal(letters: npt.NDArray[np.uint8]) -> bool:
    """Tell whether bytes are hexadecimal digits in lower case throughout."""
    # What is below the first one wraps around, and is above the last one.
    return bool(((letters - _ZERO <= _NINE) | (letters - _LETTER_A <= _LETTER_F)).all())


def derived_ids(letters: npt.NDArray[np.uint8]) -> Integers:
    """Return the places of those ids that look derived.

    What nearly all ids lack is asked of all at once, eight digits in one machine word; the few that are left, some
    three in a thousand, are looked at one by one.

    Args:
        letters: ASCII characters, 32 of each id, one id after the other.
    """
    first, second, third, fourth = letters.view("<u8").reshape(-1, 4).T
    # Neither a decimal number nor printable text has a byte whose first digit is a to f.
    formed = ((first | second | third | fourth) & _FIRST_IS_LETTER) == 0
    # Eight times the same digit fill at least one of the aligned groups of four.
    groups = letters.view("<u4")
    padded = np.flatnonzero(groups == (groups & _LAST_BYTE) * _FOUR_TIMES) // 8
    suspects = {*np.flatnonzero(formed | (first == third)).tolist(), *padded.tolist()}
    return np.array([place for place in sorted(suspects) if looks_derived(_id_at(letters, place))], np.int64)


def _id_at(letters: npt.NDArray[np.uint8], place: int) -> str:
    return letters[place * _ID_LENGTH : (place + 1) * _ID_LENGTH].tobytes().decode("latin-1")


_ENVELOPE_LOOKS: Final = (("user_id", derived_words), ("session_id", derived_words), ("version", _no_versions))
