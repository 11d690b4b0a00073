"""Small files of words beside the outbox, to which every process of the instance may append.

A line is the CRC-32 of what follows, a space, and a JSON object. Appending and rewriting hold a lock, so that no line
is torn by another process; a line that a power cut or the disk has torn fails its checksum.
"""

from __future__ import annotations

import fcntl
import os
import time as clock
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRY_SECONDS: Final = 0.002
Entry = TypeVar("Entry", bound=msgspec.Struct)


def encode_line(entry: msgspec.Struct) -> bytes:
    """Return an entry as a line."""
    text = msgspec.json.encode(entry)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes, kind: type[Entry]) -> Entry | None:
    """Return the entry of a line without its end; None where it is damaged."""
    checksum, _, text = line.partition(b" ")
    try:
        return msgspec.json.decode(text, type=kind) if int(checksum, 16) == zlib.crc32(text) else None
    except (ValueError, msgspec.DecodeError):
        return None


def append_line(path: Path, line: bytes, *, first: bytes = b"", sync: bool = True) -> bool:
    """Append a line, all of it or nothing; the caller holds the lock. Tell whether the file was begun with it.

    Args:
        path: The file; made when it is missing.
        line: With its end.
        first: What a new file begins with.
        sync: Whether it is on disk on return.

    Raises:
        OSError: It could not be written, and nothing is.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        try:
            _append_fully(descriptor, (b"\n" * torn if size else first) + line)
            if sync:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    return size == 0


def _append_fully(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def locked(path: Path, how: int, *, seconds: float | None = None) -> Iterator[None]:
    """Hold a lock of the system on a file.

    Args:
        path: The file, which holds nothing; made when it is missing.
        how: As `fcntl.flock` takes it.
        seconds: How long to wait for others; None: as long as they take.

    Raises:
        BlockingIOError: Others held it for longer.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, how, seconds)
        yield
    finally:
        # Said aloud, as a child that was forked meanwhile holds the descriptor, too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _take(descriptor: int, how: int, seconds: float | None) -> None:
    if seconds is None:
        fcntl.flock(descriptor, how)
        return
    end = clock.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= end:
                raise
            clock.sleep(_TRY_SECONDS)
        else:
            return
