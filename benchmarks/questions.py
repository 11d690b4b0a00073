"""How fast questions are answered: from the marts, without them, and how soon after an event; README.md says how.

Run it by ``make benchmark-questions``; ``ARGS="--events 5000000 --events 50000000"`` passes options on.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import msgspec
from rich.console import Console
from rich.table import Table

from heliograph import Recorder
from heliograph.demo.bulk import event_batches
from heliograph.demo.filled import append_events, make_marts
from heliograph.demo.population import PopulationRule, draw_population, sized
from heliograph.demo.processes import Processes
from heliograph.explore import Lake, open_lake
from heliograph.insights.asking import Filters
from heliograph.insights.funnel import FunnelRule, funnel
from heliograph.insights.sessions import multi_feature_sessions
from heliograph.insights.tables import defined_tables
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.marts.tables import MARTS, find_mart
from heliograph.lake.tables import find_events, open_catalog
from heliograph.plan.load import load_plan
from heliograph.settings import LakeSettings, PlanSettings, Settings
from vendor_side import running_site
from workload import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from pyiceberg.table import Table as IcebergTable

    from heliograph.demo.population import Population
    from heliograph.plan.model import Plan

_PLAN: Final = Path(__file__).resolve().parents[1] / "plans" / "code-intelligence.yaml"
_DAYS: Final = 180
_FIRST: Final = date(2026, 1, 5)
_STEPS: Final = ("SearchSubmitted", "SearchResultClicked", "goToDefinition")
_WINDOW_HOURS: Final = 24
_FRESH_SECONDS: Final = 60.0


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of the clock that something took, warm, once for each round."""

    name: str
    seconds: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """How a lake was made."""

    events: int
    generated_per_second: float | None = None
    """None, of each of these: nobody has timed it."""
    appended_per_second: float | None = None
    """Events generated, sorted and committed to the lake."""
    marts_per_second: float | None = None
    """Events made into all marts. None: there are none yet."""
    upkeep_seconds: float | None = None
    """What the first upkeep took. None: the lake is as it was made."""

    @property
    def marts_to_appending(self) -> float | None:
        """How much faster marts are made than events are appended."""
        if self.marts_per_second is None or self.appended_per_second is None:
            return None
        return self.marts_per_second / self.appended_per_second


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on one lake."""

    made: Made
    event_bytes: float
    """Of an event in the lake's files of events."""
    mart_bytes: float
    """Of an event in the files of the marts."""
    questions: list[Timed]
    """From the marts as they are made; none where upkeep has been there before."""
    kept: list[Timed]
    """From the marts after upkeep; none where it was not asked for."""
    ours: list[Timed]
    """From the events alone."""
    plain: list[Timed]
    """The same in plain SQL; the answers are equal, or the run fails."""
    scans: list[Timed]
    """The columns that each needs, read and no more: no way over the same files is quicker than this."""
    highest_mib: float
    """Resident memory of this process, at most, so far."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run found."""

    sizes: list[Size]
    fresh_seconds: list[float]
    """From `record` to an answer in which the event counts, by real processes."""


def measure(folder: Path, events: int, *, rounds: int, upkeep: bool) -> Size:
    """Time the questions on a lake of about so many events, which is made unless it is there.

    Args:
        folder: Where the lake is.
        events: About how many it has.
        rounds: How often each question is timed.
        upkeep: Do what is done to a lake in use every few minutes, and time the questions from the marts again. What is
            asked of the events comes after it.
    """
    plan = load_plan(_PLAN)
    rule = sized(events, PopulationRule(seed=1, first_day=_FIRST, days=_DAYS, accounts=20), plan)
    population = draw_population(rule, plan)
    lake = LakeSettings(warehouse=str(folder), catalog=f"sqlite:///{folder}/catalog.db")
    settings = Settings(plan=PlanSettings(file=str(_PLAN)), lake=lake)
    written = folder / "made.json"
    made = _make(lake, plan, population, written)
    questions: list[Timed] = []
    if made.upkeep_seconds is None:
        with open_lake(settings, now=_after) as opened:
            questions = _ask(opened, population, rounds)
    if upkeep:
        seconds, _ = _timed(Keeper(lake, now=lambda: datetime.now(UTC)).upkeep)
        made = msgspec.structs.replace(made, upkeep_seconds=made.upkeep_seconds or seconds)
        written.write_bytes(msgspec.json.encode(made))
    with open_lake(settings, now=_after) as opened:
        kept = [] if made.upkeep_seconds is None else _ask(opened, population, rounds)
        ours, plain, scans = _raw(opened, lake, rounds)
    return Size(
        made=made,
        event_bytes=_bytes(find_events(lake)) / made.events,
        mart_bytes=sum(_bytes(find_mart(open_catalog(lake), mart)) for mart in MARTS) / made.events,
        questions=questions,
        kept=kept,
        ours=ours,
        plain=plain,
        scans=scans,
        highest_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _make(lake: LakeSettings, plan: Plan, population: Population, written: Path) -> Made:
    """Make what is not there yet, events or marts, and write down how fast that went."""
    if written.exists():
        made = msgspec.json.decode(written.read_bytes(), type=Made)
    else:
        generated, count = _timed(lambda: sum(batch.num_rows for batch in event_batches(population, plan)))
        appended, _ = _timed(lambda: append_events(lake, plan, population))
        made = Made(events=count, generated_per_second=count / generated, appended_per_second=count / appended)
        written.write_bytes(msgspec.json.encode(made))
    if made.marts_per_second is None:
        table = find_events(lake)
        assert table is not None
        seconds, _ = _timed(lambda: make_marts(lake, plan, table))
        made = msgspec.structs.replace(made, marts_per_second=made.events / seconds)
        written.write_bytes(msgspec.json.encode(made))
    return made


def _after() -> datetime:
    return datetime(_FIRST.year, _FIRST.month, _FIRST.day, tzinfo=UTC) + timedelta(days=_DAYS)


def _ask(lake: Lake, population: Population, rounds: int) -> list[Timed]:
    return [_warm(name, ask, rounds) for name, ask in _questions(lake, population).items()]


def _questions(lake: Lake, population: Population) -> dict[str, Callable[[], object]]:
    """Return the five questions as a person asks them: names are looked up, and the last day is found."""
    user = population.user_ids[0].as_py()
    month = f"{_FIRST + timedelta(days=_DAYS // 2):%Y-%m}"
    return {
        "searches": lambda: lake.ask("searches", user=user, month=month),
        "power-users": lambda: lake.ask("power-users"),
        "multi-feature-sessions": lambda: lake.ask("multi-feature-sessions"),
        "intervene": lambda: lake.ask("intervene"),
        "stickiest": lambda: lake.ask("stickiest"),
    }


def _raw(lake: Lake, settings: LakeSettings, rounds: int) -> tuple[list[Timed], list[Timed], list[Timed]]:
    """Time the funnel and the sessions without marts; in plain SQL on the same files and engine; and a bare scan."""
    table = find_events(settings)
    assert table is not None
    files = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
    tables = defined_tables(lake.tables.events, lake.plan)
    scope = lake.scope(Filters(since=_FIRST, by="everyone"))
    rule = FunnelRule(steps=_STEPS, window_hours=_WINDOW_HOURS)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.read_parquet(files, hive_partitioning=False, union_by_name=True).create_view("events")
    active = [(name, event.feature) for name, event in lake.plan.events.items() if event.active]
    connection.execute("CREATE TABLE meanings (name VARCHAR, feature VARCHAR)")
    connection.executemany("INSERT INTO meanings VALUES (?, ?)", active)
    since = scope.since.isoformat() if scope.since else ""

    def plain(query: str) -> Callable[[], pa.Table]:
        return lambda: connection.sql(query.format(since=since)).to_arrow_table()

    pairs: dict[str, tuple[Callable[[], pa.Table], Callable[[], pa.Table]]] = {
        "funnel": (lambda: funnel(tables, lake.plan, scope, rule=rule).to_pyarrow(), plain(_PLAIN_FUNNEL)),
        "sessions": (lambda: multi_feature_sessions(tables, lake.plan, scope).to_pyarrow(), plain(_PLAIN_SESSIONS)),
    }
    for name, (own, other) in pairs.items():
        _compare(name, own(), other())
    ours = [_warm(name, own, rounds) for name, (own, _) in pairs.items()]
    others = [_warm(name, other, rounds) for name, (_, other) in pairs.items()]
    return ours, others, [_warm(name, plain(scan), rounds) for name, scan in _SCANS.items()]


def _compare(name: str, own: pa.Table, plain: pa.Table) -> None:
    """Fail unless both give the same numbers: to be quick and wrong is no figure."""
    [row] = plain.to_pylist()
    found = own["users"].to_pylist() if name == "funnel" else [own[each][0].as_py() for each in row]
    if found != list(row.values()):
        raise ValueError(f"{name}: ours gives {found}, and plain SQL {list(row.values())}")


# What one would first write. It compares times alone, where ours puts steps strictly in order by (time, sequence): here
# both give the same. It says neither who may still come nor since when there is data, which ours does.
_PLAIN_FUNNEL: Final = f"""
    WITH used AS (
      SELECT account, instance, user_id, name, time FROM events
      WHERE actor IS NULL AND user_id IS NOT NULL AND time >= TIMESTAMP '{{since}}'
    ),
    one AS (SELECT * FROM used WHERE name = '{_STEPS[0]}'),
    two AS (SELECT * FROM used WHERE name = '{_STEPS[1]}'),
    three AS (SELECT * FROM used WHERE name = '{_STEPS[2]}')
    SELECT count(DISTINCT one.user_id), count(DISTINCT two.user_id), count(DISTINCT three.user_id)
    FROM one
    LEFT JOIN two ON two.user_id = one.user_id AND two.time > one.time
      AND two.time <= one.time + INTERVAL {_WINDOW_HOURS} HOUR
    LEFT JOIN three ON three.user_id = two.user_id AND three.time > two.time
      AND three.time <= one.time + INTERVAL {_WINDOW_HOURS} HOUR
"""
_PLAIN_SESSIONS: Final = """
    WITH used AS (
      SELECT instance, user_id, time, feature FROM events JOIN meanings USING (name)
      WHERE actor IS NULL AND user_id IS NOT NULL AND time >= TIMESTAMP '{since}'
    ),
    marked AS (
      SELECT *, coalesce(time - lag(time) OVER by_time > INTERVAL 30 MINUTE, true)::INT AS begins
      FROM used WINDOW by_time AS (PARTITION BY instance, user_id ORDER BY time)
    ),
    numbered AS (
      SELECT *, sum(begins) OVER (PARTITION BY instance, user_id ORDER BY time) AS session FROM marked
    ),
    sessions AS (
      SELECT user_id, count(DISTINCT feature) AS features FROM numbered GROUP BY instance, user_id, session
    )
    SELECT count(DISTINCT user_id) AS users,
           count(DISTINCT user_id) FILTER (features >= 2) AS multi_feature_users,
           count(*) AS sessions, count(*) FILTER (features >= 2) AS multi_feature_sessions
    FROM sessions
"""


_USED: Final = "FROM events WHERE actor IS NULL AND user_id IS NOT NULL AND time >= TIMESTAMP '{since}'"
_SCANS: Final = {
    "funnel": f"SELECT max(user_id), max(time), max(sequence) {_USED} AND name IN {_STEPS}",
    "sessions": f"SELECT max(instance), max(user_id), max(time), max(name) {_USED}",
}


def fresh(folder: Path, *, events: int) -> list[float]:
    """Return for some events the seconds from `record` until an answer counts them, by agent, gateway and loader."""
    plan = load_plan(_PLAN)
    found = []
    with running_site(folder, _PLAN) as site, Processes(folder, os.environ) as processes:
        for name, arguments in _PROCESSES.items():
            file = site.instance_file if name == "agent" else site.vendor_file
            processes.start(name, "heliograph.cli", "--config", str(file), *arguments)
        recorder = Recorder(site.instance.recorder, version=VERSION, source=plan.sources[0])
        for number in range(1, events + 1):
            begun = time.monotonic()
            recorder.record("goToDefinition", user=f"user-{number}", session=f"session-{number}", outcome="ok")
            while _active_today(site.vendor_file) < number:
                if time.monotonic() - begun > _FRESH_SECONDS:
                    raise TimeoutError(f"event {number} is in no answer after {_FRESH_SECONDS:g} seconds")
            found.append(time.monotonic() - begun)
        recorder.close()
    return found[1:]  # the first waits for everything to begin


_PROCESSES: Final = {"loader": ("lake", "load", "--follow"), "agent": ("agent", "run")}


def _active_today(settings: Path) -> int:
    with open_lake(settings) as lake:
        rows = lake.metric("monthly-active-users", by="everyone").to_pylist()
    return rows[-1]["active_users"] if rows else 0


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result


def _warm(name: str, run: Callable[[], object], rounds: int) -> Timed:
    run()
    return Timed(name=name, seconds=[_timed(run)[0] for _ in range(rounds)])


def _bytes(table: IcebergTable | None) -> int:
    return 0 if table is None else sum(task.file.file_size_in_bytes for task in table.scan().plan_files())


def print_figures(console: Console, figures: Figures) -> None:
    """Print a column for each size, and how figures grow from the first to the last."""
    table = Table(title="Questions, warm; seconds are the median", title_justify="left")
    table.add_column("")
    for size in figures.sizes:
        table.add_column(f"{size.made.events:,} events", justify="right")
    grows = len(figures.sizes) > 1
    if grows:
        table.add_column("growth", justify="right")
    for name, tell, form in _rows(figures.sizes[0]):
        values = [tell(size) for size in figures.sizes]
        first, last = values[0], values[-1]
        growth = [] if not grows else ["-" if first is None or last is None else f"{last / first:.2f}"]
        table.add_row(name, *("-" if value is None else form.format(value) for value in values), *growth)
    console.print(table)
    if figures.fresh_seconds:
        ordered = sorted(figures.fresh_seconds)
        p50, p95 = (ordered[min(int(len(ordered) * share), len(ordered) - 1)] for share in (0.5, 0.95))
        console.print(f"From record to a changed answer, {len(ordered)} events: p50 {p50:.2f} s, p95 {p95:.2f} s")


def _rows(size: Size) -> list[tuple[str, Callable[[Size], float | None], str]]:
    def seconds(kind: str, at: int) -> Callable[[Size], float | None]:
        def tell(each: Size) -> float | None:
            times: list[Timed] = getattr(each, kind)
            return times[at].median if times else None

        return tell

    def ratio(kind: str, at: int) -> Callable[[Size], float]:
        return lambda each: float(each.plain[at].median / getattr(each, kind)[at].median)

    return [
        *(
            (f"{each.name}, from the marts{when}", seconds(kind, at), "{:.3f} s")
            for kind, when in (("questions", ""), ("kept", " after upkeep"))
            for at, each in enumerate(size.questions or size.kept)
        ),
        *((f"{each.name}, from the events", seconds("ours", at), "{:.2f} s") for at, each in enumerate(size.ours)),
        *((f"{each.name}, plain SQL", seconds("plain", at), "{:.2f} s") for at, each in enumerate(size.plain)),
        *((f"{each.name}, a scan", seconds("scans", at), "{:.2f} s") for at, each in enumerate(size.scans)),
        *((f"{each.name}, plain SQL / ours", ratio("ours", at), "{:.1f}") for at, each in enumerate(size.ours)),
        *((f"{each.name}, plain SQL / a scan", ratio("scans", at), "{:.1f}") for at, each in enumerate(size.scans)),
        ("bytes an event", lambda each: each.event_bytes, "{:.1f}"),
        ("bytes an event in the marts", lambda each: each.mart_bytes, "{:.1f}"),
        ("generated a second", lambda each: each.made.generated_per_second, "{:,.0f}"),
        ("appended a second, generation included", lambda each: each.made.appended_per_second, "{:,.0f}"),
        ("made into marts a second", lambda each: each.made.marts_per_second, "{:,.0f}"),
        ("upkeep, seconds", lambda each: each.made.upkeep_seconds, "{:,.0f}"),
        ("marts / appending", lambda each: each.made.marts_to_appending, "{:.2f}"),
        ("highest memory, MiB", lambda each: each.highest_mib, "{:,.0f}"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and return 0."""
    parser = argparse.ArgumentParser(prog="questions.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, action="append", help="of a lake; may be repeated (default: 1000000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each question is timed (default: 5)")
    parser.add_argument("--fresh", type=int, default=40, help="events from record to answer; 1 is none (default: 40)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where to write (default: here)")
    parser.add_argument("--lakes", type=Path, help="where lakes stay, and are taken from (default: each is made anew)")
    parser.add_argument("--upkeep", action="store_true", help="do what `lake upkeep` does, and ask the marts again")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix=".heliograph-questions-", dir=options.folder) as folder:
        lakes = (options.lakes or Path(folder)).resolve()
        sizes = [
            measure(lakes / str(events), events, rounds=options.rounds, upkeep=options.upkeep)
            for events in options.events or [1_000_000]
        ]
        seconds = fresh(Path(folder).resolve() / "site", events=options.fresh) if options.fresh > 1 else []
    figures = Figures(sizes=sizes, fresh_seconds=seconds)
    print_figures(Console(), figures)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
