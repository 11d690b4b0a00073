"""The vendor's half of the ledger: each delivery once, however the loader died between its tables."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from harness import INSTANCE, Vendor, as_lines, deliver, event
from heliograph.lake import loader as loader_module
from heliograph.lake.deliveries import read_delivered
from heliograph.lake.durability import sync_snapshot
from heliograph.lake.loader import Loader
from heliograph.lake.report import count_events
from heliograph.lake.tables import delivery_files
from heliograph.wire import NDJSON
from pinging import ping_fields, tell

if TYPE_CHECKING:
    from pathlib import Path

    import httpx


class Killed(BaseException):
    """The loader is gone."""


def send(http: httpx.Client, first: int, last: int, **fields: Any) -> None:
    body = as_lines([event(number) for number in range(first, last + 1)])
    sent = deliver(http, body, numbers=(first, last), content_type=NDJSON, encoding="", **fields)
    assert sent.status_code == 200, sent.text


def load(vendor: Vendor) -> None:
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, vendor.plan)
    try:
        while loader.load_round():
            pass
    finally:
        loader.close()


def ranges(vendor: Vendor) -> list[tuple[int, int, int]]:
    found = [each.receipt for each in read_delivered(vendor.settings, INSTANCE)]
    return [(each.epoch, each.first, each.last) for each in found]


def rows(vendor: Vendor) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute(f"create view deliveries as from read_parquet({delivery_files(vendor.settings.lake)!r})")
        found = connection.sql("from deliveries order by first")
        table: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    return table


@pytest.mark.parametrize("dies_at", [0, 1, 2])
@pytest.mark.parametrize("written", [False, True])
def test_a_loader_that_dies_at_any_of_its_commits_holds_each_delivery_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int, written: bool
) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        send(http, 1, 2)
        assert tell(http, ping_fields()).status_code == 200
        send(http, 3, 3)
    seen = []

    def sync(table: Any) -> None:
        seen.append(table)
        if len(seen) == dies_at + 1:
            if written:
                sync_snapshot(table)
            raise Killed
        sync_snapshot(table)

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(loader_module, "sync_snapshot", sync)
        load(vendor)
    load(vendor)
    with vendor.running(), vendor.http() as http:
        send(http, 4, 6)
    load(vendor)
    assert ranges(vendor) == [(1, 1, 2), (1, 3, 3), (1, 4, 6)]
    assert len(rows(vendor)) == 3
    assert count_events(vendor.settings.lake) == {INSTANCE: {"SearchSubmitted": 6}}


def test_a_delivery_without_any_event_has_its_row_too(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        deliver(
            http, b"", numbers=(1, 4), content_type=NDJSON, encoding="", absent={"SearchSubmitted": {"opted_out": 4}}
        )
    assert ranges(vendor) == [(1, 1, 4)]  # in the log
    load(vendor)
    assert ranges(vendor) == [(1, 1, 4)]
    [row] = rows(vendor)
    assert (row["accepted"], row["absent"], row["ledger"]) == (0, 4, None)


@pytest.mark.parametrize("head", ["a" * 63, "A" * 64, "g" * 64, "a" * 65, ""])
def test_a_ledger_head_that_is_none_is_refused(tmp_path: Path, head: str) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        http.headers["heliograph-ledger"] = head
        body = as_lines([event(1)])
        sent = deliver(http, body, numbers=(1, 1), content_type=NDJSON, encoding="")
        assert (sent.status_code, sent.json()["type"]) == (400, "bad_header")
        http.headers["heliograph-ledger"] = "a" * 64
        sent = deliver(http, body, numbers=(1, 1), content_type=NDJSON, encoding="")
        assert sent.json()["receipt"]["ledger"] == "a" * 64
