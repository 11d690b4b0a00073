"""No value reaches a log line, a trace or an exception: a canary in whatever cannot be read, and a search for it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pyarrow as pa
import pytest

from harness import CANARY, SMALL_PLAN, as_arrow, as_lines, event, zstd
from heliograph.event import UNDECLARED, Verdict
from heliograph.gateway.bodies import BodyChecker, inflate, read_arrow
from heliograph.gateway.intake import Delivery, Intake
from heliograph.gateway.pings import PingIntake, Telling
from heliograph.gateway.plans import Checks
from heliograph.gateway.problems import RefusalError
from heliograph.instance import event_logs_table
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.state import State
from heliograph.plan.buffers import write_arrow
from heliograph.plan.columns import ColumnsError
from heliograph.plan.lines import LineChecker
from heliograph.settings import EventLogsSettings
from heliograph.wire import ABSENT_HEADER, ARROW, JSON, NDJSON, Skeleton

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LATEST = datetime(2027, 1, 1, tzinfo=UTC)


def said(run: Callable[[], Any]) -> str:
    """Return all that a traceback would show of the error that `run` raises, and what the client is told."""
    with pytest.raises((RefusalError, ColumnsError)) as caught:
        run()
    problem = caught.value.to_problem() if isinstance(caught.value, RefusalError) else None
    # Only what the program adds: the lines of this test's own source hold the canary's name alone.
    return "".join(traceback.format_exception(caught.value)) + str(problem) + repr(caught.value.__cause__)


def misnamed() -> bytes:
    """Return a stream whose column's name is no text."""
    good = bytes(write_arrow(pa.record_batch({CANARY + "xx": pa.array([1])})))
    return good.replace(CANARY.encode() + b"xx", CANARY.encode() + b"\xff\xfe")


BODIES: list[tuple[str, Callable[[], Any]]] = [
    ("zstd", lambda: inflate(b"\x28\xb5\x2f\xfd" + CANARY.encode(), "zstd", 100)),
    ("zstd, cut", lambda: inflate(zstd(CANARY.encode() * 9)[:-3], "zstd", 1_000)),
    ("gzip", lambda: inflate(b"\x1f\x8b" + CANARY.encode(), "gzip", 100)),
    ("an unknown encoding", lambda: inflate(CANARY.encode(), CANARY, 100)),
    ("no Arrow", lambda: read_arrow(CANARY.encode() * 20)),
    ("Arrow, cut", lambda: read_arrow(as_arrow([event(1, pattern_type=CANARY)])[:-40])),
    ("a column's name that is no text", lambda: read_arrow(misnamed())),
    ("columns of another type", lambda: BodyChecker(SMALL_PLAN).check(
        bytes(write_arrow(pa.record_batch({"name": pa.array([CANARY])}))), "", ARROW, most=10_000, latest=LATEST
    )),
    ("an unknown format", lambda: BodyChecker(SMALL_PLAN).check(
        CANARY.encode(), "", CANARY, most=10_000, latest=LATEST
    )),
    ("a sequence", lambda: BodyChecker(SMALL_PLAN).check(
        as_lines([event(2, pattern_type=CANARY), event(1, pattern_type=CANARY)]), "", NDJSON, most=9_999, latest=LATEST
    )),
]  # fmt: skip


@pytest.mark.parametrize("read", [read for _, read in BODIES], ids=[name for name, _ in BODIES])
def test_a_body_that_cannot_be_read_is_not_repeated(read: Callable[[], Any]) -> None:
    assert CANARY not in said(read)


@pytest.mark.parametrize(
    "absent", ['{"%s": {"lost": 1}}', '{"(undeclared)": {"%s": 1}}', '{"(undeclared)": {"lost": "%s"}}', '["%s"]', "%s"]
)
def test_a_header_that_cannot_be_read_is_not_repeated(absent: str) -> None:
    headers = {ABSENT_HEADER: absent.replace("%s", CANARY)}
    delivery = Delivery(instance="acme-1", headers=headers, body=b"", checks=Checks(SMALL_PLAN))
    assert CANARY not in said(lambda: Intake.read_absent(delivery))


@pytest.mark.parametrize("ping", ['{"%s": 1}', '{"day": "%s"}', '{"facts": {"%s": {"%s": {}}}}', '"%s"', "%s", '{"%s'])
def test_a_ping_that_cannot_be_read_is_not_repeated(ping: str) -> None:
    body = ping.replace("%s", CANARY).encode()
    telling = Telling(instance="acme-1", headers={"content-type": JSON}, body=body, digest="")
    assert CANARY not in said(lambda: PingIntake.read_ping(telling))


@pytest.mark.parametrize(
    "line",
    [
        as_lines([event(1, pattern_type=CANARY)]),
        as_lines([event(1, CANARY)]),
        as_lines([event(1, outcome=CANARY, version=CANARY)]),
        as_lines([event(1, user_id=CANARY)]),
        as_lines([event(1, time=CANARY)]),
        as_lines([event(1, **{CANARY: CANARY})]),
        CANARY.encode(),
        b'{"name": "' + CANARY.encode() + b"\xff",
    ],
)
def test_a_skeleton_repeats_nothing(line: bytes) -> None:
    found = LineChecker(SMALL_PLAN).decode_one(line, latest=LATEST)
    assert isinstance(found, Skeleton)
    assert CANARY not in repr(found)


def test_a_line_of_the_outbox_with_an_id_that_is_no_text_stays_on_the_instance(tmp_path: Path) -> None:
    state = State(tmp_path)
    builder = BatchBuilder(SMALL_PLAN, Pseudonyms(state))
    bad = [event(1, user_id=None) | {"user": {CANARY: 1}}, event(2, CANARY, user_id=None) | {"user": [CANARY]}]
    good = event(3, user_id=None) | {"user": CANARY, "session": None}
    lines = [
        msgspec.json.encode({key: value for key, value in each.items() if key != "user_id"}) for each in (*bad, good)
    ]
    built = builder.build(lines, numbers=3, latest=LATEST)
    state.close()
    assert built.events == 1
    assert built.absent == {
        "SearchSubmitted": {Verdict.INVALID_ENVELOPE: 1},
        UNDECLARED: {Verdict.INVALID_ENVELOPE: 1},
    }
    assert CANARY not in repr(built._replace(body=b""))


def test_what_a_database_says_of_a_value_is_not_repeated() -> None:
    error = psycopg.errors.InvalidTextRepresentation(f'invalid input syntax for type integer: "{CANARY}"')
    assert CANARY not in str(event_logs_table.explain(error, EventLogsSettings(dsn="dbname=product")))


PROGRAM = """
import asyncio, gc, logging, sys, threading, warnings
from heliograph.cli.common import use_logs
use_logs()
CANARY = sys.argv[1]
def fail():
    raise ValueError(f"cannot read {CANARY}") from KeyError(CANARY)
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
async def main():
    task = asyncio.create_task(asyncio.to_thread(fail))
    await asyncio.sleep(0.05)
    del task
    gc.collect()
asyncio.run(main())
class Unraisable:
    def __del__(self):
        fail()
Unraisable()
try:
    fail()
except ValueError:
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application: %s", CANARY)
logging.getLogger("library").warning("cannot read %s", CANARY)
logging.getLogger("library").info("read %s", CANARY)
fail()
"""


def test_an_error_that_nobody_expected_ends_in_its_type_and_place_and_says_no_value() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, CANARY], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert CANARY not in ended.stdout + ended.stderr
    told = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [each["event"] for each in told] == [
        "a thread ended by an error",
        "failed",
        "an error that nobody can catch",
        "failed",
        "cannot read %s",
        "ended by an error",
    ]
    assert {each["error"] for each in told if "error" in each} == {"ValueError"}
    assert told[-1]["at"] == "__main__:7"
    assert logging.getLevelName(logging.WARNING).lower() == told[-2]["level"]
