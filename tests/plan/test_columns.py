"""The check of a batch of columns: each row the verdict that it would have alone."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import SMALL_PLAN, USER, as_arrow, event
from heliograph.event import RANDOM_ID_PATTERN, Verdict
from heliograph.gateway.bodies import BodyChecker, read_arrow
from heliograph.plan.buffers import StreamWriter, write_arrow
from heliograph.plan.columns import ColumnChecker
from heliograph.plan.sensitive import looks_derived
from heliograph.wire import ARROW

LATEST = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
CHECKER = ColumnChecker(SMALL_PLAN)

nearly_ids = st.sampled_from([USER, USER.upper(), USER[1:], USER + "0", "", "é" * 16, "g" * 32, USER[:31] + "\n"])
events = st.fixed_dictionaries(
    {"name": st.sampled_from([*SMALL_PLAN.events, "PRIVATE"])},
    optional={
        "user_id": nearly_ids | st.text("0123456789abcdef", min_size=32, max_size=32),
        "outcome": st.sampled_from(["ok", "error", "else"]),
        "source": st.sampled_from(["web", "api", "else"]),
        "pattern_type": st.sampled_from(["literal", "regexp", "else"]),
        "duration_ms": st.integers(-1, 2_000),
        "share": st.floats(-0.5, 1.5) | st.just(float("nan")),
        "exact": st.booleans(),
    },
)


def verdicts(batch: pa.RecordBatch) -> list[tuple[Verdict, str | None]]:
    findings = CHECKER.check(batch, latest=LATEST)
    return [
        (CHECKER.verdict(code), batch.schema.names[field] if field >= 0 else None)
        for code, field in zip(findings.codes, findings.fields, strict=True)
    ]


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return read_arrow(as_arrow([event(**{"user_id": None, **row, "sequence": 1}) for row in rows]))


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=12))
def test_a_row_has_the_same_verdict_in_a_batch_and_alone(rows: list[dict[str, Any]]) -> None:
    alone = [verdicts(batch_of([row]))[0] for row in rows]
    assert verdicts(batch_of(rows)) == alone


@settings(deadline=None)
@given(st.lists(events, min_size=2, max_size=12), st.data())
def test_a_part_of_a_batch_has_the_verdicts_that_it_has_in_the_whole(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(rows) - 1))
    whole = batch_of(rows)
    assert verdicts(whole.slice(start)) == verdicts(whole)[start:]


@settings(deadline=None)
@given(st.lists(nearly_ids | st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1))
def test_an_id_passes_exactly_when_it_matches_the_pattern(ids: list[str]) -> None:
    found = verdicts(batch_of([{"name": "PageViewed", "user_id": each} for each in ids]))
    assert [verdict for verdict, _ in found] == [
        Verdict.INVALID_ENVELOPE
        if not RANDOM_ID_PATTERN.fullmatch(each)
        else Verdict.SENSITIVE_VALUE
        if looks_derived(each)
        else Verdict.ACCEPTED
        for each in ids
    ]


def test_a_value_is_judged_by_its_own_events_list_and_bounds() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "SearchSubmitted", "duration_ms": 2_000},
        {"name": "goToDefinition", "duration_ms": 2_000},
        {"name": "PageViewed", "duration_ms": 2_000},
        {"name": "SearchSubmitted", "pattern_type": "else"},
        {"name": "SearchSubmitted", "outcome": "error", "pattern_type": "literal"},
        {"name": "goToDefinition", "outcome": "error"},
    ]
    assert verdicts(batch_of(rows)) == [
        (Verdict.ACCEPTED, None),
        (Verdict.INVALID_PROPERTY, "duration_ms"),
        (Verdict.UNDECLARED_PROPERTY, "duration_ms"),
        (Verdict.INVALID_PROPERTY, "pattern_type"),
        (Verdict.ACCEPTED, None),
        (Verdict.INVALID_ENVELOPE, "outcome"),
    ]


TAIL = b"jane.doe@example"
"""What Arrow takes for the padding of a buffer."""


def with_tail(column: pa.Array, which: int) -> pa.Array:
    """Return a column in whose buffer `which` more stands than its values: 2 and 3 are those of its words."""
    buffers = column.buffers()
    kind, words = column.type, column.dictionary if pa.types.is_dictionary(column.type) else None
    if which < 2:
        held = (len(column) * (1 if which == 0 else (kind.index_type if words else kind).bit_width) + 7) // 8
        buffers[which] = pa.py_buffer(buffers[which].to_pybytes()[:held] + TAIL)
    if words is None:
        return pa.Array.from_buffers(kind, len(column), buffers)
    if which >= 2:
        parts = words.buffers()
        parts[which - 1] = pa.py_buffer(parts[which - 1].to_pybytes() + TAIL)
        words = pa.Array.from_buffers(words.type, len(words), parts)
    indices = pa.Array.from_buffers(kind.index_type, len(column), buffers[:2])
    return pa.DictionaryArray.from_arrays(indices, words)


def test_what_stands_behind_the_last_value_of_a_buffer_is_not_stored() -> None:
    rows = [event(number, pattern_type="literal", duration_ms=number, exact=True) for number in range(1, 9)]
    batch = read_arrow(as_arrow([*rows, event(9), event(10, share=0.5)]))
    checker = BodyChecker(SMALL_PLAN)
    hidden = 0
    for position, field in enumerate(batch.schema):
        column = batch.column(position)
        for which in range(4 if pa.types.is_dictionary(field.type) else 2):
            if which == 0 and not column.null_count:
                continue
            body = write_arrow(batch.set_column(position, field, with_tail(column, which))).to_pybytes()
            hidden += TAIL in body
            checked = checker.check(body, "", ARROW, most=1 << 20, latest=datetime(2027, 1, 1, tzinfo=UTC))
            assert sum(checked.accepted.values()) == 10
            assert TAIL not in zstandard.ZstdDecompressor().decompress(checked.body), (field.name, which)
    assert hidden == 15, "Arrow writes what stands there"


def test_a_gateway_never_stops_to_import_pandas_for_a_batch(tmp_path: Path) -> None:
    rows = [event(1), event(2, user_id="else", duration_ms=-1), event(3, "PRIVATE"), event(4, outcome="else")]
    (tmp_path / "good").write_bytes(as_arrow([event(1, pattern_type="literal", duration_ms=3), event(2)]))
    (tmp_path / "bad").write_bytes(as_arrow(rows))
    program = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from harness import SMALL_PLAN
from heliograph.gateway.bodies import BodyChecker
from heliograph.wire import ARROW
before = "pandas" in sys.modules
checker = BodyChecker(SMALL_PLAN)
for name in ("good", "bad"):
    checked = checker.check(Path(sys.argv[1], name).read_bytes(), "", ARROW, most=1 << 20, latest=datetime.now(UTC))
    print(checked.rows, sum(checked.accepted.values()))
print(before, "pandas" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["2", "2", "4", "1", "False", "False"]


def test_a_stream_is_the_same_however_much_memory_its_writer_keeps() -> None:
    batches = [pa.record_batch({"a": pa.array(range(size)), "b": pa.array(["x"] * size)}) for size in (3, 9_000, 1, 0)]
    writer = StreamWriter(64)
    assert [writer.write(batch).to_pybytes() for batch in batches] == [
        write_arrow(batch).to_pybytes() for batch in batches
    ]
