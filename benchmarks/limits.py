"""What the machine itself can do: the disk, memory, TLS, zstd; bodies decoded alone; and checked without a server."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
import trustme
import zstandard

from figures import DiskFigures, Latency, LimitFigures, Spread, Stopwatch
from heliograph.gateway.bodies import BodyChecker
from heliograph.gateway.machine_code import gateway_code, line_code
from validation import plain_types, slices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.plan.model import Plan
    from workload import Series

_BLOCK: Final = os.urandom(64 << 10)
_MOST_INFLATED: Final = 64 << 20


def measure_disk(folder: Path, seconds: float) -> DiskFigures:
    """Write blocks one after the other, each forced to disk, for `seconds` in all."""
    path = folder / "disk"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        append = _write(descriptor, seconds / 2, blocks=None)
        overwrite = _write(descriptor, seconds / 2, blocks=append.calls)
    finally:
        os.close(descriptor)
        path.unlink()
    return DiskFigures(block_bytes=len(_BLOCK), append=append, overwrite=overwrite)


def _write(descriptor: int, seconds: float, *, blocks: int | None) -> Latency:
    """Write at rising offsets; with `blocks`, begin anew after so many."""
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while not durations or time.perf_counter() < end:
        place = len(durations) if blocks is None else len(durations) % blocks
        start = time.perf_counter()
        os.pwrite(descriptor, _BLOCK, place * len(_BLOCK))
        os.fdatasync(descriptor)
        durations.append(time.perf_counter() - start)
    return Latency.of(durations)


def measure_decoding(plan: Plan, series: Series, seconds: float, rounds: int) -> Spread:
    """Inflate and check the bodies again and again, as the gateway does, and return events per processor second."""
    checker = BodyChecker(plan, gateway_code().ready(), line_code().ready())
    latest = datetime.now(UTC) + timedelta(minutes=15)

    def check_all() -> int:
        events = 0
        for body in series.bodies:
            kind = series.format
            checked = checker.check(body, kind.encoding, kind.content_type, most=_MOST_INFLATED, latest=latest)
            events += sum(checked.accepted.values())
        return events

    check_all()
    return Spread.of([_rate(check_all, seconds) for _ in range(rounds)])


def measure_limits(plan: Plan, arrow: Series, lines: Series, seconds: float, rounds: int) -> LimitFigures:
    """Measure what nobody can leave out, each for `seconds`."""
    contents = [zstandard.ZstdDecompressor().decompress(body) for body in arrow.bodies]
    plain = msgspec.json.Decoder(plain_types(plan))

    def read_arrow() -> int:
        for body in arrow.bodies:
            content = zstandard.ZstdDecompressor().decompress(body)
            with pa.ipc.open_stream(pa.BufferReader(content)) as reader:
                for batch in reader:
                    batch.validate(full=True)
        return arrow.batch_events * len(arrow.bodies)

    def read_lines() -> int:
        for body in lines.bodies:
            for piece in slices(zstandard.ZstdDecompressor().decompress(body)):
                plain.decode_lines(piece)
        return lines.batch_events * len(lines.bodies)

    def decompress() -> int:
        return sum(len(zstandard.ZstdDecompressor().decompress(body)) for body in arrow.bodies)

    def copy() -> int:
        return sum(len(bytearray(content)) for content in contents)

    def rates(do: Callable[[], int]) -> Spread:
        return Spread.of([_rate(do, seconds) for _ in range(rounds)])

    return LimitFigures(
        copy_bytes_per_cpu_second=rates(copy),
        tls_bytes_per_cpu_second=Spread.of([_decrypt(seconds) for _ in range(rounds)]),
        zstd_bytes_per_cpu_second=rates(decompress),
        arrow_per_cpu_second=rates(read_arrow),
        json_per_cpu_second=rates(read_lines),
    )


def _rate(do: Callable[[], int], seconds: float) -> float:
    """Return what `do` does in a second of the processor."""
    watch = Stopwatch()
    done = do()
    while watch.clock() < seconds:
        done += do()
    return done / watch.processor()


def _decrypt(seconds: float) -> float:
    """Return bytes of TLS 1.3 decrypted in a second of the processor; encrypting them is not counted."""
    authority = trustme.CA()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname="localhost")
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    taken, done = 0.0, 0
    end = time.perf_counter() + seconds
    while done == 0 or time.perf_counter() < end:
        client.write(_BLOCK)
        start = time.process_time()
        left = len(_BLOCK)
        while left:
            left -= len(server.read(left))
        taken += time.process_time() - start
        done += len(_BLOCK)
    return done / taken
