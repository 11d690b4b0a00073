"""One function for each kind of what must not be sent. Each takes a text in plain characters; see `disguises`.

Check digits and the forms of national numbers are python-stdnum's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias

from heliograph.plan.sensitive.code_forms import CODE
from heliograph.plan.sensitive.formats import PRIVATE_KEY, TOKEN
from heliograph.plan.sensitive.kinds import Sensitive
from heliograph.plan.sensitive.names import GIVEN_NAMES

MOST_DIGITS: Final = 6
"""A word with more digits, a date left out, is taken for a number of somebody or something."""

_EMAIL: Final = re.compile(
    r"[\w.+'-]+ ?(?:@|\[at\]|\(at\)| at )\s?[\w-]+(?:\s?(?:\.|\[dot\]|\(dot\)| dot )\s?[\w-]+)+", re.IGNORECASE
)
_URL: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]*://\S|\bwww\.[a-z0-9-]+\.[a-z]|\bmailto:\S+@|\bdata:[a-z]+/[a-z0-9.+-]+[;,]|\b\w+@[\w.-]+:\S",
    re.IGNORECASE,
)
_IPV4: Final = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?![\w:])")
_MAC: Final = re.compile(
    r"(?<![\w:-])[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])|(?<![\w.])(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}(?![\w.])",
    re.IGNORECASE,
)
_DOMAINS: Final = (
    "com|org|edu|gov|mil|int|info|biz|dev|app|cloud|internal|local|localdomain|corp|lan|intranet|home|arpa|example"
    "|invalid|onion"
)
_SHORT_DOMAINS: Final = (
    "net|io|ai|co|de|uk|fr|jp|cn|ru|br|nl|eu|ch|se|pl|es|au|ca|kr|dk|fi|cz|nz|za|mx|tr|ua|hu|pt|gr|il|sg|hk|tw|us"
    "|tv|xyz"
)
"""After two dots only: `asp.net` and `socket.io` are no hosts."""
_HOST: Final = re.compile(
    rf"(?<![\w.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:{_DOMAINS})(?![\w-])"
    rf"|(?<![\w.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.){{2,}}(?:{_SHORT_DOMAINS})(?![\w-]|\.\w)"
    r"|\blocalhost:\d",
    re.IGNORECASE,
)
_FILE_PATH: Final = re.compile(
    r"(?:^|[\s\"'=(:])(?:~[\w-]*/\w|/(?:home|Users|root|etc|var|opt|srv|mnt|usr|tmp|data|workspace)/\w|/[\w.-]+/[\w.-]+/[\w.-])"
    r"|\b[A-Za-z]:[\\/](?![/\\])\S|\\\\[\w.-]+\\\w|\bfile:/"
)
_STREET: Final = (
    "street|avenue|boulevard|road|lane|drive|square|court|platz|allee|rue|via|calle|avenida|rua|plaza|strasse|str"
)
_POSTAL_ADDRESS: Final = re.compile(
    rf"\b\d{{1,5}}[a-z]?[,_ .-]+(?:[a-z]+[_ .-]+){{1,3}}(?:{_STREET}|st|ave|blvd|rd)\b"
    rf"|\b\d{{1,5}}[,_ ]+(?:rue|via|calle|avenida|rua|place|boulevard)[_ ][a-z]"
    rf"|\b[a-z]*(?:strasse|str\.|platz|allee|gasse|weg|straat)[_ ]\d{{1,4}}[a-z]?\b"
    rf"|\b(?:rue|calle|avenida|rua|plaza)[_ ][a-z]+[a-z_ ]*[,_ ]+\d{{1,4}}\b",
    re.IGNORECASE,
)
_CARD: Final = re.compile(r"(?<!\d)(?:\d[ ._-]?){13,18}\d(?!\d)")
_ISSUERS: Final = re.compile(r"4|5[1-5]|2[2-7]|3[47]|30[0-5]|3[689]|35|6011|64[4-9]|65|62|5[068]|6[0379]")
_ACCOUNT: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ._-]?[A-Z0-9]){11,30}(?![A-Za-z0-9])", re.IGNORECASE)
_NATIONAL: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("us.ssn", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")),
    ("it.codicefiscale", re.compile(r"(?<!\w)[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z](?!\w)", re.IGNORECASE)),
    ("mx.curp", re.compile(r"(?<!\w)[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d(?!\w)", re.IGNORECASE)),
    ("es.nif", re.compile(r"(?<!\w)[XYZKLM\d]\d{7}[A-Z](?!\w)", re.IGNORECASE)),
    ("fi.hetu", re.compile(r"(?<!\w)\d{6}[-+A-FU-Y]\d{3}[0-9A-Y](?!\w)", re.IGNORECASE)),
    ("ie.pps", re.compile(r"(?<!\w)\d{7}[A-W][A-IWTX]?(?!\w)", re.IGNORECASE)),
    ("in_.pan", re.compile(r"(?<!\w)[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z](?!\w)")),
)
_INSURANCE_NUMBER: Final = re.compile(
    r"(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?(?:\d{2}[ ]?){3}[A-D](?!\w)"
)
"""The United Kingdom's: two letters (some never given), six digits, A to D; HMRC manual NIM39110."""
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+|00)[1-9](?:[ ()./_-]{0,2}\d){6,14}(?!\d)"
    r"|(?<![\w.+-])\(?[2-9]\d\d\)?[ ._-]{1,2}[2-9]\d\d[ ._-]\d{4}(?![\w.-])"
    r"|(?<![\w.+-])0\d{1,4}[ ()/._-]{1,2}\d{2,4}(?:[ /._-]?\d{2,4}){1,3}(?![\w.-])"
    r"|(?:^|[^A-Za-z])(?:tel|phone|fax|mobile|cell|whatsapp)[ .:=_-]*\+?\d(?:[ ()./_-]?\d){5,}",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r"(?<!\d)(?:19[5-9]\d|20[0-4]\d)([-_./]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)")
_DIGIT_RUN: Final = re.compile(r"\d(?:[ ._/()-]?\d)*")
_SEPARATED_NUMBERS: Final = re.compile(r"\d{1,5}(?:\.\d{1,5}){1,3}")
_LICENCE_KEY: Final = re.compile(r"(?<![A-Za-z0-9-])([A-Z0-9]{4,8})(?:-[A-Z0-9]{4,8}){2,}(?![A-Za-z0-9])")
_PASSWORD_SAID: Final = re.compile(
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|(?:api|access)[_-]?key|(?:auth[_-]?)?token|credentials?|kennwort|passwort)"
    r"[\"']?\s*(?:[=:]|=>|\bis\b|->)\s*[\"']?[^\s\"']{4,}",
    re.IGNORECASE,
)
_PASSWORD_IN_URL: Final = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_PASSWORD_SHAPE: Final = re.compile(
    r"(?<!\S)(?=\S*[a-z])(?=\S*[A-Z])(?=\S*\d)(?=\S*[!@#$%^&*?~])[\w!@#$%^&*?~.+=-]{8,64}(?!\S)"
)
_LEET: Final = re.compile(
    r"p[a@4][s5$]{2}w[o0]rd?[!\d]+|[qQ]werty\d+|letmein\d*|hunter2|iloveyou\d*|trustno1", re.IGNORECASE
)
_TITLED: Final = re.compile(
    r"(?<![A-Za-z])(?:Mrs?|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Monsieur|Madame|Señora?|Senora?|Sir)\.?[ _][A-Z][a-z]+"
)
_HANDLE: Final = re.compile(r"(?:^|[\s(])@[A-Za-z][\w.-]{2,}(?:$|[\s,;:.)])")
_PAIR: Final = re.compile(r"(?<![A-Za-z])([A-Za-z]{3,12})[ ._-]+(?=([A-Za-z]{2,})(?![A-Za-z]))")
_CAMEL_PAIR: Final = re.compile(r"(?<![A-Za-z])([A-Z][a-z]{2,11})[A-Z][a-z]{2,}(?![A-Za-z])")
_UUID: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9A-Za-z])", re.IGNORECASE)
_RANDOM_RUN: Final = re.compile(r"[A-Za-z0-9]{14,}")
_LONG_RANDOM_RUN: Final = re.compile(r"[A-Za-z0-9+/=]{24,}")
_CHUNK: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_CONSONANTS: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]{10,}", re.IGNORECASE)
_RANDOM_LENGTH: Final = 14
_RANDOM_CHUNK: Final = 2.8
"""Letters and digits by chance change their class every 1.6 to 2.4 characters; words do every four or more."""
_LONG_RUN: Final = 32
_LONG_RUN_CHUNK: Final = 3.1
_RANDOM_NUMBERS: Final = 3
"""Words have one or two numbers in them, as in ``utf8ToBase64``."""
_RANDOM_LETTERS: Final = 20
_RANDOM_LETTER_CHUNK: Final = 2.3
"""The same for letters of both cases without a digit among them."""


def is_private_key(text: str) -> bool:
    """Tell whether a private key begins in it."""
    return PRIVATE_KEY.search(text) is not None


def is_secret_token(text: str) -> bool:
    """Tell whether it holds a credential of a known format."""
    return TOKEN.search(text) is not None


def is_password(text: str) -> bool:
    """Tell whether it says a password, or looks like one."""
    return any(pattern.search(text) for pattern in (_PASSWORD_SAID, _PASSWORD_IN_URL, _PASSWORD_SHAPE, _LEET))


def is_licence_key(text: str) -> bool:
    """Tell whether it holds groups of capitals and digits, as licence keys are printed."""
    for found in _LICENCE_KEY.finditer(text):
        groups = found[0].split("-")
        mixed = any(map(str.isdigit, found[0])) and any(map(str.isalpha, found[0]))
        if mixed and len({*map(len, groups)}) == 1:
            return True
    return False


def is_email(text: str) -> bool:
    """Tell whether it holds an e-mail address."""
    return _EMAIL.search(text) is not None


def is_url(text: str) -> bool:
    """Tell whether it holds an address with a scheme."""
    return _URL.search(text) is not None


def is_ip_address(text: str) -> bool:
    """Tell whether it holds an IPv4 or IPv6 address."""
    return any(all(int(part) < 256 for part in found.groups()) for found in _IPV4.finditer(text)) or any(  # noqa: PLR2004 - a byte
        _is_ipv6(found[0]) for found in _IPV6.finditer(text)
    )


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return len(text) > len("::1")


def is_mac_address(text: str) -> bool:
    """Tell whether it holds the address of a network card."""
    return _MAC.search(text) is not None


def is_host(text: str) -> bool:
    """Tell whether it holds a host's name with its domain."""
    return _HOST.search(text) is not None


def is_file_path(text: str) -> bool:
    """Tell whether it holds a path."""
    return _FILE_PATH.search(text) is not None


def is_postal_address(text: str) -> bool:
    """Tell whether it holds a street with a number."""
    return _POSTAL_ADDRESS.search(text) is not None


def is_payment_card(text: str) -> bool:
    """Tell whether it holds a card's number."""
    return any(is_card_number(re.sub(r"\D", "", found[0])) for found in _CARD.finditer(text))


def is_card_number(digits: str) -> bool:
    """Tell whether digits are a card's number: an issuer's range, and the right check digit."""
    return _ISSUERS.match(digits) is not None and _is_valid("luhn", digits)


def is_bank_account(text: str) -> bool:
    """Tell whether it holds an IBAN."""
    return any(_is_valid("iban", re.sub("[ ._-]", "", found[0])) for found in _ACCOUNT.finditer(text))


def is_national_id(text: str) -> bool:
    """Tell whether it holds a person's number in a state's register."""
    return _INSURANCE_NUMBER.search(text) is not None or any(
        _is_valid(register, found[0]) for register, pattern in _NATIONAL for found in pattern.finditer(text)
    )


def is_phone(text: str) -> bool:
    """Tell whether it holds a telephone number as people write it."""
    return any(
        not _SEPARATED_NUMBERS.fullmatch(found[0]) or found[0][0] == "0" or _is_american(found[0])
        for found in _PHONE.finditer(_DATE.sub(" ", text))
    )


def _is_american(text: str) -> bool:
    return [len(part) for part in text.split(".")] == [3, 3, 4]


def has_long_digits(text: str) -> bool:
    """Tell whether it holds seven digits or more that are neither a date nor numbers with dots, as of a version."""
    for found in _DIGIT_RUN.finditer(_DATE.sub("x", text)):
        # A round number, such as the bound of a range, says no more than its first digits.
        digits = sum(map(str.isdigit, found[0].rstrip("0")))
        if digits > MOST_DIGITS and not _SEPARATED_NUMBERS.fullmatch(found[0]):
            return True
    return False


def is_code(text: str) -> bool:
    """Tell whether it holds code, a query, a pattern or a command."""
    return CODE.search(text) is not None


def is_person_name(text: str) -> bool:
    """Tell whether it holds a title or a common given name beside another name, or a handle."""
    if _TITLED.search(text) or _HANDLE.search(text):
        return True
    if any(found[1].lower() in GIVEN_NAMES for found in _CAMEL_PAIR.finditer(text)):
        return True
    return any(found[1].lower() in GIVEN_NAMES for found in _PAIR.finditer(text))


def has_high_entropy(text: str) -> bool:
    """Tell whether it holds letters and digits as chance mixes them."""
    if _UUID.search(text):
        return True
    return any(_is_random(found[0]) for found in _RANDOM_RUN.finditer(text)) or any(
        _is_random(re.sub("[^A-Za-z0-9]", "", found[0])) and any(map(str.isdigit, found[0]))
        for found in _LONG_RANDOM_RUN.finditer(text)
    )


def _is_random(run: str) -> bool:
    if _CONSONANTS.search(run):
        return True
    inner = run.strip("0123456789")
    chunks = _CHUNK.findall(inner)
    if len(inner) < _RANDOM_LENGTH - 2:
        return False
    if (numbers := sum(map(str.isdigit, chunks))) > 0:
        longest = _LONG_RUN_CHUNK if len(inner) >= _LONG_RUN else _RANDOM_CHUNK
        return numbers >= _RANDOM_NUMBERS or len(inner) < longest * len(chunks)
    return len(inner) >= _RANDOM_LETTERS and len(inner) < _RANDOM_LETTER_CHUNK * len(chunks)


@cache
def _standard_number(name: str) -> Any:
    # Not when this module is imported: a product that only records events does without it.
    return import_module(f"stdnum.{name}")


def _is_valid(name: str, number: str) -> bool:
    try:
        return bool(_standard_number(name).is_valid(number))
    except ModuleNotFoundError:
        return True  # whose form is right is not sent where nothing can tell more


Detectors: TypeAlias = tuple[tuple[Sensitive, Callable[[str], bool]], ...]

SURE: Final[Detectors] = (
    (Sensitive.PRIVATE_KEY, is_private_key),
    (Sensitive.SECRET_TOKEN, is_secret_token),
    (Sensitive.PASSWORD, is_password),
    (Sensitive.URL, is_url),
    (Sensitive.EMAIL, is_email),
    (Sensitive.IP_ADDRESS, is_ip_address),
    (Sensitive.MAC_ADDRESS, is_mac_address),
    (Sensitive.BANK_ACCOUNT, is_bank_account),
    (Sensitive.PAYMENT_CARD, is_payment_card),
    (Sensitive.NATIONAL_ID, is_national_id),
    (Sensitive.LICENCE_KEY, is_licence_key),
    (Sensitive.PHONE, is_phone),
    (Sensitive.POSTAL_ADDRESS, is_postal_address),
    (Sensitive.FILE_PATH, is_file_path),
    (Sensitive.CODE, is_code),
    (Sensitive.PERSON_NAME, is_person_name),
)
"""Kinds that name what they found, in the order in which they are asked."""

UNSURE: Final[Detectors] = (
    (Sensitive.HOST, is_host),
    (Sensitive.HIGH_ENTROPY, has_high_entropy),
    (Sensitive.LONG_DIGITS, has_long_digits),
)
"""Kinds that stand for whatever looks like them: asked where no reading of a text is of a sure kind."""
