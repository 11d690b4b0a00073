"""Copies of an object store's files in a folder, for an engine that cannot read the store by itself.

They are gone when the engine is closed: a copy that outlived the question would outlive an erasure, too. What a process
left that was killed goes with the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heliograph.engines.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.engines.engine import Files

_LOCK: Final = "lock"
_PIECE: Final = 1 << 20


class Staging:
    """The copies of one engine, in a folder that others share.

    Args:
        folder: Where; every machine of the engine has to see it under the same path.
        files: How to come to the store; None: there is none.
    """

    def __init__(self, folder: str | Path, files: Files | None = None) -> None:
        self._files = files
        self._copies: dict[str, str] = {}
        shared = Path(folder).absolute()
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in shared.iterdir():
            _let_go(other)
        self.folder: Final = shared / uuid.uuid4().hex
        """Its own folder, for whatever else the engine writes there."""
        self.folder.mkdir(mode=0o700)
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def copy(self, locations: Iterable[str]) -> dict[str, str]:
        """Return the path of a copy of each file, made where there is none yet.

        Raises:
            EngineError: There is no way to the store.
        """
        for location in locations:
            if self._files is None:
                raise EngineError(f"{location}: this engine has no way to the store of this file.")
            if location not in self._copies:
                path = self.folder / f"{len(self._copies)}.parquet"
                with self._files.open(location) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, _PIECE)
                self._copies[location] = str(path)
        return self._copies

    def close(self) -> None:
        """Delete the copies."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _let_go(folder: Path) -> None:
    """Delete the copies of an engine that is no more."""
    with suppress(OSError):  # somebody else does so, or has begun this very moment
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
