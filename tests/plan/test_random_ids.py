"""Random ids in which a real one can be read: each form, and how rarely chance gives one."""

from __future__ import annotations

import secrets
from fractions import Fraction

import pytest

from heliograph.plan.sensitive.random_ids import DERIVED_SHARE, looks_derived

HONEST = "9f86d081e84c7d659a2feaa0c55ad015"


def as_id(text: bytes) -> str:
    return text.hex().ljust(32, "0")[:32]


@pytest.mark.parametrize(
    "derived",
    [
        "4711".zfill(32),
        "00004915112345678000000000000001",
        "41111111111111110000411111111111",
        f"{4711:032x}",
        f"{2**63 + 12345:032x}",
        as_id(b"jane@example.com"),
        as_id(b"jane.doe"),
        as_id("jane.doe".encode("utf-16-le")),
        b"x\0jane doe, 1971".hex(),
        "f" * 32,
        "9f86d081e84c7d65" * 2,
        "00000000000000000000ffff0a000001",
        "507f1f77bcf86cd79943901100000000",
    ],
)
def test_a_real_id_that_shows_is_told(derived: str) -> None:
    assert len(derived) == 32
    assert looks_derived(derived)


def test_an_honest_id_passes() -> None:
    assert not looks_derived(HONEST)
    assert not any(looks_derived(secrets.token_hex(16)) for _ in range(2_000))


def test_chance_gives_a_derived_one_as_rarely_as_is_said() -> None:
    """Each form is a set of ids whose size is counted here, digit by digit, from what the predicate does."""
    # Decimal digits throughout: in an id of decimal digits, each place may have exactly ten of the sixteen.
    decimal = "1928374650" * 3 + "12"
    assert {count(decimal, place, 1) for place in range(32)} == {10}
    # Printable throughout: in such an id, each of the sixteen bytes may have exactly 96 of the 256 values.
    printable = b"Heliograph~ sun!".hex()
    assert {count(printable, place, 2) for place in range(0, 32, 2)} == {96}
    # One digit eight times: from each of 25 places, each of sixteen digits; seven times is not enough.
    for place in range(25):
        for digit in "0123456789abcdef":
            assert looks_derived(HONEST[:place] + digit * 8 + HONEST[place + 8 :])
    # No digit of the honest one beside it makes seven into eight.
    assert not any(looks_derived(HONEST[:8] + digit * 7 + HONEST[15:]) for digit in "02347bcd")
    # One half twice: the second half is given by the first.
    assert count(HONEST[:16] * 2, 31, 1) == 1
    forms = [Fraction(10, 16) ** 32, Fraction(96, 256) ** 16, Fraction(25 * 16, 16**8), Fraction(1, 16**16)]
    # Together they are at most their sum, and at least the largest.
    assert float(sum(forms)) == pytest.approx(DERIVED_SHARE)
    assert DERIVED_SHARE < 1 / 1_800_000


def count(derived: str, place: int, digits: int) -> int:
    """Return how many of the values of some digits at a place leave a derived id derived."""
    values = [f"{value:0{digits}x}" for value in range(16**digits)]
    return sum(looks_derived(derived[:place] + value + derived[place + digits :]) for value in values)
