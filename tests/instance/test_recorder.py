"""Recording: it never raises into the product, counts what it drops, and what it took survives the process."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heliograph
import heliograph.instance.recorder as recorder_module
from heliograph.event import UNDECLARED, Verdict
from heliograph.instance import recorder_lock
from heliograph.instance.notice import NOTICE_FILE, NoticeWriter
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.recorder import Recorder
from heliograph.settings import RecorderSettings
from heliograph.testing import MemoryRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def recorder(outbox: Path) -> Iterator[Recorder]:
    recorder = Recorder(RecorderSettings(outbox=str(outbox)), version="5.3.1", source="web")
    yield recorder
    recorder.close()


def recorded(outbox: Path) -> list[dict[str, Any]]:
    lines = [line for reader in read_epochs(outbox) for line in reader.read(START, 1_000_000).lines]
    return [json.loads(line) for line in lines]


def test_an_event_is_in_the_outbox_as_soon_as_record_returns(recorder: Recorder, outbox: Path) -> None:
    moment = datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert recorder.record(
        "SearchSubmitted", user=42, session="s-1", time=moment, pattern_type="regexp", duration_ms=41
    )
    assert recorded(outbox) == [
        {
            "name": "SearchSubmitted",
            "sequence": 1,
            "time": "2026-10-01T12:00:00Z",
            "user": "42",
            "session": "s-1",
            "outcome": "ok",
            "version": "5.3.1",
            "source": "web",
            "pattern_type": "regexp",
            "duration_ms": 41,
        }
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(
    name=anything,
    what=st.dictionaries(
        st.sampled_from(["user", "session", "outcome", "time", "source", "pattern_type", "sequence", "name", "x y"]),
        anything,
        max_size=4,
    ),
)
def test_whatever_a_product_passes_nothing_is_raised_and_every_call_is_counted(
    tmp_path_factory: pytest.TempPathFactory, name: Any, what: dict[str, Any]
) -> None:
    outbox = tmp_path_factory.mktemp("outbox")
    recorder = Recorder(RecorderSettings(outbox=str(outbox)))
    taken = recorder.record(name, **what)
    dropped = sum(sum(verdicts.values()) for verdicts in recorder.dropped.values())
    assert (sum(recorder.recorded.values()), dropped) == ((1, 0) if taken else (0, 1))
    recorder.close()
    assert len(recorded(outbox)) == taken


def test_a_reserved_name_or_a_nested_value_is_dropped_under_its_reason(recorder: Recorder) -> None:
    assert not recorder.record("Opened", query={"text": "private"})  # type: ignore[arg-type]
    assert not recorder.record("Opened", account="acme")
    assert not recorder.record("not a name")
    assert recorder.dropped == {
        "Opened": {Verdict.UNRECORDABLE: 2},
        UNDECLARED: {Verdict.UNRECORDABLE: 1},
    }


def test_a_text_that_no_plan_could_allow_is_not_recorded(recorder: Recorder) -> None:
    assert not recorder.record("Opened", pattern_type="x" * 1_000_000)
    assert not recorder.record("Opened", user="x" * 1_000_000)
    assert recorder.dropped == {"Opened": {Verdict.UNRECORDABLE: 2}}


def test_a_recorder_goes_on_once_others_have_emptied_an_overfull_outbox(tmp_path: Path) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path), maximum_bytes=300_000, sync_milliseconds=5))
    assert recorder.record("Opened")
    ballast = tmp_path / "of-many-other-writers"
    ballast.write_bytes(bytes(1_000_000))
    while recorder.record("Opened"):
        recorder._measure()
    recorder._measure()
    ballast.unlink()
    recorder._measure()
    assert recorder.record("Opened")
    ballast.write_bytes(bytes(1_000_000))
    recorder._measure()
    assert not recorder.record("Opened")
    recorder.close()


def test_a_process_without_free_descriptors_cannot_flush_and_is_told_so(recorder: Recorder) -> None:
    assert recorder.record("Opened")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert not recorder.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert recorder.flush()


@pytest.mark.parametrize("noticed_by", ["the caller", "the thread that keeps flushing"])
def test_what_a_disk_may_have_lost_is_told_and_nothing_is_written_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noticed_by: str
) -> None:
    quiet = 60_000 if noticed_by == "the caller" else 1
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path), sync_milliseconds=quiet))
    with failing_disk(monkeypatch) as failed:
        assert recorder.record("Opened")
        if noticed_by != "the caller":
            assert failed.wait(10)
        assert not recorder.flush()
    # The kernel tells of it once: from here on the disk says that all is well.
    assert recorder.record("Opened")
    assert recorder.flush()
    recorder.close()
    before, after = read_epochs(tmp_path)
    assert [len(each.read(START, 1_000).lines) for each in (before, after)] == [1, 1]


def test_a_segment_that_cannot_be_finished_is_the_last_of_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path), maximum_bytes=100_000, sync_milliseconds=60_000))
    taken = 0
    with failing_disk(monkeypatch) as failed:
        while not failed.is_set():
            taken += recorder.record("Opened", user="x" * 200)
    assert recorder.record("Opened")
    assert not recorder.flush()
    assert recorder.flush()
    recorder.close()
    # Of two epochs of one millisecond either may be the first.
    after, before = sorted(read_epochs(tmp_path), key=lambda each: len(each.read(START, 1_000).lines))
    assert len(before.read(START, 1_000).lines) == taken > 1
    chunk = after.read(START, 1_000)
    assert (len(chunk.lines), chunk.dropped) == (1, {"Opened": {Verdict.OUTBOX_FAILED: 1}})


@contextmanager
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let nothing be forced to disk inside the block, and say when it was tried."""
    tried = threading.Event()

    def fail(_: int) -> None:
        tried.set()
        raise OSError(errno.EIO, "the disk failed")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        yield tried


def test_a_full_outbox_drops_new_events_and_says_how_many(tmp_path: Path) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path), maximum_bytes=4_000))
    taken = sum(recorder.record("Opened") for _ in range(200))
    assert 0 < taken < 200
    assert recorder.dropped == {"Opened": {Verdict.OUTBOX_FULL: 200 - taken}}
    recorder.close()
    [reader] = read_epochs(tmp_path)
    chunk = reader.read(START, 1_000)
    assert (len(chunk.lines), chunk.dropped) == (taken, {"Opened": {Verdict.OUTBOX_FULL: 200 - taken}})


def test_a_disk_that_refuses_costs_events_and_no_exception(tmp_path: Path) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path / "outbox")))
    assert recorder.record("Opened")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, limit[1]))
    try:
        taken = sum(recorder.record("Opened") for _ in range(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, previous)
    assert recorder.dropped == {"Opened": {Verdict.OUTBOX_FAILED: 20 - taken}}
    assert recorder.record("Opened")  # it goes on where it stopped: the torn frame is written over
    recorder.close()
    assert [event["sequence"] for event in recorded(tmp_path / "outbox")] == list(range(1, taken + 3))


def test_an_outbox_that_cannot_be_made_is_a_counted_drop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path / "file" / "outbox")))
    assert not recorder.record("Opened")
    assert recorder.dropped == {"Opened": {Verdict.OUTBOX_FAILED: 1}}
    assert recorder.flush()


def test_threads_share_a_recorder_and_no_number_is_given_twice(recorder: Recorder, outbox: Path) -> None:
    def work() -> None:
        for _ in range(300):
            recorder.record("Opened", user=threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event["sequence"] for event in recorded(outbox)] == list(range(1, 1_201))


def test_a_forked_child_records_into_an_epoch_of_its_own(recorder: Recorder, outbox: Path) -> None:
    recorder.record("Opened", user=1)
    child = os.fork()
    if child == 0:
        for _ in range(3):
            recorder.record("Opened", user=2)
        recorder.close()
        os._exit(0)
    os.waitpid(child, 0)
    recorder.record("Opened", user=1)
    mine, its = read_epochs(outbox)
    assert Counter(json.loads(line)["user"] for line in mine.read(START, 10).lines) == {"1": 2}
    assert Counter(json.loads(line)["user"] for line in its.read(START, 10).lines) == {"2": 3}
    assert its.is_closed()
    assert not mine.is_closed()


def run_product(outbox: Path, program: str) -> subprocess.Popen[str]:
    script = f"""
import os, sys, heliograph
from heliograph.settings import RecorderSettings
heliograph.configure(heliograph.Recorder(RecorderSettings(outbox={str(outbox)!r})))
{program}
"""
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


def test_what_was_recorded_survives_a_killed_product(outbox: Path) -> None:
    product = run_product(
        outbox,
        "n = 0\nwhile True:\n    n += heliograph.record('Opened')\n    sys.stdout.write(f'{n}\\n'); sys.stdout.flush()",
    )
    assert product.stdout is not None
    said = [int(product.stdout.readline()) for _ in range(500)][-1]
    product.send_signal(signal.SIGKILL)
    rest = product.communicate()[0].split("\n")
    said = max([said, *(int(line) for line in rest[:-1] if line)])
    numbers = [event["sequence"] for event in recorded(outbox)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert said <= len(numbers) <= said + 1
    assert all(reader.is_closed() for reader in read_epochs(outbox))


def test_a_product_that_ends_leaves_its_epoch_finished_with_its_drops(outbox: Path) -> None:
    product = run_product(outbox, "heliograph.record('Opened')\nheliograph.record('no name')")
    product.communicate()
    assert product.returncode == 0
    [reader] = read_epochs(outbox)
    assert reader.is_closed()
    assert reader.read(START, 10).dropped == {UNDECLARED: {Verdict.UNRECORDABLE: 1}}


def test_recording_without_any_settings_that_work_is_silent_for_the_product(tmp_path: Path) -> None:
    script = "import heliograph; print(heliograph.record('Opened'), heliograph.record('Opened'))"
    environment = os.environ | {"HELIOGRAPH_CONFIG": "", "HELIOGRAPH_RECORDER_MAXIMUM_BYTES": "none"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"
    assert done.stderr.count("nothing is recorded") == 1


def test_a_products_test_can_look_at_what_it_recorded() -> None:
    memory = MemoryRecorder()
    heliograph.configure(memory)
    try:
        assert heliograph.record("SearchSubmitted", user=1, pattern_type="regexp")
    finally:
        heliograph.configure(None)
    assert memory.names() == ["SearchSubmitted"]
    assert memory.events[0].properties == {"pattern_type": "regexp"}
    with pytest.raises(AssertionError, match="reserved"):
        memory.record("SearchSubmitted", epoch=3)


@pytest.mark.parametrize(
    ("span", "milliseconds"),
    [
        (timedelta(seconds=1, milliseconds=500), 1_500),
        (timedelta(microseconds=499), 0),
        (timedelta(microseconds=501), 1),
        (timedelta(microseconds=1_500), 2),
        (timedelta(microseconds=2_500), 2),
        (timedelta(microseconds=-1_500), -2),
        (timedelta.max, 86_400_000_000_000_000),
    ],
)
def test_a_span_of_time_is_recorded_in_whole_milliseconds(
    recorder: Recorder, outbox: Path, span: timedelta, milliseconds: int
) -> None:
    memory = MemoryRecorder()
    for each in (recorder, memory):
        assert each.record("SearchSubmitted", duration_ms=span)
    assert recorded(outbox)[0]["duration_ms"] == memory.events[0].properties["duration_ms"] == milliseconds


def test_importing_the_recorder_loads_nothing_heavy() -> None:
    script = "import sys, heliograph; print(sorted(m for m in sys.modules if m in set(sys.argv[1:])))"
    heavy = ["pyarrow", "numpy", "httpx", "cryptography", "duckdb", "sqlalchemy", "typer", "zstandard", "psycopg"]
    done = subprocess.run([sys.executable, "-c", script, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def lines_of(outbox: Path) -> list[bytes]:
    """The lines as they stand in the outbox."""
    readers = read_epochs(outbox)
    chunks = [reader.read(START, 1_000_000) for reader in readers]
    return [line for chunk in chunks for line in chunk.body.split(b"\n") if line]


def test_lines_are_plain_until_the_agent_says_that_it_reads_compact_ones(outbox: Path) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(outbox)), version="5.3.1", source="web", look_seconds=1e9)
    now = datetime.now(UTC)
    properties: dict[str, Any] = {"duration_ms": timedelta(milliseconds=41), "pattern_type": "regexp"}
    longest = "u" * 70_000

    def record() -> None:
        recorder.record("SearchSubmitted", user=42, time=now, **properties)
        assert not recorder.record("SearchSubmitted", user=longest, time=now)

    record()
    NoticeWriter(outbox, keep_local=False).tell("events", until=now + timedelta(days=1), now=now)
    recorder._watch.look()
    record()
    older = {"level": "events", "until": now + timedelta(days=2)}  # as an agent wrote it that knew of no compact lines
    (outbox / NOTICE_FILE).write_bytes(msgspec.json.encode(older))
    recorder._watch.look()
    record()
    recorder.close()
    assert [line[:1] for line in lines_of(outbox)] == [b"{", b"[", b"{"]
    events = recorded(outbox)
    assert [event.pop("sequence") for event in events] == [1, 2, 3]
    assert events[0] == events[1] == events[2]
    assert recorder.recorded == {"SearchSubmitted": 3}


@pytest.mark.parametrize("seconds", [60.0, 0.0])
def test_those_who_meet_the_first_call_of_a_process_wait_for_it_so_long_and_no_longer(
    outbox: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    opening, go_on = threading.Event(), threading.Event()

    class SlowlyOpened(EpochWriter):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            opening.set()
            assert go_on.wait(60)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(recorder_module, "EpochWriter", SlowlyOpened)
    monkeypatch.setattr(recorder_lock, "OPENING_SECONDS", seconds)
    recorder = Recorder(RecorderSettings(outbox=str(outbox)))
    first = threading.Thread(target=recorder.record, args=("PageViewed",))
    first.start()
    assert opening.wait(60)
    if seconds:
        threading.Timer(0.2, go_on.set).start()  # longer than others wait at any other time
        assert recorder.record("PageViewed")
    else:
        assert not recorder.record("PageViewed")
        go_on.set()
    first.join()
    assert recorder.recorded == {"PageViewed": 2 if seconds else 1}
    assert recorder.dropped == ({} if seconds else {"PageViewed": {Verdict.RECORDER_BUSY: 1}})
    recorder.close()


@pytest.mark.parametrize("get_on", [True, False])
def test_a_call_waits_for_its_turn_as_long_as_others_get_on(
    outbox: Path, monkeypatch: pytest.MonkeyPatch, *, get_on: bool
) -> None:
    monkeypatch.setattr(recorder_lock, "_LOCK_SECONDS", 0.3 if get_on else 0.01)
    recorder = Recorder(RecorderSettings(outbox=str(outbox)), look_seconds=1e9)
    assert recorder.record("PageViewed")
    said: list[bool] = []
    waiting = threading.Thread(target=lambda: said.append(recorder.record("PageViewed")))
    writer = recorder._writer
    assert writer is not None
    with recorder._lock:
        waiting.start()
        if get_on:
            for _ in range(80):
                writer.append_plain(["PageViewed", 0, datetime.now(UTC), *[None] * 6, {}])
                waiting.join(0.01)
        else:
            waiting.join()
    waiting.join()
    assert said == [get_on]
    recorder.close()
