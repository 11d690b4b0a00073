"""Lines as the gateway itself writes them, checked all at once.

Such a line has its fields in the order of the plan, no space, no key without a value, and its time in UTC. Where each
field stands is then known, so that what every event has for itself (sequence number, time, random ids) is read as
columns, eight characters in one machine word. What is left without that is the same for many events: each of these
remainders is decoded once, held to the plan, and must be what would be written anew.

Nothing here says why an event does not pass, nor that it does not: what is not certain to pass is for `lines` to tell.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from heliograph.plan.buffers import column_values
from heliograph.plan.line_types import LineTypes
from heliograph.plan.sensitive.wall import SecondWall, are_hexadecimal, derived_ids

if TYPE_CHECKING:
    import numpy.typing as npt

    from heliograph.plan.model import Plan
    from heliograph.wire import Counts

    _Integers = npt.NDArray[np.int64]
    _Letters = npt.NDArray[np.uint8]
    _Which = npt.NDArray[np.bool_]

_LINE_END, _QUOTE, _POINT, _ZERO, _Z = b'\n".0Z'
_NINE: Final = 9
_MOST_DIGITS: Final = 18
"""Of a sequence number: the few that have one more do not fit every step of reading them."""
_PADDING: Final = bytes(512)
"""Behind the last line: more than the fields that are read here take, so that no place that is looked at is outside."""
_ID_LETTERS: Final = 32
_SECONDS_AT: Final = 19
"""Where in a time the seconds end: with its ``Z``, or with the point before six digits."""
_TIME: Final = np.frombuffer(b"0000-00-00T00:00:00.000000Z", np.uint8)
_DIGITS_AT: Final = np.flatnonzero(_TIME == _ZERO)
_SIGNS_AT: Final = np.flatnonzero((_TIME != _ZERO)[:_SECONDS_AT])
_LATEST_YEAR: Final = 2199
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = [(year, month) for year in range(1970, _LATEST_YEAR + 1) for month in range(1, 13)]
_DAYS_BEFORE: Final = np.array([(datetime(*month, 1, tzinfo=UTC) - _1970).days for month in _MONTHS])
_DAYS_OF: Final = np.array([monthrange(*month)[1] for month in _MONTHS], np.uint64)
_MONTHS_OF_YEAR: Final = 12
_CLOCK: Final = np.array([[24], [60], [60]])
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = np.zeros(1, np.int64)
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class Read(NamedTuple):
    """What was read of lines that all pass."""

    numbers: _Integers
    """Their sequence numbers, one a line."""
    names: Counts
    """Events by name."""


class WrittenLines:
    """The plan, compiled for lines as the gateway itself writes them."""

    def __init__(self, plan: Plan) -> None:
        self._rest = LineTypes(plan, SecondWall(plan), whole=False)
        self._longest = max(map(len, plan.events), default=0)

    def read(self, lines: bytes, *, latest: datetime) -> Read | None:
        """Read lines that are all of this form and all pass; None, if that is not certain.

        Args:
            lines: Whole lines; the last one may lack its end.
            latest: The latest time that an event may have.
        """
        text = _Text(lines)
        names_end = text.skip_name(self._longest)
        numbers = text.read_numbers()
        times = text.read_times()
        ids = text.read_ids()
        if not (
            text.is_so
            and times.max() <= (latest - _1970) // _MICROSECOND
            and are_hexadecimal(ids)
            and len(derived_ids(ids)) == 0
        ):
            return None
        names = self._count_names(text.without(names_end))
        return None if names is None else Read(numbers, names)

    def _count_names(self, rests: pa.BinaryArray) -> Counts | None:
        """Hold to the plan what is left of the lines, each kind of it once, and count events by name."""
        coded = rests.dictionary_encode()
        lines = coded.dictionary.buffers()[2]
        try:
            events = self._rest.decoder.decode_lines(lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not pa.py_buffer(_encode_lines(events)).equals(lines) or not self._rest.values_pass(events):
            return None
        kinds: dict[type[Any], int] = {}
        for kind, count in zip(map(type, events), np.bincount(column_values(coded.indices)).tolist(), strict=True):
            kinds[kind] = kinds.get(kind, 0) + count
        return {self._rest.names[kind]: count for kind, count in kinds.items()}


class _Text:
    """Lines that are read from the left to the right, all of them one step further with each call.

    What is not as it must be makes `is_so` false, and reading goes on: with numbers that mean nothing, but inside.
    """

    def __init__(self, lines: bytes) -> None:
        self._lines = lines if lines.endswith(b"\n") else lines + b"\n"
        self._padded = self._lines + _PADDING
        self._letters = np.frombuffer(self._padded, np.uint8)
        self._words = self._pieces("<u8")
        self._ends = np.flatnonzero(self._letters[: len(self._lines)] == _LINE_END)
        self._place = np.concatenate((_FIRST, self._ends[:-1] + 1))
        self._looks: list[_Which] = []

    @property
    def is_so(self) -> bool:
        """Whether everything was as it must be."""
        return all(look.all() for look in self._looks)

    def skip_name(self, longest: int) -> _Integers:
        """Skip a name of at most `longest` letters, and return the places behind its quotes."""
        # That it begins as it must is seen where all that is left is written anew.
        self._place = self._place + len(b'{"name":"')
        self._place += (self._look(longest + 1) == _QUOTE).argmax(axis=1)
        ends: _Integers = self._place + 1
        self._skip(b'","sequence":')
        return ends

    def read_numbers(self) -> _Integers:
        """Return whole numbers above zero."""
        digits = self._look(_MOST_DIGITS + 1).T - np.uint8(_ZERO)
        length = (digits > _NINE).argmax(axis=0)
        numbers: _Integers = digits[0].astype(np.int64)
        self._looks.append((numbers > 0) & (length > 0))
        for place in range(1, length.max()):
            numbers = np.where(place < length, numbers * 10 + digits[place], numbers)
        self._place = self._place + length
        self._skip(b',"time":"')
        return numbers

    def read_times(self) -> _Integers:
        """Return times as microseconds since 1970."""
        letters = self._look(len(_TIME)).T
        has_fraction = letters[_SECONDS_AT] == _POINT
        digits = letters[_DIGITS_AT] - np.uint8(_ZERO)
        if not has_fraction.all():
            digits[-6:, ~has_fraction] = 0
        self._place = self._place + np.where(has_fraction, len(_TIME), _SECONDS_AT + 1)
        end = self._words[self._place - 1]
        pairs = (digits[::2] * np.uint8(10) + digits[1::2]).astype(np.int64)
        fraction = (pairs[7] * 100 + pairs[8]) * 100 + pairs[9]
        times, are_times = _microseconds(pairs)
        self._looks += [
            letters[_SIGNS_AT] == _TIME[_SIGNS_AT, None],
            digits <= _NINE,
            (end & 0xFFFF) == int.from_bytes(b'Z"', "little"),
            (fraction > 0) == has_fraction,
            are_times,
        ]
        self._place += 1
        times += fraction
        return times

    def read_ids(self) -> _Letters:
        """Return the letters of all random ids, those of one kind behind those of the other."""
        letters = [self._read_ids(before) for before in (b',"user_id":"', b',"session_id":"')]
        # Nothing that was read reaches into the next line: `without` relies on it.
        self._looks.append(self._place <= self._ends)
        return np.concatenate(letters)

    def without(self, begins: _Integers) -> pa.BinaryArray:
        """Return the lines without what is between a place of each and the one that is reached."""
        cuts = np.zeros(2 * len(begins) + 2, np.int32)
        cuts[1:-1:2], cuts[2:-1:2], cuts[-1] = begins, self._place, len(self._lines)
        left = _cut(self._lines, cuts).take(pa.array(np.arange(0, len(cuts), 2)))
        ends = np.zeros(len(begins) + 1, np.int32)
        ends[1:] = self._ends + 1 - (self._place - begins).cumsum()
        return _cut(left.buffers()[2], ends)

    def _read_ids(self, before: bytes) -> _Letters:
        has_one = self._stands(before)
        begins = self._place + len(before)
        self._place = self._place + has_one * (len(before) + _ID_LETTERS + 1)
        if not has_one.all():
            begins = begins[has_one]
        self._looks.append(self._letters[begins + _ID_LETTERS] == _QUOTE)
        return self._pieces(f"V{_ID_LETTERS}")[begins].view(np.uint8)

    def _skip(self, word: bytes) -> None:
        self._looks.append(self._stands(word))
        self._place = self._place + len(word)

    def _stands(self, word: bytes) -> _Which:
        """Tell whether a word of eight letters or more stands at the place that is reached."""
        last = len(word) - 8
        is_so: _Which = self._words[self._place] == int.from_bytes(word[:8], "little")
        is_so &= self._words[self._place + last] == int.from_bytes(word[last:], "little")
        return is_so

    def _look(self, length: int) -> _Letters:
        return self._pieces(f"V{length}")[self._place].view(np.uint8).reshape(-1, length)

    def _pieces(self, kind: str) -> npt.NDArray[Any]:
        """Return machine words, or pieces of some length, that begin at each letter."""
        size = np.dtype(kind).itemsize
        return np.ndarray((len(self._padded) - size + 1,), kind, self._padded, strides=(1,))


def _cut(text: bytes | pa.Buffer, cuts: npt.NDArray[np.int32]) -> pa.BinaryArray:
    """Return what is between one place of a text and the next."""
    return pa.BinaryArray.from_buffers(pa.binary(), len(cuts) - 1, [None, pa.py_buffer(cuts), pa.py_buffer(text)])


def _microseconds(pairs: _Integers) -> tuple[_Integers, _Which]:
    """Return times without their fractions, of their digits two by two, and whether they are some, from 1970 on."""
    month = (pairs[0] * 100 + pairs[1] - 1970) * 12 + pairs[2] - 1
    # What is below zero is, without its sign, above everything.
    are_times = ((pairs[2] - 1).view(np.uint64) < _MONTHS_OF_YEAR) & (month.view(np.uint64) < len(_MONTHS))
    month *= are_times
    day = pairs[3] - 1
    are_times &= (day.view(np.uint64) < _DAYS_OF[month]) & (pairs[4:7] < _CLOCK).all(axis=0)
    hour, minute, second = pairs[4:7]
    return ((((_DAYS_BEFORE[month] + day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000, are_times
