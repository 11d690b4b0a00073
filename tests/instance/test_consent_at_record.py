"""What a recorder is told of consent: it drops what may not be, and looks for that beside recording, not within."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import heliograph
from heliograph.event import Verdict
from heliograph.instance.notice import NOTICE_FILE, Notice, NoticeWriter, forbids_tracking, read_notice
from heliograph.instance.opt_outs import OPT_OUTS_FILE, OptOutsFile
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.recorder import Recorder
from heliograph.settings import RecorderSettings
from heliograph.testing import MemoryRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFF = {"Opened": {Verdict.NOT_PERMITTED: 1}}
OUT = {"Opened": {Verdict.OPTED_OUT: 1}}


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def make_recorder(outbox: Path, clock: Clock, **fields: Any) -> Recorder:
    """A recorder whose thread looks when the test says so."""
    settings = RecorderSettings(outbox=str(outbox))
    return Recorder(settings, **{"now": clock, "environment": {}, "look_seconds": 1e9, **fields})


@pytest.fixture
def recorder(outbox: Path, clock: Clock) -> Iterator[Recorder]:
    recorder = make_recorder(outbox, clock)
    yield recorder
    recorder.close()


def tell(outbox: Path, level: Any, *, keep_local: bool = False, until: datetime = NOW + HOUR) -> None:
    NoticeWriter(outbox, keep_local=keep_local).tell(level, until=until, now=NOW)


def names(outbox: Path) -> list[str]:
    lines = [line for reader in read_epochs(outbox) for line in reader.read(START, 1_000_000).lines]
    return [json.loads(line)["name"] for line in lines]


def test_at_off_nothing_is_recorded_and_every_call_is_counted(recorder: Recorder, outbox: Path) -> None:
    tell(outbox, "off")
    assert not recorder.record("Opened", user=1)
    assert recorder.dropped == OFF
    recorder.close()
    assert names(outbox) == []
    [reader] = read_epochs(outbox)
    assert reader.read(START, 10).dropped == OFF  # so that the account of the instance has it


@pytest.mark.parametrize("level", ["critical", "events", None])
def test_at_any_other_word_events_are_recorded(recorder: Recorder, outbox: Path, level: str | None) -> None:
    tell(outbox, level)
    assert recorder.record("Opened")


def test_without_a_notice_events_wait_in_the_outbox(recorder: Recorder, outbox: Path) -> None:
    assert recorder.record("Opened")
    assert names(outbox) == ["Opened"]


def test_a_change_is_honoured_at_the_next_look_and_not_before(recorder: Recorder, outbox: Path) -> None:
    assert recorder.record("Opened")
    tell(outbox, "off")
    assert recorder.record("Opened")
    recorder._watch.look()
    assert not recorder.record("Opened")
    tell(outbox, "events")
    recorder._watch.look()
    assert recorder.record("Opened")
    assert (recorder.recorded, recorder.dropped) == ({"Opened": 3}, OFF)


def test_the_thread_looks_by_itself(outbox: Path, clock: Clock) -> None:
    recorder = make_recorder(outbox, clock, look_seconds=0.001)
    assert recorder.record("Opened")
    tell(outbox, "off")
    silenced = threading.Event()
    while not silenced.is_set():  # the test's own time limit ends it
        if not recorder.record("Opened"):
            silenced.set()
    assert recorder.dropped == OFF
    recorder.close()


def test_a_word_whose_time_is_over_is_nothing_known(recorder: Recorder, outbox: Path, clock: Clock) -> None:
    tell(outbox, "off")
    assert not recorder.record("Opened")
    clock.now = NOW + HOUR
    recorder._watch.look()
    assert recorder.record("Opened")


@pytest.mark.parametrize("content", [b"", b"{", b'{"level":"off"}', b'{"level":"none","until":"2027-01-01T00:00:00Z"}'])
def test_a_damaged_notice_is_nothing_known(recorder: Recorder, outbox: Path, content: bytes) -> None:
    outbox.mkdir()
    (outbox / NOTICE_FILE).write_bytes(content)
    assert recorder.record("Opened")


def test_a_notice_of_a_later_version_is_understood_as_far_as_it_goes(outbox: Path) -> None:
    outbox.mkdir()
    (outbox / NOTICE_FILE).write_text('{"level":"off","until":"2026-11-01T01:00:00","since":1}')
    assert read_notice(outbox) == Notice(level="off", until=NOW + HOUR)


def test_what_the_admin_keeps_for_local_use_is_recorded_at_off(recorder: Recorder, outbox: Path) -> None:
    tell(outbox, "off", keep_local=True)
    assert recorder.record("Opened")


@pytest.mark.parametrize(
    ("value", "forbidden"),
    [("1", True), ("true", True), ("yes", True), ("", False), ("0", False), ("false", False), ("FALSE", False)],
)
def test_do_not_track_in_the_products_environment_drops_everything(
    outbox: Path, clock: Clock, value: str, forbidden: bool
) -> None:
    assert forbids_tracking({"DO_NOT_TRACK": value}) is forbidden
    tell(outbox, "events", keep_local=True)
    recorder = make_recorder(outbox, clock, environment={"DO_NOT_TRACK": value})
    assert recorder.record("Opened") is not forbidden
    assert recorder.dropped == (OFF if forbidden else {})
    recorder.close()


def test_the_notice_is_written_only_when_there_is_something_new_or_its_time_runs_low(outbox: Path) -> None:
    writer = NoticeWriter(outbox, keep_local=False)
    versions = []

    def tell_at(minutes: int, level: Any = "off", until: int = 60) -> None:
        writer.tell(level, until=NOW + timedelta(minutes=until), now=NOW + timedelta(minutes=minutes))
        versions.append((outbox / NOTICE_FILE).stat().st_ino)

    for minutes in (0, 10, 29):
        tell_at(minutes, until=60 + minutes)
    assert len(set(versions)) == 1
    tell_at(30, until=90)
    assert versions[-1] != versions[-2]
    tell_at(31, "events", until=91)
    assert versions[-1] != versions[-2]
    tell_at(32, "events", until=40)  # it may not hold for longer than what was said last
    assert versions[-1] != versions[-2]
    tell_at(-5, "events", until=40)  # the clock was set back
    assert versions[-1] != versions[-2]
    (outbox / NOTICE_FILE).unlink()
    tell_at(-5, "events", until=40)
    assert stat.S_IMODE((outbox / NOTICE_FILE).stat().st_mode) == 0o600


def test_a_user_who_opts_out_is_not_recorded_from_that_moment_on(recorder: Recorder, outbox: Path) -> None:
    assert recorder.record("Opened", user=42)
    assert recorder.opt_out(42)
    assert not recorder.record("Opened", user=42)
    assert not recorder.record("Opened", user="42")
    assert recorder.record("Opened", user=43)
    assert recorder.record("Opened")
    recorder._watch.look()
    assert not recorder.record("Opened", user=42)
    assert recorder.opt_in(42)
    assert recorder.record("Opened", user=42)
    assert (recorder.recorded, recorder.dropped) == ({"Opened": 4}, {"Opened": {Verdict.OPTED_OUT: 3}})


def test_an_opt_out_of_another_process_holds_at_the_next_look(recorder: Recorder, outbox: Path, clock: Clock) -> None:
    assert recorder.record("Opened", user=1)
    other = make_recorder(outbox, clock)
    assert other.opt_out(1)
    recorder._watch.look()
    assert not recorder.record("Opened", user=1)
    assert other.opt_in(1)
    recorder._watch.look()
    assert recorder.record("Opened", user=1)


def test_an_event_without_a_user_in_a_session_of_one_who_opted_out_is_theirs(recorder: Recorder) -> None:
    recorder.opt_out(1)
    assert not recorder.record("Opened", user=1, session="s")
    assert not recorder.record("Opened", session="s")
    assert recorder.record("Opened", user=2, session="s")
    assert recorder.record("Opened", session="t")


def test_an_opt_out_that_the_disk_refuses_is_told_and_holds_in_this_process(recorder: Recorder, outbox: Path) -> None:
    assert recorder.record("Opened", user=1)
    recorder.flush()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))  # a line is longer
    try:
        assert not recorder.opt_out(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, previous)
    assert (outbox / OPT_OUTS_FILE).read_bytes() == b""
    recorder._watch.look()
    assert not recorder.record("Opened", user=1)
    assert recorder.opt_out(1)
    assert set(OptOutsFile(outbox).read().out) == {"1"}


@pytest.mark.parametrize("user", ["", "x" * 2_000, "\ud800"])
def test_what_is_no_users_id_opts_nobody_out_and_raises_nothing(recorder: Recorder, outbox: Path, user: str) -> None:
    assert not recorder.opt_out(user)
    assert not (outbox / OPT_OUTS_FILE).exists()
    assert recorder.record("Opened", user=1)


def test_a_damaged_file_lets_nobody_in_who_was_out(recorder: Recorder, outbox: Path) -> None:
    recorder.opt_out(1)
    recorder.opt_out(2)
    file = outbox / OPT_OUTS_FILE
    file.write_bytes(file.read_bytes().replace(b'"1"', b'"7"'))
    recorder._watch.look()
    assert not recorder.record("Opened", user=1)
    assert not recorder.record("Opened", user=2)


def test_a_forked_child_knows_who_is_out_and_can_say_so_itself(recorder: Recorder, outbox: Path) -> None:
    recorder.record("Opened", user=1)
    recorder.opt_out(1)
    child = os.fork()
    if child == 0:
        good = not recorder.record("Opened", user=1) and recorder.opt_out(2) and not recorder.record("Opened", user=2)
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    recorder._watch.look()
    assert not recorder.record("Opened", user=2)


def test_a_forked_child_looks_for_itself(recorder: Recorder, outbox: Path) -> None:
    assert recorder.record("Opened")
    tell(outbox, "off")
    child = os.fork()
    if child == 0:
        os._exit(int(recorder.record("Opened")))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert recorder.record("Opened")  # it has not looked again


def test_a_product_opts_a_user_out_in_one_line(outbox: Path, clock: Clock) -> None:
    recorder = make_recorder(outbox, clock)
    heliograph.configure(recorder)
    try:
        assert heliograph.opt_out(1)
        assert not heliograph.record("Opened", user=1)
        assert heliograph.opt_in(1)
        assert heliograph.record("Opened", user=1)
        assert recorder.dropped == OUT
    finally:
        heliograph.configure(None)
        recorder.close()


def test_the_recorder_of_a_products_tests_knows_opt_outs_too() -> None:
    memory = MemoryRecorder()
    memory.opt_out(1)
    assert not memory.record("Opened", user="1")
    memory.opt_in(1)
    assert memory.record("Opened", user=1)
    assert memory.names() == ["Opened"]


def test_the_product_needs_nothing_new_for_it() -> None:
    script = "import sys, heliograph.instance.watch; print(sorted(m for m in sys.modules if m in set(sys.argv[1:])))"
    heavy = ["pyarrow", "numpy", "httpx", "cryptography", "sqlite3", "structlog", "typer", "zstandard", "psycopg"]
    heavy += ["opentelemetry"]
    done = subprocess.run([sys.executable, "-c", script, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
