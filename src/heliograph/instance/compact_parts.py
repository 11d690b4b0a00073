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
_BLOCK_BYTES: Final = 256 << 10
"""So much is looked at at once: what a processor keeps at hand, with what is found in it."""
_MOST_DIGITS: Final = 18
"""Of a sequence number, so that it is one of 64 bits."""
_NULL: Final = len("null")
WORDS: Final = PLACES[PLACES.index("outcome") :]
"""The last places: few combinations of these words differ."""


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
    """Return where the parts of lines are, the last of which ends as the others do."""
    found: list[Parts] = []
    for begin, end in _blocks(letters):
        parts = _find(letters[begin:end])
        found.append(parts._replace(places=(parts.places + begin).astype(np.int32)))
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
    next_quote = np.searchsorted(quotes, starts)
    # So that one may look for the next ones of a line that has none.
    quotes = np.concatenate((quotes, np.full(2 * len(PLACES), len(letters) - 1)))
    good = (ends - starts > _NULL) & (letters[starts] == _OPEN_LINE) & (letters[ends - 1] == _CLOSE_LINE)
    good &= letters[np.maximum(ends - 2, 0)] == _CLOSE

    def take(begins: Integers, *, optional: bool) -> Integers:
        """Go past the word, or null, that begins here and the comma behind it; return where it ends."""
        nonlocal next_quote, good
        first = letters[begins]
        is_word = first == _QUOTE
        good &= is_word | (first == _N) if optional else is_word
        past = np.minimum(np.where(is_word, quotes[next_quote + 1] + 1, begins + _NULL), ends)
        good &= (quotes[next_quote] == begins) | ~is_word
        good &= letters[past] == _COMMA
        next_quote = np.minimum(next_quote + 2 * is_word, len(quotes) - 2)
        behind: Integers = np.minimum(past + 1, ends)
        return behind

    name = np.minimum(starts + 1, ends)
    sequence = take(name, optional=False)
    time = np.maximum(np.minimum(quotes[next_quote], ends), sequence)
    numbers, are_numbers = _numbers(letters, sequence, time - 1)
    good &= are_numbers & (letters[time - 1] == _COMMA)
    user = take(time, optional=False)
    session = take(user, optional=True)
    words = properties = take(session, optional=True)
    for _ in WORDS:
        properties = take(properties, optional=True)
    good &= letters[properties] == _OPEN
    # An escaped letter may be a quote.
    escapes = np.flatnonzero(letters == _BACKSLASH)
    if len(escapes):
        good[np.searchsorted(ends, escapes)] = False
    return Parts(good, numbers, np.stack((starts, name, sequence, time, user, session, words, properties, ends)))


def _numbers(letters: Letters, starts: Integers, ends: Integers) -> tuple[Integers, Booleans]:
    """Return the numbers whose digits are there, and which are some."""
    sizes = ends - starts
    good = (sizes > 0) & (sizes <= _MOST_DIGITS) & ((letters[starts] != _ZERO) | (sizes == 1))
    numbers = np.zeros(len(starts), np.int64)
    for place in range(int(sizes[good].max(initial=0))):
        is_in = good & (place < sizes)
        digits = letters[np.where(is_in, starts + place, 0)].astype(np.int64) - _ZERO
        good &= ~is_in | ((digits >= 0) & (digits <= 9))  # noqa: PLR2004 - digits
        numbers = np.where(is_in, 10 * numbers + digits, numbers)
    return numbers, good
