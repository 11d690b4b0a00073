"""Where the parts of compact lines are, found in all lines at once.

A recorder writes its lines without spaces, and escapes nothing but what JSON makes it escape. So quotes come in pairs,
and where one part ends the next begins. What is not exactly so is not taken for a compact line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from heliograph.instance.compact_lines import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    Booleans: TypeAlias = npt.NDArray[np.bool_]
    Letters: TypeAlias = npt.NDArray[np.uint8]

END, _QUOTE, _COMMA, _N, _ZERO, _BACKSLASH = b'\n",n0\\'
_OPEN_LINE, _CLOSE_LINE, _OPEN, _CLOSE = b"[]{}"
_BLOCK_BYTES: Final = 512 << 10
"""So much is looked at at once: what a processor keeps at hand, with what is found in it."""
_MOST_DIGITS: Final = 18
"""Of a sequence number, so that it is one of 64 bits."""
_COMMA_NULL: Final = len(b",null")
_WORD_PLACES: Final = PLACES[PLACES.index("user") :]
"""Each is a text or null."""
WORDS: Final = PLACES[PLACES.index("outcome") :]
"""The last places: few combinations of these words differ."""
_QUOTES: Final = 2 * (len(PLACES) - 1)
"""Of a line that has all words, up to its properties."""


class Parts(NamedTuple):
    """Lines, and the parts of those that are compact; of others, the parts are anywhere."""

    is_compact: Booleans
    numbers: Integers
    """Sequence numbers."""
    places: npt.NDArray[np.int32]
    """For each of these names a row: where that part begins, and so where the one before ends."""

    def place(self, name: str) -> npt.NDArray[np.int32]:
        """Return where a part begins in each line: of `NAMES`."""
        found: npt.NDArray[np.int32] = self.places[NAMES.index(name)]
        return found


NAMES: Final = ("line", "name", "sequence", "time", "user", "session", "words", "properties", "end")
"""Parts, in their order; words and keys with the comma behind them."""


def find_parts(letters: Letters) -> Parts:
    """Return where the parts of lines are, all of which have an end."""
    found: list[Parts] = []
    for begin, end in _blocks(letters):
        parts = _find(letters[begin:end])
        parts.places[:] += np.int32(begin)
        found.append(parts)
    columns = zip(*found, strict=True)
    is_compact, numbers, places = columns
    return Parts(np.concatenate(is_compact), np.concatenate(numbers), np.concatenate(places, axis=1))


def _blocks(letters: Letters) -> Iterator[tuple[int, int]]:
    """Yield where blocks of whole lines begin and end."""
    begin = 0
    while begin < len(letters):
        end = min(begin + _BLOCK_BYTES, len(letters))
        while letters[end - 1] != END:
            size = max(end - begin, 1)
            ends = np.flatnonzero(letters[end : end + size] == END)
            end = end + int(ends[0]) + 1 if len(ends) else end + size
        yield begin, end
        begin = end


def _find(letters: Letters) -> Parts:
    ends = np.flatnonzero(letters == END)
    starts = np.concatenate(([0], ends[:-1] + 1))
    quotes = np.flatnonzero(letters == _QUOTE)
    first = np.searchsorted(quotes, starts)
    # A line that has fewer takes those of the lines behind it, or these.
    quotes = np.concatenate((quotes, np.full(_QUOTES, len(letters) - 2)))
    name, time = quotes[first], quotes[first + 2]
    behind_name, behind = quotes[first + 1] + 2, quotes[first + 3] + 1
    good = (name == starts + 1) & (letters[starts] == _OPEN_LINE) & (letters[ends - 1] == _CLOSE_LINE)
    good &= (letters[behind_name - 1] == _COMMA) & (letters[time - 1] == _COMMA)
    # From one comma to the next: a word is between the next two quotes, and null, as nothing else there, begins with n.
    commas = [behind]
    nexts = first + 4
    for _ in _WORD_PLACES:
        is_null = letters[np.minimum(behind + 1, len(letters) - 1)] == _N
        good &= is_null | (quotes[nexts] == behind + 1)
        behind = np.where(is_null, behind + _COMMA_NULL, quotes[nexts + 1] + 1)
        nexts += 2 * ~is_null
        commas.append(behind)
    at_commas = np.minimum(np.stack(commas), ends)
    good &= (letters[at_commas] == _COMMA).all(axis=0)
    properties = np.minimum(behind + 1, ends)
    good &= (letters[properties] == _OPEN) & (letters[ends - 2] == _CLOSE)
    numbers, are_numbers = _numbers(letters, behind_name, time - 1)
    good &= are_numbers
    # An escaped letter may be a quote, and then all parts behind it are others: who reads them must not have to tell.
    escapes = np.flatnonzero(letters == _BACKSLASH)
    if len(escapes):
        good[np.searchsorted(ends, escapes)] = False
    user, session, words = at_commas[:3] + 1
    parts = (starts, name, behind_name, time, user, session, words, properties, ends)
    return Parts(good, numbers, np.stack(parts, dtype=np.int32, casting="unsafe"))


def _numbers(letters: Letters, starts: Integers, ends: Integers) -> tuple[Integers, Booleans]:
    """Return the numbers whose digits are there, and which are some."""
    sizes = ends - starts
    good = (sizes > 0) & (sizes <= _MOST_DIGITS) & (letters[np.minimum(starts, len(letters) - 1)] != _ZERO)
    # From the last digit on, as many as the longest has.
    places = np.arange(int(sizes[good].max(initial=0)))
    digits = letters[ends[:, None] - 1 - places].astype(np.int64) - _ZERO
    digits[places >= sizes[:, None]] = 0
    good &= ((digits >= 0) & (digits <= 9)).all(axis=1)  # noqa: PLR2004 - digits
    return digits @ 10**places, good
