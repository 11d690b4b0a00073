"""Loops over an outbox's frames: the bodies of those that hold nothing but events, joined.

They are written so that Numba can compile them (`heliograph.machine_code`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from heliograph.frames import PREFIX_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Integers: TypeAlias = npt.NDArray[np.int64]

EVENTS, READ, JOINED = 0, 1, 2
"""What `join_bodies` has found: how many lines, how many bytes of frames, and of lines with their ends."""
STRIDE: Final = 8
"""Bytes of a checksum at a time; as many are written behind the last line."""
_POLYNOMIAL: Final = 0xEDB88320
_OBJECT, _ARRAY, _LINE_END = b"{[\n"
_LINE_ENDS: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHEST: Final = np.uint64(0x8080808080808080)
_LOW: Final = np.uint64(0xFF)


def checksum_tables() -> npt.NDArray[np.uint64]:
    """Return what a byte adds to a CRC-32 that is followed by 0 to 7 others."""
    tables = np.zeros((STRIDE, 256), np.uint64)
    each = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        each = (each >> np.uint64(1)) ^ np.where(each & np.uint64(1), np.uint64(_POLYNOMIAL), np.uint64(0))
    tables[0] = each
    for place in range(1, STRIDE):
        tables[place] = (tables[place - 1] >> np.uint64(8)) ^ tables[0][tables[place - 1] & _LOW]
    return tables


def join_bodies(
    memory: Bytes,
    wide: Any,
    offset: int,
    most: int,
    begun: int,
    tables: Any,
    joined: Bytes,
    written: Any,
    found: Integers,
) -> None:
    """Join the bodies of frames from `offset` on, each with an end of line, and fill in `found`.

    Up to the first that is not whole, has a header or is of another generation than 0, whose body is no line of JSON,
    or with which there were more lines than `most`; or would be more than `joined` has room for.

    `wide` and `written` are `memory` and `joined` as numbers of eight bytes that begin at any byte; `begun` is the
    checksum of eight zeros, before the last step.
    """
    events: Any = 0
    place, behind = offset, 0
    while place + PREFIX_BYTES < len(memory):
        begin = place + PREFIX_BYTES
        first, second = wide[place], wide[place + 8]
        length = int(second >> np.uint64(32))
        end = begin + length
        # Generation and header are zero.
        if first >> np.uint64(32) != np.uint64(0) or second << np.uint64(32) != np.uint64(0):
            break
        if length == 0 or end > len(memory) or behind + length + 1 + STRIDE > len(joined):
            break
        if memory[begin] != _OBJECT and memory[begin] != _ARRAY:
            break
        checksum = np.uint64(begun) ^ (second >> np.uint64(32))
        checksum = (
            tables[3, checksum & _LOW]
            ^ tables[2, (checksum >> np.uint64(8)) & _LOW]
            ^ tables[1, (checksum >> np.uint64(16)) & _LOW]
            ^ tables[0, checksum >> np.uint64(24)]
        )
        at, to, lines = begin, behind, 1
        while end - at >= STRIDE:
            word = wide[at]
            written[to] = word
            mixed = word ^ checksum
            checksum = (
                tables[7, mixed & _LOW]
                ^ tables[6, (mixed >> np.uint64(8)) & _LOW]
                ^ tables[5, (mixed >> np.uint64(16)) & _LOW]
                ^ tables[4, (mixed >> np.uint64(24)) & _LOW]
                ^ tables[3, (mixed >> np.uint64(32)) & _LOW]
                ^ tables[2, (mixed >> np.uint64(40)) & _LOW]
                ^ tables[1, (mixed >> np.uint64(48)) & _LOW]
                ^ tables[0, mixed >> np.uint64(56)]
            )
            ends = word ^ _LINE_ENDS
            if (ends - _ONES) & ~ends & _HIGHEST != np.uint64(0):
                for byte in range(at, at + STRIDE):
                    lines += int(memory[byte] == _LINE_END)
            at += STRIDE
            to += STRIDE
        while at < end:  # less than a step
            joined[to] = memory[at]
            lines += int(memory[at] == _LINE_END)
            checksum = tables[0, (checksum ^ np.uint64(memory[at])) & _LOW] ^ (checksum >> np.uint64(8))
            at += 1
            to += 1
        if checksum ^ np.uint64(0xFFFFFFFF) != first & np.uint64(0xFFFFFFFF) or events + lines > most:
            break
        joined[to] = _LINE_END
        events += lines
        behind = to + 1
        place = end
    found[EVENTS], found[READ], found[JOINED] = events, place - offset, behind
