"""A promise that does not hold: what every part of the oracle says."""

from __future__ import annotations


class BrokenPromiseError(Exception):
    """The simulation found a history in which a promise does not hold; the message says which."""


def must(holds: object, otherwise: str) -> None:
    """See that something holds.

    Raises:
        BrokenPromiseError: It does not; `otherwise` says what is wrong.
    """
    if not holds:
        raise BrokenPromiseError(otherwise)
