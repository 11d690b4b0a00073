"""How long to wait before the gateway is asked again: longer each time, and never all instances at the same moment.

The pause is drawn evenly from nothing up to a bound that doubles with each failure (*full jitter*): of many instances
that lost the gateway at one moment, as many come back in one second as in any other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 60.0
LONGEST_ASKED_SECONDS: Final = 600.0
"""What a gateway asks for beyond this is not obeyed: a wrong header must not keep an instance silent for days."""
_MOST_DOUBLINGS: Final = 30


class BackOff:
    """The pauses after failures in a row.

    Args:
        jitter: Gives a number from 0 up to 1.
        first: The bound of the first pause, in seconds.
        longest: The bound of every pause, in seconds.
    """

    def __init__(
        self, jitter: Callable[[], float], *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._jitter = jitter
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self, asked: float | None = None) -> float:
        """Return the seconds to wait after one more failure.

        Args:
            asked: Seconds that the other side asked to wait, at least; all were asked for the same, so that the jitter
                comes on top.
        """
        bound = min(self._first * 2.0 ** min(self._failures, _MOST_DOUBLINGS), self._longest)
        self._failures += 1
        return min(max(asked or 0.0, 0.0), LONGEST_ASKED_SECONDS) + bound * self._jitter()

    def reset(self) -> None:
        """Begin anew: it has succeeded."""
        self._failures = 0


def asked_seconds(header: str | None, now: datetime) -> float | None:
    """Return what a ``Retry-After`` header asks for, in seconds, within bounds; None where it says nothing.

    Args:
        header: A number of seconds, or an HTTP date (RFC 9110).
        now: The other side's clock, by which a date is meant.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_ASKED_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_ASKED_SECONDS)
