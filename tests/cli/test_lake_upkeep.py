"""The verbs that keep a lake in order, as they are typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from heliograph.cli import app
from heliograph.lake.tables import event_files
from keeping import KeptLake, row

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lake(tmp_path: Path) -> KeptLake:
    lake = KeptLake(tmp_path)
    for n in range(1, 4):
        lake.append([row(n)])
    (tmp_path / "vendor.toml").write_text(
        f'[gateway]\nlog = "{tmp_path}/log"\n[lake]\nwarehouse = "{lake.settings.warehouse}"\n'
        f'catalog = "{lake.settings.catalog}"\ncompact_files = 2\nretain_pings_days = 400\n'
    )
    return lake


def run(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["--config", str(folder / "vendor.toml"), "lake", *arguments])


def test_each_verb_says_what_it_did_and_upkeep_does_them_all(lake: KeptLake, tmp_path: Path) -> None:
    assert "3 files into 1, 3 rows" in run(tmp_path, "compact", "--dry-run").stdout
    assert json.loads(run(tmp_path, "files", "--json").stdout)[0]["files"] == 3
    done = run(tmp_path, "upkeep")
    assert done.exit_code == 0, done.stderr
    assert "heliograph.events: 3 files into 1, 3 rows" in done.stdout
    assert "The lake is in order." in done.stdout
    assert sum(lake.rows().values()) == 3
    [one] = json.loads(run(tmp_path, "expire", "--json").stdout)
    assert one["table"] == "heliograph.events"
    assert "nothing to compact" in run(tmp_path, "compact").stdout
    assert "0 files with 0 bytes removed" in run(tmp_path, "clean").stdout
    assert "There is nothing to do." in run(tmp_path, "retain").stdout
    assert "heliograph.events" in run(tmp_path, "files").stdout
    assert set(json.loads(run(tmp_path, "upkeep", "--json", "--dry-run").stdout)) == {
        "retained",
        "compacted",
        "expired",
        "cleaned",
    }
    told = (tmp_path / "lake" / "upkeep.prom").read_text()
    assert 'heliograph_lake_files{table="events"} 1.0' in told
    assert "heliograph_lake_kept_timestamp_seconds" in told


def test_a_file_that_is_not_as_the_table_says_ends_it_with_a_message(lake: KeptLake, tmp_path: Path) -> None:
    path = event_files(lake.settings)[0]
    pq.write_table(pq.read_table(path, partitioning=None).slice(1), path)
    done = run(tmp_path, "compact")
    assert done.exit_code == 1
    assert "it has 0 rows, and should have 1" in done.stderr
    assert "Traceback" not in done.stderr
