"""What one instance may take of a gateway, so that a flood of one is no trouble of another.

Each worker process counts for itself. An allowance is a token bucket: it fills at a rate, holds ten seconds of it, and
may be overdrawn by one delivery, for which the next ones wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from heliograph.gateway.problems import Refusal, RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BURST_SECONDS: Final = 10.0
SHARE: Final = 4
"""One instance's bodies may take so much less of the memory than all together."""
_BUCKETS_KEPT: Final = 10_000


class _Bucket:
    """What an instance has left."""

    __slots__ = ("bytes", "filled", "requests")

    def __init__(self, requests: float, size: float, now: float) -> None:
        self.requests = requests
        self.bytes = size
        self.filled = now


class Allowances:
    """How often, and how much, each instance may deliver.

    Args:
        requests: A second.
        size: Bytes of bodies a second.
        now: Seconds by a clock that nobody sets.
    """

    def __init__(self, *, requests: float, size: float, now: Callable[[], float] = time.monotonic) -> None:
        self._requests = requests
        self._bytes = size
        self._now = now
        self._buckets: dict[str, _Bucket] = {}

    def take(self, instance: str, size: int) -> None:
        """Let an instance deliver `size` bytes.

        Raises:
            RefusalError: It has to wait first; with `retry_after`.
        """
        now = self._now()
        bucket = self._buckets.get(instance)
        if bucket is None:
            bucket = self._add(instance, now)
        elapsed, bucket.filled = now - bucket.filled, now
        bucket.requests = min(bucket.requests + elapsed * self._requests, BURST_SECONDS * self._requests)
        bucket.bytes = min(bucket.bytes + elapsed * self._bytes, BURST_SECONDS * self._bytes)
        if bucket.requests < 1 or bucket.bytes <= 0:
            wait = max((1 - bucket.requests) / self._requests, -bucket.bytes / self._bytes)
            raise RefusalError(Refusal.TOO_MANY_REQUESTS, retry_after=max(1, math.ceil(wait)))
        bucket.requests -= 1
        bucket.bytes -= size

    def _add(self, instance: str, now: float) -> _Bucket:
        if len(self._buckets) >= _BUCKETS_KEPT:
            # Whoever has been silent for so long has a full one, which is what it gets when it comes again.
            full = [name for name, each in self._buckets.items() if now - each.filled > 2 * BURST_SECONDS]
            for name in full:
                del self._buckets[name]
        bucket = self._buckets[instance] = _Bucket(BURST_SECONDS * self._requests, BURST_SECONDS * self._bytes, now)
        return bucket


class Bodies:
    """The bodies that are held at once, from before the first byte is read until the answer.

    Args:
        most_bytes: Of all together; a single body is taken whatever its size.
        most_of_one: How many of one instance.
    """

    def __init__(self, *, most_bytes: int, most_of_one: int) -> None:
        self._most_bytes = most_bytes
        self._most_of_one = most_of_one
        self._number: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self.held_bytes = 0
        """What all of them take, as announced."""

    @contextmanager
    def hold(self, instance: str, size: int) -> Iterator[None]:
        """Hold a body of an instance inside the block.

        Raises:
            RefusalError: There are too many already; with `retry_after`.
        """
        of_one = self._bytes[instance] + size
        if self._number[instance] >= self._most_of_one or (
            self._number[instance] and of_one > self._most_bytes // SHARE
        ):
            raise RefusalError(Refusal.TOO_MANY_AT_ONCE)
        if self.held_bytes and self.held_bytes + size > self._most_bytes:
            raise RefusalError(Refusal.OVERLOADED)
        self._number[instance] += 1
        self._bytes[instance] = of_one
        self.held_bytes += size
        try:
            yield
        finally:
            self.held_bytes -= size
            self._bytes[instance] -= size
            self._number[instance] -= 1
            if not self._number[instance]:
                del self._number[instance], self._bytes[instance]


class Turns:
    """Whose delivery is checked next: the instances take turns, however many deliveries of one wait.

    A check keeps everything else of its process waiting, so there is one in each round of the event loop.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._is_granting = False

    async def turn(self, instance: str) -> None:
        """Return once it is the turn of one more delivery of an instance."""
        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        self._waiting.setdefault(instance, deque()).append(mine)
        if not self._is_granting:
            self._is_granting = True
            loop.call_soon(self._grant)
        await mine

    def _grant(self) -> None:
        while self._waiting:
            instance = next(iter(self._waiting))
            queue = self._waiting.pop(instance)
            turn = queue.popleft()
            if queue:
                self._waiting[instance] = queue  # behind all the others
            if not turn.done():  # whoever waited may have gone
                turn.set_result(None)
                break
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._grant)
        else:
            self._is_granting = False
