"""Checksummed frames in append-only files: the form of both the instance's outbox and the gateway's log.

A frame is 16 bytes of prefix, a header and a body. The prefix holds four little-endian 32-bit numbers: the CRC-32 of
all that follows it, a generation, the header's length and the body's length. A file ends at the first frame that is
not whole: a torn write, the zeros of preallocated space, or, in a recycled file, a frame of an older generation.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

_PREFIX: Final = struct.Struct("<IIII")
PLAIN_PREFIX: Final = struct.Struct("<IQI")
"""As `_PREFIX`; generation and header's length are one number, which is zero in a frame that has neither."""
_AFTER_CHECKSUM: Final = struct.Struct("<III")
PLAIN_AFTER: Final = struct.Struct("<QI")
"""What of it the checksum is over."""
PREFIX_BYTES: Final = _PREFIX.size


class Frame(NamedTuple):
    """One whole frame as read."""

    end: int
    """The offset just behind it."""
    header: bytes
    body: bytes


def encode_frame(
    header: bytes, body: bytes, *, generation: int = 0, crc32: Callable[[bytes, int], int] = zlib.crc32
) -> bytes:
    """Return one frame as bytes.

    Args:
        header: What is told of the body.
        body: What is kept.
        generation: See above.
        crc32: As `zlib.crc32`, for whoever has a quicker one.
    """
    after = _AFTER_CHECKSUM.pack(generation, len(header), len(body))
    checksum = crc32(body, crc32(header, crc32(after, 0)))
    return b"".join((checksum.to_bytes(4, "little"), after, header, body))


def encode_body(body: bytes) -> bytes:
    """Return a frame without a header, as `encode_frame` does: this is called for every event that is recorded."""
    size = len(body)
    return PLAIN_PREFIX.pack(zlib.crc32(body, zlib.crc32(PLAIN_AFTER.pack(0, size))), 0, size) + body


def read_frames(data: Buffer, offset: int = 0, *, generation: int = 0) -> Iterator[Frame]:
    """Yield the frames of `data` from `offset` on, until the first that is not whole or of another generation."""
    view = memoryview(data)
    size = len(view)
    while offset + PREFIX_BYTES <= size:
        checksum, frame_generation, header_length, body_length = _PREFIX.unpack_from(view, offset)
        start = offset + PREFIX_BYTES
        middle = start + header_length
        end = middle + body_length
        if frame_generation != generation or end > size or end == start:
            return
        if zlib.crc32(view[offset + 4 : end]) != checksum:
            return
        yield Frame(end, bytes(view[start:middle]) if header_length else b"", bytes(view[middle:end]))
        offset = end


def write_fully(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`.

    Raises:
        OSError: The operating system refused; some of the bytes may be written, which the next write covers.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]
        offset += written


def force_and_close(descriptor: int) -> bool:
    """Force a file to disk, and close it; tell whether it is there."""
    try:
        os.fdatasync(descriptor)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, so that files made or renamed in it stay."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing, such that they outlive a power cut.

    Its place is forced to disk even if it is there already: whoever made it may have been killed before that.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in made or [folder]:
        with contextlib.suppress(PermissionError):  # a folder of somebody else's, in which ours is as it was made
            sync_folder(each.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data` such that, after any crash, it holds the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_fully(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


def file_identity(file: Path) -> tuple[int, int] | None:
    """Return what tells one version of a file from another; None if it is not there."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_ino, found.st_mtime_ns
    return None
