"""Names taken apart into words, and brought down to what two spellings of one word have in common."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from heliograph.plan.word_lists import OTHER_FORMS

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_VOWELS: Final = frozenset("aeiouy")

_SAME: Final = {form: word for word, forms in OTHER_FORMS.items() for form in forms}


def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: ``SearchResultClicked`` and ``search-result_clicked`` alike."""
    return tuple(match.lower() for match in _WORD.findall(name))


@cache
def stem(word: str) -> str:
    """Return what forms of a word share: ``search`` for ``searches``, ``creat`` for ``create`` and ``created``."""
    word = _SAME.get(word, word)
    if word.isdigit():
        return word
    if word.endswith("ies") and len(word) > 4:  # noqa: PLR2004 - not `dies`
        word = f"{word[:-3]}y"
    elif word.endswith("s") and not word.endswith("ss") and len(word) > 2:  # noqa: PLR2004 - not `us`
        word = word[:-1]
    for ending in ("ing", "ed", "e"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and _VOWELS.intersection(rest):  # noqa: PLR2004 - not `red`, `string`
            word = rest
            break
    if word.endswith(("ch", "sh", "x")):  # what `searches` has left once its `s` and its `e` are gone
        return word
    return re.sub(r"([b-df-hj-np-tv-z])\1$", r"\1", word)


def stems(name: str) -> tuple[str, ...]:
    """Return the stems of a name's words."""
    return tuple(map(stem, words(name)))


def one_slip(one: str, other: str) -> bool:
    """Tell whether two words differ by one letter that was added, left out, exchanged, or by two that were swapped."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    swapped = a[:2] == b[:2][::-1] and a[2:] == b[2:]
    return swapped or a[1:] == b[1:] or a[1:] == b or a == b[1:]
