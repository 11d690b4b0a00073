"""The messages of an Arrow IPC stream, read before Arrow does: two things it would accept are refused here.

Compressed buffers could inflate to far more than the bound on the body allows, and custom metadata could carry
anything past the plan. Layout: the Arrow columnar format's "Encapsulated message format", whose metadata is a
FlatBuffers table (Message.fbs).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTINUATION: Final = 0xFFFFFFFF
_MOST_MESSAGES: Final = 2_000
"""A schema, a dictionary for each column, a batch, and the end: thousands of tiny ones would only cost time."""
_HEADER_TYPE, _HEADER, _BODY_LENGTH, _CUSTOM_METADATA = 1, 2, 3, 4
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DICTIONARY_DATA = 1
_ROWS, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3
_ELEMENT_BYTES: Final = 16
"""Of what tells of a column, and of a buffer: two numbers."""
_PREFIX_BYTES: Final = 8
_unsigned: Final = struct.Struct("<I").unpack_from
_two_unsigned: Final = struct.Struct("<II").unpack_from
_signed: Final = struct.Struct("<i").unpack_from
_short: Final = struct.Struct("<H").unpack_from
_long: Final = struct.Struct("<q").unpack_from


class Message(NamedTuple):
    """One message, and where in it the numbers stand that differ from batch to batch."""

    content: bytes
    """Without the body that follows it."""
    body_length: int
    rows: int
    nodes: slice
    """Of each column how many rows, and how many without a value; it ends at 0 where the message is no batch."""
    buffers: slice
    """Of each buffer, where it is in the body, and how long."""


def messages(stream: bytes) -> Iterator[Message]:
    """Yield the messages of a stream that Arrow has written, without its end."""
    offset = 0
    while length := _two_unsigned(stream, offset)[1]:
        content = stream[offset : offset + _PREFIX_BYTES + length]
        message = _PREFIX_BYTES + _follow(content[_PREFIX_BYTES:], 0)
        length_at = _field(content, message, _BODY_LENGTH)
        kind = content[_field(content, message, _HEADER_TYPE)]
        rows, nodes, buffers = 0, slice(0), slice(0)
        if kind in (_DICTIONARY_BATCH, _RECORD_BATCH):
            batch = _batch(content, message, kind)
            rows = _field(content, batch, _ROWS)
            nodes, buffers = (_vector(content, _field(content, batch, each)) for each in (_NODES, _BUFFERS))
        yield Message(content, length_at, rows, nodes, buffers)
        offset += len(content) + (_long(content, length_at)[0] if length_at else 0)


def schema_message(stream: bytes) -> bytes:
    """Return the first message of a stream that Arrow has read: streams of equal ones have the same schema."""
    (length,) = _unsigned(stream, 4)
    return stream[: 8 + length]


def refuse_hidden_content(stream: bytes) -> None:
    """Go through a stream's messages.

    Raises:
        ValueError: A message has compressed buffers or custom metadata, or is none.
        struct.error, IndexError: An offset points outside the stream.
    """
    offset = 0
    for _ in range(_MOST_MESSAGES):
        if offset >= len(stream):
            return
        marker, length = _two_unsigned(stream, offset)
        if marker != _CONTINUATION:
            raise ValueError("an encapsulated message begins with the continuation marker")
        offset += 8
        if length == 0:
            return
        metadata = stream[offset : offset + length]
        offset += length + _check_message(metadata)
    raise ValueError("more dictionaries than a plan can have columns")


def _check_message(metadata: bytes) -> int:
    """Check one message's metadata and return the length of the body that follows it."""
    message = _follow(metadata, 0)
    if _field(metadata, message, _CUSTOM_METADATA):
        raise ValueError("custom metadata is not accepted")
    kind_at = _field(metadata, message, _HEADER_TYPE)
    kind = metadata[kind_at] if kind_at else 0
    is_batch = kind in (_DICTIONARY_BATCH, _RECORD_BATCH)
    if is_batch and _field(metadata, _batch(metadata, message, kind), _COMPRESSION):
        raise ValueError("buffers must not be compressed: the stream as a whole is")
    length_at = _field(metadata, message, _BODY_LENGTH)
    length: int = _long(metadata, length_at)[0] if length_at else 0
    if length < 0:
        raise ValueError("a body has no negative length")
    return length


def _batch(metadata: bytes, message: int, kind: int) -> int:
    """Return where the table is that tells of a message's rows and buffers."""
    batch = _follow(metadata, _field(metadata, message, _HEADER))
    return _follow(metadata, _field(metadata, batch, _DICTIONARY_DATA)) if kind == _DICTIONARY_BATCH else batch


def _vector(metadata: bytes, place: int) -> slice:
    """Return where the elements of a vector are."""
    count_at = _follow(metadata, place)
    first = count_at + 4
    return slice(first, first + _ELEMENT_BYTES * _unsigned(metadata, count_at)[0])


def _follow(metadata: bytes, place: int) -> int:
    """Return where the offset stored at `place` points."""
    offset: int = _unsigned(metadata, place)[0]
    return place + offset


def _field(metadata: bytes, table: int, index: int) -> int:
    """Return where a table's field is stored, or 0 when the table does not have it."""
    back: int = _signed(metadata, table)[0]
    fields = table - back
    if fields < 0:
        raise ValueError("a table's description lies outside the message")
    size: int = _short(metadata, fields)[0]
    slot = 4 + 2 * index
    if slot >= size:
        return 0
    offset: int = _short(metadata, fields + slot)[0]
    return table + offset if offset else 0
