"""The gateway's metrics and its readiness, also with several workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway_process import GatewayProcess, gateway_process
from harness import Vendor, as_arrow, deliver, event, zstd
from heliograph.demo.home import free_port
from heliograph.gateway.log_reading import RELEASED, segment_path, segments
from heliograph.gateway.metrics import GatewayMetric
from heliograph.gateway.readiness import REMEDIES, log_has_room, readiness
from heliograph.settings import GatewaySettings
from heliograph.wire import ARROW

if TYPE_CHECKING:
    from collections.abc import Iterator


def read(port: int) -> dict[tuple[str, ...], float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def send(http: Any, first: int, last: int, **fields: Any) -> Any:
    body = zstd(as_arrow([event(number, **fields) for number in range(first, last + 1)]))
    return deliver(http, body, epoch=5, numbers=(first, last), content_type=ARROW)


def test_metrics_tell_what_became_of_requests_and_events(tmp_path: Path) -> None:
    port = free_port()
    vendor = Vendor(tmp_path, metrics_port=port)
    with vendor.running(), vendor.http() as http:
        before = read(port)
        assert send(http, 1, 3).is_success
        assert send(http, 1, 3).json()["duplicate"]
        assert send(http, 4, 5, outcome="no such outcome").is_success
        assert send(http, 9, 9).status_code == 409
        http.get("/nowhere")
        after = read(port)

    def more(*key: str) -> float:
        return after[key] - before.get(key, 0.0)  # the meters are the process's, and other tests count too

    assert more("heliograph_gateway_requests_total", "ok", "/v1/events") == 2
    assert more("heliograph_gateway_requests_total", "duplicate", "/v1/events") == 1
    assert more("heliograph_gateway_requests_total", "sequence_gap", "/v1/events") == 1
    assert more("heliograph_gateway_requests_total", "not_found", "?") == 1
    assert after["heliograph_gateway_events_total", "SearchSubmitted", "accepted"] == 3
    assert after["heliograph_gateway_events_total", "SearchSubmitted", "invalid_envelope"] == 2
    assert more("heliograph_gateway_step_seconds_count", "store") == 2
    assert more("heliograph_gateway_step_seconds_count", "checks") == 2
    assert more("heliograph_gateway_commit_seconds_count") == 2
    assert more("heliograph_gateway_received_bytes_total") > 0
    assert after["heliograph_gateway_account_differences_total",] == 0
    assert after["heliograph_gateway_log_bytes",] <= after["heliograph_gateway_log_bound_bytes",]
    assert after["heliograph_gateway_log_waiting_segments",] == 1
    assert {key[1] for key in after if key[0] == "heliograph_gateway_ready"} == set(REMEDIES)
    assert all(value == 1 for key, value in after.items() if key[0] == "heliograph_gateway_ready")


def test_no_port_is_opened_unless_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_server(*_: object) -> None:
        raise AssertionError("a port was opened")

    monkeypatch.setattr("heliograph.gateway.metrics.ThreadingHTTPServer", no_server)
    with Vendor(tmp_path).running():
        pass


def test_readiness_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    port = free_port()
    vendor = Vendor(tmp_path, metrics_port=port, maximum_log_bytes=2 << 20)
    with vendor.running(), vendor.http() as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        answer = http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        assert json.loads(urlopen(f"http://127.0.0.1:{port}/ready").read())["ready"]
        log = tmp_path / "log"
        (log / f"{1:010d}.log").write_bytes(bytes(1 << 20))  # no room for another segment
        Path(vendor.settings.gateway.signing_key).rename(tmp_path / "away.pem")
        answer = http.get("/readyz")
        assert answer.status_code == 503
        wrong = {check["name"]: check["remedy"] for check in answer.json()["checks"] if not check["ok"]}
        assert wrong == {name: REMEDIES[name] for name in ("log", "signing_key")}


def test_a_log_has_room_as_long_as_a_segment_can_be_begun_or_used_again(tmp_path: Path) -> None:
    settings = GatewaySettings(log=str(tmp_path), segment_bytes=1_000, maximum_log_bytes=2_500)
    assert log_has_room(settings)
    for generation in (5, 6):
        segment_path(tmp_path, generation).write_bytes(bytes(1_000))
    assert not log_has_room(settings)
    (tmp_path / RELEASED).write_text("6")
    assert log_has_room(settings)
    assert segments(tmp_path) == [5, 6]


def test_a_check_that_is_not_in_order_makes_it_not_ready() -> None:
    assert readiness(log=True, plan=True).ready
    assert not readiness(log=True, plan=False).ready


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[tuple[GatewayProcess, int]]:
    port = free_port()
    with gateway_process(tmp_path, workers=2, metrics_port=port) as found:
        yield found, port


def test_several_workers_count_together(supervised: tuple[GatewayProcess, int]) -> None:
    gateway, port = supervised
    for epoch in range(1, 7):  # each on a connection of its own, so that both workers have some
        with gateway.vendor.http() as http:
            body = zstd(as_arrow([event(1)]))
            assert deliver(http, body, epoch=epoch, numbers=(1, 1), content_type=ARROW).is_success
            assert http.get("/readyz").status_code == 200
    found = read(port)
    assert found["heliograph_gateway_requests_total", "ok", "/v1/events"] == 6
    assert found["heliograph_gateway_requests_total", "ok", "/readyz"] == 6
    assert found["heliograph_gateway_tokens_total",] >= 6
    assert found["heliograph_gateway_events_total", "SearchSubmitted", "accepted"] == 6
    assert found["heliograph_gateway_commit_seconds_count",] >= 1
    assert found["heliograph_gateway_step_seconds_count", "checks"] == 6
    assert json.loads(urlopen(f"http://127.0.0.1:{port}/ready").read())["ready"]


def test_every_metric_of_the_gateway_says_what_it_is() -> None:
    for each in GatewayMetric:
        assert each.metric.startswith("heliograph_gateway_")
        assert each.about.endswith(".")
