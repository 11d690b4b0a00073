"""What leaves an instance is rounded as its plan asks for, however it was recorded, and the gateway takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import definition
from heliograph.event import UNDECLARED, Verdict
from heliograph.gateway.bodies import BodyChecker
from heliograph.instance.batch import Batch, BatchBuilder
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.plan.model import CountProperty, DurationProperty, IntegerProperty, NumberProperty, Plan
from heliograph.settings import RecorderSettings
from heliograph.wire import ARROW
from plan_strategies import coarse_event, plans, raw_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATEST = datetime(2999, 1, 1, tzinfo=UTC)
PLAN = Plan(
    heliograph_plan=2,
    name="coarse",
    version=1,
    description="Two events that round one property differently.",
    sources=("web",),
    features={"search": "Finding."},
    events={
        "SearchSubmitted": definition(
            "search",
            properties={
                "duration_ms": DurationProperty(description="How long.", maximum=60_000, precision=100),
                "results": CountProperty(description="Found.", buckets=(0, 1, 10, 100)),
                "share": NumberProperty(description="Seen.", maximum=1.0, precision=0.1),
                "offset": IntegerProperty(description="From where.", maximum=100, precision=10),
            },
        ),
        "FileViewed": definition(
            "search", properties={"duration_ms": DurationProperty(description="How long.", maximum=60_000)}
        ),
    },
)


@pytest.fixture(scope="module")
def pseudonyms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pseudonyms]:
    state = State(tmp_path_factory.mktemp("agent"))
    yield Pseudonyms(state)
    state.close()


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    content = zstandard.ZstdDecompressor().decompress(batch.body)
    rows = pa.ipc.open_stream(content).read_next_batch().to_pylist()
    return [{key: value for key, value in row.items() if value is not None and key != "time"} for row in rows]


def build(plan: Plan, lines: list[bytes], pseudonyms: Pseudonyms) -> Batch:
    return BatchBuilder(plan, pseudonyms).build(lines, numbers=len(lines), latest=LATEST)


def test_what_a_product_recorded_leaves_rounded_by_its_own_event(tmp_path: Path, pseudonyms: Pseudonyms) -> None:
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path)))
    duration = timedelta(seconds=1, milliseconds=234)
    assert recorder.record("SearchSubmitted", duration_ms=duration, results=42, share=0.449, offset=99)
    assert recorder.record("FileViewed", duration_ms=duration)
    assert recorder.record("SearchSubmitted", duration_ms=60_001)
    assert recorder.record("SearchSubmitted", results=-1)
    assert recorder.record("SearchSubmitted", share=1.04)
    recorder.close()
    lines = [line for reader in read_epochs(tmp_path) for line in reader.read(START, 100).lines]
    batch = build(PLAN, lines, pseudonyms)
    first, second = rows_of(batch)
    assert (first["duration_ms"], first["results"], first["share"], first["offset"]) == (1_200, 10, 0.4, 100)
    assert second["duration_ms"] == 1_234
    assert batch.absent == {"SearchSubmitted": {Verdict.INVALID_PROPERTY: 3}}


@settings(max_examples=30)
@given(data=st.data())
def test_events_are_rounded_alike_whether_or_not_others_of_the_batch_have_to_be_mended(
    data: st.DataObject, pseudonyms: Pseudonyms
) -> None:
    plan = data.draw(plans())
    events = data.draw(st.lists(raw_events(plan), min_size=1, max_size=5))
    for number, event in enumerate(events, 1):
        event["sequence"] = number
        for key in ("user_id", "session_id"):  # the outbox holds the product's own
            event.pop(key, None)
    lines = [msgspec.json.encode(event) for event in events]
    batch = build(plan, lines, pseudonyms)
    mended = build(plan, [*lines, b'{"name":["no event"]}'], pseudonyms)
    expected = [{key: value for key, value in coarse_event(event, plan).items() if key != "time"} for event in events]
    assert rows_of(batch) == rows_of(mended) == expected
    assert (batch.absent, mended.absent) == ({}, {UNDECLARED: {Verdict.MALFORMED: 1}})
    checked = BodyChecker(plan).check(batch.body, "zstd", ARROW, most=1 << 20, latest=LATEST)
    assert (sum(checked.accepted.values()), checked.rejected) == (len(events), {})
    assert checked.body is batch.body
