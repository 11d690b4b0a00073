"""A loop over compact lines: straight from their letters to columns, as Arrow has them in memory.

It is written so that Numba can compile it (`heliograph.machine_code`), and reads the lines that a recorder writes: an
array without spaces, whose texts are ASCII without escapes, whose time is in UTC, whose properties the plan declares,
each once, with values of its kind. Whatever else there is, it leaves to whoever gives verdicts: it says which lines
these are. A line is read as a whole before anything of it is put anywhere.

Functions take the place that is reached, and return the one behind what they have read, or `NOWHERE`, if that is not
as a recorder writes it. Those of texts are in `heliograph.instance.text_loops`, of values in
`heliograph.instance.value_loops`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from heliograph.instance.compact_lines import PLACES, PROPERTIES
from heliograph.instance.text_loops import Texts, find_text, hash_of, number_of, read_text
from heliograph.instance.value_loops import NOWHERE, read_flag, read_real, read_sequence, read_time, read_whole

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Integers: TypeAlias = npt.NDArray[np.int64]
    Word: TypeAlias = np.uint64

NAME, KEY, USER, SESSION, WORDS, MEMBERS = 0, 1, 2, 3, 4, 5
"""Spaces of texts; from the last on, the members of one property after the other. Of names and keys only those are
there that are given."""
WHOLE, REAL, FLAG, MEMBER = 0, 1, 2, 3
"""Kinds of properties."""
ROWS, OTHERS, REALS, NAMES = 0, 1, 2, 3
"""What is counted: lines read, and left, numbers that are to be read from their letters, and events."""
SPARE: Final = 16
"""Bytes behind the last one that may be looked at."""
MOST_CELLS: Final = 256
"""Properties of a line."""
MOST_MEMBERS: Final = 32_000
"""Different texts of a property, and combinations of words, that a batch may have."""
_EVENT, _SEQUENCE, _TIME = 0, 1, 2
"""What each line has, in `Line.own`."""
_PROPERTY, _VALUE, _BEGIN, _END, _IS_UNREAD = 0, 1, 2, 3, 4
"""What is kept of a value, in `Line.cells`."""
_USER: Final = PLACES.index("user")
_SESSION: Final = PLACES.index("session")
_OUTCOME: Final = PLACES.index("outcome")
_LINE_END, _QUOTE, _COMMA, _COLON = b'\n",:'
_OPEN_LINE, _CLOSE_LINE, _OPEN, _CLOSE = b"[]{}"
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_FOUR: Final = np.uint64(0xFFFFFFFF)
_NOTHING: Final = np.uint64(0)
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


class Declared(NamedTuple):
    """What the plan declares."""

    given: Integers
    """Names and keys: where each begins and ends in the letters, and its space; in the order of their numbers."""
    event_of: Integers
    """The event of each name."""
    properties: Bytes
    """By event and property, whether the event has it."""
    kinds: Integers
    """Of each property its kind, and its line in the columns of that kind."""


class Columns(NamedTuple):
    """What is filled in: first there are zeros."""

    shown: Integers
    """By event, the how manieth it is of those that lines have, from 1 on."""
    names: Any
    """For each row: the same of its event, from 0 on,"""
    sequences: Integers
    """its number,"""
    times: Integers
    """its time, in microseconds since 1970,"""
    keys: Any
    """the numbers of its user and its session, -1 where it has none,"""
    words: Any
    """and that of its combination of words."""
    cells: Integers
    """How many values each property has."""
    valid: Bytes
    """For each property a bit for each row with a value."""
    whole: Integers
    """Values by kind, and by row;"""
    real: Any
    """likewise,"""
    flags: Bytes
    """likewise, in bits,"""
    members: Any
    """likewise, as numbers of texts."""
    reals: Integers
    """For each number that is not exactly read here, its line in `real`, its row, and where it begins and ends."""
    others: Integers
    """Where each line that is not read begins and ends."""
    counts: Integers
    """See `ROWS` and what follows."""


class Line(NamedTuple):
    """The line that is being read."""

    own: Integers
    """See `_EVENT` and what follows."""
    bounds: Integers
    """Where each text of the envelope begins and ends, which is -1 of one that is not there; and the properties."""
    codes: Any
    """The hashes of these texts."""
    cells: Integers
    """See `_PROPERTY` and what follows."""
    reals: Any
    """The values of cells that are numbers,"""
    cell_codes: Any
    """and the hashes of those that are texts."""
    last: Integers
    """By property, the last line that has it, from 1 on."""


def read_known(letters: Bytes, wide: Any, texts: Texts, space: int, place: int) -> tuple[int, int]:
    """Return the number of a text that is one of those given, and the place behind it."""
    if letters[place] != _QUOTE:
        return 0, NOWHERE
    end, code = read_text(wide, place + 1)
    if letters[end] != _QUOTE:
        return 0, NOWHERE
    number, _ = find_text(wide, texts, space, place + 1, end, code)
    return number, (end + 1 if number >= 0 else NOWHERE)


def read_word(letters: Bytes, wide: Any, place: int) -> tuple[int, int, Word, int]:
    """Return where a text begins and ends, -1 if it is ``null``, its hash, and the place behind it."""
    if letters[place] != _QUOTE:
        return place, -1, _NOTHING, (place + 4 if wide[place] & _FOUR == _NULL else NOWHERE)
    end, code = read_text(wide, place + 1)
    return place + 1, end, code, (end + 1 if letters[end] == _QUOTE else NOWHERE)


def read_own(letters: Bytes, wide: Any, declared: Declared, texts: Texts, line: Line, place: int) -> int:
    """Read the event, its number and its time, and return the place behind the comma that follows."""
    name, place = read_known(letters, wide, texts, NAME, place)
    if place < 0 or letters[place] != _COMMA:
        return NOWHERE
    sequence, place = read_sequence(letters, place + 1)
    if place < 0 or letters[place] != _COMMA or letters[place + 1] != _QUOTE:
        return NOWHERE
    begin, end, _, place = read_word(letters, wide, place + 1)
    if place < 0 or letters[place] != _COMMA:
        return NOWHERE
    time = read_time(letters, begin, end)
    line.own[_EVENT], line.own[_SEQUENCE], line.own[_TIME] = declared.event_of[name], sequence, time
    return place + 1 if time >= 0 else NOWHERE


def read_words(letters: Bytes, wide: Any, line: Line, place: int) -> int:
    """Read the texts from the user on, and return the place where the properties begin."""
    for nth in range(_USER, PROPERTIES):
        begin, end, code, place = read_word(letters, wide, place)
        if place < 0 or letters[place] != _COMMA:
            return NOWHERE
        line.bounds[nth, 0], line.bounds[nth, 1] = begin, end
        line.codes[nth] = code
        place += 1
    line.bounds[PROPERTIES, 0] = place
    return place


def read_value(letters: Bytes, wide: Any, line: Line, cell: int, kind: int, place: int) -> int:
    """Read a property's value into a cell, and return the place behind it."""
    if kind == MEMBER:
        begin, end, code, place = read_word(letters, wide, place)
        line.cells[cell, _BEGIN], line.cells[cell, _END] = begin, end
        line.cell_codes[cell] = code
        return place if end >= 0 else NOWHERE
    if kind == FLAG:
        flag, end = read_flag(wide, place)
        line.cells[cell, _VALUE] = flag
    elif kind == WHOLE:
        number, end = read_whole(letters, place)
        line.cells[cell, _VALUE] = number
    else:
        value, is_exact, end = read_real(letters, place)
        line.reals[cell] = value
        line.cells[cell, _BEGIN], line.cells[cell, _END], line.cells[cell, _IS_UNREAD] = place, end, not is_exact
    return end


def read_properties(
    letters: Bytes, wide: Any, declared: Declared, texts: Texts, line: Line, nth: int, place: int
) -> tuple[int, int]:
    """Read the properties of the `nth` line, each into a cell, and return how many, and the place of their end."""
    if letters[place] != _OPEN:
        return 0, NOWHERE
    if letters[place + 1] == _CLOSE:
        return 0, place + 1
    event, cells = line.own[_EVENT], 0
    while cells < MOST_CELLS:
        key, place = read_known(letters, wide, texts, KEY, place + 1)
        if place < 0 or letters[place] != _COLON or declared.properties[event, key] == 0 or line.last[key] == nth:
            return 0, NOWHERE
        line.last[key] = nth
        line.cells[cells, _PROPERTY] = key
        place = read_value(letters, wide, line, cells, declared.kinds[key, 0], place + 1)
        if place < 0:
            return 0, NOWHERE
        cells += 1
        if letters[place] != _COMMA:
            return cells, place
    return 0, NOWHERE


def read_line(
    letters: Bytes, wide: Any, declared: Declared, texts: Texts, line: Line, nth: int, start: int
) -> tuple[int, int]:
    """Read the `nth` line, and return how many properties it has, and the place behind its end."""
    if letters[start] != _OPEN_LINE:
        return 0, NOWHERE
    place = read_own(letters, wide, declared, texts, line, start + 1)
    if place < 0:
        return 0, NOWHERE
    place = read_words(letters, wide, line, place)
    if place < 0:
        return 0, NOWHERE
    cells, place = read_properties(letters, wide, declared, texts, line, nth, place)
    if place < 0 or letters[place] != _CLOSE or letters[place + 1] != _CLOSE_LINE or letters[place + 2] != _LINE_END:
        return 0, NOWHERE
    return cells, place + 3


def has_room(declared: Declared, texts: Texts, columns: Columns, line: Line, cells: int) -> bool:
    """Tell whether there is room for all that a line may have."""
    room = min(len(texts.lines), len(texts.slots) // 4 * 3) - MOST_CELLS - 4
    if texts.total[0] > room or texts.numbers[WORDS] >= MOST_MEMBERS:
        return False
    if columns.counts[REALS] + cells > len(columns.reals):
        return False
    for cell in range(cells):
        key = line.cells[cell, _PROPERTY]
        if declared.kinds[key, 0] == MEMBER and texts.numbers[MEMBERS + key] >= MOST_MEMBERS:
            return False
    return True


def put_own(columns: Columns, line: Line, row: int) -> None:
    """Put a line's event, its number and its time into columns."""
    event = line.own[_EVENT]
    if columns.shown[event] == 0:
        columns.counts[NAMES] += 1
        columns.shown[event] = columns.counts[NAMES]
    columns.names[row] = columns.shown[event] - 1
    columns.sequences[row], columns.times[row] = line.own[_SEQUENCE], line.own[_TIME]


def key_number(wide: Any, texts: Texts, space: int, line: Line, place: int) -> int:
    """Return the number of a line's user or session, -1 where it has none."""
    begin, end = line.bounds[place, 0], line.bounds[place, 1]
    return number_of(wide, texts, space, begin, end, line.codes[place]) if end >= 0 else -1


def words_number(wide: Any, texts: Texts, line: Line) -> int:
    """Return the number of a line's combination of words: of its letters, from the first word to the last comma."""
    begin, end = line.bounds[_OUTCOME, 0], line.bounds[PROPERTIES, 0]
    if line.bounds[_OUTCOME, 1] >= 0:
        begin -= 1  # its quote
    code = _NOTHING
    for place in range(_OUTCOME, PROPERTIES):
        code = (code ^ line.codes[place]) * _FACTOR
        code ^= code >> np.uint64(29)
    return number_of(wide, texts, WORDS, begin, end, code)


def put_real(columns: Columns, line: Line, cell: int, column: int, row: int) -> None:
    """Put a number into its column; note where its letters are, if it is to be read from them."""
    columns.real[column, row] = line.reals[cell]
    if line.cells[cell, _IS_UNREAD] != 0:
        unread = columns.counts[REALS]
        columns.reals[unread, 0], columns.reals[unread, 1] = column, row
        columns.reals[unread, 2], columns.reals[unread, 3] = line.cells[cell, _BEGIN], line.cells[cell, _END]
        columns.counts[REALS] += 1


def put_value(wide: Any, declared: Declared, texts: Texts, columns: Columns, line: Line, cell: int, row: int) -> None:
    """Put what is in a cell into the column of its property."""
    key = line.cells[cell, _PROPERTY]
    kind, column = declared.kinds[key, 0], declared.kinds[key, 1]
    byte, bit = row // 8, np.uint8(1 << (row % 8))
    columns.valid[key, byte] |= bit
    columns.cells[key] += 1
    if kind == WHOLE:
        columns.whole[column, row] = line.cells[cell, _VALUE]
    elif kind == REAL:
        put_real(columns, line, cell, column, row)
    elif kind == MEMBER:
        begin, end = line.cells[cell, _BEGIN], line.cells[cell, _END]
        columns.members[column, row] = number_of(wide, texts, MEMBERS + key, begin, end, line.cell_codes[cell])
    elif line.cells[cell, _VALUE] == 1:
        columns.flags[column, byte] |= bit


def put_line(wide: Any, declared: Declared, texts: Texts, columns: Columns, line: Line, cells: int) -> None:
    """Put a line that was read into columns, as the next row."""
    row = columns.counts[ROWS]
    put_own(columns, line, row)
    columns.keys[0, row] = key_number(wide, texts, USER, line, _USER)
    columns.keys[1, row] = key_number(wide, texts, SESSION, line, _SESSION)
    columns.words[row] = words_number(wide, texts, line)
    for cell in range(cells):
        put_value(wide, declared, texts, columns, line, cell, row)
    columns.counts[ROWS] += 1


def leave_line(letters: Bytes, columns: Columns, start: int) -> int:
    """Note where a line is that is not read, and return the place behind its end."""
    end = start
    while letters[end] != _LINE_END:
        end += 1
    left = columns.counts[OTHERS]
    columns.others[left, 0], columns.others[left, 1] = start, end
    columns.counts[OTHERS] += 1
    return end + 1


def read_lines(
    letters: Bytes, wide: Any, length: int, declared: Declared, texts: Texts, line: Line, columns: Columns
) -> None:
    """Read the lines of the first `length` letters, each of which has an end.

    Args:
        letters: With `SPARE` behind the last one that is used.
        wide: The same as numbers of eight bytes that begin at any byte.
        length: See above.
        declared: What the plan declares.
        texts: Is filled in, with what is given first: zeros.
        line: Room for a line: zeros.
        columns: Is filled in.
    """
    for each in range(len(declared.given)):
        begin, end, space = declared.given[each, 0], declared.given[each, 1], declared.given[each, 2]
        number_of(wide, texts, space, begin, end, hash_of(wide, begin, end))
    start, nth = 0, 0
    while start < length:
        nth += 1
        cells, behind = read_line(letters, wide, declared, texts, line, nth, start)
        if behind >= 0 and has_room(declared, texts, columns, line, cells):
            put_line(wide, declared, texts, columns, line, cells)
            start = behind
        else:
            start = leave_line(letters, columns, start)
