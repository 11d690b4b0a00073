"""Traces: one goes from the agent's export to the gateway's disk, and none holds anything of an event."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from harness import INSTANCE, SMALL_PLAN, Vendor, zstd
from heliograph import spans
from heliograph.gateway.door import knock, open_door
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.writer import LocalWriter
from heliograph.instance.agent import Agent
from heliograph.instance.transport import GatewayRefusalError
from heliograph.lake.loader import Loader
from heliograph.wire import Receipt, delivery_id
from test_logs import WORDS, record

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

STEPS = ["check_level", "recognise_repeat", "check_plan", "read_ledger", "read_absent", "check_events", "check_closure"]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Where the spans of this process go."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def drain(vendor: Vendor, folder: Path) -> None:
    with closing(Agent(vendor.agent_settings(folder, idle_seconds=0.0), SMALL_PLAN)) as agent:
        agent.run(threading.Event(), until_drained=True)


def named(exported: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    found = {span.name.removeprefix("heliograph."): span for span in exported.get_finished_spans()}
    assert len(found) == len(exported.get_finished_spans())
    return found


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def as_text(exported: InMemorySpanExporter) -> str:
    return "".join(span.to_json() for span in exported.get_finished_spans())


def test_one_trace_goes_from_the_export_to_the_gateways_disk(
    vendor: Vendor, tmp_path: Path, exported: InMemorySpanExporter
) -> None:
    epoch = record(tmp_path, 3)
    drain(vendor, tmp_path)
    found = named(exported)
    assert set(found) == {"export", "request", "intake", *STEPS, "store", "commit"}
    assert found["export"].parent is None
    parents = {"request": "export", "intake": "request", "commit": "store"}
    parents |= dict.fromkeys([*STEPS, "store"], "intake")
    for child, parent in parents.items():
        assert parent_of(found[child]) == found[parent].context.span_id, child
        assert found[child].context.trace_id == found["export"].context.trace_id
    delivery = delivery_id(INSTANCE, epoch, 1, 3)
    for name in ("request", "intake"):
        assert dict(found[name].attributes or {}) == {"heliograph.delivery": delivery}
    assert WORDS not in as_text(exported)


def test_the_loaders_round_names_the_deliveries_that_it_took(
    vendor: Vendor, tmp_path: Path, exported: InMemorySpanExporter
) -> None:
    epoch = record(tmp_path, 3)
    drain(vendor, tmp_path)
    exported.clear()
    with closing(Loader(vendor.settings.gateway, vendor.settings.lake, SMALL_PLAN)) as loader:
        loader.load_round()
        loader.load_round()  # there is nothing more, and nothing is told of it
    found = named(exported)
    assert set(found) == {"load", "commit_others", "commit_marts", "commit_events"}
    assert {parent_of(span) for name, span in found.items() if name != "load"} == {found["load"].context.span_id}
    [event] = found["load"].events
    assert dict(event.attributes or {}) == {
        "heliograph.delivery": delivery_id(INSTANCE, epoch, 1, 3),
        "heliograph.rows": 3,
    }
    assert WORDS not in as_text(exported)


def test_a_refusal_is_told_by_its_kind_and_not_by_its_words(vendor: Vendor, exported: InMemorySpanExporter) -> None:
    with closing(vendor.client()) as client, pytest.raises(GatewayRefusalError):
        client.deliver(epoch=7, first=1, last=1, absent={}, body=zstd(WORDS.encode()))
    found = named(exported)
    failed = {name: span.status.description for name, span in found.items() if not span.status.is_ok}
    assert failed == {"request": "GatewayRefusalError", "intake": "RefusalError", "check_events": "RefusalError"}
    assert all(span.events == () for span in found.values())
    assert WORDS not in as_text(exported)


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 10_000])
def test_whatever_a_client_says_of_its_trace_a_delivery_is_answered(
    vendor: Vendor, exported: InMemorySpanExporter, header: str
) -> None:
    with vendor.http() as http:
        headers = {"heliograph-epoch": "1", "heliograph-range": "1-1", "traceparent": header, "tracestate": "a=b"}
        assert http.post("/v1/events", headers=headers, content=b"").status_code == 415
    assert named(exported)["intake"].parent is None


def test_a_trace_goes_on_in_the_process_that_has_the_log(tmp_path: Path, exported: InMemorySpanExporter) -> None:
    receipt = Receipt(
        instance=INSTANCE,
        epoch=1,
        first=1,
        last=1,
        accepted={"PageViewed": 1},
        rejected={},
        absent={},
        digest="0" * 64,
        agreement="agreement-1",
        received=1,
    )
    entry = Entry(receipt=receipt, account="acme", plan="small@1", content_type="x", content_encoding="zstd")

    async def append(log: Log) -> None:
        async with open_door(LocalWriter(log), tmp_path), knock(tmp_path) as writer:
            with spans.span("store"):
                await writer.append(entry, b"")

    with closing(Log(tmp_path, segment_bytes=64 << 10, maximum_bytes=1 << 20)) as log:
        asyncio.run(append(log))
    found = named(exported)
    assert parent_of(found["commit"]) == found["store"].context.span_id


def test_without_an_sdk_there_are_no_spans_and_nothing_is_sent(vendor: Vendor, tmp_path: Path) -> None:
    assert not spans.are_traced()
    assert spans.span("one") is spans.span("another")
    assert spans.traceparent() == ""
    record(tmp_path, 3)
    drain(vendor, tmp_path)
    assert len(vendor.entries()) == 1


_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from heliograph import spans
with spans.span("one", "00-x", delivery="a"), spans.within("x"):
    spans.note("b")
    spans.tell_past("c", "d", 1)
assert not spans.is_installed and spans.traceparent() == ""
import heliograph.gateway.single, heliograph.instance.agent, heliograph.lake.loader
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
"""


def test_without_the_package_nothing_of_it_is_imported() -> None:
    subprocess.run([sys.executable, "-c", _WITHOUT], check=True)
