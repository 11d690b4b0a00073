"""The layout of a body of Arrow: loops that find where in a stream is what it holds, by a form that is known.

They are written so that Numba can compile them (`heliograph.machine_code`): plain loops over arrays, without objects.
What is compiled looks at no bound by itself: whatever `find` gives lies inside of the content, and nothing else may be
read. `memory` is the content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Integers: TypeAlias = npt.NDArray[np.int64]

START, SIZE, AT_BODY, AT_ROWS, AT_NODES, AT_BUFFERS = 0, 1, 2, 3, 4, 5
"""What a form holds of each message: where it is in the template, its size, and where its numbers are in it."""
MESSAGE, BODY, BODY_LENGTH = 0, 1, 2
"""What is found of each message: where it begins, and where and how long the body behind it is."""
VALIDITY, VALUES, NULLS = 0, 1, 2
"""What is found of each column: where its bits and its values begin, and how many rows have no value."""
OFFSETS, LETTERS, LENGTH, WORDS = 0, 1, 2, 3
"""What is found of each dictionary: where its offsets and its letters begin, how many letters and how many words."""
END: Final = (255, 255, 255, 255, 0, 0, 0, 0)
"""What a stream ends with."""


class Form(NamedTuple):
    """What all streams of one schema have in common; see `heliograph.gateway.arrow_forms`."""

    template: Bytes
    """The messages of one of them, one behind the other and without the bodies that follow them."""
    fixed: Bytes
    """Has its bits set where all of them have the same ones as the template."""
    messages: Integers
    """Of each where its numbers are: the first is the schema, which has none, then comes one for each dictionary."""
    widths: Integers
    """Of each column, the bits of a value."""


class Layout(NamedTuple):
    """Where things are in a stream: filled in by `find`."""

    bodies: Integers
    dictionaries: Integers
    columns: Integers

    @classmethod
    def of(cls, form: Form) -> Layout:
        """Return room for the layout of a form's streams."""
        messages = len(form.messages)
        return cls(
            np.zeros((messages, 3), np.int64),
            np.zeros((messages - 2, 4), np.int64),
            np.zeros((len(form.widths), 3), np.int64),
        )


def find(memory: Bytes, form: Form, most: int, layout: Layout) -> int:
    """Fill in `layout`, and return how many rows there are: 1 to `most`, or 0 for a stream of another form."""
    if not follow_form(memory, form.template, form.fixed, form.messages, layout.bodies):
        return 0
    if not find_dictionaries(memory, form.messages, layout.bodies, most, layout.dictionaries):
        return 0
    return find_columns(memory, form.messages, layout.bodies, form.widths, most, layout.columns)


def follow_form(memory: Bytes, template: Bytes, fixed: Bytes, messages: Integers, bodies: Integers) -> bool:
    """Go through a stream's messages, and tell whether they are those of a form but for their numbers.

    Filled in are `bodies`: where each message begins, where its body does, and how long that is.
    """
    place = 0
    for number in range(len(messages)):
        first, size, at_body = messages[number, START], messages[number, SIZE], messages[number, AT_BODY]
        if size > len(memory) - place:
            return False
        differs = 0
        for byte in range(size):
            differs |= (memory[place + byte] ^ template[first + byte]) & fixed[first + byte]
        length = 0
        if at_body > 0:
            length = memory[place + at_body : place + at_body + 8].view(np.int64)[0]
        if differs != 0 or length < 0 or length > len(memory) - place - size:
            return False
        bodies[number, MESSAGE], bodies[number, BODY], bodies[number, BODY_LENGTH] = place, place + size, length
        place += size + length
    if len(memory) - place != len(END):
        return False
    differs = 0
    for byte in range(len(END)):
        differs |= memory[place + byte] ^ END[byte]
    return differs == 0


def find_dictionaries(memory: Bytes, messages: Integers, bodies: Integers, most: int, dictionaries: Integers) -> bool:
    """Fill in `dictionaries`, each of 1 to `most` words; false if one is not laid out as Arrow does, or has a null.

    It has three buffers: no bits, offsets, and letters. Each begins at the first multiple of eight behind the one
    before, what is between is zeros, and so are those of columns.
    """
    for number in range(len(dictionaries)):
        start, body, length = bodies[number + 1]
        at_words, at_node, at_buffers = messages[number + 1, AT_ROWS:]
        words = memory[start + at_words : start + at_words + 8].view(np.int64)[0]
        node = memory[start + at_node : start + at_node + 16].view(np.int64)
        buffers = memory[start + at_buffers : start + at_buffers + 48].view(np.int64)
        if words < 1 or words > most or node[0] != words or node[1] != 0:
            return False
        offsets_end = 4 * (words + 1)
        letters_start = (offsets_end + 7) // 8 * 8
        letters = buffers[5]
        if letters < 0 or letters > length or length != (letters_start + letters + 7) // 8 * 8:
            return False
        if buffers[0] != 0 or buffers[1] != 0 or buffers[2] != 0 or buffers[3] != offsets_end:
            return False
        if buffers[4] != letters_start:
            return False
        for place in range(body + offsets_end, body + letters_start):
            if memory[place] != 0:
                return False
        for place in range(body + letters_start + letters, body + length):
            if memory[place] != 0:
                return False
        dictionaries[number, WORDS], dictionaries[number, OFFSETS] = words, body
        dictionaries[number, LETTERS], dictionaries[number, LENGTH] = body + letters_start, letters
    return True


def find_columns(
    memory: Bytes, messages: Integers, bodies: Integers, widths: Integers, most: int, columns: Integers
) -> int:
    """Fill in `columns` and return how many rows they have, at most `most`; 0 if not laid out as Arrow does.

    `widths` are the bits of a value of each. Filled in are where the bits begin that tell which rows have a value, -1
    if all have one; where the values begin; and how many rows have none.
    """
    start, body, length = bodies[len(bodies) - 1]
    at_rows, at_nodes, at_buffers = messages[len(messages) - 1, AT_ROWS:]
    rows = memory[start + at_rows : start + at_rows + 8].view(np.int64)[0]
    nodes = memory[start + at_nodes : start + at_nodes + 16 * len(widths)].view(np.int64)
    buffers = memory[start + at_buffers : start + at_buffers + 32 * len(widths)].view(np.int64)
    if rows < 1 or rows > most:
        return 0
    end = 0
    for column in range(len(widths)):
        nulls = nodes[2 * column + 1]
        if nodes[2 * column] != rows or nulls < 0 or nulls > rows:
            return 0
        columns[column, VALIDITY], columns[column, VALUES], columns[column, NULLS] = -1, 0, nulls
        for which in range(2):
            holds = (rows * widths[column] + 7) // 8 if which == VALUES else (rows + 7) // 8 if nulls > 0 else 0
            if buffers[4 * column + 2 * which] != end or buffers[4 * column + 2 * which + 1] != holds:
                return 0
            padded = (end + holds + 7) // 8 * 8
            if padded > length:
                return 0
            if holds > 0:
                columns[column, which] = body + end
            for place in range(body + end + holds, body + padded):
                if memory[place] != 0:
                    return 0
            end = padded
    return rows if end == length else 0
