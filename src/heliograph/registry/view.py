"""The registry as a gateway uses it: in memory for each delivery, and never older than it may be."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import structlog

from heliograph.registry.errors import RegistryUnavailableError
from heliograph.registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.registry.snapshot import Permission, Snapshot
    from heliograph.settings import RegistrySettings

POLL_SECONDS: Final = 0.5
"""How often the registry is asked for changes: one is in force a second after it was recorded."""
MAXIMUM_AGE_SECONDS: Final = 10.0
"""How long a gateway relies on what it read: past it, nobody's consent is known."""
_MOST_TOLD: Final = 10_000

_log: Final = structlog.get_logger("heliograph.registry")


class _Told(NamedTuple):
    """What an instance may send by one snapshot, from one moment until another."""

    by: Snapshot
    permission: Permission
    since: datetime
    until: datetime | None


class RegistryView:
    """The latest snapshot of a registry, as long as it is fresh; a thread of its own keeps it so.

    Args:
        settings: Which registry.
        poll_seconds: Pause between looks for changes.
        now: The clock by which agreements begin and end.
        monotonic: The clock by which a snapshot ages, in seconds.

    Raises:
        RegistryError: The registry cannot be opened.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        poll_seconds: float = POLL_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = Registry.open(settings)
        self._now = now
        self._monotonic = monotonic
        self._told: dict[str, _Told] = {}
        self._stop = threading.Event()
        self.refresh()
        self._thread = threading.Thread(target=self._poll, args=(poll_seconds,), name="registry", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread, and close the database."""
        self._stop.set()
        self._thread.join()
        self._registry.close()

    @property
    def registry(self) -> Registry:
        """The registry itself, for the few who have to write to it."""
        return self._registry

    def refresh(self) -> None:
        """Look for changes now.

        Raises:
            RegistryUnavailableError: The database does not answer; what was read before stays for its time.
        """
        asked = self._monotonic()
        # One assignment, so that no thread sees a new age with an old snapshot.
        self._latest = (self._registry.snapshot(), asked + MAXIMUM_AGE_SECONDS)

    def snapshot(self) -> Snapshot:
        """Return the latest snapshot, without asking the database.

        Raises:
            RegistryUnavailableError: It is too old: what was allowed then may not be allowed now.
        """
        snapshot, stale_at = self._latest
        if self._monotonic() >= stale_at:
            raise RegistryUnavailableError(
                ["the registry has not been read for too long to rely on it: look at its database"]
            )
        return snapshot

    def permission(self, instance: str) -> Permission:
        """Return what `instance` may send now, and for which account.

        Raises:
            RegistryUnavailableError: See `snapshot`.
        """
        snapshot, now = self.snapshot(), self._now()
        told = self._told.get(instance)
        # It is asked for at every delivery, and to find it takes as long as to sign a receipt.
        if told is None or told.by is not snapshot or now < told.since or (told.until and now >= told.until):
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            told = _Told(snapshot, snapshot.permission(instance, now), now, snapshot.next_change(instance, now))
            self._told[instance] = told
        return told.permission

    def _poll(self, poll_seconds: float) -> None:
        reachable = True
        while not self._stop.wait(poll_seconds):
            try:
                self.refresh()
            except RegistryUnavailableError as error:
                if reachable:
                    _log.error("registry unavailable", why=str(error))
                reachable = False
            else:
                if not reachable:
                    _log.info("registry available again")
                reachable = True
