"""Numbers that are no amounts: versions that are addresses or cards, and amounts of ten digits and more.

A number has no form that says what it is: a phone is as good a count of bytes. So the rule is about digits alone. An
amount of ten significant digits or more is a digit run: whoever counts that much needs no more than nine of them, and
says so in the plan with a precision. Where the plan's range and precision leave no room for ten digits, nothing is
looked at.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from math import isfinite
from typing import TYPE_CHECKING, Final

from heliograph.plan.model import CountProperty, CountsFact, DurationProperty, IntegerProperty, NumberProperty
from heliograph.plan.sensitive.detectors import is_card_number

if TYPE_CHECKING:
    from heliograph.plan.model import Fact, Property

LONGEST_AMOUNT: Final = 9
"""Significant digits; what has more is a digit run."""

_PRIVATE_NETWORKS: Final = tuple(
    map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"))
)
"""RFC 1918, and RFC 6890's loopback and link-local addresses. Public ones may be versions as well."""
_CARD_DIGITS: Final = 14
_PHONE_DIGITS: Final = 9
_MOST_VERSIONS: Final = 4_096


def is_digit_run(number: float) -> bool:
    """Tell whether the whole part of a number has ten significant digits or more."""
    if not isfinite(number) or abs(number) < 10**LONGEST_AMOUNT:
        return False
    whole = int(Decimal(repr(abs(number))))  # as it is written: 1e23 has one digit, though its double has more
    return len(str(whole).rstrip("0")) > LONGEST_AMOUNT


def allows_digit_runs(kind: Property | Fact) -> bool:
    """Tell whether a plan leaves room for a digit run in a value of this kind."""
    match kind:
        case IntegerProperty():
            return max(abs(kind.minimum), abs(kind.maximum)) // kind.precision >= 10**LONGEST_AMOUNT
        case NumberProperty():
            return max(abs(kind.minimum), abs(kind.maximum)) >= 10**LONGEST_AMOUNT
        case DurationProperty():
            return kind.maximum // kind.precision >= 10**LONGEST_AMOUNT
        case CountsFact():
            return kind.maximum >= 10**LONGEST_AMOUNT
        case CountProperty():
            return any(map(is_digit_run, kind.buckets))
        case _:
            return False


@lru_cache(maxsize=_MOST_VERSIONS)
def is_no_version(version: str) -> bool:
    """Tell whether what has a version's form is a private IPv4 address, a payment card or a telephone number."""
    parts = version.split(".")
    digits = "".join(parts)
    lengths = [*map(len, parts)]
    if len(digits) >= _CARD_DIGITS and is_card_number(digits):
        return True
    # A number as people write it in Europe, or in North America with or without its country's 1.
    if parts[0][0] == "0" and len(digits) >= _PHONE_DIGITS:
        return True
    local = parts[1:] if parts[0] == "1" else parts
    if lengths[-len(local) :] == [3, 3, 4] and local[0][0] >= "2" and local[1][0] >= "2":
        return True
    return _is_private_address(version)


def _is_private_address(version: str) -> bool:
    try:
        address = IPv4Address(version)
    except AddressValueError:
        return False
    return any(address in network for network in _PRIVATE_NETWORKS)
