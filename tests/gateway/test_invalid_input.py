"""Invalid input: what is kept of it, how it is counted, and that its cost is bounded."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness import CANARY, SMALL_PLAN, Vendor, as_arrow, as_lines, deliver, event, zstd
from heliograph.event import UNDECLARED
from heliograph.gateway.bodies import MOST_EVENTS, MOST_REJECTIONS, BodyChecker
from heliograph.gateway.machine_code import line_code
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.wire import ARROW, NDJSON, total_counts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 2_000
NOW = datetime(2026, 10, 2, tzinfo=UTC)
_checker = BodyChecker(SMALL_PLAN)
FORMATS: dict[str, tuple[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "lines": (NDJSON, as_lines),
    "arrow": (ARROW, as_arrow),
}


def one(number: int, *, bad: bool) -> dict[str, Any]:
    """One event; a bad one is bad in one of three ways."""
    if not bad:
        return event(number, pattern_type="literal", duration_ms=number)
    return [
        event(number, CANARY),
        event(number, pattern_type=CANARY),
        event(number, duration_ms=600_001),
    ][number % 3]


def check(body: bytes, encoding: str, content_type: str) -> Refusal:
    with pytest.raises(RefusalError) as refused:
        _checker.check(body, encoding, content_type, most=1 << 20, latest=NOW)
    assert CANARY not in str(refused.value)
    return refused.value.refusal


@pytest.mark.parametrize("percent", [5, 50, 100])
@pytest.mark.parametrize("name", FORMATS)
def test_of_many_invalid_events_each_is_counted_and_the_valid_ones_are_kept(
    tmp_path: Path, name: str, percent: int
) -> None:
    content_type, encode = FORMATS[name]
    is_bad = [number % 20 < percent // 5 for number in range(1, ROWS + 1)]
    events = [one(number, bad=bad) for number, bad in enumerate(is_bad, 1)]
    with Vendor(tmp_path).running() as vendor, vendor.http() as http:
        answer = deliver(http, zstd(encode(events)), numbers=(1, ROWS), content_type=content_type)
        assert answer.is_success, answer.text
        repeated = deliver(http, zstd(encode(events)), numbers=(1, ROWS), content_type=content_type)
        account = http.get("/v1/account").json()
    assert repeated.json()["duplicate"]
    receipt = answer.json()["receipt"]
    good = ROWS - sum(is_bad)
    assert sum(receipt["accepted"].values()) == good
    expected = {
        "undeclared_event": sum(bad and number % 3 == 0 for number, bad in enumerate(is_bad, 1)),
        "invalid_property": sum(bad and number % 3 != 0 for number, bad in enumerate(is_bad, 1)),
    }
    counted: dict[str, int] = {}
    for verdicts in receipt["rejected"].values():
        for verdict, count in verdicts.items():
            counted[verdict] = counted.get(verdict, 0) + count
    assert counted == {verdict: count for verdict, count in expected.items() if count}
    assert receipt["rejected"].keys() <= {UNDECLARED, "SearchSubmitted"}
    assert len(answer.json()["rejections"]) == min(sum(is_bad), MOST_REJECTIONS)
    assert account["accepted"] == receipt["accepted"]
    assert account["rejected"] == receipt["rejected"]
    assert CANARY not in answer.text
    assert CANARY.encode() not in vendor.stored_bytes()
    [(entry, body)] = vendor.entries()
    assert len(entry.rejections) == min(sum(is_bad), MOST_REJECTIONS)
    stored = zstandard.ZstdDecompressor().decompress(body) if body else b""
    if content_type == NDJSON:
        assert stored.count(b'"sequence"') == good
    else:
        with pa.ipc.open_stream(stored) as reader:
            assert sum(batch.num_rows for batch in reader) == good


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_both_formats_count_any_mixture_alike(mixture: list[bool]) -> None:
    events = [one(number, bad=bad) for number, bad in enumerate(mixture, 1)]
    counts = []
    for content_type, encode in FORMATS.values():
        checked = _checker.check(zstd(encode(events)), "zstd", content_type, most=1 << 20, latest=NOW)
        assert sum(checked.accepted.values()) == mixture.count(False)
        assert total_counts(checked.rejected) == mixture.count(True)
        counts.append((checked.accepted, checked.rejected))
    assert counts[0] == counts[1]


def test_what_inflates_to_more_than_is_allowed_is_refused_by_what_it_declares_or_as_soon_as_it_does() -> None:
    bomb = b" " * (64 << 20)
    packed = zstandard.ZstdCompressor(level=1).compress(bomb)
    assert len(packed) < 16 << 10
    for content_type in (NDJSON, ARROW):
        assert check(packed, "zstd", content_type) is Refusal.INFLATED_TOO_LARGE
        assert check(gzip.compress(bomb, 1), "gzip", content_type) is Refusal.INFLATED_TOO_LARGE
    # One that lies: it declares a small size, and its blocks hold more.
    liar = bytearray(zstandard.ZstdCompressor(level=1).compress(b"x" * 300_000))
    honest = zstandard.get_frame_parameters(bytes(liar)).content_size
    place = bytes(liar).index(honest.to_bytes(4, "little"))
    liar[place : place + 4] = (1_000).to_bytes(4, "little")
    assert check(bytes(liar), "zstd", NDJSON) is Refusal.DAMAGED_BODY
    nested = zstd(zstd(as_lines([event(1)])))  # what is inside is looked at once
    found = _checker.check(nested, "zstd", NDJSON, most=1 << 20, latest=NOW)
    assert not found.accepted


def test_a_dictionary_of_more_words_than_events_may_be_is_refused() -> None:
    words = pa.array([f"w{number}" for number in range(MOST_EVENTS + 1)])
    name = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), words)
    batch = pa.record_batch({"name": name, "sequence": pa.array([1], pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    assert check(zstd(bytes(sink.getvalue())), "zstd", ARROW) is Refusal.INFLATED_TOO_LARGE


@pytest.mark.parametrize("deep", [b"[", b'{"a":'])
def test_json_as_deep_as_it_is_long_is_one_rejected_line(deep: bytes) -> None:
    line = b'{"name":"PageViewed","sequence":1,"time":"2026-10-01T12:00:00Z","x":' + deep * 100_000
    checked = _checker.check(zstd(line), "zstd", NDJSON, most=1 << 20, latest=NOW)
    assert checked.rows == total_counts(checked.rejected) == 1


def test_lines_without_number_or_end_cost_no_more_than_is_allowed() -> None:
    assert check(zstd(b"{\n" * (MOST_EVENTS + 1)), "zstd", NDJSON) is Refusal.INFLATED_TOO_LARGE
    checked = _checker.check(zstd(b"{\n" * 5_000), "zstd", NDJSON, most=1 << 20, latest=NOW)
    assert (checked.rows, len(checked.rejections)) == (5_000, MOST_REJECTIONS)


def test_deliveries_that_come_again_or_in_another_order_are_stored_once_and_in_order(tmp_path: Path) -> None:
    bodies = {number: zstd(as_lines([event(number)])) for number in range(1, 7)}
    order = [1, 3, 2, 1, 2, 3, 5, 4, 4, 6, 5, 2, 6]
    with Vendor(tmp_path).running() as vendor, vendor.http() as http:
        answers = [deliver(http, bodies[n], numbers=(n, n), content_type=NDJSON) for n in order]
    told = [answer.json().get("duplicate", answer.json().get("expected")) for answer in answers]
    assert told == [False, 2, False, True, True, False, 4, False, True, 5, False, True, False]
    assert [entry.receipt.first for entry, _ in vendor.entries()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("fault", ["nothing", "an event", "a number that comes again", "another form", "another end"])
def test_many_lines_have_the_same_verdicts_with_a_quick_look_and_without(fault: str) -> None:
    events = [one(number, bad=False) | {"time": f"2026-10-01T12:00:00.{number:06}Z"} for number in range(1, 3 * ROWS)]
    if fault == "an event":
        events[ROWS] |= {"pattern_type": CANARY}
    elif fault == "a number that comes again":
        events[ROWS] |= {"sequence": ROWS}
    body = as_lines(events)
    body = body.replace(b',"pattern_type"', b', "pattern_type"', 1) if fault == "another form" else body
    body = body + b"\n" if fault == "another end" else body

    def verdicts(checker: BodyChecker) -> Any:
        try:
            return checker.check(body, "identity", NDJSON, most=1 << 24, latest=NOW)
        except RefusalError as error:
            return error.refusal

    assert verdicts(BodyChecker(SMALL_PLAN, line_loop=line_code().ready())) == verdicts(_checker)
