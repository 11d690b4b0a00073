"""What the logs of both ends say of a delivery, by one name."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from harness import INSTANCE, SMALL_PLAN, Vendor, deliver, zstd
from heliograph.instance.agent import Agent
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.transport import GatewayRefusalError
from heliograph.lake.loader import Loader
from heliograph.wire import NDJSON, delivery_id

if TYPE_CHECKING:
    from pathlib import Path

WORDS = "marmalade"
"""Stands in an event, and must stand in no line or span."""


def record(folder: Path, count: int) -> int:
    """Record so many events in an epoch of their own, and return which it is."""
    with closing(EpochWriter(folder / "outbox", "recorder", maximum_bytes=1 << 20)) as writer:
        for number in range(count):
            fields = {"name": "SearchSubmitted", "time": datetime.now(UTC), "user": f"{WORDS}{number}"}
            writer.append([fields])
        return writer.epoch


def drain(vendor: Vendor, folder: Path) -> None:
    settings = vendor.agent_settings(folder, batch_events=3, idle_seconds=0.0)
    with closing(Agent(settings, SMALL_PLAN)) as agent:
        agent.run(threading.Event(), until_drained=True)


def deliveries(lines: list[Any], event: str) -> list[str]:
    return [line["delivery"] for line in lines if line["event"] == event]


def test_one_name_joins_the_lines_of_agent_gateway_and_loader(vendor: Vendor, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        epoch = record(tmp_path, 5)
        drain(vendor, tmp_path)
        with closing(Loader(vendor.settings.gateway, vendor.settings.lake, SMALL_PLAN)) as loader:
            loader.load_round()
    expected = [delivery_id(INSTANCE, epoch, 1, 3), delivery_id(INSTANCE, epoch, 4, 5)]
    assert deliveries(lines, "delivered") == expected
    assert deliveries(lines, "stored") == expected
    assert deliveries(lines, "delivery loaded") == expected
    assert [line["rows"] for line in lines if line["event"] == "delivery loaded"] == [3, 2]
    for event in ("delivered", "stored", "delivery loaded"):
        told = [(line["epoch"], line["first"], line["last"]) for line in lines if line["event"] == event]
        assert told == [(epoch, 1, 3), (epoch, 4, 5)]
    assert [entry.receipt.delivery for entry, _ in vendor.entries()] == expected
    assert WORDS not in str(lines)


def test_one_name_joins_the_lines_of_a_refusal(vendor: Vendor) -> None:
    with structlog.testing.capture_logs() as lines:
        client = vendor.client()
        with closing(client), pytest.raises(GatewayRefusalError):
            client.deliver(epoch=7, first=4, last=6, absent={}, body=zstd(WORDS.encode()))
    name = delivery_id(INSTANCE, 7, 4, 6)
    assert deliveries(lines, "not delivered") == [name]
    assert [(line["delivery"], line["reason"]) for line in lines if line["event"] == "refused"] == [
        (name, "sequence_gap")
    ]
    assert WORDS not in str(lines)


def test_numbers_that_somebody_made_up_stand_in_no_line_of_the_gateway(vendor: Vendor) -> None:
    secret = 4_811_223_344
    with vendor.http() as http, structlog.testing.capture_logs() as lines:
        for epoch, numbers in ((secret, (1, 1)), (7, (secret, secret)), (7, (1, secret))):
            answer = deliver(http, b"", epoch=epoch, numbers=numbers, content_type=NDJSON)
            assert not answer.is_success
    assert len(lines) == 3
    assert str(secret) not in str(lines)


@pytest.mark.parametrize("numbers", [("x", "y"), (5, 4), (0, 1), (1, 10**30)])
def test_what_names_no_range_stands_in_no_line(vendor: Vendor, numbers: tuple[Any, Any]) -> None:
    with vendor.http() as http, structlog.testing.capture_logs() as lines:
        assert deliver(http, b"", epoch=7, numbers=numbers, content_type=NDJSON).status_code == 400
    [line] = [line for line in lines if line["event"] == "refused"]
    assert set(line) == {"event", "log_level", "path", "reason"}


def test_a_repetition_has_the_name_of_what_it_repeats(vendor: Vendor, tmp_path: Path) -> None:
    epoch = record(tmp_path, 2)
    drain(vendor, tmp_path)
    [(entry, body)] = vendor.entries()
    headers = {"content-encoding": entry.content_encoding, "content-type": entry.content_type}
    with vendor.http() as http, structlog.testing.capture_logs() as lines:
        numbers = {"heliograph-epoch": str(epoch), "heliograph-range": "1-2"}
        assert http.post("/v1/events", headers=headers | numbers, content=body).is_success
    assert [(line["delivery"], line["repeated"]) for line in lines if line["event"] == "stored"] == [
        (entry.receipt.delivery, True)
    ]
