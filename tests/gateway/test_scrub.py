"""The scrub of the log: what the loader has taken is deleted and not used again, and nothing else changes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness import INSTANCE, as_lines, event
from heliograph.frames import write_atomically
from heliograph.gateway import log as log_module
from heliograph.gateway.log import Log, LogFullError
from heliograph.gateway.log_entries import Entry, Stored
from heliograph.gateway.log_reading import RELEASED, read_accounts, segment_path, segments
from heliograph.gateway.scrub import look_through, request_scrub
from heliograph.wire import NDJSON, Receipt

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_SCRUB_SECONDS", 0.005)


def open_log(folder: Path, *, maximum_bytes: int = 1 << 20) -> Log:
    return Log(folder, segment_bytes=4_096, maximum_bytes=maximum_bytes, now=lambda: 100.0)


def append(log: Log, first: int, last: int | None = None) -> None:
    for number in range(first, (last or first) + 1):
        receipt = Receipt(
            instance=INSTANCE, epoch=1, first=number, last=number, accepted={"SearchSubmitted": 1}, rejected={},
            absent={}, digest="", agreement="agreement-1", received=number,
        )  # fmt: skip
        entry = Entry(receipt=receipt, account="acme", plan="small@1", content_type=NDJSON, content_encoding="")
        asyncio.run(log.append(entry, as_lines([event(number)])))


def release(folder: Path, generation: int) -> None:
    write_atomically(folder / RELEASED, str(generation).encode())


def wait_until(condition: Any) -> None:
    waiting = threading.Event()
    while not condition():
        waiting.wait(0.005)


def first_of(entry: Stored) -> int:
    assert isinstance(entry, Entry)
    return entry.receipt.first


def numbers(folder: Path) -> list[int]:
    found = look_through(folder, threading.Event().wait)
    return [first_of(entry) for segment in found for entry, _ in segment.entries]


def remains(folder: Path) -> list[int]:
    found = look_through(folder, lambda _: None)
    return [segment.remains for segment in found if segment.remains is not None]


def test_an_idle_gateway_begins_a_fresh_segment_and_deletes_what_the_loader_has_taken(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 40)
    newest = max(segments(tmp_path))
    assert len(segments(tmp_path)) > 2
    request_scrub(tmp_path, newest)
    wait_until(lambda: max(segments(tmp_path)) == newest + 1)
    assert numbers(tmp_path) == list(range(1, 41))  # nothing goes before it is released
    release(tmp_path, newest + 1)
    wait_until(lambda: segments(tmp_path) == [newest + 1])
    assert remains(tmp_path) == []
    append(log, 41)
    log.close()
    assert read_accounts(tmp_path)[INSTANCE].accepted == {"SearchSubmitted": 41}


def test_a_busy_gateway_does_it_between_deliveries(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 10)
    newest = max(segments(tmp_path))
    request_scrub(tmp_path, newest)
    release(tmp_path, newest + 1)
    number = 10
    while min(segments(tmp_path)) <= newest:
        number += 1
        append(log, number)
    log.close()
    assert read_accounts(tmp_path)[INSTANCE].latest[1].last == number


def test_after_a_scrub_segments_are_used_again(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 10)
    newest = max(segments(tmp_path))
    request_scrub(tmp_path, newest)
    release(tmp_path, newest + 1)
    wait_until(lambda: min(segments(tmp_path)) > newest)
    append(log, 11, number := 40)
    release(tmp_path, max(segments(tmp_path)))
    while not remains(tmp_path):
        append(log, number := number + 1)
    log.close()


def test_a_start_after_a_crash_goes_on_with_the_scrub(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 40)
    log.close()
    newest = max(segments(tmp_path))
    request_scrub(tmp_path, newest)
    release(tmp_path, newest)
    log = open_log(tmp_path)  # begins a segment, and the released ones are no place for it
    assert remains(tmp_path) == []
    release(tmp_path, newest + 1)
    wait_until(lambda: segments(tmp_path) == [newest + 1])
    log.close()
    assert read_accounts(tmp_path)[INSTANCE].accepted == {"SearchSubmitted": 40}


@pytest.mark.parametrize("word", ["99999999999", "x", ""])
def test_a_word_on_another_log_or_none_is_not_heard(tmp_path: Path, word: str) -> None:
    (tmp_path / "scrub").write_text(word)
    log = open_log(tmp_path)
    append(log, 1, 5)
    log._scrub()
    log.close()
    assert numbers(tmp_path) == [1, 2, 3, 4, 5]


def test_a_full_log_goes_on_where_it_stood_and_is_scrubbed_when_there_is_room(tmp_path: Path) -> None:
    log = open_log(tmp_path, maximum_bytes=2 * 4_096)
    with pytest.raises(LogFullError):
        append(log, 1, 1_000)
    number = log.account(INSTANCE).expected(1)
    newest = max(segments(tmp_path))
    request_scrub(tmp_path, newest)
    log._next_look = 0.0
    release(tmp_path, newest)
    wait_until(lambda: max(segments(tmp_path)) == newest + 1)
    release(tmp_path, newest + 1)
    wait_until(lambda: segments(tmp_path) == [newest + 1])
    append(log, number)
    log.close()
    assert read_accounts(tmp_path)[INSTANCE].accepted == {"SearchSubmitted": number}


def test_the_loaders_word_on_a_segment_that_was_given_up_never_costs_the_newest_one(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 5)
    newest = max(segments(tmp_path))
    release(tmp_path, newest + 1)
    assert newest not in log._released()
    log.close()


def test_remains_in_a_segment_are_told_from_its_frames(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 3)
    log.close()
    path = segment_path(tmp_path, max(segments(tmp_path)))
    whole = path.read_bytes()
    for place in (len(whole) - 1, len(whole.rstrip(b"\0")) + 1):
        path.write_bytes(whole[:place] + b"x" + whole[place + 1 :])
        (segment,) = look_through(tmp_path, lambda _: None)
        assert segment.remains == place
        assert len(segment.entries) == 3


def test_a_frame_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append(log, 1, 3)
    log.close()
    path = segment_path(tmp_path, max(segments(tmp_path)))
    whole = path.read_bytes()
    torn = whole[: len(whole.rstrip(b"\0")) - 5]
    path.write_bytes(torn + bytes(len(whole) - len(torn)))
    (segment,) = look_through(tmp_path, lambda _: path.write_bytes(whole))
    assert segment.remains is None
    assert [first_of(entry) for entry, _ in segment.entries] == [1, 2, 3]
