"""How events lie in files: in few bytes, whoever has written them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from heliograph.demo.filled import append_events
from heliograph.demo.population import PopulationRule, draw_population, sized
from heliograph.lake.tables import event_files
from heliograph.plan.load import load_plan
from keeping import KeptLake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.settings import LakeSettings

PLAN = load_plan(Path(__file__).parents[2] / "plans" / "code-intelligence.yaml")
RULE = sized(150_000, PopulationRule(seed=7, first_day=date(2026, 9, 3), days=28, accounts=40), PLAN)
KEYS = [(name, "ascending") for name in ("instance", "time", "sequence")]


def bytes_an_event(settings: LakeSettings) -> float:
    files = [Path(file) for file in event_files(settings)]
    rows = sum(int(pq.read_metadata(file).num_rows) for file in files)
    return sum(file.stat().st_size for file in files) / rows


def ways(file: str) -> dict[str, set[str]]:
    """How the values of each column are encoded."""
    group = pq.read_metadata(file).row_group(0)
    return {
        group.column(number).path_in_schema: {*group.column(number).encodings} for number in range(group.num_columns)
    }


def rows_of(files: Sequence[str]) -> pa.Table:
    return pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)


def test_an_event_of_the_simulators_mix_takes_ten_bytes_at_most_once_it_is_compacted(tmp_path: Path) -> None:
    lake = KeptLake(tmp_path, PLAN, file_rows=1_000_000)
    append_events(lake.settings, PLAN, draw_population(RULE, PLAN), rows=20_000)
    files = event_files(lake.settings)
    loaded, before, loaded_ways = bytes_an_event(lake.settings), rows_of(files), ways(files[0])
    lake.keeper().compact(everything=True)
    [file] = event_files(lake.settings)
    assert bytes_an_event(lake.settings) <= 10 < loaded <= 15
    after = rows_of([file])
    assert after.equals(before.sort_by(KEYS))
    near = ("time", "sequence", "received")
    assert {next(iter(ways(file)[name] - {"RLE"})) for name in near} == {"DELTA_BINARY_PACKED"}
    assert {name: loaded_ways[name] for name in near} == {name: ways(file)[name] for name in near}
