"""Doors of newline-delimited JSON: every place of an event, and everything that JSON allows beside it."""

from __future__ import annotations

import gzip
import io
import json
import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
import zstandard

from heliograph.wire import NDJSON
from leaks.canaries import BETWEEN_BLOCKS, RANDOM_ID
from leaks.doors import door, one_line
from leaks.world import ENCODERS, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leaks.world import World

MOMENT: Final = "2026-10-01T12:00:00Z"
RANDOM_IDS: Final = (RANDOM_ID, "hexadecimal")
"""Disguises as which a text may have the form of a random id: a door of their own is for them."""
USER: Final = "9f86d081884c7d659a2feaa0c55ad015"
_SHARES: Final = 3


def event(sequence: int, **fields: Any) -> dict[str, Any]:
    """One event in wire form that would be accepted, but for `fields`."""
    return {"name": "SearchSubmitted", "sequence": sequence, "time": MOMENT, **fields}


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value)


def send_lines(world: World, lines: Sequence[bytes], expected: str) -> None:
    """Send lines in a delivery of each content encoding; see that each line gets the verdict."""
    for share in range(_SHARES):
        mine = lines[share::_SHARES]
        numbered = [line.replace(b'"sequence":0', b'"sequence":%d' % n, 1) for n, line in enumerate(mine, 1)]
        receipt = world.stores(b"\n".join(numbered), NDJSON, events=len(mine))
        given = verdicts(receipt.rejected) | {"accepted": sum(receipt.accepted.values())}
        found = {verdict: count for verdict, count in given.items() if count}
        assert found == {expected: len(mine)}, found


def _places(make: Callable[[str], dict[str, Any]], expected: str) -> Callable[[World, str], None]:
    """Return a door that puts each part of each canary into an event of its own."""

    def plant(world: World, name: str) -> None:
        forms = world.nest.some(name, but=RANDOM_IDS if name.endswith("_id") else ())
        send_lines(world, [encode(event(0) | make(part)) for form in forms for part in form.parts], expected)

    return plant


PLACES: Final[dict[str, tuple[Callable[[str], dict[str, Any]], str]]] = {
    "event name": (lambda text: {"name": text}, "undeclared_event"),
    "undeclared key": (lambda text: {text: 1}, "undeclared_property"),
    "value of an undeclared key": (lambda text: {"query": text}, "undeclared_property"),
    "member": (lambda text: {"pattern_type": text}, "invalid_property"),
    "text for a duration": (lambda text: {"took_ms": text}, "invalid_property"),
    "text for an integer": (lambda text: {"filter_count": text}, "invalid_property"),
    "text for a count": (lambda text: {"results": text}, "invalid_property"),
    "text for a number": (lambda text: {"share_seen": text}, "invalid_property"),
    "text for a boolean": (lambda text: {"limit_hit": text}, "invalid_property"),
    "list for a member": (lambda text: {"pattern_type": [text, {text: text}]}, "invalid_property"),
    "object for an integer": (lambda text: {"filter_count": {text: [text]}}, "invalid_property"),
    "outcome": (lambda text: {"outcome": text}, "invalid_envelope"),
    "version": (lambda text: {"version": text}, "invalid_envelope"),
    "source": (lambda text: {"source": text}, "invalid_envelope"),
    "actor": (lambda text: {"actor": text}, "invalid_envelope"),
    "time": (lambda text: {"time": text}, "invalid_envelope"),
    "user_id": (lambda text: {"user_id": text}, "invalid_envelope"),
    "session_id": (lambda text: {"session_id": text}, "invalid_envelope"),
    "product's own user": (lambda text: {"user": text}, "undeclared_property"),
    "product's own session": (lambda text: {"session": text}, "undeclared_property"),
    "product's own anonymous id": (lambda text: {"anonymous": text}, "undeclared_property"),
    "column of the lake": (lambda text: {"account": text, "instance": text, "plan": text}, "undeclared_property"),
}
"""Places of an event, what is put there, and the verdict on it."""
for _place, (_make, _verdict) in PLACES.items():
    door(f"JSON lines: {_place}")(_places(_make, _verdict))


@door("JSON lines: random id in which a real one can be read")
def _derived(world: World, name: str) -> None:
    lines = [
        encode(event(0, **{key: form.text}))
        for key in ("user_id", "session_id")
        for form in world.nest.forms(name, [RANDOM_ID])
    ]
    send_lines(world, lines, "sensitive_value")


@door("JSON lines: sequence number")
def _sequence(world: World, name: str) -> None:
    lines = [encode(event(0) | {"sequence": form.text}) for form in world.nest.some(name)]
    send_lines(world, lines, "malformed")


@door("JSON lines: escaped letter by letter")
def _escaped(world: World, name: str) -> None:
    def escaped(text: str) -> str:
        wide = text.encode("utf-16-be")
        return "".join(f"\\u{code:04x}" for (code,) in struct.iter_unpack(">H", wide))

    lines = [
        encode(event(0))[:-1] + f',"{escaped(part)}":"{escaped(part)}"}}'.encode()
        for form in world.nest.some(name)
        for part in form.parts
    ]
    send_lines(world, lines, "undeclared_property")


@door("JSON lines: a key twice")
def _twice(world: World, name: str) -> None:
    lines = [
        encode(event(0))[:-1] + b',"pattern_type":' + encode(part) + b',"pattern_type":"regexp"}'
        for form in world.nest.some(name)
        for part in form.parts
    ]
    send_lines(world, lines, "invalid_property")


@door("JSON lines: a name twice")
def _name_twice(world: World, name: str) -> None:
    lines = [
        encode(event(0))[:-1] + b',"name":' + encode(part) + b"}"
        for form in world.nest.some(name)
        for part in form.parts
    ]
    send_lines(world, lines, "undeclared_event")


MALFORMED: Final[dict[str, Callable[[str], bytes]]] = {
    "no JSON": lambda text: b"~" + text.encode(),
    "a bare text": encode,
    "a list": lambda text: encode([event(1), text]),
    "after the event": lambda text: encode(event(1)) + b" // ~" + text.encode(),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + encode(event(1, query=text)),
    "invalid UTF-8": lambda text: encode(event(1)).replace(b"SearchS", b"\xff\xfe" + text.encode()),
    "lone surrogate": lambda text: b'{"name":"' + rb"\ud800" + encode(text)[1:-1] + b'","sequence":1}',
    "torn": lambda text: encode(event(1, query=text))[:-2],
    "deeply nested": lambda text: b'{"a":' * 3_000 + encode(text) + b"}" * 3_000,
}
for _what, _spoil in MALFORMED.items():

    def _malformed(world: World, name: str, spoil: Callable[[str], bytes] = _spoil) -> None:
        forms = world.nest.few(name) if "nested" in name else world.nest.some(name)
        lines = [spoil(part).replace(b"\n", b" ") for form in forms for part in one_line(form)]
        send_lines(world, lines, "malformed")

    door(f"JSON lines: {_what}")(_malformed)


@door("JSON lines: whole number out of range")
def _integers(world: World, name: str) -> None:
    numbers = [form.number for form in world.nest.numbers(name, "integer")]
    lines = [
        encode(event(0))[:-1] + f',"{key}":{sign}{number}{more}}}'.encode()
        for number in numbers
        for key in ("filter_count", "took_ms", "results", "share_seen")
        for sign in ("", "-")
        for more in ("", "e40", ".5")
    ]
    send_lines(world, lines, "invalid_property")


@door("JSON lines: digits beyond a number's precision")
def _digits(world: World, name: str) -> None:
    lines = [
        encode(event(0))[:-1] + f',"share_seen":0.50000000000000000000{form.number}}}'.encode()
        for form in world.nest.numbers(name, "integer")
    ]
    send_lines(world, lines, "accepted")


@door("JSON lines: digits beyond a time's microseconds")
def _nanoseconds(world: World, name: str) -> None:
    lines = [
        encode(event(0)).replace(b"00Z", b"00.000000%dZ" % (form.number or 0))
        for form in world.nest.numbers(name, "integer")
    ]
    send_lines(world, lines, "accepted")


@door("JSON lines: time before 1970")
def _early(world: World, name: str) -> None:
    lines = [
        encode(event(0)).replace(MOMENT.encode(), form.moment.replace(year=1960).isoformat().encode())
        for form in world.nest.numbers(name, "microseconds")
    ]
    send_lines(world, lines, "invalid_envelope")


@door("JSON lines: time ahead")
def _ahead(world: World, name: str) -> None:
    lines = [
        encode(event(0)).replace(MOMENT.encode(), form.moment.replace(year=2960).isoformat().encode())
        for form in world.nest.numbers(name, "microseconds")
    ]
    send_lines(world, lines, "future_time")


ACCEPTED: Final = "\n".join(json.dumps(event(n)) for n in (1, 2)).encode()


@door("JSON lines: gzip's name, comment and extra field")
def _gzip_header(world: World, name: str) -> None:
    for form in world.nest.few(name):
        packed = io.BytesIO()
        with gzip.GzipFile(one_line(form)[0], "wb", fileobj=packed) as file:
            file.write(ACCEPTED)
        whole = bytearray(packed.getvalue())
        text = form.text.encode("latin-1", "replace")
        whole[3] |= 0x04 | 0x10  # an extra field, and a comment beside the name
        start = 10
        whole[start:start] = struct.pack("<H", len(text)) + text
        end = whole.index(b"\0", start + 2 + len(text)) + 1
        whole[end:end] = text + b"\0"
        response = world.deliver(bytes(whole), NDJSON, events=2, encoding="gzip")
        assert response.status_code == 200


@door("JSON lines: a second gzip member")
def _gzip_member(world: World, name: str) -> None:
    for form in world.nest.few(name):
        body = gzip.compress(ACCEPTED) + gzip.compress(form.text.encode())
        world.refuses({400}, world.deliver(body, NDJSON, events=2, encoding="gzip"))


@door("JSON lines: after the end of the compressed body")
def _after_body(world: World, name: str) -> None:
    for form in world.nest.few(name):
        for encoding in ("zstd", "gzip"):
            body = ENCODERS[encoding](ACCEPTED) + form.text.encode()
            world.refuses({400}, world.deliver(body, NDJSON, events=2, encoding=encoding))


@door("JSON lines: zstd's skippable frames, and a second frame")
def _zstd_frames(world: World, name: str) -> None:
    for form in world.nest.few(name):
        text = form.text.encode()
        skipped = struct.pack("<II", 0x184D2A50, len(text)) + text
        body, second = ENCODERS["zstd"](ACCEPTED), ENCODERS["zstd"](text)
        for whole in (skipped + body, body + skipped, body + second, second + body):
            world.refuses({400}, world.deliver(whole, NDJSON, events=2, encoding="zstd"))


@door("JSON lines: zstd's empty blocks")
def _zstd_blocks(world: World, name: str) -> None:
    written = b"\n".join(encode(event(n)) for n in (1, 2))
    frame = ENCODERS["zstd"](written)
    start = zstandard.frame_header_size(frame)
    for form in world.nest.forms(name, [BETWEEN_BLOCKS]):
        body = frame[:start] + form.text.encode("latin-1") + frame[start:]
        assert zstandard.ZstdDecompressor().decompress(body) == written
        assert world.deliver(body, NDJSON, events=2, encoding="zstd").status_code == 200


@door("JSON lines: damaged bodies")
def _damaged(world: World, name: str) -> None:
    for form in world.nest.few(name):
        content = encode(event(1, query=form.text))
        for encoding in ("zstd", "gzip"):
            whole = ENCODERS[encoding](content)
            for damaged in (whole[:-1], whole[:8] + b"~" + whole[9:], content, whole * 2):
                response = world.deliver(damaged, NDJSON, events=1, encoding=encoding)
                assert response.status_code == 400 or not response.json()["receipt"]["accepted"]


@door("JSON lines: another encoding's name")
def _wrong_encoding(world: World, name: str) -> None:
    for form in world.nest.few(name):
        body = ENCODERS["gzip"](encode(event(1, query=form.text)))
        world.refuses({400, 415}, world.deliver(body, NDJSON, events=1, encoding="zstd"))
        world.refuses({400, 415}, world.deliver(body, NDJSON, events=1, encoding="br"))
