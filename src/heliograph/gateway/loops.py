"""Loops over a body of Arrow: each tells whether all that it looks at is as the plan, or Arrow's own writer, has it.

As those of `heliograph.gateway.layout_loops`, which has found where things are, they are written so that Numba can
compile them. What they have in common: `memory` is the content; `cells` holds the rows in which a column has a value,
`count` of them; `events` is each row's event. A column that holds anything where it has no value does not pass.
Numbers that are never negative are unsigned: to look for negative ones takes a third of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from heliograph.gateway.layout_loops import LENGTH, LETTERS, OFFSETS, WORDS, find

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from heliograph.gateway.layout_loops import Layout

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Rows: TypeAlias = npt.NDArray[np.uint32]
    Events: TypeAlias = npt.NDArray[np.uint16]
    Lines: TypeAlias = npt.NDArray[np.uint32]
    Integers: TypeAlias = npt.NDArray[np.int64]
    Floats: TypeAlias = npt.NDArray[np.float64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]

FAILS, PASSES, HAS_NEW_WORDS = 0, 1, 2
"""What `judge` tells: something is at fault or in doubt; nothing is; a word is none that is known yet."""
NAME, TIME, SEQUENCE, WHOLE, NUMBER, FLAG, WORD, ID = range(8)
"""What a column holds."""
LOWEST, HIGHEST, STEP, BUCKETS = 0, 1, 2, 3
"""What a table of limits holds for each property and event."""
FIRST_LETTER, LETTER_COUNT, FIELD, LINE = 0, 1, 2, 3
"""What is known of each word: where it is in `Vocabulary.letters`, how long, in which field, and its line there."""
IDS_FIELD: Final = -1
"""In the place of a field: a dictionary of random ids."""
MOST_NUMBERED: Final = 1 << 15
"""Words that can have a number of int16: as an unsigned number, a negative one is larger."""
ID_LETTERS: Final = 32
SPARE: Final = 8
"""Places that `find_cells` wants in `cells` beside those of the rows."""
_NO_LINE: Final = -1
_HASH_START, _HASH_FACTOR, _HASH_BITS = 2166136261, 16777619, 0xFFFFFFFF
"""Of FNV-1a."""
_FIRST_IS_LETTER: Final = 0x0040004000400040
"""In ASCII a bit that the digits a to f have, and 0 to 9 have not; here in the first digit of each byte."""


class Vocabulary(NamedTuple):
    """The words that are known, found by a hash of field and letters."""

    slots: Integers
    """Where a word's hash points, or the next free one behind it: its place in `words`; -1 where none is."""
    words: Integers
    letters: Bytes


class Allowed(NamedTuple):
    """What a plan allows; see `heliograph.gateway.plan_tables`."""

    whole_numbers: Integers
    """By property and event: the lowest, the highest, what it is a multiple of, and a line in `buckets` or -1."""
    buckets: Integers
    """Each line has the values of which a number has to be one, the last one as often as it takes."""
    numbers: Floats
    """By property and event: the lowest, the highest, and how many steps make one, or 0 for any number."""
    flags: Booleans
    """By property and event: whether it has the property."""
    words: Booleans
    """By a word's line and event: whether it may stand there."""


class Looks(NamedTuple):
    """What is to be looked at in streams of one schema."""

    columns: Integers
    """Of each its position, what it holds, and its line in `Allowed`, or of words and ids its dictionary.

    The first one is the one of names.
    """
    fields: Integers
    """Of each dictionary, the field of its words."""


class Room(NamedTuple):
    """Where loops leave what they find, kept from body to body."""

    events: Events
    cells: Rows
    lines: Lines
    """Of each word, by dictionary: its line. The line of a name is its event."""
    starts: Integers
    """Of each dictionary, where its words begin in `lines`."""
    counts: Integers
    """How many rows each event has."""
    suspects: Integers
    """Where in the content ids begin that have to be looked at one by one; the first item is how many there are."""

    @classmethod
    def of(cls, *, events: int, columns: int, rows: int, words: int, suspects: int) -> Room:
        """Return room for so many events and columns of a plan, and rows, words, and suspect ids of a body."""
        return cls(
            np.zeros(rows, np.uint16),
            np.zeros(rows + SPARE, np.uint32),
            np.zeros(words, np.uint32),
            np.zeros(columns, np.int64),
            np.zeros(events, np.int64),
            np.zeros(1 + suspects, np.int64),
        )


def judge(
    memory: Bytes, rows: int, latest: int, layout: Layout, looks: Looks, words: Vocabulary, allowed: Allowed, room: Room
) -> int:
    """Look at all columns of a stream, and at all words of its dictionaries.

    Filled in are `room.counts` and `room.suspects`: nothing has passed before these ids have been looked at.
    """
    verdict = look_words_up(memory, layout.dictionaries, looks.fields, words, room)
    if verdict != PASSES:
        return verdict
    position, _, dictionary = looks.columns[0]
    start, nulls = layout.columns[position, 1:]
    known = known_lines(layout.dictionaries, dictionary, room)
    if nulls != 0 or not name_events(memory[start : start + 2 * rows].view(np.uint16), known, room):
        return FAILS
    for number in range(1, len(looks.columns)):
        position, holds, line = looks.columns[number]
        if not column_passes(memory, rows, latest, layout.columns[position], holds, line, layout, allowed, room):
            return FAILS
    for number in range(len(looks.fields)):
        if looks.fields[number] == IDS_FIELD and not are_ids(memory, layout.dictionaries[number], room.suspects):
            return FAILS
    return PASSES


def look_words_up(memory: Bytes, dictionaries: Integers, fields: Integers, words: Vocabulary, room: Room) -> int:
    """Fill in `room.starts` and `room.lines`."""
    room.suspects[0] = 0
    found = 0
    for number in range(len(dictionaries)):
        room.starts[number] = found
        if fields[number] == IDS_FIELD:
            continue
        count, letters, end = dictionaries[number, WORDS], dictionaries[number, LETTERS], dictionaries[number, LENGTH]
        offsets = memory[dictionaries[number, OFFSETS] : dictionaries[number, OFFSETS] + 4 * (count + 1)].view(np.int32)
        if offsets[0] != 0 or offsets[count] != end or found + count > len(room.lines):
            return FAILS
        for word in range(count):
            first, behind = offsets[word], offsets[word + 1]
            if first > behind or behind > end:
                return FAILS
            line = line_of(memory[letters + first : letters + behind], fields[number], words)
            if line == _NO_LINE:
                return HAS_NEW_WORDS
            room.lines[found + word] = line
        found += count
    return PASSES


def line_of(word: Bytes, field: int, words: Vocabulary) -> int:
    """Return the line of a word, -1 if it is not known."""
    slot = hash_of(word, field) & (len(words.slots) - 1)
    while words.slots[slot] >= 0:
        first, count, its_field, line = words.words[words.slots[slot]]
        if its_field == field and count == len(word):
            differs = 0
            for place in range(count):
                differs |= word[place] ^ words.letters[first + place]
            if differs == 0:
                found: int = line
                return found
        slot = (slot + 1) & (len(words.slots) - 1)
    return _NO_LINE


def hash_of(word: Bytes, field: int) -> int:
    """Return a hash of a word and its field."""
    found = _HASH_START ^ field
    for place in range(len(word)):
        found = ((found ^ int(word[place])) * _HASH_FACTOR) & _HASH_BITS
    return found ^ (found >> 16)


def known_lines(dictionaries: Integers, number: int, room: Room) -> Lines:
    """Return the lines of those words of a dictionary that rows can have."""
    start = room.starts[number]
    return room.lines[start : start + min(dictionaries[number, WORDS], MOST_NUMBERED)]


def name_events(numbers: Events, known: Lines, room: Room) -> bool:
    """Fill in `room.events` and `room.counts`; false where a row has no name."""
    room.counts[:] = 0
    for row in range(len(numbers)):
        if numbers[row] >= len(known):
            return False
        event = known[numbers[row]]
        room.events[row] = event
        room.counts[event] += 1
    return True


def column_passes(
    memory: Bytes,
    rows: int,
    latest: int,
    column: Integers,
    holds: int,
    line: int,
    layout: Layout,
    allowed: Allowed,
    room: Room,
) -> bool:
    """Look at one column."""
    validity, start, nulls = column
    if holds == TIME:
        return nulls == 0 and times_pass(memory[start : start + 8 * rows].view(np.int64), latest)
    if holds == SEQUENCE:
        return nulls == 0 and rise(memory[start : start + 8 * rows].view(np.int64))
    count = find_cells(memory, validity, rows, nulls, room.cells)
    if count == 0:
        return False
    cells, events = room.cells[:count], room.events
    if holds == WHOLE:
        values = memory[start : start + 8 * rows].view(np.int64)
        return is_nothing_elsewhere(values, cells) and whole_numbers_pass(
            values, cells, events, allowed.whole_numbers[line], allowed.buckets
        )
    if holds == NUMBER:
        floats = memory[start : start + 8 * rows].view(np.float64)
        # By their bits, so that no zero of another form hides.
        return is_nothing_elsewhere(floats.view(np.int64), cells) and numbers_pass(
            floats, cells, events, allowed.numbers[line]
        )
    if holds == FLAG:
        return are_flags_bare(memory, column, rows) and flags_pass(cells, events, allowed.flags[line])
    if holds == WORD:
        words = memory[start : start + 2 * rows].view(np.uint16)
        known = known_lines(layout.dictionaries, line, room)
        return is_nothing_elsewhere(words, cells) and words_pass(words, cells, events, known, allowed.words)
    ids = memory[start : start + 4 * rows].view(np.uint32)
    return is_nothing_elsewhere(ids, cells) and are_below(ids, cells, layout.dictionaries[line, WORDS])


def find_cells(memory: Bytes, validity: int, rows: int, nulls: int, cells: Rows) -> int:
    """Fill in `cells` and return how many there are; 0 if there are none, or not as many as the column tells."""
    if nulls == 0:
        for row in range(rows):
            cells[row] = row
        return rows
    found = 0
    for byte in range((rows + 7) // 8):
        bits = memory[validity + byte]
        if bits == 0:
            continue
        # Without asking, as one can not guess the answer: what is not a cell is written over by the next one.
        for bit in range(8):
            cells[found] = 8 * byte + bit
            found += int((bits >> bit) & 1)
    return found if found == rows - nulls and found > 0 and cells[found - 1] < rows else 0


def is_nothing_elsewhere(values: npt.NDArray[Any], cells: Rows) -> bool:
    """Tell whether a column has nothing but zeros where it has no value."""
    found = 0
    for row in range(len(values)):
        if values[row] != 0:
            found += 1
    for place in range(len(cells)):
        if values[cells[place]] != 0:
            found -= 1
    return found == 0


def times_pass(times: Integers, latest: int) -> bool:
    """Tell whether times are from 1970 on, and none is later than `latest`."""
    others = False
    for row in range(len(times)):
        others |= (times[row] < 0) | (times[row] > latest)
    return not others


def rise(numbers: Integers) -> bool:
    """Tell whether each number is higher than the one before."""
    others = False
    for row in range(1, len(numbers)):
        others |= numbers[row] <= numbers[row - 1]
    return not others


def whole_numbers_pass(values: Integers, cells: Rows, events: Events, limits: Integers, buckets: Integers) -> bool:
    """Hold a column to a line of `Allowed.whole_numbers`."""
    for place in range(len(cells)):
        value, event = values[cells[place]], events[cells[place]]
        step, line = limits[event, STEP], limits[event, BUCKETS]
        if value < limits[event, LOWEST] or value > limits[event, HIGHEST] or (step > 1 and value % step != 0):
            return False
        if line >= 0:
            is_one = False
            for bucket in range(buckets.shape[1]):
                is_one |= buckets[line, bucket] == value
            if not is_one:
                return False
    return True


def numbers_pass(values: Floats, cells: Rows, events: Events, limits: Floats) -> bool:
    """Hold a column to a line of `Allowed.numbers`."""
    for place in range(len(cells)):
        value, event = values[cells[place]], events[cells[place]]
        # Written so that NaN, which compares false with everything, is out of range.
        if not (value >= limits[event, LOWEST] and value <= limits[event, HIGHEST]):
            return False
        steps = limits[event, STEP]
        if steps > 0 and np.rint(value * steps) / steps != value:
            return False
    return True


def are_flags_bare(memory: Bytes, column: Integers, rows: int) -> bool:
    """Tell whether a column of bits has nothing but zeros where it has no value, and behind its last row."""
    validity, start, nulls = column
    others = 0
    for byte in range((rows + 7) // 8):
        valid = memory[validity + byte] if nulls > 0 else np.uint8((1 << min(8, rows - 8 * byte)) - 1)
        others |= memory[start + byte] & ~valid
    return others == 0


def flags_pass(cells: Rows, events: Events, declared: Booleans) -> bool:
    """Hold a column to a line of `Allowed.flags`."""
    passes = True
    for place in range(len(cells)):
        passes &= declared[events[cells[place]]]
    return passes


def words_pass(numbers: Events, cells: Rows, events: Events, known: Lines, allowed: Booleans) -> bool:
    """Hold a column of words' numbers to `Allowed.words`."""
    for place in range(len(cells)):
        number = numbers[cells[place]]
        if number >= len(known) or not allowed[known[number], events[cells[place]]]:
            return False
    return True


def are_below(numbers: Rows, cells: Rows, count: int) -> bool:
    """Tell whether all numbers are below `count`; what is negative is not."""
    others = False
    for place in range(len(cells)):
        others |= numbers[cells[place]] >= count
    return not others


def are_ids(memory: Bytes, dictionary: Integers, suspects: Integers) -> bool:
    """Tell whether all words are of 32 hexadecimal digits, and note down those that may be derived.

    What nearly all ids lack is asked of each, eight digits in one machine word, as `plan.sensitive.wall.derived_ids`
    does; some three in a thousand are left.
    """
    start, first, length, count = dictionary
    offsets = memory[start : start + 4 * (count + 1)].view(np.int32)
    letters = memory[first : first + length]
    others = length != ID_LETTERS * count
    for word in range(count + 1):
        others |= offsets[word] != ID_LETTERS * word
    for place in range(len(letters)):
        letter = letters[place]
        others |= ((letter < 48) | (letter > 57)) & ((letter < 97) | (letter > 102))
    if others:
        return False
    halves, groups = letters.view(np.int64), letters.view(np.int32)
    for word in range(count):
        whole = halves[4 * word] | halves[4 * word + 1] | halves[4 * word + 2] | halves[4 * word + 3]
        # Neither a decimal number nor printable text has a byte whose first digit is a to f; nor is a half often twice.
        suspect = ((whole & _FIRST_IS_LETTER) == 0) | (halves[4 * word] == halves[4 * word + 2])
        for group in range(8 * word, 8 * word + 8):  # eight times a digit fill at least one group of four
            suspect |= groups[group] == (groups[group] & 0xFF) * 0x01010101
        if suspect:
            suspects[0] += 1
            if suspects[0] >= len(suspects):
                return False
            suspects[suspects[0]] = first + ID_LETTERS * word
    return True


class Loops(NamedTuple):
    """The loops, as they are to be run."""

    find: Callable[..., int]
    judge: Callable[..., int]


PLAIN: Final = Loops(find, judge)
"""Run by Python."""
