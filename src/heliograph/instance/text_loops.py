"""Loops over texts in lines: where each ends, its hash, and its number among those that differ.

Eight letters are one machine word, which begins at any byte. They are written so that Numba can compile them
(`heliograph.machine_code`); `heliograph.instance.line_loops` uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    Word: TypeAlias = np.uint64

HASH, BEGIN, END, SPACE, NUMBER = 0, 1, 2, 3, 4
"""What is kept of each different text."""
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHEST: Final = np.uint64(0x8080808080808080)
_FIRST_HIGHEST: Final = np.uint64(0x80)
_SPACES: Final = np.uint64(0x2020202020202020)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_NOTHING: Final = np.uint64(0)


class Texts(NamedTuple):
    """The texts that differ, each in a space of texts: in each, they have numbers from 0 on, in their order."""

    slots: Any
    """A power of two of them: where a text's hash points, or the next free one behind it, its line in `lines` from 1
    on; 0 where none is."""
    lines: Integers
    """See `HASH` and what follows; in the order in which they were found."""
    numbers: Integers
    """How many each space has."""
    total: Integers
    """A single number: how many there are."""


def mixed(code: Word, word: Word) -> Word:
    """Return the hash of what `code` is the hash of, and a word behind it."""
    code = (code ^ word) * _FACTOR
    return code ^ (code >> np.uint64(32))


def first_letters(word: Word, count: int) -> Word:
    """Return a word of which only the first letters are left, fewer than eight."""
    return word & ((np.uint64(1) << np.uint64(8 * count)) - np.uint64(1))


def hash_of(wide: Any, begin: int, end: int) -> Word:
    """Return the hash of a text, as `read_text` does."""
    code = _NOTHING
    while end - begin >= 8:
        code = mixed(code, wide[begin])
        begin += 8
    return mixed(code, first_letters(wide[begin], end - begin))


def special_letters(word: Word) -> Word:
    """Return the highest bit of letters that end a text: quotes, backslashes, below a space, and not ASCII.

    Of the first of them, and of some behind it; none, if there is none.
    """
    quote, slash = word ^ _QUOTES, word ^ _BACKSLASHES
    below = (word - _SPACES) & ~word
    return (word | below | ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash)) & _HIGHEST


def read_text(wide: Any, begin: int) -> tuple[int, Word]:
    """Return where a text ends, which is at its first special letter, and its hash."""
    end, code = begin, _NOTHING
    special = special_letters(wide[end])
    while special == _NOTHING:
        code = mixed(code, wide[end])
        end += 8
        special = special_letters(wide[end])
    rest = 0
    while special & _FIRST_HIGHEST == _NOTHING:
        special >>= np.uint64(8)
        rest += 1
    return end + rest, mixed(code, first_letters(wide[end], rest))


def are_same(wide: Any, begin: int, end: int, other: int, other_end: int) -> bool:
    """Tell whether the same text stands at two places."""
    differs: Any = np.uint64(other_end - other != end - begin)
    while end - begin >= 8:
        differs |= wide[begin] ^ wide[other]
        begin += 8
        other += 8
    differs |= first_letters(wide[begin] ^ wide[other], end - begin)
    found: bool = differs == _NOTHING
    return found


def find_text(wide: Any, texts: Texts, space: int, begin: int, end: int, code: Word) -> tuple[int, int]:
    """Return the number of a text with this hash, -1 if it has none, and its slot, or the one that is free for it."""
    mask = len(texts.slots) - 1
    slot: Any = np.int64((code ^ np.uint64(space) * _FACTOR) & np.uint64(mask))
    while texts.slots[slot] != 0:
        line = texts.slots[slot] - 1
        is_alike = texts.lines[line, HASH] == np.int64(code) and texts.lines[line, SPACE] == space
        if is_alike and are_same(wide, begin, end, texts.lines[line, BEGIN], texts.lines[line, END]):
            return texts.lines[line, NUMBER], slot
        slot = (slot + 1) & mask
    return -1, slot


def number_of(wide: Any, texts: Texts, space: int, begin: int, end: int, code: Word) -> int:
    """Return the number of a text with this hash: the next one of its space, if it has none yet."""
    number, slot = find_text(wide, texts, space, begin, end, code)
    if number < 0:
        number = texts.numbers[space]
        texts.numbers[space] += 1
        line = texts.total[0]
        texts.total[0] += 1
        texts.lines[line, HASH], texts.lines[line, BEGIN], texts.lines[line, END] = np.int64(code), begin, end
        texts.lines[line, SPACE], texts.lines[line, NUMBER] = space, number
        texts.slots[slot] = line + 1
    return number
