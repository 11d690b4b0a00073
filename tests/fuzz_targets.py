"""What is fuzzed: each target takes any bytes, and raises only where something is wrong."""

from __future__ import annotations

import struct
import sys
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jwt
import msgspec
import numpy as np
import pyarrow as pa
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import SMALL_PLAN, as_arrow, as_lines, event, zstd
from heliograph.consent.deployment import Deployment
from heliograph.event import microseconds
from heliograph.frames import encode_frame, read_frames
from heliograph.gateway.authentication import Authenticator
from heliograph.gateway.bodies import MOST_EVENTS, BodyChecker, Checked
from heliograph.gateway.exporters import is_exporter
from heliograph.gateway.intake import Delivery, Intake, read_exporter, read_range
from heliograph.gateway.line_looks import LineLook
from heliograph.gateway.line_loops import read_lines
from heliograph.gateway.machine_code import compiled_line_loop, line_code
from heliograph.gateway.plans import Checks
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.instance.identity import assertion
from heliograph.keys import fingerprint, public_key_text
from heliograph.plan.canonical import CanonicalPlanError, decode_canonical
from heliograph.plan.sensitive.wall import SecondWall
from heliograph.settings import GatewaySettings
from heliograph.wire import ABSENT_HEADER, ARROW, EPOCH_HEADER, EXPORTER_HEADER, NDJSON, RANGE_HEADER, total_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_INFLATED: Final = 1 << 20
NOW: Final = datetime(2026, 10, 2, tzinfo=UTC)
_KEY: Final = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
_checker: Final = BodyChecker(SMALL_PLAN, line_loop=line_code(pays_after=sys.maxsize))
_quick_checker: Final = BodyChecker(SMALL_PLAN, line_loop=line_code().ready())
_look: Final = LineLook(SMALL_PLAN, SecondWall(SMALL_PLAN).looks, MOST_EVENTS)
_MOST_LOOKED_AT: Final = 4 << 10
"""Bytes of lines that are looked at by Python, which takes a hundred times longer than machine code."""
_checks: Final = Checks(SMALL_PLAN)
_ENCODINGS: Final = ("", "zstd", "gzip", "br")


class Target(NamedTuple):
    """One target: what takes the bytes, and where the search begins."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def _look_at(message: str) -> None:
    assert len(message) < 1_000, "a message that repeats what it was given"


def _check(body: bytes, encoding: str, content_type: str) -> None:
    """Check a body: whatever it is, there is a verdict on each row, or one refusal that repeats nothing."""
    try:
        checked = _checker.check(body, encoding, content_type, most=MOST_INFLATED, latest=NOW)
    except RefusalError as error:
        _look_at(str(error.to_problem()))
        return
    assert 0 <= checked.rows <= MOST_EVENTS
    assert checked.rows == sum(checked.accepted.values()) + total_counts(checked.rejected)
    assert checked.accepted.keys() <= SMALL_PLAN.events.keys()
    stored = zstandard.ZstdDecompressor().decompress(checked.body) if checked.body else b""
    # What is stored is what a second check accepts whole.
    if checked.accepted:
        again = _checker.check(checked.body, "zstd", content_type, most=4 * MOST_INFLATED, latest=NOW)
        assert again.accepted == checked.accepted, (again.accepted, checked.accepted)
        assert not again.rejected
        assert zstandard.ZstdDecompressor().decompress(again.body) == stored


def check_arrow(data: bytes) -> None:
    """A body of Arrow; the first byte says how it comes."""
    _check_body(data, ARROW)


def check_lines(data: bytes) -> None:
    """A body of lines; likewise. What comes of it is the same after a quick look, as machine code and by Python."""
    _check_body(data, NDJSON)
    lines = data[1:]
    if len(lines) > _MOST_LOOKED_AT:
        return
    with np.errstate(over="ignore"):  # the numbers of a hash overflow
        found = _look.faultless(lines, latest=microseconds(NOW), read_lines=read_lines)
    assert found == _look.faultless(lines, latest=microseconds(NOW), read_lines=compiled_line_loop())
    slow, quick = (_taken(checker, lines) for checker in (_checker, _quick_checker))
    assert slow == quick
    assert found is None or (isinstance(slow, Checked) and not slow.rejected)


def _taken(checker: BodyChecker, lines: bytes) -> Checked | Refusal:
    try:
        return checker.check(lines, "", NDJSON, most=MOST_INFLATED, latest=NOW)
    except RefusalError as error:
        return error.refusal


def _check_body(data: bytes, content_type: str) -> None:
    how, content = data[:1], data[1:]
    if how == b"c":  # compressed by us, so that mutations reach what is inside
        _check(zstd(content), "zstd", content_type)
    else:
        _check(content, _ENCODINGS[how[0] % len(_ENCODINGS)] if how else "", content_type)


def read_headers(data: bytes) -> None:
    """The headers of a delivery, a line each."""
    names = (EPOCH_HEADER, RANGE_HEADER, ABSENT_HEADER, EXPORTER_HEADER)
    values = [part.decode("latin-1") for part in data.split(b"\n")]
    headers = dict(zip(names, values, strict=False))
    delivery = Delivery(instance="acme-1", headers=headers, body=b"", checks=_checks)
    try:
        read_range(delivery)
        read_exporter(delivery)
        Intake.read_absent(delivery)
    except RefusalError as error:
        _look_at(str(error.to_problem()))
        return
    assert 1 <= delivery.first <= delivery.last < 2**63
    assert 1 <= delivery.epoch < 2**63
    assert delivery.exporter == "" or is_exporter(delivery.exporter)
    assert delivery.absent.keys() <= _checks.names
    assert all(0 < count < 2**63 for verdicts in delivery.absent.values() for count in verdicts.values())


class _Instance(NamedTuple):
    name: str
    public_key: str
    fingerprint: str
    active: bool = True
    account: str = "acme"
    deployment: Deployment = Deployment.MANAGED


class _Registry(NamedTuple):
    instances: dict[str, Any]


def _authenticator() -> Authenticator:
    record = _Instance("acme-1", public_key_text(_KEY), fingerprint(_KEY))
    registry: Any = _Registry({"acme-1": record})
    return Authenticator(lambda: registry, _KEY, GatewaySettings(), now=NOW.timestamp)


def prove(data: bytes) -> None:
    """An assertion, and then a token; where the bytes begin with ``s``, they are claims that the right key signs."""
    authenticator = _authenticator()
    text = data.decode("latin-1")
    if data[:1] == b"s":
        text = jwt.PyJWS(algorithms=["EdDSA"]).encode(data[1:], _KEY, "EdDSA")
    try:
        token = authenticator.exchange(text)
        assert data[:1] == b"s"  # nobody else has the key
        assert authenticator.authenticate(f"Bearer {token.token}") == "acme-1"
    except RefusalError as error:
        _look_at(str(error.to_problem()))
    try:
        authenticator.authenticate(text)
        raise AssertionError("a stranger is believed")
    except RefusalError as error:
        _look_at(str(error.to_problem()))


_PREFIX: Final = struct.Struct("<IIII")


def read_all_frames(data: bytes) -> None:
    """A file of frames; where it begins with ``r``, the checksums are made right first."""
    content = data[1:]
    if data[:1] == b"r":
        content = _mend(content)
    end = 0
    for frame in read_frames(content):
        assert end < frame.end <= len(content)
        assert encode_frame(frame.header, frame.body) == content[end : frame.end]
        end = frame.end


def _mend(content: bytes) -> bytes:
    parts, offset = [], 0
    while offset + _PREFIX.size <= len(content):
        _, generation, header, body = _PREFIX.unpack_from(content, offset)
        end = min(offset + _PREFIX.size + header % 256 + body % 4_096, len(content))
        payload = content[offset + _PREFIX.size : end]
        head = min(header % 256, len(payload))
        after = struct.pack("<III", generation % 2, head, len(payload) - head)
        parts.append(struct.pack("<I", zlib.crc32(payload, zlib.crc32(after))) + after + payload)
        offset = end
    return b"".join(parts) + content[offset:]


def read_plan(data: bytes) -> None:
    """A plan in canonical form."""
    try:
        plan = decode_canonical(data)
    except CanonicalPlanError as error:
        _look_at(str(error))
        return
    assert decode_canonical(plan.canonical()).canonical() == plan.canonical()


def _arrow_seeds() -> list[bytes]:
    good = as_arrow([event(1, pattern_type="literal", duration_ms=10), event(2, "PageViewed")])
    bad = as_arrow([event(1, pattern_type="regexp", share=0.5, exact=True), event(2, "Nobody")])
    sink = pa.BufferOutputStream()
    table = pa.record_batch({"name": pa.array(["PageViewed"]), "sequence": pa.array([1], pa.int64())})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_batch(table)
    return [b"\0" + good, b"c" + good, b"\x01" + zstd(good), b"\0" + bad, b"\0" + bytes(sink.getvalue())]


def _line_seeds() -> list[bytes]:
    good = as_lines([event(1, pattern_type="literal", duration_ms=10), event(2, "PageViewed")])
    bad = as_lines([event(1, "Nobody"), event(2, share=2.5, exact=True), event(3, user_id="x")]) + b"\n{\n[]\n"
    as_written = good.replace(b".000000Z", b"Z")
    deep = b'{"name":"PageViewed","sequence":1,"x":' + b"[" * 500 + b"]" * 500 + b"}"
    return [
        b"\0" + good,
        b"c" + good,
        b"\x01" + zstd(good),
        b"\x02" + zlib.compress(good, wbits=31),
        b"\0" + bad,
        b"\0" + deep,
        b"\0" + as_written,
        b"\x01" + zstd(as_written),
    ]


def _header_seeds() -> list[bytes]:
    absent = msgspec.json.encode({"PageViewed": {"lost": 2}})
    return [
        b"1\n1-2",
        b"1\n1-10\n" + absent + b"\n" + b"a" * 32,
        b"9223372036854775807\n9223372036854775800-9223372036854775807\n{}",
        b"1\n2-1\n" + b"[" * 300,
    ]


def _proof_seeds() -> list[bytes]:
    claims = msgspec.json.encode(
        {
            "iss": "acme-1",
            "sub": "acme-1",
            "aud": "heliograph-gateway",
            "iat": int(NOW.timestamp()),
            "exp": int(NOW.timestamp()) + 60,
            "jti": "1",
        }
    )
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    return [b"s" + claims, assertion(other, "acme-1", NOW.timestamp(), number="1").encode(), b"Bearer e30.e30.AA"]


def _frame_seeds() -> list[bytes]:
    file = encode_frame(b"header", b"body") + encode_frame(b"", b"x" * 40) + bytes(64)
    return [b"k" + file, b"r" + file, b"r" + bytes(200)]


def _plan_seeds() -> list[bytes]:
    return [SMALL_PLAN.canonical(), b'{"heliograph_plan":1}']


TARGETS: Final[dict[str, Target]] = {
    "arrow": Target(check_arrow, _arrow_seeds),
    "lines": Target(check_lines, _line_seeds),
    "headers": Target(read_headers, _header_seeds),
    "proofs": Target(prove, _proof_seeds),
    "frames": Target(read_all_frames, _frame_seeds),
    "plans": Target(read_plan, _plan_seeds),
}
