"""How many bytes an event takes in the lake: as one would first write it, as the loader commits it, and compacted.

    python benchmarks/layout.py --events 1000000

All three in one run, of the same events, so that the ratio means something on any machine.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heliograph.demo.bulk import event_batches
from heliograph.demo.population import PopulationRule, draw_population, sized
from heliograph.lake.maintenance.layout import in_order
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.tables import event_files, open_events
from heliograph.lake.transactions import begin
from heliograph.plan.load import load_plan
from heliograph.settings import LakeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PLAN = Path(__file__).parent.parent / "plans" / "code-intelligence.yaml"
_SHOWN = 12
_PAUSE = 30 * 60 * 1_000_000


class Figures(NamedTuple):
    """Bytes an event, and what compaction takes."""

    events: int
    plain: float
    committed: float
    compacted: float
    rows_per_cpu_second: float
    columns: dict[str, float]


def measure(folder: Path, events: int, commit_rows: int) -> Figures:
    """Write the same events in three ways into `folder`."""
    plan = load_plan(_PLAN)
    rule = sized(events, PopulationRule(seed=7, first_day=date(2026, 9, 3), days=28, accounts=40), plan)
    rows = pa.Table.from_batches(list(event_batches(draw_population(rule, plan), plan)))
    settings = LakeSettings(
        warehouse=str(folder / "lake"), catalog=f"sqlite:///{folder}/lake/catalog.db", compact_files=2
    )
    table = open_events(settings, plan)
    for first in range(0, len(rows), commit_rows):
        with begin(table) as transaction:
            transaction.append(in_order(rows.slice(first, commit_rows)))
    committed = _bytes(event_files(settings))
    began = time.process_time()
    Keeper(settings, now=lambda: datetime.now(UTC)).compact(everything=True)
    seconds = time.process_time() - began
    files = event_files(settings)
    return Figures(
        events=len(rows),
        plain=_plain_bytes(folder / "plain.parquet", rows) / len(rows),
        committed=committed / len(rows),
        compacted=_bytes(files) / len(rows),
        rows_per_cpu_second=len(rows) / seconds,
        columns=dict(_columns(files, len(rows))),
    )


def _plain_bytes(file: Path, rows: pa.Table) -> int:
    """Return the size of one file with an id for each event and for its session, in the order of arrival."""
    whole = rows.append_column("session_id", _sessions(rows)).append_column("id", _ids(len(rows)))
    pq.write_table(whole.sort_by("received"), file, compression="zstd")
    return file.stat().st_size


def _ids(count: int) -> pa.Array:
    return pa.array([secrets.token_hex(16) for _ in range(count)])


def _sessions(rows: pa.Table) -> pa.Array:
    """Return an id for each session, which the lake does not keep: one ends by a pause of half an hour."""
    user = np.asarray(rows.column("user_id").combine_chunks().dictionary_encode().indices)
    moment = np.asarray(rows.column("time").cast(pa.int64()))
    order = np.lexsort((moment, user))
    begins = (np.diff(user[order], prepend=-1) != 0) | (np.diff(moment[order], prepend=0) > _PAUSE)
    session = np.empty(len(rows), np.int64)
    session[order] = np.cumsum(begins) - 1
    return _ids(int(begins.sum())).take(pa.array(session))


def _bytes(files: Sequence[str]) -> int:
    return sum(Path(file).stat().st_size for file in files)


def _columns(files: Sequence[str], events: int) -> Iterator[tuple[str, float]]:
    sizes: dict[str, int] = {}
    for file in files:
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                name = column.path_in_schema
                sizes[name] = sizes.get(name, 0) + column.total_compressed_size
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        yield name, size / events


def main(arguments: Sequence[str]) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--commit-rows", type=int, default=20_000, help="events of one commit of the loader")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.events, given.commit_rows)
    print(f"{found.events:,} events")
    print(f"plain, with an id an event  {found.plain:6.2f} bytes an event")
    print(f"as the loader commits       {found.committed:6.2f} bytes an event")
    print(f"compacted                   {found.compacted:6.2f} bytes an event")
    print(f"plain / compacted           {found.plain / found.compacted:6.2f}")
    print(f"compaction                  {found.rows_per_cpu_second:,.0f} events per CPU-second")
    rest = list(found.columns.items())
    for name, size in rest[:_SHOWN]:
        print(f"  {name:<20} {size:6.2f}")
    print(f"  {len(rest) - _SHOWN} others            {sum(size for _, size in rest[_SHOWN:]):6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
