"""The form of a stream: what Arrow writes for every batch of one schema, whatever the batch holds.

Of a stream that is known to be as `heliograph.plan.buffers.write_arrow` writes it, all is kept but its bodies, and the
numbers in it are marked that tell how long things are. Another stream that is the same in all the rest, and whose
numbers are those that its own rows, words and letters make, is what Arrow writes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from heliograph.gateway.arrow_messages import messages
from heliograph.gateway.loops import AT_BODY, AT_BUFFERS, AT_NODES, AT_ROWS, SIZE, START

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Integers: TypeAlias = npt.NDArray[np.int64]

_NUMBER_BYTES: Final = 8
_PAIR_BYTES: Final = 2 * _NUMBER_BYTES
"""A node is one, and so is a buffer: a dictionary has one of these and three of those, a column one and two."""


class Form(NamedTuple):
    """A form, as `heliograph.gateway.loops.follow_form` takes it."""

    template: Bytes
    fixed: Bytes
    messages: Integers

    @classmethod
    def of(cls, stream: bytes, columns: int) -> Form | None:
        """Return the form of a stream that Arrow has written, None if it has numbers that loops do not look at.

        Args:
            stream: It.
            columns: How many it has: of numbers, bits, or words of a dictionary.
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
        looked_at = 2 * _NUMBER_BYTES * (dictionaries + 1) + _PAIR_BYTES * (4 * dictionaries + 3 * columns)
        return cls(template, fixed, lines) if np.count_nonzero(fixed == 0) == looked_at else None
