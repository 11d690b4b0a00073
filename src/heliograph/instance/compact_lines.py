"""A compact line: an event as a recorder writes it, a JSON array whose first places are those that every event has.

`["SearchSubmitted",17,"2026-11-01T12:00:00Z","u1","s1","ok","6.1.0","web",null,{"duration_ms":41}]`

Against an object it spares a recorder the making of one, and lets a reader find the same thing of many lines at once
(`heliograph.instance.compact_columns`). Whoever looks at lines one by one sees a plain one: an object with the same
names and values. Sources write plain lines, and recorders do as long as the agent's notice does not say that it reads
compact ones: one of version 0.1 does not (`heliograph.instance.notice`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

PLACES: Final = ("name", "sequence", "time", "user", "session", "outcome", "version", "source", "actor")
"""What stands in front of the properties, in this order; where an event has none, null."""
SEQUENCE: Final = PLACES.index("sequence")
PROPERTIES: Final = len(PLACES)
"""Behind them: an object."""
_decoder: Final = msgspec.json.Decoder(list[Any])


def is_compact(line: bytes) -> bool:
    """Tell whether a line, or the first of several, is compact."""
    return line.startswith(b"[")


def plain_line(line: bytes) -> bytes:
    """Return a line as a plain one; one that is neither stays as it is, for whoever reads it to find fault with."""
    if not is_compact(line):
        return line
    try:
        values = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    if len(values) != PROPERTIES + 1 or not isinstance(properties := values[PROPERTIES], dict):
        return line
    envelope = _envelope(values)
    return line if envelope.keys() & properties.keys() else msgspec.json.encode(envelope | properties)


def plain_event(values: list[Any]) -> dict[str, Any]:
    """Return the event of a plain line that has the values of a compact one."""
    properties: dict[str, Any] = values[PROPERTIES]
    return _envelope(values) | properties


def _envelope(values: list[Any]) -> dict[str, Any]:
    return {key: value for key, value in zip(PLACES, values, strict=False) if value is not None}


def first_sequence(line: bytes) -> int:
    """Return the number of a line that a writer has written.

    Raises:
        msgspec.DecodeError: None did.
    """
    return msgspec.json.decode(plain_line(line), type=_Numbered).sequence


class _Numbered(msgspec.Struct):
    sequence: int
