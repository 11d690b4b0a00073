"""Who may do what to a lake at the same time: locks that end with whoever holds them, however that ends.

With a catalog in SQLite, which is for one machine, they are files beside it; with one in PostgreSQL, advisory locks of
its sessions, so that they hold among many machines.

Loading and maintenance need no lock between them: the catalog tells them apart (`heliograph.lake.commits`). What one
must not do while another writes files is to delete all that nothing refers to, and to say that nothing is left, which
is what an erasure does.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import NullPool, create_engine, make_url, text

from heliograph.frames import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heliograph.settings import LakeSettings

LOADER: Final = "loader"
LOADING: Final = "loading"
"""Held for one round by each of several loaders that fill one lake."""
_TURN: Final = "turn"
"""Whose turn it is next: held for a moment by maintenance, and by an erasure as long as it waits and works."""
_REWRITING: Final = "maintenance"
"""Files are being written that nothing refers to yet, or deleted."""
_POLL_SECONDS: Final = 0.05


class BusyError(Exception):
    """Somebody else is at it; the message says at what."""


class Exclusion:
    """The locks of one lake.

    Args:
        settings: Which lake.
        wait: Waits for so many seconds.
    """

    def __init__(self, settings: LakeSettings, *, wait: Callable[[float], object] = time.sleep) -> None:
        self._url = make_url(settings.catalog)
        self._wait = wait

    @contextmanager
    def rewriting(self, *, seconds: float = 600.0) -> Iterator[None]:
        """Be the one who does maintenance, for one piece of it: an erasure that waits comes before the next.

        Raises:
            BusyError: Others did not end within so many seconds.
        """
        with ExitStack() as stack:
            with self.hold(_TURN, seconds=seconds):
                stack.enter_context(self.hold(_REWRITING, seconds=seconds))
            yield

    @contextmanager
    def erasing(self, *, seconds: float = 600.0) -> Iterator[None]:
        """Be alone with the files but for this process: no maintenance begins, or is at work, and no other loader.

        Raises:
            BusyError: Others did not end within so many seconds.
        """
        with ExitStack() as stack:
            for name in (_TURN, LOADING, _REWRITING):
                stack.enter_context(self.hold(name, seconds=seconds))
            yield

    @contextmanager
    def hold(self, name: str, *, seconds: float) -> Iterator[None]:
        """Hold one lock.

        Raises:
            BusyError: Others held it for so many seconds.
        """
        with ExitStack() as stack:
            waited = 0.0
            while not self._take(name, stack):
                if waited >= seconds:
                    raise BusyError(f"{self._place(name)}: somebody else is at work on this lake ({name})")
                self._wait(_POLL_SECONDS)
                waited += _POLL_SECONDS
            yield

    def _take(self, name: str, stack: ExitStack) -> bool:
        return self._take_file(name, stack) if self._is_file else self._take_in_database(name, stack)

    @property
    def _is_file(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _place(self, name: str) -> str:
        """Return what is locked, in words without a password."""
        if self._is_file:
            return str(Path(self._url.database or "").absolute().parent / f"{name}.lock")
        return f"{self._url.host}/{self._url.database}"

    def _take_file(self, name: str, stack: ExitStack) -> bool:
        path = Path(self._place(name))
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        stack.callback(os.close, descriptor)
        return True

    def _take_in_database(self, name: str, stack: ExitStack) -> bool:
        engine = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        key = int.from_bytes(hashlib.sha256(f"heliograph lake {name}".encode()).digest()[:8], signed=True)
        if not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            connection.close()
            return False
        stack.callback(connection.close)
        return True
