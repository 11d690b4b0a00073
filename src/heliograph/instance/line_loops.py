"""A loop over compact lines: straight from their letters to columns, as Arrow has them in memory.

It is written so that Numba can compile it (`heliograph.machine_code`), and reads the lines that a recorder writes: an
array without spaces, whose texts are ASCII without escapes, whose time is in UTC, whose properties the plan declares,
each once, with values of its kind. Whatever else there is, it leaves to whoever gives verdicts: it says which lines
these are. A line is read as a whole before anything of it is put anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from heliograph.instance.compact_lines import PLACES, PROPERTIES, SEQUENCE

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Integers: TypeAlias = npt.NDArray[np.int64]

NAME, KEY, USER, SESSION, WORDS, MEMBERS = 0, 1, 2, 3, 4, 5
"""Spaces of texts: each has numbers from 0 on, in the order in which lines have them; from the last on, the members of
one property after the other. Of names and keys only those are there that are given."""
HASH, BEGIN, END, SPACE, NUMBER = 0, 1, 2, 3, 4
"""What is kept of each different text."""
WHOLE, REAL, FLAG, MEMBER = 0, 1, 2, 3
"""Kinds of properties."""
ROWS, OTHERS, TEXTS, REALS, NAMES = 0, 1, 2, 3, 4
"""What is counted: lines read, and left, texts, numbers that are to be read from their letters, and events."""
SPARE: Final = 16
"""Bytes behind the last one that may be looked at."""
MOST_CELLS: Final = 256
"""Properties of a line."""
MOST_MEMBERS: Final = 32_000
"""Different texts of a property, and combinations of words, that a batch may have."""
_TIME: Final = PLACES.index("time")
_USER: Final = PLACES.index("user")
_SESSION: Final = PLACES.index("session")
_OUTCOME: Final = PLACES.index("outcome")
_VALUE: Final = PROPERTIES + 1
_LINE_END, _QUOTE, _COMMA, _ZERO, _NINE, _MINUS, _DOT, _COLON = b'\n",09-.:'
_OPEN_LINE, _CLOSE_LINE, _OPEN, _CLOSE = b"[]{}"
_Z, _T, _DASH, _EXPONENT = b"ZT-e"
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHEST: Final = np.uint64(0x8080808080808080)
_SPACES: Final = np.uint64(0x2020202020202020)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
_FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))
_FOUR: Final = np.uint64(0xFFFFFFFF)
_FIVE: Final = np.uint64(0xFFFFFFFFFF)
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MOST_DIGITS: Final = 18
_EXACT: Final = 1 << 53
_MOST_PLACES: Final = 22
_POWERS: Final = np.array([10.0**power for power in range(_MOST_PLACES + 1)])
_DAYS_BEFORE: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_FIRST_YEAR: Final = 1970
_BEFORE_1970: Final = 719_162


def read_lines(
    letters: Bytes,
    wide: Any,
    length: int,
    given: Integers,
    event_of: Integers,
    declared: Bytes,
    kinds: Integers,
    slots: Any,
    texts: Integers,
    numbers: Integers,
    shown: Integers,
    names: Any,
    sequences: Integers,
    times: Integers,
    keys: Any,
    words: Any,
    cells: Integers,
    valid: Bytes,
    whole: Integers,
    real: Any,
    flags: Bytes,
    members: Any,
    reals: Integers,
    others: Integers,
    counts: Integers,
) -> None:
    """Read the lines of the first `length` letters, each of which has an end.

    Args:
        letters: With `SPARE` behind the last one that is used.
        wide: The same as numbers of eight bytes that begin at any byte.
        length: See above.
        given: Names and keys: where each begins and ends in `letters`, and its space; in the order of their numbers.
        event_of: The event of each name.
        declared: By event and property.
        kinds: Of each property its kind, and its line in the columns of that kind.
        slots: Zeros, a power of two of them: a table of `texts`.
        texts: Room for different texts, `given` first.
        numbers: Zeros: how many different texts each space has.
        shown: Zeros: by event, the how manieth it is of those that lines have, from 1 on.
        names: To be filled in for each row: the same of its event, from 0 on,
        sequences: its number,
        times: its time, in microseconds since 1970,
        keys: the numbers of its user and its session, -1 where it has none,
        words: and that of its combination of words.
        cells: How many values each property has, zeros.
        valid: Zeros: for each property a bit for each row with a value.
        whole: Zeros: values by kind, and by row;
        real: likewise,
        flags: likewise, in bits,
        members: likewise, as numbers of texts.
        reals: To be filled in: for each number that is not exactly read here, its line in `real`, its row, and where it
            begins and ends.
        others: To be filled in: where each line that is not read begins and ends.
        counts: Zeros; see `ROWS` and what follows.
    """
    mask = len(slots) - 1
    room = min(len(texts), len(slots) // 4 * 3) - MOST_CELLS - 4
    for each in range(len(given)):
        begin, end, space = given[each, 0], given[each, 1], given[each, 2]
        at, code = begin, np.uint64(0)
        while end - at >= 8:
            code = (code ^ wide[at]) * _FACTOR
            code ^= code >> np.uint64(32)
            at += 8
        code = (code ^ (wide[at] & ((np.uint64(1) << np.uint64(8 * (end - at))) - np.uint64(1)))) * _FACTOR
        code ^= code >> np.uint64(32)
        place = np.int64((code ^ np.uint64(space) * _FACTOR) & np.uint64(mask))
        while slots[place] != 0:
            place = (place + 1) & mask
        slots[place] = each + 1
        texts[each, HASH], texts[each, BEGIN], texts[each, END] = np.int64(code), begin, end
        texts[each, SPACE], texts[each, NUMBER] = space, numbers[space]
        numbers[space] += 1
    found = len(given)

    # Of the line that is being read: its texts, and its values.
    bounds = np.zeros((PROPERTIES + 1, 2), np.int64)
    codes = np.zeros(PROPERTIES + 1, np.uint64)
    cell_of = np.zeros((MOST_CELLS, 4), np.int64)
    cell_reals = np.zeros(MOST_CELLS, np.float64)
    cell_codes = np.zeros(MOST_CELLS, np.uint64)
    last_row = np.full(len(kinds), -1, np.int64)
    row, left, unread = 0, 0, 0
    start, line = 0, 0
    while start < length:
        line += 1
        at = start + 1
        good = letters[start] == _OPEN_LINE
        step, cell, event, sequence, time, key = 0, 0, 0, 0, 0, 0
        while good:
            is_text = letters[at] == _QUOTE
            begin, end, code = at, at, np.uint64(0)
            if is_text:
                begin = at + 1
                at = begin
                while True:
                    word = wide[at]
                    quote, slash = word ^ _QUOTES, word ^ _BACKSLASHES
                    special = (
                        word | ((word - _SPACES) & ~word) | ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash)
                    ) & _HIGHEST
                    if special != np.uint64(0):
                        break
                    code = (code ^ word) * _FACTOR
                    code ^= code >> np.uint64(32)
                    at += 8
                rest = 0
                while special & np.uint64(0x80) == np.uint64(0):
                    special >>= np.uint64(8)
                    rest += 1
                code = (code ^ (word & ((np.uint64(1) << np.uint64(8 * rest)) - np.uint64(1)))) * _FACTOR
                code ^= code >> np.uint64(32)
                end = at + rest
                at = end
                if letters[at] != _QUOTE:
                    good = False
                    break
                at += 1
            elif step != SEQUENCE and step < PROPERTIES:
                if wide[at] & _FOUR != _NULL:
                    good = False
                    break
                at += 4

            if step == NAME or step == PROPERTIES:
                # A name, or a key: one that is given.
                space = NAME if step == NAME else KEY
                number = -1
                place = np.int64((code ^ np.uint64(space) * _FACTOR) & np.uint64(mask))
                while slots[place] != 0:
                    text = slots[place] - 1
                    if texts[text, HASH] == np.int64(code) and texts[text, SPACE] == space:
                        size, inner, other = end - begin, 0, texts[text, BEGIN]
                        differs = np.uint64(texts[text, END] - other != size)
                        while size - inner >= 8:
                            differs |= wide[begin + inner] ^ wide[other + inner]
                            inner += 8
                        rest_of = (np.uint64(1) << np.uint64(8 * (size - inner))) - np.uint64(1)
                        differs |= (wide[begin + inner] ^ wide[other + inner]) & rest_of
                        if differs == np.uint64(0):
                            number = texts[text, NUMBER]
                            break
                    place = (place + 1) & mask
                if number < 0 or not is_text:
                    good = False
                    break
                if step == NAME:
                    event = event_of[number]
                else:
                    key = number
                    if (
                        letters[at] != _COLON
                        or declared[event, key] == 0
                        or last_row[key] == line
                        or cell == MOST_CELLS
                    ):
                        good = False
                        break
                    last_row[key] = line
                    at += 1
                    step = _VALUE
                    continue
            elif step == SEQUENCE:
                digits = at
                while letters[at] >= _ZERO and letters[at] <= _NINE:
                    sequence = sequence * 10 + (letters[at] - _ZERO)
                    at += 1
                    if at - digits > _MOST_DIGITS:
                        break
                if is_text or at == digits or at - digits > _MOST_DIGITS or letters[digits] == _ZERO:
                    good = False
                    break
            elif step == _TIME:
                # 2026-10-01T12:00:00.000000Z
                size = end - begin
                if not is_text or (size != 27 and size != 20) or letters[end - 1] != _Z:
                    good = False
                    break
                fields = 0
                for letter in range(begin, end - 1):
                    nth = letter - begin
                    if nth == 4 or nth == 7:
                        fields += letters[letter] != _DASH
                    elif nth == 10:
                        fields += letters[letter] != _T
                    elif nth == 13 or nth == 16:
                        fields += letters[letter] != _COLON
                    elif nth == 19:
                        fields += letters[letter] != _DOT
                    else:
                        fields += letters[letter] < _ZERO or letters[letter] > _NINE
                if fields != 0:
                    good = False
                    break
                year = (
                    (letters[begin] - _ZERO) * 1000
                    + (letters[begin + 1] - _ZERO) * 100
                    + (letters[begin + 2] - _ZERO) * 10
                    + (letters[begin + 3] - _ZERO)
                )
                month = (letters[begin + 5] - _ZERO) * 10 + (letters[begin + 6] - _ZERO)
                day = (letters[begin + 8] - _ZERO) * 10 + (letters[begin + 9] - _ZERO)
                hour = (letters[begin + 11] - _ZERO) * 10 + (letters[begin + 12] - _ZERO)
                minute = (letters[begin + 14] - _ZERO) * 10 + (letters[begin + 15] - _ZERO)
                second = (letters[begin + 17] - _ZERO) * 10 + (letters[begin + 18] - _ZERO)
                if year < _FIRST_YEAR or month < 1 or month > 12 or hour > 23 or minute > 59 or second > 59:
                    good = False
                    break
                leaps = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
                longest = _DAYS_BEFORE[month] - _DAYS_BEFORE[month - 1] + (1 if leaps and month == 2 else 0)
                if day < 1 or day > longest:
                    good = False
                    break
                before = year - 1
                days = before * 365 + before // 4 - before // 100 + before // 400 - _BEFORE_1970
                days += _DAYS_BEFORE[month - 1] + day - 1 + (1 if leaps and month > 2 else 0)
                time = ((days * 24 + hour) * 60 + minute) * 60 + second
                part = 0
                if size == 27:
                    for letter in range(begin + 20, end - 1):
                        part = part * 10 + (letters[letter] - _ZERO)
                time = time * 1_000_000 + part
            elif step < PROPERTIES:
                bounds[step, 0], bounds[step, 1] = begin, end if is_text else -1
                codes[step] = code
            else:
                # A value of the property `key`.
                kind = kinds[key, 0]
                cell_of[cell, 0] = key
                if kind == MEMBER:
                    if not is_text:
                        good = False
                        break
                    cell_of[cell, 1], cell_of[cell, 2] = begin, end
                    cell_codes[cell] = code
                elif is_text:
                    good = False
                    break
                elif kind == FLAG:
                    if wide[at] & _FOUR == _TRUE:
                        cell_of[cell, 1] = 1
                        at += 4
                    elif wide[at] & _FIVE == _FALSE:
                        cell_of[cell, 1] = 0
                        at += 5
                    else:
                        good = False
                        break
                else:
                    is_negative = letters[at] == _MINUS
                    if is_negative:
                        at += 1
                    digits, number = at, 0
                    while letters[at] >= _ZERO and letters[at] <= _NINE and at - digits <= _MOST_DIGITS:
                        number = number * 10 + (letters[at] - _ZERO)
                        at += 1
                    size, places = at - digits, 0
                    if size == 0 or size > _MOST_DIGITS or (size > 1 and letters[digits] == _ZERO):
                        good = False
                        break
                    is_exact = True
                    if kind == REAL and letters[at] == _DOT:
                        at += 1
                        point = at
                        while letters[at] >= _ZERO and letters[at] <= _NINE:
                            if size < _MOST_DIGITS:
                                number = number * 10 + (letters[at] - _ZERO)
                                size += 1
                            else:
                                is_exact = False
                            at += 1
                        places = at - point
                        if places == 0:
                            good = False
                            break
                    if kind == REAL and letters[at] == _EXPONENT:
                        is_exact = False
                        at += 1
                        if letters[at] == _MINUS:
                            at += 1
                        point = at
                        while letters[at] >= _ZERO and letters[at] <= _NINE:
                            at += 1
                        # So few that none is out of range.
                        if at == point or at - point > 2:
                            good = False
                            break
                    if is_negative and number == 0:
                        good = False
                        break
                    cell_of[cell, 3] = 0
                    if kind == WHOLE:
                        cell_of[cell, 1] = -number if is_negative else number
                    elif is_exact and number <= _EXACT and places <= _MOST_PLACES:
                        exact = np.float64(number) / _POWERS[places]
                        cell_reals[cell] = -exact if is_negative else exact
                    else:
                        cell_reals[cell] = 0.0
                        cell_of[cell, 1], cell_of[cell, 2], cell_of[cell, 3] = begin, at, 1
                cell += 1
                if letters[at] == _COMMA:
                    at += 1
                    step = PROPERTIES
                    continue
                break

            # Behind a place of the envelope.
            if letters[at] != _COMMA:
                good = False
                break
            at += 1
            step += 1
            if step == PROPERTIES:
                bounds[step, 0] = at
                if letters[at] != _OPEN:
                    good = False
                    break
                at += 1
                if letters[at] == _CLOSE:
                    break

        good = good and letters[at] == _CLOSE and letters[at + 1] == _CLOSE_LINE and letters[at + 2] == _LINE_END
        good = good and found <= room and numbers[WORDS] < MOST_MEMBERS and unread + cell <= len(reals)
        if good:
            for each in range(cell):
                if kinds[cell_of[each, 0], 0] == MEMBER and numbers[MEMBERS + cell_of[each, 0]] >= MOST_MEMBERS:
                    good = False
        if not good:
            while letters[at] != _LINE_END:
                at += 1
            others[left, 0], others[left, 1] = start, at
            left += 1
            start = at + 1
            continue

        if shown[event] == 0:
            counts[NAMES] += 1
            shown[event] = counts[NAMES]
        names[row], sequences[row], times[row] = shown[event] - 1, sequence, time
        byte, bit = row // 8, np.uint8(1 << (row % 8))
        for each in range(-3, cell):
            # The user, the session, the words, and then the values.
            if each == -3:
                space, begin, end, code = USER, bounds[_USER, 0], bounds[_USER, 1], codes[_USER]
            elif each == -2:
                space, begin, end, code = SESSION, bounds[_SESSION, 0], bounds[_SESSION, 1], codes[_SESSION]
            elif each == -1:
                space, begin, end = WORDS, bounds[_OUTCOME, 0] - 1, bounds[PROPERTIES, 0]
                if bounds[_OUTCOME, 1] < 0:
                    begin += 1
                code = np.uint64(0)
                for place_of in range(_OUTCOME, PROPERTIES):
                    code = (code ^ codes[place_of]) * _FACTOR
                    code ^= code >> np.uint64(29)
            else:
                key = cell_of[each, 0]
                kind, column = kinds[key, 0], kinds[key, 1]
                valid[key, byte] |= bit
                cells[key] += 1
                if kind == WHOLE:
                    whole[column, row] = cell_of[each, 1]
                    continue
                if kind == FLAG:
                    if cell_of[each, 1] == 1:
                        flags[column, byte] |= bit
                    continue
                if kind == REAL:
                    real[column, row] = cell_reals[each]
                    if cell_of[each, 3] == 1:
                        reals[unread, 0], reals[unread, 1] = column, row
                        reals[unread, 2], reals[unread, 3] = cell_of[each, 1], cell_of[each, 2]
                        unread += 1
                    continue
                space, begin, end, code = MEMBERS + key, cell_of[each, 1], cell_of[each, 2], cell_codes[each]
            number = -1
            if end >= 0:
                place = np.int64((code ^ np.uint64(space) * _FACTOR) & np.uint64(mask))
                while slots[place] != 0:
                    text = slots[place] - 1
                    if texts[text, HASH] == np.int64(code) and texts[text, SPACE] == space:
                        size, inner, other = end - begin, 0, texts[text, BEGIN]
                        differs = np.uint64(texts[text, END] - other != size)
                        while size - inner >= 8:
                            differs |= wide[begin + inner] ^ wide[other + inner]
                            inner += 8
                        rest_of = (np.uint64(1) << np.uint64(8 * (size - inner))) - np.uint64(1)
                        differs |= (wide[begin + inner] ^ wide[other + inner]) & rest_of
                        if differs == np.uint64(0):
                            number = texts[text, NUMBER]
                            break
                    place = (place + 1) & mask
                if number < 0:
                    number = numbers[space]
                    numbers[space] += 1
                    texts[found, HASH], texts[found, BEGIN], texts[found, END] = np.int64(code), begin, end
                    texts[found, SPACE], texts[found, NUMBER] = space, number
                    found += 1
                    slots[place] = found
            if each == -3:
                keys[0, row] = number
            elif each == -2:
                keys[1, row] = number
            elif each == -1:
                words[row] = number
            else:
                members[kinds[cell_of[each, 0], 1], row] = number
        row += 1
        start = at + 3
    counts[ROWS], counts[OTHERS], counts[TEXTS], counts[REALS] = row, left, found, unread
