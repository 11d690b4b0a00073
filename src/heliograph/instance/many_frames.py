"""Frames that hold nothing but events, as nearly all of an outbox do: found many at once.

One by one, most of the time goes into Python's loop. That a frame begins is seen by the zeros in its prefix, which no
line of JSON has, and by the first letter behind them; that it does, by the end of the one before and by its checksum.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from isal import isal_zlib

from heliograph.frames import PLAIN_AFTER, PLAIN_PREFIX, PREFIX_BYTES

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    import numpy.typing as npt

    Join: TypeAlias = Callable[[bytes | mmap.mmap, int, int], tuple[bytes, int, int]]
    """As `join_plain`."""

_WINDOW_BYTES: Final = 192 << 10
"""So much is looked at at once: some hundred frames, and what a processor keeps at hand."""
_OBJECT, _ARRAY = b"{["
_ZEROS_AT: Final = 4
_LENGTH_AT: Final = 12


_END: Final = ord("\n")
_SHORT: Final = 1_024
"""Nearly all bodies are shorter."""


class _Begun(dict[int, int]):
    """The checksum of a prefix, with which that of a frame begins, by the body's length."""

    def __missing__(self, length: int) -> int:
        begun = zlib.crc32(PLAIN_AFTER.pack(0, length))
        if length < _SHORT:
            self[length] = begun
        return begun


_begun: Final = _Begun()


def join_plain(data: bytes | mmap.mmap, offset: int, most: int) -> tuple[bytes, int, int]:
    """Return the lines of frames that `read_bodies` finds, joined, how many, and the offset behind them.

    None where there are more than `most` lines, as a frame may hold several.
    """
    bodies, end = read_bodies(data, offset, most)
    block = b"\n".join(bodies)
    # As `count` does, in a quarter of its time.
    count = int(np.count_nonzero(np.frombuffer(block, np.uint8) == _END)) + 1 if bodies else 0
    return (block, count, end) if count <= most else (b"", 0, offset)


def read_bodies(data: bytes | mmap.mmap, offset: int, most: int) -> tuple[list[bytes], int]:
    """Return the bodies of frames as `heliograph.frames.read_frames` finds them, and the offset behind them.

    Args:
        data: What the frames are in.
        offset: Where the first begins.
        most: How many to read at the most.

    Returns:
        Some of the next bodies: up to the first frame that is not whole, is of another generation than 0, has a header,
        or whose body is no JSON line, and not more than are found at once. None where the first is such a frame.
    """
    block = data[offset : offset + _WINDOW_BYTES]
    if len(block) < PREFIX_BYTES or PLAIN_PREFIX.unpack_from(block)[1]:
        return [], offset
    found = np.frombuffer(block, np.uint8)
    # Numbers that begin at any byte.
    wide, narrow = _numbers_at(block, np.dtype("<u8")), _numbers_at(block, np.dtype("<u4"))
    starts = np.flatnonzero((found == _ARRAY) | (found == _OBJECT)) - PREFIX_BYTES
    starts = starts[starts >= 0]
    starts = starts[wide[starts + _ZEROS_AT] == 0][:most]
    lengths = narrow[starts + _LENGTH_AT].astype(np.int64)
    ends = starts + PREFIX_BYTES + lengths
    good = ends <= len(block)
    good[:1] &= starts[:1] == 0
    good[1:] &= starts[1:] == ends[:-1]
    count = _length_of_good(good)
    sizes = lengths[:count].tolist()
    bodies = [block[end - size : end] for end, size in zip(ends[:count].tolist(), sizes, strict=True)]
    # The checksum of zlib, of whose time a short text takes a quarter here.
    checksums = np.fromiter(map(isal_zlib.crc32, bodies, map(_begun.__getitem__, sizes)), np.uint32, count)
    count = _length_of_good(checksums == narrow[starts[:count]])
    return bodies[:count], offset + (int(ends[count - 1]) if count else 0)


def _numbers_at(block: bytes, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.ndarray((len(block) - kind.itemsize + 1,), kind, block, strides=(1,))


def _length_of_good(good: npt.NDArray[np.bool_]) -> int:
    """Return how many are good before the first that is not."""
    return len(good) if good.all() else int(good.argmin())
