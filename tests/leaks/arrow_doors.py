"""Doors of Arrow: every column of a batch, and everything that a stream holds beside the values of its rows."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from harness import as_arrow
from heliograph.wire import ARROW
from leaks.canaries import DISGUISES, RANDOM_ID
from leaks.doors import door
from leaks.line_doors import PLACES, RANDOM_IDS, USER, event
from leaks.world import ENCODERS, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leaks.world import World

_SHARES: Final = 3


def send_rows(world: World, rows: Sequence[dict[str, Any]], expected: str) -> None:
    """Send rows in a delivery of each content encoding; see that each row gets the verdict."""
    for share in range(_SHARES):
        mine = [row | {"sequence": n} for n, row in enumerate(rows[share::_SHARES], 1)]
        send_stream(world, as_arrow(mine, world.plan), {expected: len(mine)})


def send_stream(world: World, stream: bytes, expected: dict[str, int]) -> None:
    """Send a stream in one delivery, and see what verdicts its rows get."""
    receipt = world.stores(stream, ARROW, events=sum(expected.values()))
    given = verdicts(receipt.rejected) | {"accepted": sum(receipt.accepted.values())}
    found = {verdict: count for verdict, count in given.items() if count}
    assert found == expected, found


def batch_of(world: World, *rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.ipc.open_stream(as_arrow(rows, world.plan)).read_next_batch()


def stream_of(*batches: pa.RecordBatch, metadata: Any = None, options: Any = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch, custom_metadata=metadata)
    return bytes(sink.getvalue())


_WORDS: Final = ("event name", "member", "outcome", "version", "source", "actor", "user_id", "session_id")


def _words(make: Callable[[str], dict[str, Any]], expected: str) -> Callable[[World, str], None]:
    def plant(world: World, name: str) -> None:
        forms = world.nest.some(name, but=RANDOM_IDS if name.endswith("_id") else ())
        send_rows(world, [event(0) | make(part) for form in forms for part in form.parts], expected)

    return plant


for _place in _WORDS:
    door(f"Arrow: {_place}")(_words(*PLACES[_place]))


@door("Arrow: name of an undeclared column")
def _column_names(world: World, name: str) -> None:
    forms = world.nest.some(name)
    send_rows(world, [event(0) | {part: 1} for form in forms for part in form.parts], "undeclared_property")


@door("Arrow: name of a column in which no row has a value")
def _empty_columns(world: World, name: str) -> None:
    for share in range(_SHARES):
        batch = batch_of(world, event(1), event(2))
        for form in world.nest.forms(name, [*DISGUISES][share::_SHARES]):
            for part in form.parts:
                batch = batch.append_column(part, pa.nulls(2, pa.int64()))
        send_stream(world, stream_of(batch), {"accepted": 2})


@door("Arrow: value of an undeclared column")
def _undeclared(world: World, name: str) -> None:
    forms = world.nest.some(name)
    send_rows(world, [event(0) | {"query": part} for form in forms for part in form.parts], "undeclared_property")


@door("Arrow: declared column of another type")
def _types(world: World, name: str) -> None:
    columns = ("took_ms", "filter_count", "results", "share_seen", "limit_hit")
    for share, column in enumerate(columns):
        disguises = [*DISGUISES][share :: len(columns)]
        parts = [part for form in world.nest.forms(name, disguises) for part in form.parts]
        batch = batch_of(world, *(event(n) for n in range(1, len(parts) + 1)))
        batch = batch.append_column(column, pa.array(parts, pa.binary() if column == "results" else pa.string()))
        send_stream(world, stream_of(batch), {"invalid_property": len(parts)})


@door("Arrow: words that no row uses")
def _unused(world: World, name: str) -> None:
    rows = [event(1, outcome="ok", source="web", version="1.2", actor="service", pattern_type="regexp"), event(2)]
    rows[0] |= {"user_id": USER, "session_id": USER}
    columns = ("name", "outcome", "source", "version", "actor", "pattern_type", "user_id", "session_id")
    for share, column in enumerate(columns):
        batch = batch_of(world, *rows)
        place = batch.schema.get_field_index(column)
        words = batch.column(place).dictionary.to_pylist()
        disguises = [*DISGUISES, RANDOM_ID][share :: len(columns)]
        words += [part for form in world.nest.forms(name, disguises) for part in form.parts]
        changed = pa.DictionaryArray.from_arrays(batch.column(place).indices, pa.array(words))
        send_stream(world, stream_of(batch.set_column(place, batch.schema.field(place), changed)), {"accepted": 2})


@door("Arrow: metadata of the schema and of its fields")
def _metadata(world: World, name: str) -> None:
    notes = {part: part for form in world.nest.some(name) for part in form.parts}
    batch = batch_of(world, event(1, took_ms=5), event(2))
    send_stream(world, stream_of(batch.replace_schema_metadata(notes)), {"accepted": 2})
    place = batch.schema.get_field_index("took_ms")
    field = batch.schema.field(place).with_metadata(notes)
    send_stream(world, stream_of(batch.set_column(place, field, batch.column(place))), {"accepted": 2})


@door("Arrow: metadata of a message")
def _message(world: World, name: str) -> None:
    notes = {part: part for form in world.nest.some(name) for part in form.parts}
    stream = stream_of(batch_of(world, event(1)), metadata=notes)
    world.refuses({400}, world.deliver(ENCODERS["zstd"](stream), ARROW, events=1, encoding="zstd"))


@door("Arrow: under nulls, and behind the end of a column")
def _nulls(world: World, name: str) -> None:
    forms = [*world.nest.numbers(name, "integer"), *world.nest.numbers(name, "microseconds")]
    numbers = [5, *(form.number or 0 for form in forms)]
    rows = [event(n, took_ms=5 if n == 1 else None) for n in range(1, len(numbers) + 1)]
    batch = batch_of(world, *rows)
    place = batch.schema.get_field_index("took_ms")
    values = pa.py_buffer(struct.pack(f"<{len(numbers)}q", *numbers) + b"behind")
    valid = pa.py_buffer(b"\x01".ljust(len(numbers) // 8 + 1, b"\0"))
    column = pa.Array.from_buffers(pa.int64(), len(numbers), [valid, values])
    send_stream(
        world, stream_of(batch.set_column(place, batch.schema.field(place), column)), {"accepted": len(numbers)}
    )


@door("Arrow: numbers out of range, and NaN's payload")
def _numbers(world: World, name: str) -> None:
    integers = [form.number for form in world.nest.numbers(name, "integer")]
    for column in ("took_ms", "filter_count", "results"):
        send_rows(world, [event(0) | {column: number} for number in integers], "invalid_property")
    payloads = [struct.pack("<Q", 0x7FF8 << 48 | (form.number or 0)) for form in world.nest.numbers(name, "mantissa")]
    rows = [event(n, share_seen=0.5) for n in range(1, len(payloads) + 1)]
    batch = batch_of(world, *rows)
    place = batch.schema.get_field_index("share_seen")
    column = pa.Array.from_buffers(pa.float64(), len(rows), [None, pa.py_buffer(b"".join(payloads))])
    stream = stream_of(batch.set_column(place, batch.schema.field(place), column))
    send_stream(world, stream, {"invalid_property": len(rows)})


@door("Arrow: gaps between the buffers")
def _gaps(world: World, name: str) -> None:
    """A stream in which each byte that belongs to no value is one of a canary."""
    for form in world.nest.few(name):
        batch = batch_of(world, event(1, limit_hit=True, took_ms=5), event(2))
        stream = bytearray(stream_of(batch))
        letters = form.canary.core.encode() * 9
        for start in range(len(stream) - 8):
            if stream[start : start + 8] == b"\x01\0\0\0\0\0\0\0" and start % 8 == 0:
                stream[start + 1 : start + 8] = letters[:7]
        response = world.deliver(ENCODERS["zstd"](bytes(stream)), ARROW, events=2, encoding="zstd")
        assert response.status_code in {200, 400, 422}


@door("Arrow: after the end of the stream, a second batch, another dictionary")
def _after_stream(world: World, name: str) -> None:
    for form in world.nest.few(name):
        text = form.text
        stream = stream_of(batch_of(world, event(1)))
        other = stream_of(pa.record_batch({text: [text]}))
        two = stream_of(batch_of(world, event(1)), batch_of(world, event(2)))
        messages = list(pa.ipc.MessageReader.open_stream(stream))
        more = pa.BufferOutputStream()
        for message in messages:
            if message.type == "dictionary":
                more.write(message.serialize().to_pybytes().replace(b"SearchSubmitted", text.encode()[:15].ljust(15)))
            message.serialize_to(more)
        more.write(b"\xff\xff\xff\xff\0\0\0\0")
        for body, events, status in (
            (stream + text.encode(), 1, {400}),
            (stream + other, 1, {400}),
            (two, 2, {400}),
            (bytes(more.getvalue()), 1, {200, 400}),
        ):
            response = world.deliver(ENCODERS["zstd"](body), ARROW, events=events, encoding="zstd")
            assert response.status_code in status


@door("Arrow: compressed buffers, large and nested types, extension types")
def _other_types(world: World, name: str) -> None:
    texts = [form.text for form in world.nest.few(name)]
    batch = batch_of(world, *(event(n) for n in range(1, len(texts) + 1)))
    packed = batch.append_column("query", pa.array(texts))
    stream = stream_of(packed, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    world.refuses({400}, world.deliver(ENCODERS["zstd"](stream), ARROW, events=len(texts), encoding="zstd"))
    nested: list[pa.Array] = [
        pa.array([[text] for text in texts]),
        pa.array([{"a": text} for text in texts]),
        pa.array([[(text, text)] for text in texts], pa.map_(pa.string(), pa.string())),
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string_view()),
        pa.RunEndEncodedArray.from_arrays(list(range(1, len(texts) + 1)), texts),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array([f'"{n}"' for n in texts])),
    ]
    for column in nested:
        for key, verdict in (("query", "undeclared_property"), ("pattern_type", "invalid_property")):
            stream = stream_of(batch.append_column(key, column))
            response = world.deliver(ENCODERS["gzip"](stream), ARROW, events=len(texts), encoding="gzip")
            assert response.json()["receipt"]["rejected"]["SearchSubmitted"] == {verdict: len(texts)}


@door("Arrow: an envelope of another type")
def _envelope(world: World, name: str) -> None:
    for column in ("name", "time", "sequence", "user_id", "outcome"):
        texts = [form.text for form in world.nest.few(name)]
        batch = batch_of(world, *(event(n, outcome="ok", user_id=USER) for n in range(1, len(texts) + 1)))
        changed = batch.set_column(batch.schema.get_field_index(column), column, pa.array(texts))
        body = ENCODERS["zstd"](stream_of(changed))
        world.refuses({422}, world.deliver(body, ARROW, events=len(texts), encoding="zstd"))
