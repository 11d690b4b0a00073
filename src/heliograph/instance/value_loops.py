"""Loops over values in lines: times, numbers and flags, as a recorder writes them.

Functions take the place where a value begins, and return the one behind it, or `NOWHERE` if it is none. They are
written so that Numba can compile them (`heliograph.machine_code`); `heliograph.instance.line_loops` uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]

NOWHERE: Final = -1
_ZERO, _NINE, _MINUS, _DOT, _COLON, _EXPONENT, _T, _Z = b"09-.:eTZ"
_TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
_FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))
_FOUR: Final = np.uint64(0xFFFFFFFF)
_FIVE: Final = np.uint64(0xFFFFFFFFFF)
_MOST_DIGITS: Final = 18
_EXACT: Final = 1 << 53
_MOST_PLACES: Final = 22
_POWERS: Final = np.array([10.0**power for power in range(_MOST_PLACES + 1)])
_NO_DIGIT: Final = 10**7
"""So much that nothing in which it is counted is in range."""
_DIGITS: Final = np.full(256, _NO_DIGIT, np.int64)
_DIGITS[_ZERO : _NINE + 1] = range(10)
_DAYS_BEFORE: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9999
_BEFORE_1970: Final = 719_162
_WITHOUT_FRACTION: Final = len("2026-10-01T12:00:00Z")
_WITH_FRACTION: Final = len("2026-10-01T12:00:00.000000Z")


def is_digit(letter: Any) -> bool:
    """Tell whether a letter is a digit."""
    found: bool = letter >= _ZERO and letter <= _NINE
    return found


def read_digits(letters: Bytes, place: int) -> tuple[int, int]:
    """Return the number that digits are, and the place behind them; of too many, that of the first one too many."""
    number, end = 0, place
    while is_digit(letters[end]) and end - place <= _MOST_DIGITS:
        number = number * 10 + (letters[end] - _ZERO)
        end += 1
    return number, end


def read_sequence(letters: Bytes, place: int) -> tuple[int, int]:
    """Return a whole number above 0, and the place behind it."""
    number, end = read_digits(letters, place)
    if end == place or end - place > _MOST_DIGITS or letters[place] == _ZERO:
        return 0, NOWHERE
    return number, end


def are_plain(letters: Bytes, begin: int, end: int) -> bool:
    """Tell whether digits are neither too many nor none, and begin with no needless zero."""
    size = end - begin
    return size != 0 and size <= _MOST_DIGITS and (size == 1 or letters[begin] != _ZERO)


def read_whole(letters: Bytes, place: int) -> tuple[int, int]:
    """Return a whole number, and the place behind it."""
    is_negative = letters[place] == _MINUS
    begin = place + 1 if is_negative else place
    number, end = read_digits(letters, begin)
    if not are_plain(letters, begin, end) or (is_negative and number == 0):
        return 0, NOWHERE
    return (-number if is_negative else number), end


def read_fraction(letters: Bytes, place: int, number: int, size: int) -> tuple[int, bool, int]:
    """Return a number of `size` digits with those of a fraction behind them, whether these are all, and the place."""
    end = place
    while is_digit(letters[end]):
        if size < _MOST_DIGITS:
            number = number * 10 + (letters[end] - _ZERO)
        size += 1
        end += 1
    return number, size <= _MOST_DIGITS, (end if end > place else NOWHERE)


def skip_exponent(letters: Bytes, place: int) -> int:
    """Return the place behind an exponent of so few digits that no number with it is out of range."""
    begin = place + 1 if letters[place] == _MINUS else place
    end = begin
    while is_digit(letters[end]):
        end += 1
    return end if end > begin and end - begin <= 2 else NOWHERE


def read_real(letters: Bytes, place: int) -> tuple[float, bool, int]:
    """Return a number, whether it is that one, or to be read from its letters, and the place behind it."""
    is_negative = letters[place] == _MINUS
    begin = place + 1 if is_negative else place
    number, end = read_digits(letters, begin)
    if not are_plain(letters, begin, end):
        return 0.0, False, NOWHERE
    is_exact, places = True, 0
    if letters[end] == _DOT:
        point = end + 1
        number, is_exact, end = read_fraction(letters, point, number, end - begin)
        places = end - point
    if end >= 0 and letters[end] == _EXPONENT:
        is_exact, end = False, skip_exponent(letters, end + 1)
    if end < 0 or (is_negative and number == 0):
        return 0.0, False, NOWHERE
    if not is_exact or number > _EXACT or places > _MOST_PLACES:
        return 0.0, False, end
    value: float = np.float64(number) / _POWERS[places]
    return (-value if is_negative else value), True, end


def read_flag(wide: Any, place: int) -> tuple[int, int]:
    """Return 1 or 0, and the place behind ``true`` or ``false``."""
    if wide[place] & _FOUR == _TRUE:
        return 1, place + 4
    return 0, (place + 5 if wide[place] & _FIVE == _FALSE else NOWHERE)


def pair(letters: Bytes, place: int) -> int:
    """Return the number that two digits are, one out of all ranges if they are none."""
    number: int = _DIGITS[letters[place]] * 10 + _DIGITS[letters[place + 1]]
    return number


def read_date(letters: Bytes, begin: int) -> int:
    """Return the days from 1970 to a date, -1 if it is none, or before."""
    year, month = pair(letters, begin) * 100 + pair(letters, begin + 2), pair(letters, begin + 5)
    day = pair(letters, begin + 8)
    if year < _FIRST_YEAR or year > _LAST_YEAR or month < 1 or month > 12:
        return -1
    leap = int(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    longest = _DAYS_BEFORE[month] - _DAYS_BEFORE[month - 1] + (leap if month == 2 else 0)
    if day < 1 or day > longest or letters[begin + 4] != _MINUS or letters[begin + 7] != _MINUS:
        return -1
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - _BEFORE_1970
    of_year: int = _DAYS_BEFORE[month - 1] + day - 1 + (leap if month > 2 else 0)
    return days + of_year


def read_time(letters: Bytes, begin: int, end: int) -> int:
    """Return a time as microseconds since 1970, -1 if it is none, or before."""
    size = end - begin
    if (size != _WITHOUT_FRACTION and size != _WITH_FRACTION) or letters[end - 1] != _Z:
        return -1
    are_signs = letters[begin + 10] == _T and letters[begin + 13] == _COLON and letters[begin + 16] == _COLON
    days, fraction = read_date(letters, begin), 0
    hour, minute, second = pair(letters, begin + 11), pair(letters, begin + 14), pair(letters, begin + 17)
    if not are_signs or days < 0 or hour > 23 or minute > 59 or second > 59:
        return -1
    if size == _WITH_FRACTION:
        fraction = (pair(letters, begin + 20) * 100 + pair(letters, begin + 22)) * 100 + pair(letters, begin + 24)
        if letters[begin + 19] != _DOT or fraction >= 1_000_000:
            return -1
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction
