"""The form of a stream: what Arrow writes for every batch of one schema, whatever the batch holds.

Of a stream that is known to be as `heliograph.plan.buffers.write_arrow` writes it, all is kept but its bodies, and the
numbers in it are marked that tell how long things are. Another stream that is the same in all the rest, and whose
numbers are those that its own rows, words and letters make, is what Arrow writes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from heliograph.gateway.arrow_messages import messages
from heliograph.gateway.layout_loops import AT_BODY, AT_BUFFERS, AT_NODES, AT_ROWS, SIZE, START, Form

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER_BYTES: Final = 8
_PAIR_BYTES: Final = 2 * _NUMBER_BYTES
"""A node is one, and so is a buffer: a dictionary has one of these and three of those, a column one and two."""


def form_of(stream: bytes, widths: Sequence[int]) -> Form | None:
    """Return the form of a stream that Arrow has written, None if it has numbers that loops do not look at.

    Args:
        stream: It.
        widths: Of each of its columns, the bits of a value: a number, a bit, or the number of a word of a dictionary.
    """
    found = [*messages(stream)]
    template = np.frombuffer(b"".join(message.content for message in found), np.uint8).copy()
    fixed = np.full(len(template), 0xFF, np.uint8)
    lines = np.zeros((len(found), 6), np.int64)
    start = 0
    for message, line in zip(found, lines, strict=True):
        line[START], line[SIZE] = start, len(message.content)
        if message.nodes.stop:
            line[AT_BODY], line[AT_ROWS] = message.body_length, message.rows
            line[AT_NODES], line[AT_BUFFERS] = message.nodes.start, message.buffers.start
            piece = fixed[start : start + len(message.content)]
            for first in (message.body_length, message.rows):
                piece[first : first + _NUMBER_BYTES] = 0
            piece[message.nodes] = piece[message.buffers] = 0
        start += len(message.content)
    dictionaries = len(found) - 2
    looked_at = 2 * _NUMBER_BYTES * (dictionaries + 1) + _PAIR_BYTES * (4 * dictionaries + 3 * len(widths))
    if np.count_nonzero(fixed == 0) != looked_at:
        return None
    return Form(template, fixed, lines, np.array(widths, np.int64))
