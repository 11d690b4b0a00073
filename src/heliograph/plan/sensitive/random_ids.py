"""Random ids that are none: 32 hexadecimal digits in which a real id is easily read.

What can be seen of one id alone is its form. Of all 2^128 ids that the system's generator can give, at most

    (10/16)^32 + (96/256)^16 + 25 · 16^-7 + 2^-64  ≈  5.4 · 10^-7

look derived, one in 1.8 million: decimal digits throughout, printable text throughout, one digit eight times in a row,
one half twice. `heliograph.instance.pseudonyms` draws again for such a one. A hash, a cipher's output or a UUID of a
real id has no form to be seen by.
"""

from __future__ import annotations

import re
from typing import Final

DERIVED_SHARE: Final = (10 / 16) ** 32 + (96 / 256) ** 16 + 25 * 16.0**-7 + 2.0**-64
"""At most this share of all ids of 128 random bits looks derived."""

SAME_DIGITS: Final = 8
"""So many of one digit in a row are a number's padding."""

_DERIVED: Final = re.compile(
    r"[0-9]{32}"  # a number, padded
    r"|(?:[2-6][0-9a-f]|7[0-9a-e]|00){16}"  # printable ASCII, or NUL, in hexadecimal
    r"|[0-9a-f]*?([0-9a-f])\1{7}[0-9a-f]*"  # padding
    r"|([0-9a-f]{16})\2"  # a shorter id twice
)


def looks_derived(random_id: str) -> bool:
    """Tell whether 32 hexadecimal digits show that they were not drawn at random."""
    return _DERIVED.fullmatch(random_id) is not None
