"""The gateway over real TLS: each event one verdict, the rest kept, nothing acknowledged before it is on disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import msgspec
import pyarrow as pa
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import ACCOUNT, CANARY, INSTANCE, USER, Vendor, as_arrow, as_lines, deliver, event, random_id, told, zstd
from heliograph.consent.level import Level
from heliograph.event import ABSENT, UNDECLARED, Verdict
from heliograph.gateway.log import LogFullError
from heliograph.gateway.log_reading import read_accounts, segments
from heliograph.instance.transport import GatewayRefusalError, UnreachableError
from heliograph.keys import load_or_create_key
from heliograph.plan.buffers import write_arrow
from heliograph.wire import ARROW, NDJSON, Answer, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMATS = {ARROW: as_arrow, NDJSON: as_lines}
both_formats = pytest.mark.parametrize("content_type", [ARROW, NDJSON], ids=["arrow", "ndjson"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    """One gateway for tests that use epochs of their own."""
    with Vendor(tmp_path_factory.mktemp("vendor"), maximum_inflated_bytes=1 << 20).running() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def http(shared: Vendor) -> Iterator[httpx.Client]:
    with shared.http() as client:
        yield client


_epochs = iter(range(1, 1_000_000))


@pytest.fixture
def epoch() -> int:
    return next(_epochs)


def answer(response: httpx.Response) -> Answer:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=Answer)


def receipt(response: httpx.Response) -> Receipt:
    found = answer(response).receipt
    assert found is not None
    return found


def problem(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["remedy"]
    return str(body["type"])


@both_formats
@pytest.mark.parametrize("encoding", ["zstd", "gzip", ""])
def test_a_delivery_is_stored_and_answered_with_a_signed_receipt(
    shared: Vendor, http: httpx.Client, epoch: int, content_type: str, encoding: str
) -> None:
    content = FORMATS[content_type]([event(1, duration_ms=41), event(2, "PageViewed"), event(3, "PageViewed")])
    encode: dict[str, Callable[[bytes], bytes]] = {"zstd": zstd, "gzip": gzip.compress, "": bytes}
    body = encode[encoding](content)
    found = answer(deliver(http, body, epoch=epoch, numbers=(1, 3), content_type=content_type, encoding=encoding))
    assert found.receipt is not None
    assert found.receipt.accepted == {"SearchSubmitted": 1, "PageViewed": 2}
    assert found.receipt.agreement == shared.agreement
    [(entry, stored)] = [(entry, stored) for entry, stored in shared.entries() if entry.receipt.epoch == epoch]
    assert (entry.account, entry.receipt) == (ACCOUNT, found.receipt)
    assert found.receipt.digest == hashlib.sha256(body).hexdigest()
    assert as_rows(stored, content_type) == as_rows(zstd(content), content_type)
    public = load_or_create_key(shared.folder / "signing.pem").public_key()
    assert found.signature is not None
    signed = jwt.PyJWS(algorithms=["EdDSA"]).decode(found.signature, public, algorithms=["EdDSA"])
    assert msgspec.json.decode(signed, type=Receipt) == found.receipt


def as_rows(stored: bytes, content_type: str) -> list[dict[str, Any]]:
    """The events of a body, without the fields that have no value."""
    content = zstandard.ZstdDecompressor().decompress(stored)
    if content_type == NDJSON:
        rows = [msgspec.json.decode(line) for line in content.splitlines()]
        return [row | {"time": datetime.fromisoformat(row["time"])} for row in rows]
    rows = pa.ipc.open_stream(content).read_all().to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


HIDDEN = CANARY.encode()
PLAIN: Any = {"content_type": NDJSON, "encoding": ""}


def _behind_an_empty_frame() -> tuple[bytes, str, str]:
    return zstd(b"") + HIDDEN, NDJSON, "zstd"


def _name_in_gzip() -> tuple[bytes, str, str]:
    packed = io.BytesIO()
    with gzip.GzipFile(CANARY, "wb", fileobj=packed) as file:
        file.write(as_lines([event(1)]))
    return packed.getvalue(), NDJSON, "gzip"


def _digits_of_a_time() -> tuple[bytes, str, str]:
    line = as_lines([event(1)]).replace(b".000000Z", b".000000%dZ" % int.from_bytes(HIDDEN, "big"))
    return zstd(line), NDJSON, "zstd"


def _spaces_between() -> tuple[bytes, str, str]:
    return zstd(as_lines([event(1)]).replace(b",", b" \t \t\t  , ")), NDJSON, "zstd"


def _value_under_a_null() -> tuple[bytes, str, str]:
    sent = pa.ipc.open_stream(as_arrow([event(n, duration_ms=1 if n == 1 else None) for n in range(1, 6)])).read_all()
    batch = sent.combine_chunks().to_batches()[0]
    place = batch.schema.get_field_index("duration_ms")
    numbers = pa.py_buffer(b"\1".ljust(8, b"\0") + HIDDEN.ljust(32, b"\0"))
    column = pa.Array.from_buffers(pa.int64(), 5, [pa.py_buffer(b"\x01"), numbers])
    return zstd(write_arrow(batch.set_column(place, batch.schema.field(place), column))), ARROW, "zstd"


def _dictionary_that_is_replaced() -> tuple[bytes, str, str]:
    content = as_arrow([event(1, "PageViewed", user_id=None)])
    messages = list(pa.ipc.MessageReader.open_stream(content))
    words = next(message for message in messages if message.type == "dictionary")
    sink = pa.BufferOutputStream()
    for message in messages:
        if message is words:
            sink.write(words.serialize().to_pybytes().replace(b"PageViewed", b"SecretName"))
        message.serialize_to(sink)
    sink.write(b"\xff\xff\xff\xff\0\0\0\0")
    return zstd(sink.getvalue().to_pybytes()), ARROW, "zstd"


AS_WRITTEN = as_lines([event(1)]).replace(b".000000Z", b"Z")
"""One event as the gateway itself would write it."""


def _in_empty_blocks(count: int) -> tuple[bytes, str, str]:
    """A frame as ours, with blocks before it that hold a byte each, and give none."""
    frame = zstd(AS_WRITTEN)
    start = zstandard.frame_header_size(frame)
    hidden = b"".join(b"\x02\0\0" + bytes([byte]) for byte in (HIDDEN * count)[:count])
    return frame[:start] + hidden + frame[start:], NDJSON, "zstd"


def _in_a_bit_without_meaning() -> tuple[bytes, str, str]:
    frame = bytearray(zstd(AS_WRITTEN))
    frame[4] |= 0x10
    return bytes(frame), NDJSON, "zstd"


def _in_many_blocks() -> tuple[bytes, str, str]:
    """A frame whose blocks are far smaller than any compressor's: each leaves room for a byte."""
    frame = zstd(AS_WRITTEN)
    blocks = b"".join(
        (1 << 3 | (place == len(AS_WRITTEN))).to_bytes(3, "little") + bytes([byte])
        for place, byte in enumerate(AS_WRITTEN, 1)
    )
    return frame[: zstandard.frame_header_size(frame)] + blocks, NDJSON, "zstd"


@pytest.mark.parametrize(
    "sent", [_in_empty_blocks(1), _in_empty_blocks(64), _in_a_bit_without_meaning(), _in_many_blocks()]
)
def test_a_frame_that_has_room_for_more_than_its_content_is_compressed_anew(
    shared: Vendor, http: httpx.Client, epoch: int, sent: tuple[bytes, str, str]
) -> None:
    body, content_type, encoding = sent
    assert zstandard.ZstdDecompressor().decompress(body) == AS_WRITTEN
    answer(deliver(http, body, epoch=epoch, numbers=(1, 1), content_type=content_type, encoding=encoding))
    [stored] = [stored for entry, stored in shared.entries() if entry.receipt.epoch == epoch]
    assert stored == zstd(AS_WRITTEN) != body


def test_the_zone_in_which_a_time_was_told_is_not_stored(shared: Vendor, http: httpx.Client, epoch: int) -> None:
    line = as_lines([event(1)]).replace(b"12:00:00.000000Z", b"17:45:00+05:45")
    answer(deliver(http, zstd(line), epoch=epoch, numbers=(1, 1), content_type=NDJSON))
    [stored] = [stored for entry, stored in shared.entries() if entry.receipt.epoch == epoch]
    assert b'"2026-10-01T12:00:00Z"' in zstandard.ZstdDecompressor().decompress(stored)


@pytest.mark.parametrize(
    "hide",
    [
        _behind_an_empty_frame,
        _name_in_gzip,
        _digits_of_a_time,
        _spaces_between,
        _value_under_a_null,
        _dictionary_that_is_replaced,
    ],
)
def test_nothing_is_stored_but_what_was_checked(tmp_path: Any, hide: Callable[[], tuple[bytes, str, str]]) -> None:
    vendor = Vendor(tmp_path)
    body, content_type, encoding = hide()
    with vendor.running(), vendor.http() as http:
        rows = 0 if hide is _behind_an_empty_frame else 5 if hide is _value_under_a_null else 1
        absent = None if rows else {UNDECLARED: {"lost": 1}}
        numbers = (1, max(rows, 1))
        response = deliver(http, body, numbers=numbers, content_type=content_type, encoding=encoding, absent=absent)
    assert response.status_code in {200, 400}, response.text
    for trace in (HIDDEN, b"SecretName", str(int.from_bytes(HIDDEN, "big")).encode(), b" \t \t\t"):
        assert trace not in b"".join(
            zstandard.ZstdDecompressor().decompress(body) + body for _, body in vendor.entries()
        )


def _many_lines() -> tuple[bytes, str]:
    return b"\n" * 200_000, NDJSON


def _many_events_on_a_line() -> tuple[bytes, str]:
    return b"".join(msgspec.json.encode(event(n, "PageViewed", user_id=None)) for n in range(1, 100_002)), NDJSON


def _many_words() -> tuple[bytes, str]:
    batch = pa.ipc.open_stream(as_arrow([event(1)])).read_next_batch()
    place = batch.schema.get_field_index("user_id")
    words = pa.array([USER] + [""] * 100_001)
    column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), words)
    return write_arrow(batch.set_column(place, batch.schema.field(place), column)), ARROW


def _many_columns() -> tuple[bytes, str]:
    return as_arrow([event(1) | {f"c{n}": 1 for n in range(2_000)}]), ARROW


def _name_that_is_no_text() -> tuple[bytes, str]:
    return as_arrow([event(1, QQQQ=1)]).replace(b"QQQQ", b"\xff\xff\xff\xff"), ARROW


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (_many_lines, 413),
        (_many_events_on_a_line, 413),
        (_many_words, 413),
        (_many_columns, 422),
        (_name_that_is_no_text, 400),
    ],
)
def test_a_body_that_would_keep_the_gateway_busy_is_refused(
    tmp_path: Any, make: Callable[[], tuple[bytes, str]], status: int
) -> None:
    content, content_type = make()
    with Vendor(tmp_path).running() as vendor, vendor.http() as http:
        response = deliver(http, zstd(content), numbers=(1, 100_001), content_type=content_type)
    assert response.status_code == status, response.text


BAD_EVENTS: list[tuple[dict[str, Any], Verdict, str]] = [
    ({"name": CANARY.replace("-", "")}, Verdict.UNDECLARED_EVENT, UNDECLARED),
    ({"query": CANARY}, Verdict.UNDECLARED_PROPERTY, "SearchSubmitted"),
    ({"pattern_type": CANARY}, Verdict.INVALID_PROPERTY, "SearchSubmitted"),
    ({"duration_ms": 600_001}, Verdict.INVALID_PROPERTY, "SearchSubmitted"),
    ({"duration_ms": -1}, Verdict.INVALID_PROPERTY, "SearchSubmitted"),
    ({"share": 1.5}, Verdict.INVALID_PROPERTY, "SearchSubmitted"),
    ({"name": "PageViewed", "duration_ms": 5}, Verdict.UNDECLARED_PROPERTY, "PageViewed"),
    ({"name": "goToDefinition", "duration_ms": 1_001}, Verdict.INVALID_PROPERTY, "goToDefinition"),
    ({"user_id": "jane.doe@corp.example"}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"user_id": USER.upper().replace("0", "A")}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"session_id": CANARY}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"version": "5.3-private"}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"source": "laptop"}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"outcome": "secret"}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"name": "PageViewed", "outcome": "error"}, Verdict.INVALID_ENVELOPE, "PageViewed"),
    ({"time": "1969-12-31T23:59:59Z"}, Verdict.INVALID_ENVELOPE, "SearchSubmitted"),
    ({"time": "2099-01-01T00:00:00Z"}, Verdict.FUTURE_TIME, "SearchSubmitted"),
]


@both_formats
@pytest.mark.parametrize(("fault", "verdict", "name"), BAD_EVENTS, ids=lambda value: str(value)[:40])
def test_a_bad_event_gets_its_verdict_and_the_rest_of_the_batch_is_kept(
    shared: Vendor,
    http: httpx.Client,
    epoch: int,
    content_type: str,
    fault: dict[str, Any],
    verdict: Verdict,
    name: str,
) -> None:
    events = [event(1, duration_ms=1), event(2) | fault, event(3, duration_ms=3)]
    body = zstd(FORMATS[content_type](events))
    found = answer(deliver(http, body, epoch=epoch, numbers=(1, 3), content_type=content_type))
    assert found.receipt is not None
    assert found.receipt.accepted == {"SearchSubmitted": 2}
    assert found.receipt.rejected == {name: {verdict: 1}}
    [skeleton] = found.rejections
    assert (skeleton.verdict, skeleton.name, skeleton.sequence) == (verdict, name, 2)
    [(_, stored)] = [(entry, stored) for entry, stored in shared.entries() if entry.receipt.epoch == epoch]
    kept = zstandard.ZstdDecompressor().decompress(stored)
    for value in fault.values():
        if isinstance(value, str) and value not in {"PageViewed", "goToDefinition", "error"}:
            assert value.encode() not in kept


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff\xfe", b'{"sequence":2}', b"null", b"[" * 100_000])
def test_a_line_that_does_not_decode_is_malformed_and_the_others_are_kept(
    http: httpx.Client, epoch: int, line: bytes
) -> None:
    body = as_lines([event(1)]) + b"\n" + line + b"\n" + as_lines([event(3)])
    found = receipt(deliver(http, zstd(body), epoch=epoch, numbers=(1, 3), content_type=NDJSON))
    assert found.accepted == {"SearchSubmitted": 2}
    assert found.rejected == {UNDECLARED: {Verdict.MALFORMED: 1}}


def test_a_mistyped_arrow_column_rejects_only_the_rows_that_use_it(http: httpx.Client, epoch: int) -> None:
    events = [event(1), event(2, duration_ms="forty-one"), event(3)]
    plain = as_arrow([{key: value for key, value in each.items() if key != "duration_ms"} for each in events])
    batch = pa.ipc.open_stream(plain).read_next_batch()
    batch = batch.append_column("duration_ms", pa.array([None, "forty-one", None]))
    found = receipt(deliver(http, zstd(_stream(batch)), epoch=epoch, numbers=(1, 3), content_type=ARROW))
    assert found.accepted == {"SearchSubmitted": 2}
    assert found.rejected == {"SearchSubmitted": {Verdict.INVALID_PROPERTY: 1}}


def _stream(*batches: pa.RecordBatch, options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _batch(*events: dict[str, Any]) -> pa.RecordBatch:
    return pa.ipc.open_stream(as_arrow(events)).read_next_batch()


def _with_hidden_word(batch: pa.RecordBatch) -> pa.RecordBatch:
    names = pa.DictionaryArray.from_arrays(
        batch.column("name").indices, pa.array([*batch.column("name").dictionary.to_pylist(), CANARY])
    )
    return batch.set_column(0, batch.schema.field("name"), names)


@pytest.mark.parametrize(
    "hide",
    [
        _with_hidden_word,
        lambda batch: batch.replace_schema_metadata({"note": CANARY}),
        lambda batch: batch.append_column(CANARY, pa.nulls(len(batch), pa.int64())),
        lambda batch: batch.append_column(
            pa.field("share", pa.float64(), metadata={"note": CANARY}), pa.array([0.5] * len(batch))
        ),
    ],
    ids=["unused dictionary word", "schema metadata", "name of an empty column", "field metadata"],
)
def test_what_no_row_uses_is_not_stored_either(
    shared: Vendor, http: httpx.Client, epoch: int, hide: Callable[[pa.RecordBatch], pa.RecordBatch]
) -> None:
    body = zstd(_stream(hide(_batch(event(1), event(2)))))
    found = receipt(deliver(http, body, epoch=epoch, numbers=(1, 2), content_type=ARROW))
    assert found.accepted == {"SearchSubmitted": 2}
    assert CANARY.encode() not in shared.stored_bytes()


def test_a_name_given_twice_in_one_json_object_does_not_smuggle_a_value_in(
    shared: Vendor, http: httpx.Client, epoch: int
) -> None:
    line = as_lines([event(1)])[:-1] + f',"name":"{CANARY}"}}'.encode()
    found = receipt(deliver(http, zstd(line), epoch=epoch, numbers=(1, 1), content_type=NDJSON))
    assert found.accepted == {}
    assert CANARY.encode() not in shared.stored_bytes()


def _lying_zstd() -> bytes:
    """A frame that says it is small and is not: its content size is overwritten."""
    honest = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(100_000)))
    parameters = zstandard.get_frame_parameters(bytes(honest))
    place = honest.index((parameters.content_size).to_bytes(4, "little"))
    honest[place : place + 4] = (1_000).to_bytes(4, "little")
    return bytes(honest)


BOMB = bytes(64 << 20)
BAD_BODIES = {
    "a truncated zstd frame": (zstd(as_lines([event(1)]))[:-5], NDJSON, "zstd", "damaged_body"),
    "a truncated gzip member": (gzip.compress(as_lines([event(1)]))[:-5], NDJSON, "gzip", "damaged_body"),
    "two zstd frames": (zstd(as_lines([event(1)])) + zstd(b"more"), NDJSON, "zstd", "damaged_body"),
    "a zstd frame without its size": (
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x"),
        NDJSON,
        "zstd",
        "damaged_body",
    ),
    "a zstd frame that lies about its size": (_lying_zstd(), NDJSON, "zstd", "damaged_body"),
    "a zstd bomb": (zstd(BOMB), NDJSON, "zstd", "inflated_too_large"),
    "a gzip bomb": (gzip.compress(BOMB), NDJSON, "gzip", "inflated_too_large"),
    "an arrow bomb": (
        zstd(_stream(_batch(*[event(n) for n in range(1, 9)]), options=pa.ipc.IpcWriteOptions(compression="zstd"))),
        ARROW,
        "zstd",
        "damaged_body",
    ),
    "a truncated arrow stream": (zstd(as_arrow([event(1)])[:-40]), ARROW, "zstd", "damaged_body"),
    "bytes after the arrow stream": (zstd(as_arrow([event(1)]) + CANARY.encode()), ARROW, "zstd", "damaged_body"),
    "two arrow batches": (zstd(_stream(_batch(event(1)), _batch(event(2)))), ARROW, "zstd", "damaged_body"),
    "arrow without sequence numbers": (
        zstd(_stream(_batch(event(1)).drop_columns(["sequence"]))),
        ARROW,
        "zstd",
        "bad_columns",
    ),
    "an unknown encoding": (b"x", NDJSON, "br", "unknown_encoding"),
    "an unknown format": (zstd(b"name,sequence"), "text/csv", "zstd", "unknown_format"),
    "a body over the limit": (bytes(9 << 20), NDJSON, "", "body_too_large"),
    "a number below its range": (zstd(as_lines([event(7)])), NDJSON, "zstd", "bad_sequence"),
    "numbers that fall": (zstd(as_lines([event(2), event(1)])), NDJSON, "zstd", "bad_sequence"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_body_that_cannot_be_told_apart_is_refused_whole_and_stores_nothing(
    shared: Vendor, http: httpx.Client, epoch: int, case: str
) -> None:
    body, content_type, encoding, expected = BAD_BODIES[case]
    numbers = (1, 2) if case == "numbers that fall" else (1, 1)
    response = deliver(http, body, epoch=epoch, numbers=numbers, content_type=content_type, encoding=encoding)
    assert problem(response) == expected
    assert not [entry for entry, _ in shared.entries() if entry.receipt.epoch == epoch]


@pytest.mark.parametrize("column", [b"sequence", b"duration_ms"])
def test_a_column_whose_name_is_no_text_is_damage(http: httpx.Client, column: bytes) -> None:
    body = as_arrow([event(1, duration_ms=1)]).replace(column, b"\xff" + column[1:])
    response = deliver(http, body, epoch=next(_epochs), numbers=(1, 1), content_type=ARROW, encoding="")
    assert (response.status_code, response.json()["type"]) == (400, "damaged_body")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), content_type=st.sampled_from([ARROW, NDJSON]), compressed=st.booleans())
def test_no_bytes_make_the_gateway_fail(
    http: httpx.Client, data: st.DataObject, content_type: str, compressed: bool
) -> None:
    honest = FORMATS[content_type]([event(n, duration_ms=n, pattern_type="regexp") for n in range(1, 4)])
    content = bytearray(data.draw(st.binary(max_size=300) | st.just(honest)))
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    body = zstd(bytes(content)) if compressed else bytes(content)
    response = deliver(
        http,
        body,
        epoch=next(_epochs),
        numbers=(1, 3),
        content_type=content_type,
        encoding="zstd" if compressed else "",
    )
    assert response.status_code in {200, 400, 413, 422}
    if response.status_code != 200:
        problem(response)


values = {
    "name": st.sampled_from(["SearchSubmitted", "goToDefinition", "PageViewed", "Unheard"]),
    "user_id": st.sampled_from([USER, None, "short", USER[:-1] + "G"]),
    "outcome": st.sampled_from(["ok", "error", None, "odd"]),
    "version": st.sampled_from(["5.3.1", None, "five"]),
    "source": st.sampled_from(["web", "api", None, "fax"]),
    "pattern_type": st.sampled_from(["literal", "regexp", None, "other"]),
    "duration_ms": st.sampled_from([None, 0, 1_000, 600_000, 600_001, -1]),
    "share": st.sampled_from([None, 0.0, 0.25, 1.0, 1.25]),
    "exact": st.sampled_from([None, True, False]),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries(values), min_size=1, max_size=12))
def test_both_formats_accept_the_same_events(http: httpx.Client, rows: list[dict[str, Any]]) -> None:
    events = [
        {key: value for key, value in (event(n) | row).items() if value is not None} for n, row in enumerate(rows, 1)
    ]
    receipts = [
        receipt(
            deliver(http, zstd(encode(events)), epoch=next(_epochs), numbers=(1, len(rows)), content_type=content_type)
        )
        for content_type, encode in FORMATS.items()
    ]
    assert receipts[0].accepted == receipts[1].accepted
    # An event with two faults may get its verdict for either of them.
    by_name = [{name: sum(verdicts.values()) for name, verdicts in found.rejected.items()} for found in receipts]
    assert by_name[0] == by_name[1]


def test_a_repeated_delivery_is_answered_with_its_first_receipt_and_stored_once(
    shared: Vendor, http: httpx.Client, epoch: int
) -> None:
    first = zstd(as_lines([event(1), event(2)]))
    second = zstd(as_lines([event(3)]))
    given = receipt(deliver(http, first, epoch=epoch, numbers=(1, 2), content_type=NDJSON))
    again = answer(deliver(http, first, epoch=epoch, numbers=(1, 2), content_type=NDJSON))
    assert (again.receipt, again.duplicate) == (given, True)
    receipt(deliver(http, second, epoch=epoch, numbers=(3, 3), content_type=NDJSON))
    late = answer(deliver(http, first, epoch=epoch, numbers=(1, 2), content_type=NDJSON))
    assert (late.receipt, late.duplicate) == (None, True)
    assert len([entry for entry, _ in shared.entries() if entry.receipt.epoch == epoch]) == 2


@pytest.mark.parametrize("numbers", [(4, 5), (2, 4), (1, 3)], ids=["a gap", "an overlap", "a longer repetition"])
def test_a_delivery_that_does_not_follow_the_last_is_told_what_is_expected(
    http: httpx.Client, epoch: int, numbers: tuple[int, int]
) -> None:
    receipt(deliver(http, zstd(as_lines([event(1), event(2)])), epoch=epoch, numbers=(1, 2), content_type=NDJSON))
    events = [event(n) for n in range(numbers[0], numbers[1] + 1)]
    response = deliver(http, zstd(as_lines(events)), epoch=epoch, numbers=numbers, content_type=NDJSON)
    assert response.status_code == 409
    assert problem(response) == "sequence_gap"
    assert response.json()["expected"] == 3


def test_the_same_delivery_many_times_at_once_is_stored_once(shared: Vendor, http: httpx.Client, epoch: int) -> None:
    body = zstd(as_lines([event(n) for n in range(1, 200)]))

    def send(_: int) -> Receipt:
        return receipt(deliver(http, body, epoch=epoch, numbers=(1, 199), content_type=NDJSON))

    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(send, range(16)))
    assert len({found.received for found in receipts}) == 1
    assert len([entry for entry, _ in shared.entries() if entry.receipt.epoch == epoch]) == 1


def test_numbers_without_an_event_are_accounted_for_by_their_reason(http: httpx.Client, epoch: int) -> None:
    absent = {"SearchSubmitted": {"not_permitted": 2}, UNDECLARED: {"lost": 1}}
    body = zstd(as_lines([event(2), event(5)]))
    found = receipt(deliver(http, body, epoch=epoch, numbers=(1, 5), content_type=NDJSON, absent=absent))
    assert found.absent == {"SearchSubmitted": {Verdict.NOT_PERMITTED: 2}, UNDECLARED: {Verdict.LOST: 1}}
    total = sum(found.accepted.values()) + sum(sum(verdicts.values()) for verdicts in found.absent.values())
    assert total == 5


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ({"SearchSubmitted": {"lost": 1}}, "bad_sequence"),
        ({CANARY: {"lost": 2}}, "bad_header"),
        ({"SearchSubmitted": {"accepted": 2}}, "bad_header"),
        ({"SearchSubmitted": {"lost": -2}}, "bad_header"),
        ({"SearchSubmitted": {"vanished": 2}}, "bad_header"),
    ],
)
def test_an_account_that_does_not_close_is_refused(
    http: httpx.Client, epoch: int, absent: dict[str, dict[str, int]], expected: str
) -> None:
    body = zstd(as_lines([event(1)]))
    response = deliver(http, body, epoch=epoch, numbers=(1, 3), content_type=NDJSON, absent=absent)
    assert problem(response) == expected
    assert CANARY not in response.text


def test_only_what_the_instance_can_know_is_told_as_absent() -> None:
    assert Verdict.ACCEPTED not in ABSENT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "missing_header"),
        ({"heliograph-epoch": "1"}, "missing_header"),
        ({"heliograph-epoch": "one", "heliograph-range": "1-2"}, "bad_header"),
        ({"heliograph-epoch": "1", "heliograph-range": "2-1"}, "bad_header"),
        ({"heliograph-epoch": "1", "heliograph-range": "0-1"}, "bad_header"),
        ({"heliograph-epoch": "9" * 30, "heliograph-range": "1-1"}, "bad_header"),
    ],
)
def test_a_delivery_without_its_place_is_told_what_is_missing(
    http: httpx.Client, headers: dict[str, str], expected: str
) -> None:
    assert problem(http.post("/v1/events", headers={"content-type": NDJSON} | headers)) == expected


def test_unknown_addresses_and_methods_are_told_apart(http: httpx.Client) -> None:
    assert problem(http.get("/v1/nothing")) == "not_found"
    assert problem(http.get("/v1/events")) == "method_not_allowed"
    assert http.get("/v1/events").headers["allow"] == "POST"
    assert http.get("/healthz").status_code == 200


def test_no_token_no_entry(shared: Vendor, http: httpx.Client) -> None:
    for path in ("/v1/policy", "/v1/account"):
        assert problem(http.get(path, headers={"authorization": ""})) == "invalid_token"
    assert problem(http.post("/v1/events", headers={"authorization": "Bearer x.y.z"})) == "invalid_token"


def test_a_wrong_key_and_an_unknown_instance_are_refused_alike(shared: Vendor) -> None:
    for client in (shared.client(Ed25519PrivateKey.generate()), shared.client(instance="nobody")):
        with pytest.raises(GatewayRefusalError) as refused:
            client.policy()
        assert refused.value.problem.type == "unknown_instance_or_key"
        assert "heliograph agent key" in refused.value.problem.remedy
        client.close()


def test_a_clock_a_day_off_is_told_and_then_allowed_for(shared: Vendor) -> None:
    client = shared.client(now=lambda: datetime.now(UTC) - timedelta(days=1))
    assert client.policy().policy
    assert abs(client.clock_offset - timedelta(days=1)) < timedelta(minutes=1)
    client.close()


def test_a_certificate_of_another_authority_is_not_spoken_with(shared: Vendor, tmp_path: Any) -> None:
    stranger = Vendor(tmp_path)
    client = stranger.client()
    client._client.close()
    client._client = httpx.Client(
        base_url=shared.address, verify=ssl.create_default_context(cafile=str(stranger.authority_file))
    )
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        client.policy()
    client.close()


def test_tls_older_than_1_2_is_refused(shared: Vendor) -> None:
    context = ssl.create_default_context(cafile=str(shared.authority_file))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError, match=r"(?i)version|protocol|alert"):
        httpx.get(f"{shared.address}/healthz", verify=context)


def test_what_the_level_does_not_allow_is_refused_as_soon_as_the_registry_says_so(tmp_path: Any) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http, vendor.registry() as registry:
        receipt(deliver(http, zstd(as_lines([event(1)])), numbers=(1, 1), content_type=NDJSON))
        registry.set_override(INSTANCE, Level.CRITICAL, reason="the customer asked")
        end = datetime.now(UTC) + timedelta(seconds=5)
        sequence = 2
        while datetime.now(UTC) < end:
            response = deliver(
                http, zstd(as_lines([event(sequence)])), numbers=(sequence, sequence), content_type=NDJSON
            )
            if response.status_code != 200:
                break
            sequence += 1
        assert problem(response) == "not_permitted"
        assert "the customer asked" in response.json()["detail"]
        assert told(http.get("/v1/policy")).level == "critical"
    assert sum(sum(entry.receipt.accepted.values()) for entry, _ in vendor.entries()) == sequence - 1


def test_a_restarted_gateway_knows_what_it_stored(tmp_path: Any) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)
    given: list[Receipt] = []
    for start in (1, 11, 21):
        with vendor.running(), vendor.http() as http:
            if given:
                again = deliver(http, b"", numbers=(given[-1].first, given[-1].last), content_type=NDJSON, encoding="")
                assert answer(again).receipt == given[-1]
            for n in range(start, start + 10):
                body = zstd(as_lines([event(n)]))
                given.append(receipt(deliver(http, body, numbers=(n, n), content_type=NDJSON)))
            account = http.get("/v1/account").json()
            assert account["accepted"] == {"SearchSubmitted": start + 9}
    assert [entry.receipt for entry, _ in vendor.entries()] == given


def test_a_second_gateway_on_the_same_log_does_not_start(tmp_path: Any) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), pytest.raises(BlockingIOError), vendor.running():
        pass


def test_a_full_log_refuses_with_507_acknowledges_nothing_and_recovers_when_released(tmp_path: Any) -> None:
    vendor = Vendor(tmp_path, segment_bytes=8_192, maximum_log_bytes=3 * 8_192)
    with vendor.running(), vendor.http() as http:
        sequence, response = 0, None
        while response is None or response.status_code == 200:
            sequence += 1
            lines = as_lines([event(sequence, user_id=random_id(sequence), session_id=random_id(-sequence))])
            response = deliver(http, lines, numbers=(sequence, sequence), content_type=NDJSON, encoding="")
            assert sequence < 1_000
        assert response.status_code == 507
        assert problem(response) == "log_full"
        assert len(vendor.entries()) == sequence - 1
        (tmp_path / "log" / "released").write_text(str(segments(tmp_path / "log")[2]))
        receipt(deliver(http, lines, numbers=(sequence, sequence), content_type=NDJSON, encoding=""))
        assert http.get("/v1/account").json()["accepted"] == {"SearchSubmitted": sequence}


def test_a_request_never_waits_for_a_log_that_has_failed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        with monkeypatch.context() as patch:
            patch.setattr("heliograph.gateway.log.write_fully", lambda *_: 1 // 0)
            assert problem(deliver(http, as_lines([event(1)]), numbers=(1, 1), **PLAIN)) == "unavailable"
        receipt(deliver(http, as_lines([event(1)]), numbers=(1, 1), **PLAIN))
        assert http.get("/v1/account").json()["accepted"] == {"SearchSubmitted": 1}


def test_ranges_too_large_for_an_account_and_too_many_epochs_are_refused(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)
    most = 2**32
    with vendor.running(), vendor.http() as http:
        for last, said in ((2**63 - 1, "bad_header"), (most + 1, "bad_header")):
            absent = {UNDECLARED: {"lost": last}}
            assert problem(deliver(http, b"", numbers=(1, last), absent=absent, **PLAIN)) == said
        receipt(deliver(http, b"", numbers=(1, most), absent={UNDECLARED: {"lost": most}}, **PLAIN))
        monkeypatch.setattr("heliograph.gateway.intake.MOST_EPOCHS", 2)
        receipt(deliver(http, as_lines([event(1)]), epoch=2, numbers=(1, 1), **PLAIN))
        assert problem(deliver(http, as_lines([event(1)]), epoch=3, numbers=(1, 1), **PLAIN)) == "too_many_epochs"
        receipt(deliver(http, as_lines([event(2)]), epoch=2, numbers=(2, 2), **PLAIN))


@pytest.mark.parametrize("word", ["", "no number", "99999999999"])
def test_a_word_of_release_that_cannot_be_of_this_log_releases_nothing(tmp_path: Any, word: str) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)
    with vendor.running(), vendor.http() as http:
        (tmp_path / "log" / "released").write_text(word)
        for n in range(1, 30):
            receipt(deliver(http, as_lines([event(n)]), numbers=(n, n), **PLAIN))
    assert len(vendor.entries()) == 29


def test_the_account_is_read_while_the_log_uses_a_segment_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        receipt(deliver(http, as_lines([event(1)]), numbers=(1, 1), **PLAIN))
    listings = [[1], segments(tmp_path / "log")]  # a segment that was there a moment ago
    monkeypatch.setattr("heliograph.gateway.log_reading.segments", lambda _: listings.pop(0))
    assert read_accounts(tmp_path / "log")[INSTANCE].accepted == {"SearchSubmitted": 1}


def test_a_first_segment_without_room_is_an_error_at_the_start(tmp_path: Any) -> None:
    vendor = Vendor(tmp_path, maximum_log_bytes=1)
    with pytest.raises(LogFullError), vendor.running():
        pass


def test_no_thread_is_left_behind_by_a_gateway_that_ended(tmp_path: Any) -> None:
    before = set(threading.enumerate())
    with Vendor(tmp_path).running() as vendor, vendor.http() as http:
        http.get("/healthz")
    assert set(threading.enumerate()) <= before
