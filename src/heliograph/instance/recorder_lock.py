"""The lock of a recorder: a thread waits for it as long as others get on, and for no longer."""

from __future__ import annotations

import threading
import time as clock
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOCK_SECONDS: Final = 0.025
"""Of a call's wait for others: twice as long if they do not get on, and on as long as they do."""
_TURN_SECONDS: Final = 1.0
"""But no longer than this: a lock is not fair, and of threads that record without a pause one may get no turn."""
OPENING_SECONDS: Final = 1.0
"""Others wait so long from when a thread begins to open the outbox, which forces folders to disk some times."""


class RecorderLock:
    """Lets one thread at a time write.

    Args:
        place: Tells how far they have come; it changes when one gets on.
    """

    def __init__(self, place: Callable[[], object]) -> None:
        self.lock: Final = threading.Lock()
        self._place = place
        self._opening_until = 0.0

    def wait(self) -> bool:
        """Wait as long as others get on, or open the outbox; tell whether the lock is taken."""
        if self.lock.acquire(timeout=_LOCK_SECONDS):
            return True
        until = clock.monotonic() + _TURN_SECONDS
        while True:
            seen = self._place()
            if self.lock.acquire(timeout=_LOCK_SECONDS):
                return True
            now = clock.monotonic()
            if now >= self._opening_until and (now >= until or self._place() == seen):
                return False

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Let others wait longer while whoever has the lock opens the outbox."""
        self._opening_until = clock.monotonic() + OPENING_SECONDS
        try:
            yield
        finally:
            self._opening_until = 0.0
