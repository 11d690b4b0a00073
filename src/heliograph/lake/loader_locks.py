"""What keeps a loader alone: at its log, and at the lake that it fills."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heliograph.frames import make_folder
from heliograph.lake.exclusion import LOADER, BusyError, Exclusion
from heliograph.lake.storage import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.settings import LakeSettings

_LOCK: Final = "loader.lock"


class LoaderRunningError(Exception):
    """Another loader reads the same log, or fills the same lake; the message says which."""


@contextmanager
def hold_folder(folder: Path, *, lock: str = _LOCK) -> Iterator[None]:
    """Be the only loader at a folder inside the block.

    Raises:
        LoaderRunningError: Another one is.
    """
    make_folder(folder)
    descriptor = os.open(folder / lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LoaderRunningError(
            f"{folder}: another loader is at work here. Stop it first, or name another log and another lake."
        ) from None
    finally:
        os.close(descriptor)


@contextmanager
def hold_lake(lake: LakeSettings) -> Iterator[None]:
    """Be the only loader of a log at a lake inside the block.

    Raises:
        LoaderRunningError: Another one is.
    """
    if not is_remote(lake):
        with hold_folder(Path(lake.warehouse), lock=f"{lake.log}.{_LOCK}" if lake.log else _LOCK):
            yield
        return
    try:
        with Exclusion(lake).hold(f"{LOADER} {lake.log}" if lake.log else LOADER, seconds=0):
            yield
    except BusyError as error:
        raise LoaderRunningError(f"{error}. Stop it first, or name another lake.") from None
