"""How fast bytes leave: a token bucket, so that a thin line is not filled by us."""

from __future__ import annotations

import time as clock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE_BYTES: Final = 16 << 10
_PIECES_A_SECOND: Final = 10
_BURST_SECONDS: Final = 1.0
_DELIVERY_SECONDS: Final = 10.0
_FIRST_GUESS: Final = 64.0
_LEARNING: Final = 0.3


class Bandwidth:
    """Hands out a body in pieces, no faster than the limit.

    Args:
        bytes_per_second: The limit; 0 for none.
        ticks: Seconds by a clock that nobody sets.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        bytes_per_second: int,
        *,
        ticks: Callable[[], float] = clock.monotonic,
        sleep: Callable[[float], None] = clock.sleep,
    ) -> None:
        self._rate = float(bytes_per_second)
        self._ticks = ticks
        self._sleep = sleep
        self._tokens = self._rate * _BURST_SECONDS
        self._filled = ticks()
        self._bytes_per_event = _FIRST_GUESS

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._rate > 0

    def pieces(self, body: bytes) -> Iterator[bytes]:
        """Yield the body piece by piece, each once it may leave."""
        if not self.is_limited:
            yield body
            return
        size = max(1, min(_PIECE_BYTES, int(self._rate / _PIECES_A_SECOND)))
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            self._take(len(piece))
            yield piece

    def _take(self, size: int) -> None:
        now = self._ticks()
        self._tokens = min(self._tokens + (now - self._filled) * self._rate, self._rate * _BURST_SECONDS)
        self._filled = now
        self._tokens -= size
        if self._tokens < 0:
            self._sleep(-self._tokens / self._rate)

    def learn(self, events: int, size: int) -> None:
        """Take note that so many events made a body of so many bytes."""
        if events > 0:
            self._bytes_per_event += _LEARNING * (size / events - self._bytes_per_event)

    def most_events(self, wanted: int) -> int:
        """Return how many events a delivery may have so that it takes some seconds, and no more than `wanted`."""
        if not self.is_limited:
            return wanted
        return max(1, min(wanted, int(self._rate * _DELIVERY_SECONDS / self._bytes_per_event)))
