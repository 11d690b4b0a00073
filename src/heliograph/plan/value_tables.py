"""What each event declares of each property, as tables: all columns of a batch are held to them at once.

In a table each property has a line, and each event a place in it; the last place stands for events that are not in the
plan, whose rows have a verdict already. The place of a cell in a table is its *key*.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from heliograph.plan.buffers import column_values, rows_with_value
from heliograph.plan.cells import Cells
from heliograph.plan.coarse_columns import CoarseProperty
from heliograph.plan.coarsen import least
from heliograph.plan.model import CountProperty, DurationProperty, IntegerProperty, MemberProperty, NumberProperty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from heliograph.plan.model import Property

    Integers: TypeAlias = npt.NDArray[np.int64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]
    Line: TypeAlias = Sequence[Property | None]
    """What each event of the plan, in order, declares of one property; None where it does not have it."""


class Judged(NamedTuple):
    """What was found in columns of properties."""

    cells: Cells
    undeclared: Booleans
    """The cells whose event does not have this property."""
    invalid: Booleans
    """The cells whose value their event does not allow."""
    is_clean: bool
    """Whether they hold no word that no event allows, or that is there for no row."""
    is_bare: bool
    """Whether each has a value, and zeros stand wherever there is none; see `buffers.is_bare`."""


class _Found(NamedTuple):
    """What was found in columns of one type."""

    invalid: Booleans
    is_clean: bool
    is_bare: bool


class _Table(Protocol):
    """The properties of one type, line by line."""

    def judge(self, cells: Cells, lines: Sequence[int], keys: Integers) -> _Found:
        """Look at the cells of at least one column; `lines` of each column, `keys` of each cell."""


class PropertyTables:
    """All properties of a plan.

    Args:
        lines: By name, and by type.
        width: How many events there are, and one more.
    """

    def __init__(self, lines: Mapping[pa.DataType, Mapping[str, Line]], width: int) -> None:
        self.types: Final = {name: kind for kind, names in lines.items() for name in names}
        self.lines: Final = {name: line for line, name in enumerate(self.types)}
        """In the order in which `judge` wants them."""
        self._width = width
        all_lines = [line for names in lines.values() for line in names.values()]
        self._allowed = np.array(
            [[*(each is not None for each in line), False] for line in all_lines], np.bool_
        ).ravel()
        self._tables: list[tuple[int, int, _Table]] = []
        first = 0
        for kind, names in lines.items():
            self._tables.append((first, first + len(names), _table(kind, [*names.values()], width)))
            first += len(names)

    def judge(self, columns: Sequence[pa.Array], lines: Sequence[int], events: Integers) -> Judged:
        """Look at columns of a batch of at least one row.

        Args:
            columns: At least one.
            lines: Of each, its line; ascending.
            events: Of each row, the place of its event.
        """
        cells = Cells.of(columns)
        keys = cells.of_each(np.array(lines) * self._width) + events[cells.rows]
        invalid = np.zeros(len(keys), np.bool_)
        is_clean, is_bare = True, cells.is_bare()
        for first_line, end_line, table in self._tables:
            first, end = bisect_left(lines, first_line), bisect_left(lines, end_line)
            if first == end:
                continue
            where = slice(cells.starts[first], cells.starts[end])
            found = table.judge(
                cells.part(first, end),
                [line - first_line for line in lines[first:end]],
                keys[where] - first_line * self._width,
            )
            invalid[where] = found.invalid
            is_clean = is_clean and found.is_clean
            is_bare = is_bare and found.is_bare
        return Judged(cells, ~self._allowed[keys], invalid, is_clean, is_bare)


def _table(kind: pa.DataType, lines: Sequence[Line], width: int) -> _Table:
    if pa.types.is_boolean(kind):
        return _BooleanTable()
    if pa.types.is_dictionary(kind):
        return _WordTable(lines, width)
    return _IntegerTable(lines) if pa.types.is_integer(kind) else _FloatTable(lines, width)


class _BooleanTable:
    """Properties whose every value is allowed."""

    @staticmethod
    def judge(cells: Cells, lines: Sequence[int], keys: Integers) -> _Found:  # noqa: ARG004 - as any table
        return _Found(np.zeros(len(keys), np.bool_), is_clean=True, is_bare=cells.are_bits_bare())


class _FloatTable:
    """Properties with bounds, and perhaps a precision."""

    def __init__(self, lines: Sequence[Line], width: int) -> None:
        self._lowest, self._highest = _bounds(lines, np.float64)
        self._coarse = [CoarseProperty(line) for line in lines]
        self._width = width

    def judge(self, cells: Cells, lines: Sequence[int], keys: Integers) -> _Found:
        values, is_bare = cells.values(np.float64)
        # Written so that NaN, which compares false with everything, is out of range.
        passes = (values >= self._lowest[keys]) & (values <= self._highest[keys])
        for line, where in zip(lines, cells.each(), strict=True):
            if coarse := self._coarse[line]:
                passes[where] &= coarse.are_coarse(values[where], keys[where] - line * self._width)
        return _Found(~passes, is_clean=True, is_bare=is_bare)


class _IntegerTable:
    """Properties with bounds, and a precision or buckets: `coarse_columns.are_coarse` for all of them at once."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lowest, self._highest = _bounds(lines, np.int64)
        self._precision = np.array([[*map(precision_of, line), 1] for line in lines], np.int64).ravel()
        buckets = [[*map(buckets_of, line), ()] for line in lines]
        self._has_buckets = np.array([[bool(each) for each in line] for line in buckets], np.bool_).ravel()
        bounds = sorted({bound for line in buckets for each in line for bound in each})
        # The last one is above all others, so that each value has a bound that is not below it.
        self._bucket_bounds = np.array([*bounds, np.iinfo(np.int64).max], np.int64)
        kinds = [*dict.fromkeys(each for line in buckets for each in line)]
        places = {kind: place for place, kind in enumerate(kinds)}
        self._bucket_kind = np.array([[places[each] for each in line] for line in buckets], np.int64).ravel()
        self._is_bound = np.array([np.isin(self._bucket_bounds, kind) for kind in kinds], np.bool_).ravel()

    def judge(self, cells: Cells, lines: Sequence[int], keys: Integers) -> _Found:  # noqa: ARG002 - as any table
        values, is_bare = cells.values(np.int64)
        passes = (values >= self._lowest[keys]) & (values <= self._highest[keys])
        passes &= values % self._precision[keys] == 0
        counts = self._has_buckets[keys].nonzero()[0]
        if len(counts):
            some = values[counts]
            places = self._bucket_bounds[:-1].searchsorted(some)
            kinds = self._bucket_kind[keys[counts]] * len(self._bucket_bounds)
            passes[counts] &= (self._bucket_bounds[places] == some) & self._is_bound[kinds + places]
        return _Found(~passes, is_clean=True, is_bare=is_bare)


class _WordTable:
    """Properties with lists of words."""

    def __init__(self, lines: Sequence[Line], width: int) -> None:
        # Words that the same events allow share a place; the first one is for words that none allows.
        allowing = {(False,) * width: 0}
        self._places: list[dict[bytes | None, int]] = [
            {
                word.encode(): allowing.setdefault((*(word in each for each in members), True), len(allowing))
                for word in sorted(frozenset[str]().union(*members))
            }
            for members in ([*map(members_of, line)] for line in lines)
        ]
        self._allowing = np.array([*allowing], np.bool_).ravel()
        self._width = width

    def judge(self, cells: Cells, lines: Sequence[int], keys: Integers) -> _Found:
        indices, is_bare = cells.values(np.int16)
        dictionaries = [column.dictionary for column in cells.columns]
        starts = [0, *np.cumsum([len(each) for each in dictionaries]).tolist()]
        words = utf8_words(pa.concat_arrays(dictionaries))
        allowing = np.array(
            [
                self._places[line].get(word, 0)
                for line, (start, end) in zip(lines, pairwise(starts), strict=True)
                for word in words[start:end]
            ],
            np.int64,
        )
        # From a key in the lines of properties to one in the lines of words.
        first = cells.of_each(np.array(starts[:-1]))
        events = keys - cells.of_each(np.array(lines) * self._width)
        inside = self._allowing[(allowing * self._width)[indices + first] + events]
        unused = any(
            where.start == where.stop and start < end
            for where, (start, end) in zip(cells.each(), pairwise(starts), strict=True)
        )
        return _Found(~inside, is_clean=bool(allowing.all()) and not unused, is_bare=is_bare)


class WordList:
    """A field of the envelope that every event has, with a list of words for each event.

    Args:
        lists: By event.
    """

    def __init__(self, lists: Sequence[frozenset[str]]) -> None:
        # As in tables, the last place stands for events that are not in the plan.
        self._allowing = {
            word: np.array([*(word in each for each in lists), True]) for word in frozenset[str]().union(*lists)
        }
        self._never = np.array([False] * len(lists) + [True])

    def judge(self, column: pa.DictionaryArray, events: Integers) -> tuple[Integers, bool]:
        """Return the rows whose word their event does not allow, and whether each word is allowed by some event.

        Args:
            column: Words; where there is none, nothing is at fault.
            events: Of each row, the place of its event.
        """
        words = column.dictionary.to_pylist()
        allowing = [self._allowing.get(word, self._never) for word in words]
        is_clean = all(word in self._allowing for word in words)
        if all(each.all() for each in allowing):
            return np.empty(0, np.int64), is_clean
        rows = rows_with_value(column) if column.null_count else None
        indices = column_values(column.indices)
        if rows is not None:
            indices, events = indices[rows], events[rows]
        faulty = (~np.concatenate(allowing)[indices * np.int64(len(self._never)) + events]).nonzero()[0]
        return (faulty if rows is None else rows[faulty]), is_clean


def utf8_words(words: pa.StringArray) -> list[bytes | None]:
    """Return words in UTF-8: to make text of each takes several times as long."""
    if words.null_count or not len(words):
        return [None if word is None else word.encode() for word in words.to_pylist()]
    _, offsets, data = words.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(words) + 1, words.offset * 4).tolist()
    letters = b"" if data is None else data.to_pybytes()
    return [letters[start:end] for start, end in pairwise(bounds)]


def _bounds(
    lines: Sequence[Line], number: type[np.int64 | np.float64]
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Return the lowest and the highest value that each event takes."""
    bounds = np.array([[*map(range_of, line), (0, 0)] for line in lines], number).reshape(-1, 2)
    return bounds[:, 0].copy(), bounds[:, 1].copy()


def range_of(definition: Property | None) -> tuple[float, float]:
    """Return the lowest and the highest value that a property takes."""
    match definition:
        case IntegerProperty() | NumberProperty() | DurationProperty():
            return least(definition), definition.maximum
        case CountProperty():
            return definition.buckets[0], definition.buckets[-1]
        case _:
            return 0, 0


def precision_of(definition: Property | None) -> int:
    """Return what a property's whole numbers are multiples of."""
    return definition.precision if isinstance(definition, IntegerProperty | DurationProperty) else 1


def buckets_of(definition: Property | None) -> tuple[int, ...]:
    """Return the only values that a property takes; none where it is not so."""
    return tuple(definition.buckets) if isinstance(definition, CountProperty) else ()


def members_of(definition: Property | None) -> frozenset[str]:
    """Return the words that a property takes."""
    return frozenset(definition.members) if isinstance(definition, MemberProperty) else frozenset()
