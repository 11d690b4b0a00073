"""A loop over lines: it tells whether all of them are as the plan has it, and as the gateway itself writes them.

It goes through the letters once, from the left to the right: wherever it is, the plan says what may stand there. Eight
letters are one machine word, and are compared as one. Functions take the place that is reached and return the one
behind what they have read, or `NOWHERE` if that is not certain to be right.

All is written so that Numba can compile it (`heliograph.machine_code`), and Python runs it as well. What is compiled
looks at no bound by itself: it reads on only behind what was right, and what is right has no letter 0, of which a good
number must follow the last line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Letters: TypeAlias = npt.NDArray[np.uint8]
    Words: TypeAlias = npt.NDArray[np.uint64]
    Word: TypeAlias = np.uint64
    Integers: TypeAlias = npt.NDArray[np.int64]
    Floats: TypeAlias = npt.NDArray[np.float64]


class Tables(NamedTuple):
    """What may stand in lines."""

    texts: Words
    """Texts in pieces of eight letters, each with zeros behind its last letter: one at the least."""
    slots: Integers
    """By the hash of a word, its line in `words`, or that of another one; -1 if there is none."""
    words: Integers
    """Each word of each list: see `LIST`. A word is in as many lines as there are lists that have it."""
    events: Integers
    """Where each event's fields begin in `fields`, and at last where they all end."""
    fields: Integers
    """The fields that an event may have, in their order: see `KEY`."""
    buckets: Integers
    """The only values of counts."""
    bounds: Floats
    """The lowest and the highest of numbers."""
    months: Integers
    """Of each month from January 1970 on, the days before it and its own days."""


LIST, TEXT, LENGTH, NUMBER = 0, 1, 2, 3
"""Of a word: its list, where its text begins and how many letters it has, and what it stands for."""
KEY, KEY_LENGTH, KIND, LOW, HIGH, STEP = 0, 1, 2, 3, 4, 5
"""Of a field: its text up to its value, with a word's opening quote; its kind, and what that says of its values.

Whole numbers have a lowest and a highest one, and what they are multiples of; counts, where their buckets begin and
end; numbers, their line in `bounds` (`LOW`) and how many decimals they may have (`STEP`); words, their list (`LOW`).
"""
WORD, RANDOM_ID, VERSION, WHOLE_NUMBER, COUNT, DECIMAL, FLAG = range(7)
"""Kinds of fields."""
NAMES: Final = 0
"""The list of the names of events; what each stands for is its event."""
LINES, FIRST, LAST, IDS, VERSIONS = range(5)
"""What is found: lines, the first and the last sequence number, and how many ids and versions are to be looked at."""

NOWHERE: Final = -1
MOST_DIGITS: Final = 18
"""Of a whole number: no more fit in any case."""
MOST_DECIMAL_DIGITS: Final = 15
"""Of a number with decimals: with so many, no two are the same binary fraction, so that it is written as it was."""
LEAST_DECIMAL: Final = 1e-4
"""Smaller ones are written in another form."""
LONGEST_WORD: Final = 64
ID_LETTERS: Final = 32
FIRST_YEAR: Final = 1970
_NO_DIGIT: Final = 10**7
"""So much that nothing in which it is counted is in range."""
_DIGITS: Final = np.full(256, _NO_DIGIT, np.int64)
_DIGITS[ord("0") : ord("9") + 1] = range(10)
_POWERS: Final = np.array([10.0**power for power in range(MOST_DECIMAL_DIGITS + 1)])
_MASKS: Final = np.array([(1 << 8 * letters) - 1 for letters in range(9)], np.uint64)
"""By a number of letters, the bits of the first ones in a word."""

_LINE_END, _QUOTE, _COMMA, _MINUS, _POINT, _COLON, _BRACE, _ZERO, _T, _Z = b'\n",-.:}0TZ'


def _word(letters: bytes) -> Word:
    return np.uint64(int.from_bytes(letters, "little"))


_NAME: Final = _word(b'{"name":')
_SEQUENCE, _SEQUENCE_END = _word(b',"sequen'), _word(b'quence":')
_TIME: Final = _word(b',"time":')
_TRUE, _FALSE = _word(b"true"), _word(b"false")
_QUOTES: Final = _word(b'"' * 8)
_ONES, _THREES, _SIXES, _LOW, _HIGH, _CARRIES, _TOPS = (
    _word(bytes([byte]) * 8) for byte in (0x01, 0x30, 0x06, 0x0F, 0xF0, 0x10, 0x80)
)
_FIRST_THREE, _SECOND_THREE = _word(b"\xff\xff\xff"), _word(b"\0\0\0\0\xff\xff\xff")
_FIRST_IS_LETTER: Final = _word(b"\x40\0" * 4)
_TWO, _FOUR, _FIVE, _SIX, _SEVEN, _EIGHT, _56 = (np.uint64(number) for number in (2, 4, 5, 6, 7, 8, 56))
_SPREAD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


def slot_of(first: Word, last: Word, listed: int, slots: int) -> int:
    """Return where to look for a word of a list, by its first eight letters and its last eight."""
    mixed = (first + last * _SPREAD + np.uint64(listed)) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _SPREAD
    return np.int64(mixed >> np.uint64(32)) & np.int64(slots - 1)  # type: ignore[return-value] # as Numba has it


def word_length(words: Words, place: int) -> int:
    """Return how many letters come before the next quote; more than `LONGEST_WORD`, if it is far away."""
    length = 0
    while length <= LONGEST_WORD:
        differs = words[place + length] ^ _QUOTES
        zeros = (differs - _ONES) & ~differs & _TOPS
        if zeros != 0:
            lowest = (zeros >> _SEVEN) & (~(zeros >> _SEVEN) + np.uint64(1))
            below = np.int64(((lowest - np.uint64(1)) & _ONES) * _ONES >> _56)
            return length + below  # type: ignore[return-value] # likewise
        length += 8
    return length


def stands(words: Words, place: int, texts: Words, text: int, length: int) -> bool:
    """Tell whether a text stands at a place."""
    for piece in range(length // 8):
        if words[place + 8 * piece] != texts[text + piece]:
            return False
    rest: bool = (words[place + length // 8 * 8] & _MASKS[length % 8]) == texts[text + length // 8]
    return rest


def find_word(words: Words, place: int, listed: int, texts: Words, slots: Integers, lines: Integers) -> tuple[int, int]:
    """Return what a word of a list stands for, and the place behind its closing quote."""
    length = word_length(words, place)
    if length > LONGEST_WORD:
        return 0, NOWHERE
    first = words[place] & _MASKS[min(length, 8)]
    slot = slot_of(first, words[place + length - 8] if length > 8 else first, listed, len(slots))
    line = slots[slot]
    while line >= 0:
        is_such = lines[line, LIST] == listed and lines[line, LENGTH] == length
        if is_such and stands(words, place, texts, lines[line, TEXT], length):
            return lines[line, NUMBER], place + length + 1
        slot = (slot + 1) & (len(slots) - 1)
        line = slots[slot]
    return 0, NOWHERE


def read_whole_number(letters: Letters, place: int) -> tuple[int, int]:
    """Return a whole number as it is written, and the place behind it."""
    is_negative = letters[place] == _MINUS
    begin = place + 1 if is_negative else place
    place, value, digit = begin, 0, _DIGITS[letters[begin]]
    while digit < 10 and place - begin < MOST_DIGITS:
        value = value * 10 + digit
        place += 1
        digit = _DIGITS[letters[place]]
    if place == begin or (letters[begin] == _ZERO and (place - begin > 1 or is_negative)):
        return 0, NOWHERE
    return (-value if is_negative else value), place


def read_decimal(letters: Letters, place: int) -> tuple[float, int, int]:
    """Return a number with decimals, how many it has, and the place behind it."""
    is_negative = letters[place] == _MINUS
    begin = place + 1 if is_negative else place
    point = begin
    digits = 0
    while _DIGITS[letters[point]] < 10 and point - begin < MOST_DECIMAL_DIGITS:
        digits = digits * 10 + _DIGITS[letters[point]]
        point += 1
    if letters[point] != _POINT or point == begin or (letters[begin] == _ZERO and point - begin > 1):
        return 0.0, 0, NOWHERE
    end = point + 1
    while _DIGITS[letters[end]] < 10 and end - begin <= MOST_DECIMAL_DIGITS:
        digits = digits * 10 + _DIGITS[letters[end]]
        end += 1
    decimals = end - point - 1
    if decimals == 0 or (letters[end - 1] == _ZERO and decimals > 1) or (digits == 0 and is_negative):
        return 0.0, 0, NOWHERE
    value = digits / _POWERS[decimals]
    if digits != 0 and value < LEAST_DECIMAL:
        return 0.0, 0, NOWHERE
    if letters[end - 1] == _ZERO:  # as whole numbers have
        decimals = 0
    return (-value if is_negative else value), decimals, end


def pair(letters: Letters, place: int) -> int:
    """Return the number that two digits are, one out of all ranges if they are none."""
    number: int = _DIGITS[letters[place]] * 10 + _DIGITS[letters[place + 1]]
    return number


def read_time(letters: Letters, place: int, months: Integers) -> tuple[int, int]:
    """Return a time as microseconds since 1970, and the place behind its closing quote."""
    year, of_year = pair(letters, place) * 100 + pair(letters, place + 2), pair(letters, place + 5)
    month = (year - FIRST_YEAR) * 12 + of_year - 1
    day, hour = pair(letters, place + 8) - 1, pair(letters, place + 11)
    minute, second = pair(letters, place + 14), pair(letters, place + 17)
    are_signs = (
        (letters[place + 4] == _MINUS)
        & (letters[place + 7] == _MINUS)
        & (letters[place + 10] == _T)
        & (letters[place + 13] == _COLON)
        & (letters[place + 16] == _COLON)
    )
    is_month = of_year >= 1 and of_year <= 12 and month >= 0 and month < len(months)
    if not is_month or day < 0 or day >= months[month, 1] or hour >= 24 or minute >= 60 or second >= 60:
        return 0, NOWHERE
    if not are_signs:
        return 0, NOWHERE
    place += 19
    fraction = 0
    if letters[place] == _POINT:
        fraction = (pair(letters, place + 1) * 100 + pair(letters, place + 3)) * 100 + pair(letters, place + 5)
        if fraction == 0 or fraction >= 1_000_000:
            return 0, NOWHERE
        place += 7
    if letters[place] != _Z or letters[place + 1] != _QUOTE:
        return 0, NOWHERE
    seconds = (((months[month, 0] + day) * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000 + fraction, place + 2


def judge_id(words: Words, place: int) -> tuple[bool, bool]:
    """Tell whether what stands at a place are 32 hexadecimal digits, and whether they may look derived.

    What `sensitive.random_ids` looks for is not but in ids that lack what nearly all have: a byte whose first digit is
    a letter, four digits of which two differ wherever four begin, and another quarter in each half.
    """
    faults, all_letters = np.uint64(0), np.uint64(0)
    may_be_derived = words[place] == words[place + 16]
    for quarter in range(4):
        word = words[place + 8 * quarter]
        is_letter = (word >> _SIX) & _ONES
        digits = word & _LOW
        # The first half of each byte: 3 of a digit, 6 of a letter.
        faults |= (word & _HIGH) ^ (_THREES + (is_letter << _FIVE) + (is_letter << _FOUR))
        # The second half: of a digit at most 9, of a letter at most 6, and at the least 1.
        faults |= (digits + _SIXES + is_letter + (is_letter << np.uint64(1))) & _CARRIES
        faults |= ((digits + (is_letter << _FOUR) - is_letter) & _CARRIES) ^ (is_letter << _FOUR)
        all_letters |= word
        differ = word ^ (word >> _EIGHT)
        may_be_derived |= (differ & _FIRST_THREE) == 0
        may_be_derived |= (differ & _SECOND_THREE) == 0
    may_be_derived |= (all_letters & _FIRST_IS_LETTER) == 0
    return faults == 0, may_be_derived


def is_same(letters: Letters, place: int, other: int, length: int) -> bool:
    """Tell whether the same letters stand at two places."""
    for letter in range(length):  # noqa: SIM110 - a generator is not compiled
        if letters[place + letter] != letters[other + letter]:
            return False
    return True


def skip_whole_number(letters: Letters, place: int, lowest: int, highest: int, step: int) -> int:
    """Return the place behind a whole number between two others, which is a multiple of a third."""
    value, end = read_whole_number(letters, place)
    return end if value >= lowest and value <= highest and (step == 1 or value % step == 0) else NOWHERE


def skip_count(letters: Letters, place: int, buckets: Integers, begin: int, stop: int) -> int:
    """Return the place behind a whole number that is one of some buckets."""
    value, end = read_whole_number(letters, place)
    for bucket in range(begin, stop):
        if buckets[bucket] == value:
            return end
    return NOWHERE


def skip_decimal(letters: Letters, place: int, lowest: float, highest: float, most: int) -> int:
    """Return the place behind a number between two others that has at most so many decimals."""
    value, decimals, end = read_decimal(letters, place)
    return end if decimals <= most and value >= lowest and value <= highest else NOWHERE


def skip_id(letters: Letters, words: Words, place: int, found: Integers, ids: Integers) -> int:
    """Return the place behind an id's closing quote; note where one is that may look derived."""
    is_id, may_be_derived = judge_id(words, place)
    if not is_id or letters[place + ID_LETTERS] != _QUOTE:
        return NOWHERE
    if may_be_derived:
        if found[IDS] == len(ids):
            return NOWHERE
        ids[found[IDS]] = place
        found[IDS] += 1
    return place + ID_LETTERS + 1


def skip_version(letters: Letters, words: Words, place: int, found: Integers, versions: Integers) -> int:
    """Return the place behind a version's closing quote; note where it is, if it is not the one that was noted last."""
    length = word_length(words, place)
    if length > LONGEST_WORD:
        return NOWHERE
    told = found[VERSIONS]
    if told == 0 or versions[told - 1, 1] != length or not is_same(letters, place, versions[told - 1, 0], length):
        if told == len(versions):
            return NOWHERE
        versions[told, 0], versions[told, 1] = place, length
        found[VERSIONS] += 1
    return place + length + 1


def skip_flag(words: Words, place: int) -> int:
    """Return the place behind ``true`` or ``false``."""
    if (words[place] & _MASKS[4]) == _TRUE:
        return place + 4
    return place + 5 if (words[place] & _MASKS[5]) == _FALSE else NOWHERE


def read_own(letters: Letters, words: Words, place: int, last: int, latest: int, months: Integers) -> tuple[int, int]:
    """Return a sequence number above `last`, and the place behind it and the time that follows, not after `latest`."""
    if words[place] != _SEQUENCE or words[place + 4] != _SEQUENCE_END:
        return 0, NOWHERE
    number, place = read_whole_number(letters, place + 12)
    if place < 0 or number <= last or words[place] != _TIME or letters[place + 8] != _QUOTE:
        return 0, NOWHERE
    time, place = read_time(letters, place + 9, months)
    return number, (place if time <= latest else NOWHERE)


def read_lines(
    letters: Letters,
    words: Words,
    end: int,
    tables: Tables,
    latest: int,
    most: int,
    found: Integers,
    counts: Integers,
    ids: Integers,
    versions: Integers,
) -> bool:
    """Go through lines, and tell whether all that was read is right; false as well if there are too many.

    Args:
        letters: The lines.
        words: The same, with the eight letters that begin at each as one word.
        end: Where the lines end. Behind it are zeros.
        tables: What may stand there.
        latest: The latest time that an event may have, in microseconds since 1970.
        most: A bound on the lines.
        found: Of zeros: is filled in; see `LINES`.
        counts: By event, how many there are: is added to.
        ids: Is filled in with the places of ids that may look derived.
        versions: Is filled in with the places and lengths of versions, but of one that comes again at once.
    """
    texts, slots, listed, events, fields = tables.texts, tables.slots, tables.words, tables.events, tables.fields
    place = 0
    while place < end:
        if words[place] != _NAME or letters[place + 8] != _QUOTE or found[LINES] == most:
            return False
        event, place = find_word(words, place + 9, NAMES, texts, slots, listed)
        if place < 0:
            return False
        number, place = read_own(letters, words, place, found[LAST], latest, tables.months)
        if place < 0:
            return False
        if found[LINES] == 0:
            found[FIRST] = number
        found[LAST] = number
        field = events[event]
        while letters[place] == _COMMA:
            while field < events[event + 1] and not stands(
                words, place, texts, fields[field, KEY], fields[field, KEY_LENGTH]
            ):
                field += 1
            if field == events[event + 1]:
                return False
            place += fields[field, KEY_LENGTH]
            kind, low, high, step = fields[field, KIND], fields[field, LOW], fields[field, HIGH], fields[field, STEP]
            if kind == WORD:
                _, place = find_word(words, place, low, texts, slots, listed)
            elif kind == RANDOM_ID:
                place = skip_id(letters, words, place, found, ids)
            elif kind == VERSION:
                place = skip_version(letters, words, place, found, versions)
            elif kind == FLAG:
                place = skip_flag(words, place)
            elif kind == WHOLE_NUMBER:
                place = skip_whole_number(letters, place, low, high, step)
            elif kind == COUNT:
                place = skip_count(letters, place, tables.buckets, low, high)
            else:
                place = skip_decimal(letters, place, tables.bounds[low, 0], tables.bounds[low, 1], step)
            if place < 0:
                return False
            field += 1
        if letters[place] != _BRACE or (letters[place + 1] != _LINE_END and place + 1 != end):
            return False
        place += 2
        found[LINES] += 1
        counts[event] += 1
    return True
