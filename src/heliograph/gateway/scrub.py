"""The log as an erasure sees it: asking for a scrub, and looking through every byte of what is left."""

from __future__ import annotations

import hashlib
import mmap
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.frames import write_atomically
from heliograph.gateway.log_entries import Checkpoint, Stored
from heliograph.gateway.log_reading import SCRUB, read_segment, segment_path, segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BLOCK: Final = 1 << 20
_LOOKS: Final = 40
"""A frame that the gateway is writing is whole within so many looks; remains of another never are."""
_LOOK_SECONDS: Final = 0.05


class Segment(NamedTuple):
    """What one file of the log holds, as looked through."""

    generation: int
    entries: list[tuple[Stored, bytes]]
    remains: int | None
    """Where bytes lie that are no frame of this segment's; None: there are none."""
    size: int
    digest: str
    """SHA-256 of the file."""


def request_scrub(folder: Path, generation: int) -> None:
    """Ask that no byte of the segments up to a generation stays, once they are released."""
    write_atomically(folder / SCRUB, str(generation).encode())


def look_through(folder: Path, wait: Callable[[float], object]) -> Iterator[Segment]:
    """Yield every segment of the log; a gateway may be writing the newest.

    Args:
        folder: The log's.
        wait: Waits for so many seconds, where a frame is being written.
    """
    for generation in segments(folder):
        try:
            yield _look_through_one(folder, generation, wait)
        except FileNotFoundError:  # it was deleted meanwhile
            continue


def _look_through_one(folder: Path, generation: int, wait: Callable[[float], object]) -> Segment:
    entries: list[tuple[Stored, bytes]] = []
    end = 0
    remains: int | None = None
    for look in range(_LOOKS):
        if look:
            wait(_LOOK_SECONDS)
        for place, header, body in read_segment(folder, generation, end):
            end = place.offset
            if not isinstance(header, Checkpoint):
                entries.append((header, body))
        remains = _first_byte(segment_path(folder, generation), end)
        if remains is None:
            break
    size, digest = _digest(segment_path(folder, generation))
    return Segment(generation, entries, remains, size, digest)


def _first_byte(path: Path, offset: int) -> int | None:
    """Return where the first byte other than zero lies from `offset` on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return None
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            while offset < size:
                block = data[offset : offset + _BLOCK]
                if block.count(0) != len(block):
                    return offset + len(block) - len(block.lstrip(b"\0"))
                offset += len(block)
    finally:
        os.close(descriptor)
    return None


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
