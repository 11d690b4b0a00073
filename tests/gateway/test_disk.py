"""The log's disk in trouble: full, slow, failing, and a loader that is behind. Never acknowledged and lost."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from harness import INSTANCE, Vendor, as_lines, deliver, event, zstd
from heliograph.gateway.log_reading import RELEASED, read_accounts, segments
from heliograph.wire import NDJSON

if TYPE_CHECKING:
    import httpx
    import pytest


def send(http: httpx.Client, number: int, *, epoch: int = 1, content: bytes | None = None) -> httpx.Response:
    body = content or zstd(as_lines([event(number)]))
    return deliver(http, body, epoch=epoch, numbers=(number, number), content_type=NDJSON)


def padded(number: int, size: int) -> bytes:
    """A delivery of one event whose body has `size` bytes: what follows the event is white space."""
    line = as_lines([event(number)])
    return line + b" " * (size - len(line))


def stored(vendor: Vendor) -> list[tuple[int, int]]:
    return [(entry.receipt.epoch, entry.receipt.first) for entry, _ in vendor.entries()]


def must_wait(answer: httpx.Response, status: int, reason: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, reason)
    assert int(answer.headers["retry-after"]) >= 1


def log_folder(vendor: Vendor) -> Path:
    return Path(vendor.settings.gateway.log)


def test_on_a_full_disk_nothing_is_acknowledged_and_with_room_again_it_goes_on_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)

    def no_room(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with vendor.running(), vendor.http() as http, structlog.testing.capture_logs() as messages:
        acknowledged = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", no_room)
            while (answer := send(http, acknowledged + 1)).is_success:
                acknowledged += 1
            for _ in range(3):
                must_wait(answer, 507, "log_full")
                answer = send(http, acknowledged + 1)
        before = stored(vendor)
        assert before == [(1, number) for number in range(1, acknowledged + 1)]
        assert send(http, acknowledged + 1).json()["duplicate"] is False
        assert read_accounts(log_folder(vendor))[INSTANCE].expected(1) == acknowledged + 2
    told = [message["event"] for message in messages if message["event"].startswith("the log")]
    assert told == ["the log is full", "the log has room again"]


def test_a_loader_that_is_behind_is_told_of_before_the_log_is_full_and_nothing_is_lost(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096, maximum_log_bytes=40_960)
    with vendor.running(), vendor.http() as http, structlog.testing.capture_logs() as messages:
        acknowledged = 0
        while (answer := send(http, acknowledged + 1)).is_success:
            acknowledged += 1
        must_wait(answer, 507, "log_full")
        fills = [message for message in messages if message["event"].startswith("the log")]
        assert [message["event"] for message in fills] == ["the log fills up", "the log is full"]
        assert 80 <= fills[0]["percent"] < fills[1]["percent"] <= 100
        assert stored(vendor) == [(1, number) for number in range(1, acknowledged + 1)]
        (log_folder(vendor) / RELEASED).write_text(str(segments(log_folder(vendor))[-2]))  # the loader has caught up
        assert send(http, acknowledged + 1).is_success
        assert read_accounts(log_folder(vendor))[INSTANCE].expected(1) == acknowledged + 2


def test_a_failing_fsync_is_never_acknowledged_and_a_new_segment_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Vendor(tmp_path)
    to_disk = os.fdatasync
    failures = [OSError(errno.EIO, "injected")] * 2

    def failing(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        to_disk(descriptor)

    with vendor.running(), vendor.http() as http:
        assert send(http, 1).is_success
        before = segments(log_folder(vendor))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing)
            for _ in range(2):
                must_wait(send(http, 2), 503, "unavailable")
            assert http.get("/v1/account").json()["latest"]["1"]["last"] == 1
            answer = send(http, 2)
        assert answer.json()["duplicate"] is False
        after = segments(log_folder(vendor))
    assert len(after) == len(before) + 2
    assert read_accounts(log_folder(vendor))[INSTANCE].accepted == {"SearchSubmitted": 2}


def test_on_a_slow_disk_what_waits_is_bounded_and_all_that_was_acknowledged_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 8_192
    vendor = Vendor(tmp_path, maximum_pending_bytes=16 * size)  # four of one instance
    go_on, slow = threading.Event(), threading.Event()
    to_disk = os.fdatasync

    def slowly(descriptor: int) -> None:
        slow.set()
        assert go_on.wait(60)
        to_disk(descriptor)

    with vendor.running(), vendor.http() as http, ThreadPoolExecutor(12) as pool:
        token = http.headers["authorization"]

        def attempt(epoch: int) -> Any:
            with vendor.http() as own:
                own.headers["authorization"] = token
                headers = {"content-type": NDJSON, "heliograph-epoch": str(epoch), "heliograph-range": "1-1"}
                return own.post("/v1/events", headers=headers, content=padded(1, size))

        warm = attempt(99)
        assert warm.is_success
        monkeypatch.setattr(os, "fdatasync", slowly)
        ways = [pool.submit(attempt, epoch) for epoch in range(1, 13)]
        assert slow.wait(60)
        refused: list[httpx.Response] = []
        while len(refused) < 8:  # the others wait for the disk
            refused = [way.result() for way in ways if way.done()]
        for answer in refused:
            must_wait(answer, 429, "too_many_at_once")
        go_on.set()
        answers = [way.result() for way in ways]
        acknowledged = {epoch for epoch, answer in enumerate(answers, 1) if answer.is_success}
        assert len(acknowledged) == 4
        assert {epoch for epoch, _ in stored(vendor)} == acknowledged | {99}
        assert all(attempt(epoch).is_success for epoch in range(1, 13))  # those that were told to wait come again
    assert sorted(stored(vendor)) == [(epoch, 1) for epoch in [*range(1, 13), 99]]
