"""Disguises of a text: look-alike letters, invisible characters, and encodings, undone to a bounded depth.

Unicode's compatibility forms (UAX #15, NFKC) undo full-width, circled and mathematical letters and digits. Look-alikes
of other alphabets are those of UTS #39's table that stand for ASCII letters in Cyrillic and Greek. What a text was
turned into by a cipher or a compressor, or written backwards, is not undone.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_CHARACTERS: Final = 8_192
"""What is looked at of one text; a longer one is no word of a plan in any case."""
_WINDOW: Final = 512
_OVERLAP: Final = 128
"""A text is looked at in windows that overlap: the time that a pattern can take grows with the square of their size."""
_DEPTH: Final = 3
_MOST_PARTS: Final = 64

_LOOK_ALIKES: Final = str.maketrans(
    "аАВсСԁеЕҽНһіІїјЈкКӏԛМоОӧрРѕЅТԝхХуУүҮЗѵѴ" + "αΑΒϲϹΕЕεΗιΙϳΚκΜΝνοΟρΡΤυΥΧχΖƖ" + "ıɡɑɩℓǀ∣‐‑‒–—―−⁄∕․·ꓸ＿ˍ﹍",  # noqa: RUF001 - look-alikes on purpose
    "aABcCdeEeHhiIijJkKlqMoOopPsSTwxXyYyY3vV" + "aABcCEEeHiIjKkMNvoOpPTuYXxZI" + "igailll-------//..._--",
)
_TEXT_BYTES: Final = 6
_LONG_BASE64: Final = 20
_LONG_HEXADECIMAL: Final = 16
# Of fewer digits, an ordinary word is text by chance: Scala107.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEXADECIMAL: Final = re.compile(r"(?:0x)?((?:[0-9A-Fa-f]{2}[:, ]?){6,})")
_ESCAPES: Final = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|U([0-9A-Fa-f]{8}))")


def plain(text: str) -> str:
    """Return a text without invisible characters, with ASCII letters and digits where it has others like them."""
    if text.isascii():
        return text
    visible = "".join(each for each in text if unicodedata.category(each) not in ("Cf", "Mn", "Me"))
    composed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", visible)).translate(_LOOK_ALIKES)
    return "".join(map(_plain_character, composed))


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in ("Zs", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Mn", "Me", "Cc") else character


def readings(text: str) -> Iterator[tuple[str, bool]]:
    """Yield a text in plain characters, and what it decodes to; with each whether it was found in a long encoding.

    A long encoding is one that is text by its length alone: fewer than one in a million random words decode to
    printable characters throughout.
    """
    seen: set[str] = set()
    waiting = [(window, False, 0) for window in _windows(plain(text[:MOST_CHARACTERS]))]
    while waiting:
        reading, is_long, depth = waiting.pop(0)
        if reading in seen:
            continue
        if len(seen) == _MOST_PARTS:
            return
        seen.add(reading)
        yield reading, is_long
        if depth < _DEPTH:
            waiting += [
                (window, is_long_part, depth + 1)
                for decode in _DECODERS
                for part, is_long_part in decode(reading)
                for window in _windows(plain(part))
            ]


def _windows(text: str) -> Iterator[str]:
    yield text[:_WINDOW]
    for start in range(_WINDOW - _OVERLAP, len(text) - _OVERLAP, _WINDOW - _OVERLAP):
        yield text[start : start + _WINDOW]


def _percent(text: str) -> Iterator[tuple[str, bool]]:
    if "%" in text:
        yield unquote(text), False


def _escaped(text: str) -> Iterator[tuple[str, bool]]:
    if "&" in text:
        yield html.unescape(text), False
    if "\\" in text:
        yield _ESCAPES.sub(_unescaped, text), False


def _unescaped(found: re.Match[str]) -> str:
    code = int(found[found.lastindex or 0], 16)
    return chr(code) if code <= 0x10FFFF else found[0]  # noqa: PLR2004 - Unicode's last code point


def _base64(text: str) -> Iterator[tuple[str, bool]]:
    for found in _BASE64.finditer(text):
        digits = found[0].rstrip("=").translate(_URL_SAFE)
        # A text may have been cut, or may follow a prefix: the rest of the last group of four is left out.
        for start in {0, *(digits.find(sign) + 1 for sign in "/+" if sign in digits[:-_LONG_BASE64])}:
            part = digits[start:]
            part = part[:-1] if len(part) % 4 == 1 else part
            decoded = _as_text(base64.b64decode(part + "=" * (-len(part) % 4)))
            if decoded:
                yield decoded, len(part) >= _LONG_BASE64


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _hexadecimal(text: str) -> Iterator[tuple[str, bool]]:
    for found in _HEXADECIMAL.finditer(text):
        digits = re.sub("[^0-9A-Fa-f]", "", found[1])
        decoded = _as_text(binascii.unhexlify(digits))
        if decoded and not digits.isdigit():
            yield decoded, len(digits) >= _LONG_HEXADECIMAL


def _as_text(content: bytes) -> str | None:
    """Return what bytes say if they are nothing but printable text."""
    content = content.strip(b"\0")
    if len(content) < _TEXT_BYTES:
        return None
    for encoding in ("utf-8", "utf-16-le"):
        try:
            text = (content + b"\0" * (len(content) % 2) if encoding == "utf-16-le" else content).decode(encoding)
        except UnicodeDecodeError:
            continue
        if all(each.isprintable() or each in "\r\n\t" for each in text) and _mostly_ascii(text):
            return text
    return None


def _mostly_ascii(text: str) -> bool:
    return sum(map(str.isascii, text)) * 4 >= len(text) * 3


_DECODERS: Final[tuple[Callable[[str], Iterator[tuple[str, bool]]], ...]] = (_percent, _escaped, _base64, _hexadecimal)
