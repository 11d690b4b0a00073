"""Loops over a body of Arrow: each tells whether all that it looks at is as the plan, or Arrow's own writer, has it.

They are written so that Numba can compile them (`heliograph.machine_code`): plain loops over arrays, without
objects. Python runs them as well, a hundred times slower. What is compiled looks at no bound by itself, so that the
ones that find things come first, in the order of `Loops`: what they give lies inside of the content.

What they have in common: `memory` is the content; `starts` tells where each column's values begin in it; `cells` holds
the rows in which a column has a value, those of the first column first, and `begins` where each column's begin in
`cells`, and at last where they all end; `events` is each row's event. A column that holds anything where it has no
value does not pass. Numbers that are never negative are unsigned: to look for negative ones takes a third of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Rows: TypeAlias = npt.NDArray[np.uint32]
    Events: TypeAlias = npt.NDArray[np.uint16]
    Lines: TypeAlias = npt.NDArray[np.uint32]
    Integers: TypeAlias = npt.NDArray[np.int64]
    Floats: TypeAlias = npt.NDArray[np.float64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]

LOWEST, HIGHEST, STEP, BUCKETS = 0, 1, 2, 3
"""What a table of limits holds for each property and event."""
START, SIZE, AT_BODY, AT_ROWS, AT_NODES, AT_BUFFERS = 0, 1, 2, 3, 4, 5
"""What a form holds of each message: where it is in the template, its size, and where its numbers are in it."""
MESSAGE, BODY, BODY_LENGTH = 0, 1, 2
"""What is found of each message: where it begins, and where and how long the body behind it is."""
VALIDITY, VALUES, NULLS = 0, 1, 2
"""What is found of each column: where its bits and its values begin, and how many rows have no value."""
OFFSETS, LETTERS, LENGTH, WORDS = 0, 1, 2, 3
"""What is found of each dictionary: where its offsets and its letters begin, how many letters and how many words."""
END: Final = (255, 255, 255, 255, 0, 0, 0, 0)
"""What a stream ends with."""
MOST_NUMBERED: Final = 1 << 15
"""Words that can have a number of int16: as an unsigned number, a negative one is larger."""
ID_LETTERS: Final = 32
SPARE: Final = 8
"""Places that `find_cells` wants at the end of `cells`."""


def follow_form(memory: Bytes, template: Bytes, fixed: Bytes, messages: Integers, bodies: Integers) -> bool:
    """Go through a stream's messages, and tell whether they are those of a form but for their numbers.

    `template` is the messages of another stream, one behind the other and without the bodies that follow them; `fixed`
    has its bits set where all such streams have the same ones; `messages` tells of each where its numbers are: the
    first is the schema, which has none, then comes one for each dictionary, and last the batch. Filled in are `bodies`:
    where each message begins, where its body does, and how long that is.
    """
    place = 0
    for number in range(len(messages)):
        first, size, at_body = messages[number, START], messages[number, SIZE], messages[number, AT_BODY]
        if size > len(memory) - place:
            return False
        differs = 0
        for byte in range(size):
            differs |= (memory[place + byte] ^ template[first + byte]) & fixed[first + byte]
        length = 0
        if at_body > 0:
            length = memory[place + at_body : place + at_body + 8].view(np.int64)[0]
        if differs != 0 or length < 0 or length > len(memory) - place - size:
            return False
        bodies[number, MESSAGE], bodies[number, BODY], bodies[number, BODY_LENGTH] = place, place + size, length
        place += size + length
    if len(memory) - place != len(END):
        return False
    differs = 0
    for byte in range(len(END)):
        differs |= memory[place + byte] ^ END[byte]
    return differs == 0


def find_dictionaries(memory: Bytes, messages: Integers, bodies: Integers, most: int, dictionaries: Integers) -> bool:
    """Fill in `dictionaries`, each of 1 to `most` words; false if one is not laid out as Arrow does, or has a null.

    It has three buffers: no bits, offsets, and letters. Each begins at the first multiple of eight behind the one
    before, what is between is zeros, and so are those of columns.
    """
    for number in range(len(dictionaries)):
        start, body, length = bodies[number + 1]
        at_words, at_node, at_buffers = messages[number + 1, AT_ROWS:]
        words = memory[start + at_words : start + at_words + 8].view(np.int64)[0]
        node = memory[start + at_node : start + at_node + 16].view(np.int64)
        buffers = memory[start + at_buffers : start + at_buffers + 48].view(np.int64)
        if words < 1 or words > most or node[0] != words or node[1] != 0:
            return False
        offsets_end = 4 * (words + 1)
        letters_start = (offsets_end + 7) // 8 * 8
        letters = buffers[5]
        if letters < 0 or letters > length or length != (letters_start + letters + 7) // 8 * 8:
            return False
        if buffers[0] != 0 or buffers[1] != 0 or buffers[2] != 0 or buffers[3] != offsets_end:
            return False
        if buffers[4] != letters_start:
            return False
        for place in range(body + offsets_end, body + letters_start):
            if memory[place] != 0:
                return False
        for place in range(body + letters_start + letters, body + length):
            if memory[place] != 0:
                return False
        dictionaries[number, WORDS], dictionaries[number, OFFSETS] = words, body
        dictionaries[number, LETTERS], dictionaries[number, LENGTH] = body + letters_start, letters
    return True


def find_columns(
    memory: Bytes, messages: Integers, bodies: Integers, widths: Integers, most: int, columns: Integers
) -> int:
    """Fill in `columns` and return how many rows they have, at most `most`; 0 if not laid out as Arrow does.

    `widths` are the bits of a value of each. Filled in are where the bits begin that tell which rows have a value, -1
    if all have one; where the values begin; and how many rows have none.
    """
    start, body, length = bodies[len(bodies) - 1]
    at_rows, at_nodes, at_buffers = messages[len(messages) - 1, AT_ROWS:]
    rows = memory[start + at_rows : start + at_rows + 8].view(np.int64)[0]
    nodes = memory[start + at_nodes : start + at_nodes + 16 * len(widths)].view(np.int64)
    buffers = memory[start + at_buffers : start + at_buffers + 32 * len(widths)].view(np.int64)
    if rows < 1 or rows > most:
        return 0
    end = 0
    for column in range(len(widths)):
        nulls = nodes[2 * column + 1]
        if nodes[2 * column] != rows or nulls < 0 or nulls > rows:
            return 0
        columns[column, VALIDITY], columns[column, VALUES], columns[column, NULLS] = -1, 0, nulls
        for which in range(2):
            holds = (rows * widths[column] + 7) // 8 if which == VALUES else (rows + 7) // 8 if nulls > 0 else 0
            if buffers[4 * column + 2 * which] != end or buffers[4 * column + 2 * which + 1] != holds:
                return 0
            padded = (end + holds + 7) // 8 * 8
            if padded > length:
                return 0
            if holds > 0:
                columns[column, which] = body + end
            for place in range(body + end + holds, body + padded):
                if memory[place] != 0:
                    return 0
            end = padded
    return rows if end == length else 0


def find_words(memory: Bytes, dictionaries: Integers, bounds: Integers) -> bool:
    """Fill in `bounds`, where each word of the dictionaries begins and ends; false if letters are left out."""
    found = 0
    for number in range(len(dictionaries)):
        count = dictionaries[number, WORDS]
        offsets = memory[dictionaries[number, OFFSETS] : dictionaries[number, OFFSETS] + 4 * (count + 1)].view(np.int32)
        if offsets[0] != 0 or offsets[count] != dictionaries[number, LENGTH]:
            return False
        for word in range(count):
            if offsets[word + 1] < offsets[word]:
                return False
            bounds[found, 0] = dictionaries[number, LETTERS] + offsets[word]
            bounds[found, 1] = dictionaries[number, LETTERS] + offsets[word + 1]
            found += 1
    return True


def find_cells(memory: Bytes, columns: Integers, rows: int, cells: Rows, begins: Integers) -> bool:
    """Fill in `cells` and `begins`; false where a column has no value, or not as many as it tells.

    `columns` is as `find_columns` fills it in; `cells` has room for as many cells as there are by it, and `SPARE`.
    """
    found = 0
    for column in range(len(columns)):
        begins[column] = found
        validity, nulls = columns[column, 0], columns[column, 2]
        if nulls == 0:
            for row in range(rows):
                cells[found + row] = row
            found += rows
            continue
        end = found + rows - nulls
        for byte in range((rows + 7) // 8):
            bits = memory[validity + byte]
            if bits == 0:
                continue
            if found > end:
                return False
            # Without asking, as one can not guess the answer: what is not a cell is written over by the next one.
            for bit in range(8):
                cells[found] = 8 * byte + bit
                found += int((bits >> bit) & 1)
        if found != end or end == begins[column] or cells[found - 1] >= rows:
            return False
    begins[len(columns)] = found
    return True


def whole_numbers_pass(
    memory: Bytes,
    starts: Integers,
    cells: Rows,
    begins: Integers,
    events: Events,
    lines: Lines,
    limits: Integers,
    buckets: Integers,
) -> bool:
    """Look at columns of int64.

    `lines` has each column's line in `limits`, which holds by line and event the lowest, the highest, what it is a
    multiple of, and a line in `buckets` or -1; each line of these has the values of which one it has to be, rising, and
    the last one as often as it takes.
    """
    rows = len(events)
    for column in range(len(starts)):
        values = memory[starts[column] : starts[column] + 8 * rows].view(np.int64)
        elsewhere = 0
        for row in range(rows):
            elsewhere += values[row] != 0
        for place in range(begins[column], begins[column + 1]):
            value = values[cells[place]]
            limit = limits[lines[column], events[cells[place]]]
            if value < limit[LOWEST] or value > limit[HIGHEST] or (limit[STEP] > 1 and value % limit[STEP] != 0):
                return False
            if limit[BUCKETS] >= 0:
                bounds = buckets[limit[BUCKETS]]
                if bounds[min(np.searchsorted(bounds, value), len(bounds) - 1)] != value:
                    return False
            elsewhere -= value != 0
        if elsewhere != 0:
            return False
    return True


def numbers_pass(
    memory: Bytes, starts: Integers, cells: Rows, begins: Integers, events: Events, lines: Lines, limits: Floats
) -> bool:
    """Look at columns of float64.

    `lines` has each column's line in `limits`, which holds by line and event the lowest, the highest, and how many
    steps make one, or 0 for any number.
    """
    rows = len(events)
    for column in range(len(starts)):
        values = memory[starts[column] : starts[column] + 8 * rows].view(np.float64)
        bits = values.view(np.int64)  # so that no zero of another form hides
        elsewhere = 0
        for row in range(rows):
            elsewhere += bits[row] != 0
        for place in range(begins[column], begins[column + 1]):
            value = values[cells[place]]
            limit = limits[lines[column], events[cells[place]]]
            # Written so that NaN, which compares false with everything, is out of range.
            if not (value >= limit[LOWEST] and value <= limit[HIGHEST]):
                return False
            if limit[STEP] > 0 and np.rint(value * limit[STEP]) / limit[STEP] != value:
                return False
            elsewhere -= bits[cells[place]] != 0
        if elsewhere != 0:
            return False
    return True


def flags_pass(
    memory: Bytes, columns: Integers, cells: Rows, begins: Integers, events: Events, lines: Lines, declared: Booleans
) -> bool:
    """Look at columns of bits.

    `columns` is as `find_columns` fills it in; `lines` has each column's line in `declared`, which tells by line and
    event whether it has the property.
    """
    rows = len(events)
    for column in range(len(columns)):
        validity, start, nulls = columns[column]
        for byte in range((rows + 7) // 8):
            valid = memory[validity + byte] if nulls > 0 else np.uint8((1 << min(8, rows - 8 * byte)) - 1)
            if memory[start + byte] & ~valid != 0:
                return False
        for place in range(begins[column], begins[column + 1]):
            if not declared[lines[column], events[cells[place]]]:
                return False
    return True


def words_pass(
    memory: Bytes,
    starts: Integers,
    cells: Rows,
    begins: Integers,
    events: Events,
    words: Integers,
    lines: Lines,
    allowed: Booleans,
) -> bool:
    """Look at columns of int16, which are numbers of words.

    `words` tells where the words of each column begin in `lines`, and at last where they all end; `lines` has each
    word's line in `allowed`, which tells by line and event whether a word may stand there.
    """
    rows = len(events)
    for column in range(len(starts)):
        numbers = memory[starts[column] : starts[column] + 2 * rows].view(np.uint16)
        known = lines[words[column] : min(words[column + 1], words[column] + MOST_NUMBERED)]
        elsewhere = 0
        for row in range(rows):
            elsewhere += numbers[row] != 0
        for place in range(begins[column], begins[column + 1]):
            number = numbers[cells[place]]
            if number >= len(known) or not allowed[known[number], events[cells[place]]]:
                return False
            elsewhere -= number != 0
        if elsewhere != 0:
            return False
    return True


def ids_pass(memory: Bytes, starts: Integers, rows: int, cells: Rows, begins: Integers, dictionaries: Integers) -> bool:
    """Look at columns of int32, which are numbers of ids, and at how long those ids are."""
    for column in range(len(starts)):
        count = dictionaries[column, WORDS]
        offsets = memory[dictionaries[column, OFFSETS] : dictionaries[column, OFFSETS] + 4 * (count + 1)].view(np.int32)
        others = dictionaries[column, LENGTH] != ID_LETTERS * count
        for word in range(count + 1):
            others |= offsets[word] != ID_LETTERS * word
        numbers = memory[starts[column] : starts[column] + 4 * rows].view(np.uint32)
        elsewhere = 0
        for row in range(rows):
            elsewhere += numbers[row] != 0
        for place in range(begins[column], begins[column + 1]):
            number = numbers[cells[place]]
            others |= number >= count
            elsewhere -= number != 0
        if others or elsewhere != 0:
            return False
    return True


class Loops(NamedTuple):
    """The loops, as they are to be run."""

    follow_form: Callable[..., Any]
    find_dictionaries: Callable[..., Any]
    find_columns: Callable[..., Any]
    find_words: Callable[..., Any]
    find_cells: Callable[..., Any]
    whole_numbers_pass: Callable[..., Any]
    numbers_pass: Callable[..., Any]
    flags_pass: Callable[..., Any]
    words_pass: Callable[..., Any]
    ids_pass: Callable[..., Any]


PLAIN: Final = Loops(
    follow_form,
    find_dictionaries,
    find_columns,
    find_words,
    find_cells,
    whole_numbers_pass,
    numbers_pass,
    flags_pass,
    words_pass,
    ids_pass,
)
"""Run by Python."""
