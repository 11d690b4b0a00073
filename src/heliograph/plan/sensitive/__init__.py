"""The second wall: values that the plan allows are still looked at, for what nobody may send.

The first wall is the plan: a value is a number, a boolean or a word of a declared list. The second one stands behind
it, at both ends, for the day on which somebody declares the wrong list: `find_sensitive` looks at any text, and
`heliograph.plan.sensitive.wall` holds what a plan needs looked at when events come.

Who does what: check digits and national numbers are *python-stdnum*'s (small,
without dependencies, released every few months); Unicode's and the codecs' parts are the standard library's. The rest
is ours. What was looked at, and why it is not used: *detect-secrets* (no release since May 2024, brings an HTTP client,
some 1,000 µs a word; on a word without quotation marks its entropy rules hit ``goToDefinition`` as well); *Presidio*
(models of several hundred megabytes, a language to choose); *Betterleaks* and *Kingfisher* (binaries of 29 and 17 MB
for few machines, where a customer's agent has to stay light); *phonenumbers* (finds no number without a plus sign or a
region, where seven digits in a word are enough for us); *confusable-homoglyphs* (no release since January 2024, 60 ms
to read tables of which we need the hundred that look like ASCII letters).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from heliograph.plan.sensitive.detectors import SURE, UNSURE
from heliograph.plan.sensitive.disguises import readings
from heliograph.plan.sensitive.kinds import Sensitive
from heliograph.plan.sensitive.random_ids import looks_derived

__all__ = ["Sensitive", "find_sensitive", "looks_derived"]

_MOST_CACHED: Final = 4_096


@lru_cache(maxsize=_MOST_CACHED)
def find_sensitive(text: str) -> Sensitive | None:
    """Return what kind of personal or secret data a text holds, None if none was found.

    The text is read without disguises (`disguises.readings`): look-alike and invisible characters, percent signs,
    base64 and hexadecimal digits, each to a depth of three. None proves nothing: names and words in free text are
    mostly not told from others.

    Args:
        text: Any text; of a very long one the first 8,192 characters are looked at.
    """
    all_readings = [*readings(text)]
    for reading, _ in all_readings:
        for kind, detect in SURE:
            if detect(reading):
                return kind
    if any(is_long for _, is_long in all_readings):
        return Sensitive.ENCODED_TEXT
    for reading, _ in all_readings:
        for kind, detect in UNSURE:
            if detect(reading):
                return kind
    return None
