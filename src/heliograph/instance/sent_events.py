"""What was sent, for people: the events of a delivery's very bytes, as lines of JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator


def event_lines(body: bytes) -> Iterator[bytes]:
    """Yield each event of a delivery as JSON, as docs/wire.md has it: without what is null."""
    with pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)) as stream:
        for batch in stream:
            for row in batch.to_pylist():
                yield msgspec.json.encode({key: _plain(value) for key, value in row.items() if value is not None})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value
