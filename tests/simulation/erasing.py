"""What an erasure asks of the lake's tables, in memory: its steps, the log and the properties are the product's own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import operator
from typing import TYPE_CHECKING, Any, Final

from heliograph.gateway import erasures as desk_module
from heliograph.gateway.log import Log
from heliograph.lake import erasure as erasure_module
from heliograph.lake import rewriting as rewriting_module
from heliograph.lake.proving import Finding, Scan
from heliograph.lake.rewriting import Erased, Matches
from simulation import registry as registry_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heliograph.lake.matching import Scope
    from simulation.lake import MemoryLake, MemoryTable

POLLS: Final = 4
"""How often an erasure looks whether the gateway has let go of the log: each look lets it work."""
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    "in": lambda value, several: value in several,
}


class NoExclusion:
    """Stands for the locks between an erasure and maintenance, which is not simulated."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def erasing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class Inline:
    """Stands for the threads in which the registry is asked: they would make no history twice."""

    @staticmethod
    async def to_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def covering(scopes: Sequence[Scope], row: dict[str, Any]) -> str | None:
    """Return the id of the first order that covers a row."""
    for scope in scopes:
        comparisons = scope.comparisons(list(row))
        if comparisons is not None and all(
            row[each.column] is not None and _OPERATORS[each.operator](row[each.column], each.value)
            for each in comparisons
        ):
            return scope.id
    return None


def find_matches(table: MemoryTable, scopes: Sequence[Scope], _: object) -> Matches:
    """Stands for `rewriting.find_matches`: the one file is all rows."""
    found: dict[str, Erased] = {}
    epochs: dict[str, dict[int, int]] = {}
    for row in table.stored.rows:
        erasure = covering(scopes, row)
        if erasure is None:
            continue
        one = Erased(total=1)
        if "epoch" in row:
            one.rows, one.first_day = {row["instance"]: {row["name"]: 1}}, row["time"].date()
            numbers = epochs.setdefault(row["instance"], {})
            numbers[row["epoch"]] = max(row["sequence"], numbers.get(row["epoch"], 0))
        found.setdefault(erasure, Erased()).add(one)
    files: Any = [table.stored.rows] if found else []
    return Matches(files, found, epochs)


def without_rows(_: object, files: Sequence[Any], scopes: Sequence[Scope], __: object) -> list[Any]:
    """Stands for `rewriting.without_rows`."""
    return [[row for row in rows if covering(scopes, row) is None] for rows in files]


def replace_files(table: MemoryTable, _: object, new: Sequence[Any], *, properties: dict[str, str]) -> bool:
    """Stands for `commits.replace_files`."""
    table.replace(new[0], properties)
    return True


class Logs:
    """The logs that an erasure has taken itself, as no gateway ran."""

    def __init__(self) -> None:
        self.taken: Log | None = None

    def take(self, *arguments: Any, **fields: Any) -> Log:
        """Stands for `Log` in an erasure."""
        self.taken = quiet(Log(*arguments, **fields))
        return self.taken


def quiet(log: Log) -> Log:
    """Let a log look for a scrub only when the simulation says so: by its own clock no history would be one twice."""
    log._next_look = math.inf
    return log


def stand_ins(logs: Logs) -> Iterator[tuple[Any, str, Any]]:
    """Yield what stands in the place of what, whatever the lake: the registry, and threads with their own clock."""
    yield desk_module, "order", registry_module.order
    yield asyncio, "to_thread", Inline.to_thread
    for name in ("pending", "note", "finish"):
        yield erasure_module, name, getattr(registry_module, name)
    yield erasure_module, "_POLLS", POLLS
    yield erasure_module, "Log", logs.take


def lake_stand_ins(lake: MemoryLake) -> Iterator[tuple[Any, str, Any]]:
    """Yield what stands in the place of the lake's own."""

    def tables(_: object) -> list[MemoryTable]:
        return lake.concerned()

    def scan_warehouse(scan: Scan, *_: object, **__: object) -> None:
        scan.findings += [
            Finding(erasure, f"{'.'.join(table.name())}: a row")
            for table in lake.concerned()
            for row in table.stored.rows
            if (erasure := covering(scan._scopes, row)) is not None
        ]

    def keep_listing(scan: Scan, _: object) -> str:
        return hashlib.sha256(scan.listing()).hexdigest()

    yield erasure_module, "Exclusion", NoExclusion
    yield erasure_module, "concerned_tables", tables
    for name in ("open_catalog", "open_storage", "first_day", "erase_from_marts", "forget_past", "delete_files"):
        yield erasure_module, name, lambda *_, **__: None
    for name in ("unreferenced_files", "find_remains"):
        yield erasure_module, name, lambda *_, **__: []
    yield rewriting_module, "find_matches", find_matches
    yield rewriting_module, "without_rows", without_rows
    yield rewriting_module, "replace_files", replace_files
    yield Scan, "scan_warehouse", scan_warehouse
    yield Scan, "keep_listing", keep_listing
