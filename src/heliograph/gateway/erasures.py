"""Erasures that instances ask for: one user's random id becomes an order in the registry."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.registry.erasures import TooManyErasuresError, order
from heliograph.wire import ErasureAnswer, ErasureRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from heliograph.registry.erasures import Ordered
    from heliograph.registry.snapshot import Snapshot
    from heliograph.registry.store import Registry

_REASON = "a user of this instance is to be forgotten"
_decode = msgspec.json.Decoder(ErasureRequest).decode


class ErasureDesk:
    """Takes orders from instances. The registry's database is asked in threads of their own, one after the other."""

    def __init__(self, registry: Registry, snapshot: Callable[[], Snapshot], *, now: Callable[[], datetime]) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._now = now
        self._turn = asyncio.Lock()

    async def order(self, instance: str, body: bytes) -> ErasureAnswer:
        """Record an order of an authenticated instance.

        Raises:
            RefusalError: It is none, or too many wait.
            RegistryUnavailableError: The database does not answer.
        """
        try:
            request = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RefusalError(Refusal.MALFORMED_ERASURE) from None
        async with self._turn:
            try:
                ordered = await asyncio.to_thread(self._record, instance, request.user_id)
            except TooManyErasuresError:
                raise RefusalError(Refusal.TOO_MANY_ERASURES) from None
        recorded = int(ordered.order.recorded.timestamp() * 1_000_000)
        return ErasureAnswer(erasure=ordered.order.id, ordered=recorded, duplicate=ordered.duplicate)

    def _record(self, instance: str, user_id: str) -> Ordered:
        return order(
            self._registry,
            account=self._snapshot().instances[instance].account,
            instance=instance,
            user_id=user_id,
            since=None,
            reason=_REASON,
            recorded_by=f"instance {instance}",
            now=self._now(),
        )
