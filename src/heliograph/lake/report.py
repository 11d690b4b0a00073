"""What the lake holds, counted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table
from rich.text import Text

from heliograph.difference import add, in_words, subtract
from heliograph.lake.maintenance.retention import count_retired
from heliograph.lake.rewriting import read_erased
from heliograph.lake.standing import read_standings, total
from heliograph.lake.storage import connect
from heliograph.lake.tables import event_files, find_events, ping_files
from heliograph.ledger.report import SAID, said
from heliograph.registry.erasures import read_erasures
from heliograph.registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from heliograph.consent.erasure import ErasureOrder
    from heliograph.lake.differences import Explanation, LakeDifferences
    from heliograph.lake.standing import Standing
    from heliograph.registry.erasures import Erasure
    from heliograph.settings import LakeSettings, Settings
    from heliograph.wire import Counts


def count_events(settings: LakeSettings) -> dict[str, Counts]:
    """Return the rows in the lake by instance and event name."""
    counts: dict[str, Counts] = {}
    query = "select instance, name, count(*) from {} group by all order by all"
    for instance, name, count in _query(settings, event_files(settings), query):
        counts.setdefault(instance, {})[name] = count
    return counts


def count_repeated(settings: LakeSettings) -> int:
    """Return how many rows stand in the lake a second time: zero, or a promise is broken."""
    rows = _query(
        settings, event_files(settings), "select count(*) - count(distinct (instance, epoch, sequence)) from {}"
    )
    return int(rows[0][0]) if rows else 0


def count_pings(settings: LakeSettings) -> Counts:
    """Return how many pings of each instance the lake holds."""
    query = "select instance, count(distinct day) from {} group by all order by all"
    return dict(_query(settings, ping_files(settings), query))


def count_erased(settings: Settings) -> dict[str, Counts]:
    """Return the events that were erased, by instance and event name: those of proofs, and those not proved yet.

    Raises:
        RegistryError: The registry cannot be asked.
    """
    with Registry.open(settings.registry) as registry:
        erasures = read_erasures(registry)
    table = find_events(settings.lake)
    counts = [each.proof.rows for each in erasures if each.proof is not None]
    if table is not None:
        counts += [read_erased(table, each.order.id).rows for each in erasures if each.proof is None]
    total: dict[str, Counter[str]] = {}
    for one in counts:
        for instance, names in one.items():
            total.setdefault(instance, Counter()).update(names)
    return {instance: dict(names) for instance, names in total.items()}


class Holds(NamedTuple):
    """What the lake holds, and what it holds of which log."""

    events: dict[str, Counts]
    """By instance and name, as the next ones."""
    erased: dict[str, Counts]
    retired: dict[str, Counts]
    pings: Counts
    """By instance."""
    logs: list[Standing]

    def compared(self) -> dict[str, Compared]:
        """Hold it against what was accepted; see `compare`."""
        return compare(self.logs, self.events, self.erased, self.retired)


def read_holds(settings: Settings, folders: Mapping[str, Path]) -> Holds:
    """Count what the lake holds.

    Args:
        settings: Where lake, log and registry are.
        folders: The folders of other logs that can be read here, by their names.

    Raises:
        RegistryError: The registry cannot be asked.
    """
    return Holds(
        events=count_events(settings.lake),
        erased=count_erased(settings),
        retired=count_retired(settings.lake),
        pings=count_pings(settings.lake),
        logs=read_standings(settings, folders),
    )


class Compared(NamedTuple):
    """The events of one instance, by name, in the lake and as the gateways had accepted them when it was loaded."""

    accepted: Counts
    here: Counts
    """The rows in the lake."""
    erased: Counts
    retired: Counts
    """Those that retention took."""

    def names(self) -> Counts:
        """Return by how many events of each name they differ: above zero are missing."""
        return subtract(self.accepted, add(self.here, self.erased, self.retired))

    def in_words(self, name: str) -> str:
        """Return what there is of a name."""
        old = self.retired.get(name, 0)
        found = f"{name}: {self.accepted.get(name, 0):,} accepted, {self.here.get(name, 0):,} in the lake, "
        return found + f"{self.erased.get(name, 0):,} erased" + (f", {old:,} retired" if old else "")


def compare(
    logs: Sequence[Standing],
    events: Mapping[str, Counts],
    erased: Mapping[str, Counts],
    retired: Mapping[str, Counts] | None = None,
) -> dict[str, Compared]:
    """Hold the lake against what the gateways had accepted when it was loaded, by instance; where that is known.

    Args:
        logs: How far each log is in the lake.
        events: The rows in the lake, by instance and name.
        erased: Those that were erased.
        retired: Those that retention took, if it took any.
    """
    if any(each.accepted is None for each in logs):  # a log was replaced since
        return {}
    from_logs = _by_instance([each.accepted or {} for each in logs])
    elsewhere = _by_instance([each.elsewhere for each in logs])
    return {
        instance: Compared(
            subtract(from_logs.get(instance, {}), elsewhere.get(instance, {})),
            events.get(instance, {}),
            erased.get(instance, {}),
            (retired or {}).get(instance, {}),
        )
        for instance in sorted({*from_logs, *events})
    }


def find_differences(compared: Mapping[str, Compared], found: LakeDifferences) -> list[str]:
    """Return what differs in the lake and nobody has explained, a line each.

    Args:
        compared: What `compare` returned.
        found: What the loaders have found, and what was said.
    """
    lines = [found.problem] if found.problem else []
    for instance, each in compared.items():
        names = each.names()
        lines += [f"{instance}: {each.in_words(name)}" for name in sorted(found.open_names(instance, names))]
    for instance in found.instances:
        if count := found.open_count(instance):
            lines += [f"{instance}: {in_words(each)}" for each in found.open_ranges(instance)]
            lines.append(f"{instance}: ranges that loaders have found to differ: {count:,}")
    return lines


def explained_table(words: Sequence[Explanation]) -> Table:
    """Return a table of what was said of differences."""
    table = Table(title="Differences that are explained")
    for heading in ("instance", *SAID, "ranges", "events"):
        table.add_column(heading)
    for word in words:
        names = "\n".join(f"{name} {-count:+,}" for name, count in sorted(word.names.items()))
        table.add_row(word.instance, *said(word), "\n".join(map(in_words, word.ranges)), names)
    return table


def _by_instance(counts: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for one in counts:
        for instance, names in one.items():
            found[instance] = add(found.get(instance, {}), names)
    return found


def _query(settings: LakeSettings, files: list[str], query: str) -> list[Any]:
    if not files:
        return []
    with connect(settings) as connection:
        return connection.execute(query.format("read_parquet($files)"), {"files": files}).fetchall()


def count_table(counts: Mapping[str, Counts], pings: Counts, erased: Mapping[str, Counts]) -> Table:
    """Return a table with a line for each instance."""
    table = Table(title="What the lake holds")
    table.add_column("instance")
    for heading in ("events", "names", "erased", "pings"):
        table.add_column(heading, justify="right")
    for instance in sorted({*counts, *erased, *pings}):
        names = counts.get(instance, {})
        gone = sum(erased.get(instance, {}).values())
        table.add_row(instance, f"{sum(names.values()):,}", str(len(names)), f"{gone:,}", f"{pings.get(instance, 0):,}")
    return table


def log_table(logs: Sequence[Standing], now: datetime) -> Table:
    """Return a table with a line for each log, and one for all where there are several."""
    table = Table(title="What of the logs is in the lake")
    table.add_column("log")
    for heading in ("loaded up to", "accepted", "had elsewhere", "waiting", "latest loaded", "age"):
        table.add_column(heading, justify="right")
    for each in logs:
        table.add_row(
            Text(each.log or "(without a name)"),
            f"{each.place.generation}:{each.place.offset}",
            _number(each.total()),
            f"{total(each.elsewhere):,}",
            _number(each.waiting),
            "" if each.latest is None else f"{each.latest.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            "" if each.latest is None else str(now - each.latest).partition(".")[0],
        )
    if len(logs) > 1:
        table.add_section()
        elsewhere = f"{sum(total(each.elsewhere) for each in logs):,}"
        accepted, waiting = _sum(each.total() for each in logs), _sum(each.waiting for each in logs)
        table.add_row("all", "", accepted, elsewhere, waiting)
    return table


def _sum(numbers: Iterable[int | None]) -> str:
    known = list(numbers)
    return _number(None if None in known else sum(each or 0 for each in known))


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def erasure_table(erasures: Sequence[Erasure]) -> Table:
    """Return a table with a line for each erasure."""
    table = Table(title="Erasures")
    for heading in ("erasure", "recorded", "of", "since", "reason", "recorded by"):
        table.add_column(heading)
    table.add_column("rows", justify="right")
    table.add_column("state")
    for each in erasures:
        order, proof = each.order, each.proof
        table.add_row(
            order.id,
            f"{order.recorded:%Y-%m-%d %H:%M}",
            describe(order),
            "the beginning" if order.since is None else f"{order.since:%Y-%m-%d %H:%M}",
            Text(order.reason),
            Text(order.recorded_by),
            "" if proof is None else f"{sum(proof.tables.values()):,}",
            Text(each.state),
        )
    return table


def describe(order: ErasureOrder) -> str:
    """Return whom an order is for, in words."""
    whose = f"account {order.account}" if order.instance is None else f"instance {order.instance}"
    return whose if order.user_digest is None else f"one user of {whose}"
