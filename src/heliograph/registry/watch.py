"""The registry as a gateway uses it: in memory for each delivery, and never older than it may be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from heliograph.registry.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.registry.snapshot import Snapshot
    from heliograph.registry.store import Registry


class RegistryWatch:
    """The latest snapshot of a registry, as long as it is fresh.

    Call `refresh` about twice a second, on a thread that may wait for the database; call `snapshot` for each
    delivery. When the database stays silent for `maximum_age_seconds`, `snapshot` raises: what was allowed
    then may not be allowed now.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        maximum_age_seconds: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._maximum_age = maximum_age_seconds
        self._monotonic = monotonic
        self._stale_at = float("-inf")
        self._snapshot: Snapshot | None = None

    def refresh(self) -> Snapshot:
        """Look for changes, and return the registry as it stands.

        Raises:
            RegistryUnavailableError: The database does not answer; what was read before stays for its time.
        """
        asked = self._monotonic()
        self._snapshot = self._registry.snapshot()
        self._stale_at = asked + self._maximum_age
        return self._snapshot

    def snapshot(self) -> Snapshot:
        """Return the latest snapshot, without asking the database.

        Raises:
            RegistryUnavailableError: It is too old, or there is none yet.
        """
        if self._snapshot is None or self._monotonic() >= self._stale_at:
            raise RegistryUnavailableError(
                ["the registry has not been read for too long to rely on it: look at its database"]
            )
        return self._snapshot
