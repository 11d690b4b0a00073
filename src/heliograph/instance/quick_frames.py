"""The lines of frames by a compiled loop, as `heliograph.instance.many_frames` finds them."""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from heliograph.instance.frame_loops import EVENTS, JOINED, READ, STRIDE, checksum_tables

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    import numpy.typing as npt

    from heliograph.instance.many_frames import Join

_ROOM: Final = 1 << 20
"""Bytes of lines that are joined at once: there may be far more in a file than are wanted."""
_BEGUN: Final = zlib.crc32(bytes(8)) ^ 0xFFFFFFFF
_tables: Final = cache(checksum_tables)


def quick_join(loop: Callable[..., None]) -> Join:
    """Return what joins lines by a loop, `frame_loops.join_bodies`."""

    def join(data: bytes | mmap.mmap, offset: int, most: int) -> tuple[bytes, int, int]:
        left = len(data) - offset
        if left < 2 * STRIDE:
            return b"", 0, offset
        joined, found = np.empty(min(left + STRIDE, _ROOM), np.uint8), np.zeros(3, np.int64)
        memory = np.frombuffer(data, np.uint8)
        loop(memory, at_any_byte(memory), offset, most, _BEGUN, _tables(), joined, at_any_byte(joined), found)
        count, read, size = found[[EVENTS, READ, JOINED]].tolist()
        return joined[: max(size - 1, 0)].tobytes(), count, offset + read

    return join


def at_any_byte(memory: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """Return numbers of eight bytes that begin at any byte."""
    return np.ndarray((len(memory) - STRIDE + 1,), np.dtype("<u8"), memory, strides=(1,))
