"""Canaries: made-up private data of every class, in every disguise, each with a core that nothing else contains.

All of it follows from a seed, and is put together from pieces when the tests run, so that no file holds anything that
looks like a secret. A *form* is one canary in one disguise; what to search for to find it again is `Form.needles`.
"""

from __future__ import annotations

import base64
import random
import struct
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = "0123456789"
_HEXADECIMAL: Final = "0123456789abcdef"
_MIXED: Final = _LETTERS + _LETTERS.upper() + _DIGITS
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEWEST_DIGITS: Final = 12
ZERO_WIDTH: Final = "\u200b"
COMBINING: Final = "\u0323"
HOMOGLYPHS: Final = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")  # noqa: RUF001 - that is the point
"""Latin letters, and Cyrillic ones that look the same."""


class Canary(NamedTuple):
    """One made-up piece of private data."""

    kind: str
    text: str
    core: str
    """A part of the text that is found nowhere else, not even by chance."""


class Maker:
    """Makes canaries from a seed; no two have the same core."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._cores: set[str] = set()

    def make(self, kind: str) -> Canary:
        """Make one that was not made before."""
        while True:
            text, core = KINDS[kind].make(self)
            if core.lower() not in self._cores:
                self._cores.add(core.lower())
                return Canary(kind, text, core)

    def letters(self, count: int, alphabet: str = _LETTERS) -> str:
        return "".join(self._random.choices(alphabet, k=count))

    def digits(self, count: int) -> str:
        return self.letters(1, "123456789") + self.letters(count - 1, _DIGITS)

    def token(self, count: int, alphabet: str = _MIXED) -> str:
        """Return letters and digits, at least one of each."""
        return self.letters(count - 2, alphabet) + self.letters(1, "23456789") + self.letters(1, "qxz")

    def name(self) -> str:
        """Return what could be somebody's family name, and is nobody's."""
        syllables = (self.letters(1, "bdfgklmnrstvz") + self.letters(1, "aeiou") for _ in range(8))
        return "".join(syllables).capitalize() + "sky"

    def one_of(self, *words: str) -> str:
        return self._random.choice(words)


Made = tuple[str, str]


def _person_name(make: Maker) -> Made:
    name = make.name()
    given = make.one_of("Anna", "John", "Wei", "Jürgen", "Xóchitl", "Oluwaseun", "Bilge", "Ruby", "Mark", "Thuy")
    return make.one_of(f"{given} {name}", f"{name}, {given}", f"{given[0]}. {name}", f"{given[0]}{name}", name), name


def _mail_address(make: Maker) -> Made:
    name = make.name().lower()
    return f"{make.one_of('anna', 'john', 'wei')}.{name}@{make.one_of('example.com', 'corp.example')}", name


def _postal_address(make: Maker) -> Made:
    name = make.name()
    number, code = make.digits(2), make.digits(5)
    return make.one_of(
        f"{number} {name} Street, Springfield", f"{name}straße {number}, {code} Berlin", f"{code} {name}, Rue {number}"
    ), name


def _phone_number(make: Maker) -> Made:
    number = f"+{make.one_of('49 171', '1 415', '44 7700')} {make.digits(4)}{make.digits(4)}"
    return number, number


def _with_luhn(digits: str) -> str:
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def _payment_card(make: Maker) -> Made:
    number = _with_luhn("4" + make.digits(14))
    return number, number


def _iban(make: Maker) -> Made:
    account = make.digits(18)
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02d}{account}", account


def _network_address(make: Maker) -> Made:
    address = "fd" + make.letters(2, _HEXADECIMAL) + "".join(f":{make.letters(4, _HEXADECIMAL)}" for _ in range(7))
    return address, address


def _mac_address(make: Maker) -> Made:
    address = ":".join(make.letters(2, _HEXADECIMAL) for _ in range(8))
    return address, address


def _host_name(make: Maker) -> Made:
    name = make.letters(20)
    return make.one_of(
        f"build-{make.digits(1)}.{name}.corp.example", f"{name}-db-{make.digits(1)}", f"{name}.local"
    ), name


def _url(make: Maker) -> Made:
    name = make.letters(20)
    return f"https://git.corp.example/{name}/-/issues?id={make.digits(3)}", name


def _repository(make: Maker) -> Made:
    name = make.letters(20)
    return make.one_of(f"git.corp.example/{name}/payments-core", f"{name}/payments-core", f"{name}-service"), name


def _file_path(make: Maker) -> Made:
    name = make.letters(20)
    return make.one_of("/home/", "C:\\Users\\", "src/internal/") + f"{name}/ledger.go", name


def _source_code(make: Maker) -> Made:
    name = make.letters(20)
    return make.one_of(
        f"func {name}(account *Account) error {{ return account.Close() }}",
        f"{name}.update(balance)",
        f"if {name} > limit: raise Overdrawn",
    ), name


def _search_query(make: Maker) -> Made:
    name = make.letters(20)
    return make.one_of(
        f"repo:^payments$ lang:go {name}\\( -file:test", f"{name} retry logic", f"why does {name} time out"
    ), name


def _sql(make: Maker) -> Made:
    name = make.letters(20)
    return make.one_of(
        f"SELECT * FROM accounts WHERE owner = '{name}' OR 1 = 1",
        f"update {name} set balance = 0",
        f"drop table {name}",
    ), name


def _password(make: Maker) -> Made:
    word = make.token(20)
    return make.one_of(f"password={word}!", f"#{word}", word), word


def _licence_key(make: Maker) -> Made:
    pieces = [make.letters(5, _LETTERS.upper() + _DIGITS) for _ in range(4)]
    key = make.one_of("-", "").join(pieces)
    return key, key


def _high_entropy(make: Maker) -> Made:
    word = make.token(40)
    return word, word


def _long_number(make: Maker) -> Made:
    digits = make.digits(int(make.one_of("16", "19")))
    return digits, digits


def _prefixed(*pieces: str, count: int, alphabet: str = _MIXED) -> Callable[[Maker], Made]:
    """Return a maker of tokens with a well-known beginning, which stands here in pieces."""

    def make_token(make: Maker) -> Made:
        word = make.token(count, alphabet)
        return "".join(pieces) + word, word

    return make_token


def _aws_key(make: Maker) -> Made:
    word = make.letters(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    return "AK" + "IA" + word, word


def _slack_token(make: Maker) -> Made:
    word = make.token(24)
    return f"xo{'xb'}-{make.digits(12)}-{make.digits(12)}-{word}", word


def _web_token(make: Maker) -> Made:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    claims = base64.urlsafe_b64encode(b'{"sub":"' + make.name().encode() + b'"}').rstrip(b"=").decode()
    word = make.token(43)
    return f"{head}.{claims}.{word}", word


def _private_key(make: Maker) -> Made:
    word = make.token(64)
    rule = "-" * 5
    return f"{rule}BEGIN {'RSA PRI'}VATE KEY{rule}\nMIIE{word}\n{rule}END {'RSA PRI'}VATE KEY{rule}", word


class Kind(NamedTuple):
    """A class of private data, and how one of it is made."""

    level: str
    """The classification: restricted, private, personal or confidential."""
    make: Callable[[Maker], Made]


KINDS: Final = {
    "name of a person": Kind("personal", _person_name),
    "mail address": Kind("personal", _mail_address),
    "postal address": Kind("personal", _postal_address),
    "phone number": Kind("personal", _phone_number),
    "payment card": Kind("personal", _payment_card),
    "IBAN": Kind("personal", _iban),
    "IP address": Kind("personal", _network_address),
    "MAC address": Kind("personal", _mac_address),
    "number of 16 or 19 digits": Kind("personal", _long_number),
    "host name": Kind("confidential", _host_name),
    "URL": Kind("confidential", _url),
    "licence key": Kind("confidential", _licence_key),
    "repository": Kind("private", _repository),
    "file path": Kind("private", _file_path),
    "source code": Kind("private", _source_code),
    "search query": Kind("private", _search_query),
    "SQL": Kind("private", _sql),
    "password": Kind("restricted", _password),
    "random string": Kind("restricted", _high_entropy),
    "AWS key": Kind("restricted", _aws_key),
    "GitHub token": Kind("restricted", _prefixed("gh", "p_", count=36)),
    "GitLab token": Kind("restricted", _prefixed("glp", "at-", count=20)),
    "Slack token": Kind("restricted", _slack_token),
    "Stripe key": Kind("restricted", _prefixed("sk_", "live_", count=24)),
    "Google key": Kind("restricted", _prefixed("AI", "za", count=35)),
    "npm token": Kind("restricted", _prefixed("np", "m_", count=36)),
    "PyPI token": Kind("restricted", _prefixed("py", "pi-AgEIcHlwaS5vcmc", count=60)),
    "web token": Kind("restricted", _web_token),
    "private key": Kind("restricted", _private_key),
}


DIGITS_ONLY: Final = frozenset({"phone number", "payment card", "IBAN", "number of 16 or 19 digits"})
"""Half of one of these is eight digits or so, which a file may well hold by chance: they are not split."""


class Form(NamedTuple):
    """One canary in one disguise."""

    canary: Canary
    disguise: str
    parts: tuple[str, ...]
    """What to plant: one text, or two for a canary that is split."""
    number: int | None = None
    """What to plant in place of text, for disguises as a number: a whole number, or microseconds since 1970."""

    @property
    def text(self) -> str:
        """The text, for a canary in one piece."""
        return self.parts[0]

    @property
    def share(self) -> float:
        """The number as a float between 0 and 1, whose mantissa it is."""
        assert self.number is not None
        return float(struct.unpack("<d", struct.pack("<Q", 0x3FE << 52 | self.number & (1 << 52) - 1))[0])

    @property
    def moment(self) -> datetime:
        """The number as a time."""
        assert self.number is not None
        return _1970 + timedelta(microseconds=self.number)

    def needles(self) -> Iterator[bytes]:
        """Yield what gives this form away, in lower case: its core in every encoding that is searched for."""
        if self.disguise in NUMERIC:
            yield from map(bytes.lower, NUMERIC[self.disguise](self))
            return
        if self.disguise in {RANDOM_ID, CIPHERED_ID}:
            yield self.text.encode()
            yield bytes.fromhex(self.text).lower()
            return
        if self.disguise == BETWEEN_BLOCKS:
            yield _in_blocks(self.canary.core.encode()).lower()
            return
        cores = _halves(self.canary.core) if len(self.parts) > 1 else (self.canary.core,)
        for core in cores:
            yield from map(bytes.lower, encodings(core))


def encodings(core: str) -> Iterator[bytes]:
    """Yield a core as it may stand in a file: as it is, and encoded as texts are.

    Case, full-width letters, homoglyphs, zero-width characters and accents are undone where it is searched, in what is
    searched.
    """
    plain = core.encode()
    yield plain
    yield plain.hex().encode()
    for shift in range(3):
        # The characters at either end depend on what stands beside the core.
        encoded = base64.b64encode(b"\0" * shift + plain)
        whole = encoded[(shift * 4 + 2) // 3 : (shift + len(plain)) * 4 // 3]
        yield whole
        if b"+" in whole or b"/" in whole:
            yield whole.translate(bytes.maketrans(b"+/", b"-_"))
    yield "".join(f"%{byte:02x}" for byte in plain).encode()
    yield "".join(f"\\u{ord(character):04x}" for character in core).encode()


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _split(canary: Canary) -> tuple[str, str]:
    middle = canary.text.index(canary.core) + len(canary.core) // 2
    return canary.text[:middle], canary.text[middle:]


def _between(text: str, more: str) -> str:
    return more.join(text)


def _full_width(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


def _accented(text: str) -> str:
    return "".join(each + COMBINING if each.isalpha() else each for each in unicodedata.normalize("NFD", text))


DISGUISES: Final[dict[str, Callable[[Canary], tuple[str, ...]]]] = {
    "plain": lambda canary: (canary.text,),
    "upper case": lambda canary: (canary.text.upper(),),
    "lower case": lambda canary: (canary.text.lower(),),
    "accents apart": lambda canary: (_accented(canary.text),),
    "full width": lambda canary: (_full_width(canary.text),),
    "look-alikes": lambda canary: (canary.text.translate(HOMOGLYPHS),),
    "zero width": lambda canary: (_between(canary.text, ZERO_WIDTH),),
    "base64": lambda canary: (base64.b64encode(canary.text.encode()).decode(),),
    "hexadecimal": lambda canary: (canary.text.encode().hex(),),
    "percent": lambda canary: ("".join(f"%{byte:02X}" for byte in canary.text.encode()),),
    "escaped": lambda canary: ("".join(f"\\u{ord(each):04x}" for each in canary.text),),
    "in a sentence": lambda canary: (f"see {canary.text} for {quote('more')}",),
    "split": _split,
}
"""Text in disguise: what is planted in place of the canary's text."""


def _as_integer(form: Form) -> Iterator[bytes]:
    assert form.number is not None
    yield form.number.to_bytes(8, "little")
    yield form.number.to_bytes(8, "big")
    yield str(form.number).encode()


def _as_float(form: Form) -> Iterator[bytes]:
    yield struct.pack("<d", form.share)
    yield struct.pack(">d", form.share)
    yield repr(form.share).encode()


def _as_time(form: Form) -> Iterator[bytes]:
    yield from _as_integer(form)
    for separator in (b"T", b" "):
        yield separator.join(form.moment.strftime("%Y-%m-%d|%H:%M:%S.%f").encode().split(b"|"))


def _as_version(form: Form) -> Iterator[bytes]:
    yield form.text.encode()


NUMERIC: Final[dict[str, Callable[[Form], Iterator[bytes]]]] = {
    "integer": _as_integer,
    "mantissa": _as_float,
    "microseconds": _as_time,
    "version": _as_version,
}
"""Numbers that are a canary: its digits where it has enough of them, or the first bytes of its core."""
VERSION: Final = "version"
"""The number's digits, as the version of a product may have them."""
RANDOM_ID: Final = "random id"
"""The first 16 bytes of the core, as the 32 digits that every random id has."""
CIPHERED_ID: Final = "random id that shows nothing"
"""The same with every bit turned over, as a cipher would: no form tells it from a random one."""
BETWEEN_BLOCKS: Final = "between empty blocks"
"""A letter in each of many zstd blocks that repeat it no times: what a decompressor leaves out."""
_BLOCK: Final = b"\x02\0\0"
"""The header of a block that repeats the byte after it no times (RFC 8878, section 3.1.1.2)."""
_BITS: Final = {"integer": 62, "mantissa": 52, "microseconds": 48, "version": 62}


def _in_blocks(content: bytes) -> bytes:
    return b"".join(_BLOCK + bytes([byte]) for byte in content)


def form(canary: Canary, disguise: str) -> Form:
    """Return a canary in a disguise."""
    if disguise in DISGUISES:
        return Form(canary, disguise, DISGUISES[disguise](canary))
    plain = canary.core.encode()
    if disguise == BETWEEN_BLOCKS:
        return Form(canary, disguise, ("".join(map(chr, _in_blocks(plain))),))
    if disguise == RANDOM_ID:
        return Form(canary, disguise, (plain[:16].ljust(16, b"q").hex(),))
    if disguise == CIPHERED_ID:
        return Form(canary, disguise, (bytes(0xFF ^ byte for byte in plain[:16].ljust(16, b"q")).hex(),))
    number = int.from_bytes(plain[:8].ljust(8, b"q"), "big") & (1 << _BITS[disguise]) - 1
    digits = "".join(each for each in canary.core if each.isdigit())
    if disguise in {"integer", VERSION} and len(digits) >= _FEWEST_DIGITS and int(digits) < 1 << 62:
        number = int(digits)
    if disguise == VERSION:
        groups = [str(number)[start : start + 5] for start in range(0, len(str(number)), 5)]
        return Form(canary, disguise, (".".join(groups),), number)
    return Form(canary, disguise, (str(number),), number)


_TURNS: Final = 6


class Nest:
    """Where the canaries of one test come from, and where it is written down which door got which."""

    def __init__(self, seed: int) -> None:
        self._maker = Maker(seed)
        self._turn = 0
        self.planted: dict[str, list[Form]] = {}
        """By door."""

    def some(self, door: str, *, but: Container[str] = ()) -> list[Form]:
        """Return new canaries for a door: each kind in plain and in a few disguises, others for each door."""
        self._turn += 1
        others = [each for each in (*DISGUISES, RANDOM_ID) if each != "plain" and each not in but]
        return self.forms(door, ["plain", *others[self._turn % _TURNS :: _TURNS]])

    def forms(self, door: str, disguises: Iterable[str], kinds: Iterable[str] = KINDS) -> list[Form]:
        """Return new canaries for a door: one of each kind in each disguise."""
        wanted = list(disguises)
        pairs = [
            (kind, disguise)
            for kind in sorted(kinds)
            for disguise in wanted
            if disguise != "split" or kind not in DIGITS_ONLY
        ]
        made = [form(self._maker.make(kind), disguise) for kind, disguise in pairs]
        self.planted.setdefault(door, []).extend(made)
        return made

    def few(self, door: str) -> list[Form]:
        """Return new canaries for a door at which each costs a request: each kind once, in plain."""
        return self.forms(door, ["plain"])

    def numbers(self, door: str, disguise: str) -> list[Form]:
        """Return new canaries for a door that takes numbers."""
        return self.forms(door, [disguise])

    def needles(self) -> dict[bytes, tuple[str, Form]]:
        """Return everything that must not be found, and what was planted where if it is."""
        return {
            needle: (door, each) for door, forms in self.planted.items() for each in forms for needle in each.needles()
        }
