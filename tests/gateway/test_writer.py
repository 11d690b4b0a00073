"""The writer: one order for all workers, beside its log and over a link, and who sends for an instance."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import asynccontextmanager, closing
from datetime import date
from typing import TYPE_CHECKING

import pytest

from harness import INSTANCE, as_lines, event
from heliograph.gateway.exporters import Exporters
from heliograph.gateway.link import RemoteWriter, WriterService
from heliograph.gateway.log import Log, LogFullError
from heliograph.gateway.log_entries import Entry, PingEntry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.gateway.writer import LocalWriter, OutOfOrderError, SupersededError, Writer
from heliograph.wire import PingReceipt, Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FIRST, SECOND = "1" * 32, "2" * 32


def open_log(folder: Path, maximum_bytes: int = 1 << 20) -> Log:
    return Log(folder, segment_bytes=64 << 10, maximum_bytes=maximum_bytes, now=lambda: 100.0)


def entry(first: int, last: int, *, epoch: int = 1, exporter: str = "") -> Entry:
    receipt = Receipt(
        instance=INSTANCE,
        epoch=epoch,
        first=first,
        last=last,
        accepted={"PageViewed": last - first + 1},
        rejected={},
        absent={},
        digest="0" * 64,
        agreement="agreement-1",
        received=first,
    )
    return Entry(
        receipt=receipt, account="acme", plan="small@1", content_type="x", content_encoding="zstd", exporter=exporter
    )


def ping(day: int) -> PingEntry:
    receipt = PingReceipt(instance=INSTANCE, day=date(2026, 10, day), digest="0" * 64, agreement=None, received=day)
    return PingEntry(receipt=receipt, account="acme")


def stored(folder: Path) -> list[tuple[int, int]]:
    found = [header for generation in segments(folder) for _, header, _ in read_segment(folder, generation)]
    return [(header.receipt.first, header.receipt.last) for header in found if isinstance(header, Entry)]


@asynccontextmanager
async def workers(log: Log, number: int) -> AsyncIterator[list[RemoteWriter]]:
    """Writers as so many workers in other processes have them."""
    local = LocalWriter(log)
    pairs = [socket.socketpair() for _ in range(number)]
    serving = [asyncio.create_task(WriterService(local, lambda _: None).serve(ours)) for ours, _ in pairs]
    remote = [await RemoteWriter.connect(theirs) for _, theirs in pairs]
    try:
        yield remote
    finally:
        for writer in remote:
            writer.close()
        await asyncio.wait_for(asyncio.gather(*serving), 10)


async def outcome(writer: Writer, what: Entry | PingEntry, body: bytes = b"") -> str:
    try:
        await writer.append(what, body)
    except (OutOfOrderError, SupersededError, LogFullError, OSError) as error:
        return type(error).__name__
    return "stored"


def test_of_many_who_append_the_same_at_once_one_does(tmp_path: Path) -> None:
    async def run(log: Log) -> None:
        async with workers(log, 3) as remote:
            for first in (1, 11, 21):
                ways = [outcome(each, entry(first, first + 9), as_lines([event(first)])) for each in remote * 4]
                outcomes = await asyncio.gather(*ways)
                assert sorted(outcomes) == ["OutOfOrderError"] * 11 + ["stored"]
            assert (await remote[0].standing(INSTANCE, 1)).expected == 31
            assert (await remote[1].account(INSTANCE)).accepted == {"PageViewed": 30}

    with closing(open_log(tmp_path)) as log:
        asyncio.run(run(log))
    assert stored(tmp_path) == [(1, 10), (11, 20), (21, 30)]


def test_where_an_epoch_stands_is_told_once_what_is_being_appended_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(log: Log) -> None:
        async with workers(log, 2) as [one, other]:
            appending = asyncio.create_task(one.append(entry(1, 10), b"body"))
            assert await asyncio.to_thread(slow.wait, 30)
            asking = asyncio.create_task(other.standing(INSTANCE, 1))
            elsewhere = await other.standing(INSTANCE, 2)
            assert elsewhere.expected == 1  # another epoch waits for nobody
            assert not asking.done()
            go_on.set()
            await appending
            assert (await asking).expected == 11

    slow, go_on = threading.Event(), threading.Event()
    to_disk = os.fdatasync

    def slowly(descriptor: int) -> None:
        slow.set()
        assert go_on.wait(30)
        to_disk(descriptor)

    with closing(open_log(tmp_path)) as log:
        monkeypatch.setattr(os, "fdatasync", slowly)
        asyncio.run(run(log))


def test_days_only_rise_whoever_tells_of_them(tmp_path: Path) -> None:
    async def run(log: Log) -> None:
        async with workers(log, 2) as remote:
            assert sorted(await asyncio.gather(*(outcome(each, ping(2)) for each in remote))) == [
                "OutOfOrderError",
                "stored",
            ]
            assert await outcome(remote[0], ping(1)) == "OutOfOrderError"
            latest = await remote[1].latest_ping(INSTANCE)
            assert latest is not None
            assert latest.day == date(2026, 10, 2)

    with closing(open_log(tmp_path)) as log:
        asyncio.run(run(log))


def test_a_worker_hears_what_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(log: Log) -> None:
        async with workers(log, 1) as [writer]:
            assert await outcome(writer, entry(1, 10, exporter=FIRST)) == "stored"
            assert await outcome(writer, entry(1, 10, exporter=SECOND)) == "OutOfOrderError"
            assert await outcome(writer, entry(11, 12, exporter=FIRST)) == "stored"  # a repetition takes nobody's place
            assert await outcome(writer, entry(1, 5, epoch=2, exporter=SECOND)) == "stored"
            assert await outcome(writer, entry(13, 20, exporter=FIRST)) == "SupersededError"
            assert await outcome(writer, entry(13, 20, exporter=SECOND), b"x" * (2 << 20)) == "LogFullError"
            with monkeypatch.context() as patch:
                patch.setattr(os, "fdatasync", refuse)
                assert await outcome(writer, entry(13, 20)) == "OSError"
            assert await outcome(writer, entry(13, 20)) == "stored"

    def refuse(descriptor: int) -> None:
        raise OSError("injected")

    with closing(open_log(tmp_path)) as log:
        asyncio.run(run(log))
    assert stored(tmp_path).count((13, 20)) >= 1


def test_a_worker_whose_writer_has_ended_waits_for_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        writer = await RemoteWriter.connect(theirs)
        asking = asyncio.create_task(writer.standing(INSTANCE, 1))
        await asyncio.sleep(0)
        ours.close()
        with pytest.raises(OSError, match="ended"):
            await asking
        await writer.ended
        with pytest.raises(OSError, match="ended"):
            await writer.append(entry(1, 1), b"")
        writer.close()

    asyncio.run(run())


def test_what_a_worker_has_handed_over_is_stored_though_it_dies(tmp_path: Path) -> None:
    async def run(log: Log) -> None:
        async with workers(log, 1) as [writer]:
            appending = asyncio.create_task(writer.append(entry(1, 10), b"body"))
            await asyncio.sleep(0)
            writer.close()
            with pytest.raises(OSError, match="ended"):
                await appending

    with closing(open_log(tmp_path)) as log:
        asyncio.run(run(log))
    assert stored(tmp_path) == [(1, 10)]


def test_who_sends_is_known_after_a_restart_and_in_the_next_segment(tmp_path: Path) -> None:
    with closing(open_log(tmp_path)) as log:
        writer = LocalWriter(log)
        asyncio.run(writer.append(entry(1, 10, exporter=FIRST), b""))
        asyncio.run(writer.append(entry(11, 20, exporter=SECOND), b""))
    for _ in range(2):  # from the frames, then from a checkpoint alone
        with closing(open_log(tmp_path)) as log:
            assert log.exporters == {INSTANCE: Exporters(current=SECOND, superseded=[FIRST])}
            with pytest.raises(SupersededError):
                asyncio.run(LocalWriter(log).append(entry(21, 30, exporter=FIRST), b""))
    assert stored(tmp_path) == [(1, 10), (11, 20)]
