"""Carrying out erasures: the list of steps, each of which may be interrupted anywhere and done again.

The loader does it, as it is the only writer of the lake and the only reader of the log.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import duckdb
import structlog
from pyiceberg.exceptions import CommitFailedException, ValidationException

from heliograph.consent.erasure import ErasureProof
from heliograph.engines import EngineError
from heliograph.gateway.log import Log, LogFullError
from heliograph.gateway.log_reading import segments
from heliograph.gateway.scrub import request_scrub
from heliograph.lake.commits import CommitConflictError
from heliograph.lake.exclusion import BusyError, Exclusion
from heliograph.lake.maintenance.layout import LayoutError
from heliograph.lake.marts.changing import data_files
from heliograph.lake.marts.erasing import erase_from_marts, find_remains, first_day
from heliograph.lake.marts.tables import MARTS
from heliograph.lake.matching import Scope
from heliograph.lake.proving import Finding, Scan
from heliograph.lake.rewriting import (
    Erased,
    ErasureError,
    concerned_tables,
    delete_files,
    erase_rows,
    find_matches,
    forget_counts,
    forget_past,
    read_erased,
    table_name,
    unreferenced_files,
)
from heliograph.lake.storage import open_storage
from heliograph.lake.tables import EVENTS, find_events, is_events, open_catalog
from heliograph.lake.writers.embedded import EmbeddedWriter
from heliograph.registry.erasures import WAITING, Pending, finish, note, pending, preview
from heliograph.registry.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyiceberg.table import Table

    from heliograph.consent.erasure import ErasureOrder
    from heliograph.lake.loader import Loader
    from heliograph.lake.writers import Writer
    from heliograph.registry.store import Registry
    from heliograph.settings import Settings

LOOK_SECONDS: Final = 1.0
"""How often the loader looks for orders."""
AGAIN_SECONDS: Final = 60.0
"""Pause after an attempt that did not succeed."""
SETTLE_SECONDS: Final = 2.0
"""How long after an order's last moment it begins: what arrived in that moment is in the log by then."""
_MARTS: Final = frozenset(mart.table for mart in MARTS)
_MOST_AT_ONCE: Final = 100
"""Orders that share one pass over the files."""
_SCRUBS: Final = 5
_POLL_SECONDS: Final = 0.1
_POLLS: Final = 600
_FAILURES: Final = (
    ErasureError,
    EngineError,
    LayoutError,
    CommitConflictError,
    BusyError,
    LogFullError,
    OSError,
    CommitFailedException,
    ValidationException,
    duckdb.Error,
)
_log: Final = structlog.get_logger("heliograph.loader")


class Destination(Protocol):
    """Somewhere outside the lake to which events were published."""

    def erase(self, order: ErasureOrder, user_id: str | None) -> None:
        """Erase there what the order covers, if necessary again.

        Raises:
            ErasureError: It did not succeed.
        """


class Eraser:
    """Carries out the registry's orders at one loader's log and lake.

    Args:
        loader: Who holds both.
        settings: Where they are.
        registry: Holds the orders.
        now: The clock by which an order's last moment passes.
        monotonic: The clock by which the registry is asked, in seconds.
        wait: Waits for so many seconds, or less when the process ends.
        destinations: Where else to erase.
        tell: Is told what is being done, in words.
    """

    def __init__(
        self,
        loader: Loader,
        settings: Settings,
        registry: Registry,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
        destinations: Sequence[Destination] = (),
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._loader = loader
        self._settings = settings
        self._registry = registry
        self._now = now
        self._monotonic = monotonic
        self._wait = wait
        self._destinations = destinations
        self._tell = tell
        self._next_look = 0.0
        self._log_folder = Path(settings.gateway.log)
        self._storage = open_storage(settings.lake)

    def round(self) -> None:
        """Carry out what is due, about once a second; what does not succeed is logged, and tried again later."""
        if self._monotonic() < self._next_look:
            return
        self._next_look = self._monotonic() + LOOK_SECONDS
        try:
            due = self.due()
            problems = self.carry_out(due) if due else []
        except RegistryUnavailableError as error:
            problems = [str(error)]
            _log.error("erasures cannot be looked up", why=str(error))
        if problems:
            self._next_look = self._monotonic() + AGAIN_SECONDS

    def due(self) -> list[Pending]:
        """Return the orders that can be carried out now: nothing more of what they cover can arrive."""
        by = self._now() - timedelta(seconds=SETTLE_SECONDS)
        due = [each for each in pending(self._registry) if each.order.until < by]
        # Those that did not succeed before must not keep others waiting.
        return sorted(due, key=lambda each: each.problem is not None)[:_MOST_AT_ONCE]

    def carry_out(self, orders: Sequence[Pending]) -> list[str]:
        """Erase what the orders cover, and prove it; return why those that stay pending do."""
        ids = [each.order.id for each in orders]
        try:
            findings = self._carry_out(orders)
        except _FAILURES as error:
            problem = str(error) or type(error).__name__
            note(self._registry, ids, WAITING, problem=problem)
            _log.error("erasure failed", erasures=ids, why=problem)
            return [problem]
        finally:
            self._loader.hold_back(None)
            self._loader.recall()
            self._loader.marts.writer.rest()
        problems = []
        for erasure in ids:
            places = [finding.place for finding in findings if finding.erasure == erasure]
            if not places:
                continue
            problems.append(f"{erasure}: it is not all gone: {'; '.join(places[:10])}")
            note(self._registry, [erasure], WAITING, problem=problems[-1])
            _log.error("erasure failed", erasures=[erasure], why=problems[-1])
        return problems

    def _carry_out(self, orders: Sequence[Pending]) -> list[Finding]:
        self._begin(orders, "emptying the log")
        held = self.empty_log(orders)
        orders = [each for each in orders if each.order.id not in {finding.erasure for finding in held}]
        if not orders:
            return held
        self._begin(orders, "rewriting the lake")
        # Maintenance that has read rows must not write them to a file that nobody looks through any more; and what it
        # has written, and not committed yet, would be taken for a remain.
        with Exclusion(self._settings.lake, wait=self._wait).erasing():
            scopes = self.rewrite_tables(orders)
            self._begin(orders, "deleting files")
            removed = self.delete_remains()
            self._begin(orders, "telling the destinations")
            self.tell_destinations(orders)
            self._begin(orders, "looking through all files")
            return [*held, *self.prove(scopes, removed)]

    def _begin(self, orders: Sequence[Pending], step: str) -> None:
        self._tell(step)
        note(self._registry, [each.order.id for each in orders], step)

    def empty_log(self, orders: Sequence[Pending]) -> list[Finding]:
        """Load everything up to now, and have every segment of it deleted, whether a gateway runs or not.

        Returns what came to the log while it was emptied, each time: of an instance that goes on sending a user.
        """
        scopes = [Scope(each) for each in orders]
        findings: list[Finding] = []
        for _ in range(_SCRUBS):
            newest = max(segments(self._log_folder), default=None)
            if newest is None:
                return []
            self._scrub(newest)
            scan = Scan(scopes)
            scan.scan_log(self._settings.gateway, self._wait)
            findings = scan.findings
            if not findings:
                break
        return [Finding(each.erasure, f"the log still holds some of it, {each.place}") for each in findings]

    def _scrub(self, newest: int) -> None:
        self._loader.hold_back(newest + 1)
        request_scrub(self._log_folder, newest)
        with ExitStack() as stack:
            has_log = False
            polls = 0
            while polls < _POLLS:
                has_log = has_log or self._take_log(stack)
                # No further than it has to: where much arrives there would be no end.
                is_past = self._loader.place.generation > newest
                if not is_past and self._loader.load_round():
                    continue
                if is_past and min(segments(self._log_folder), default=newest) > newest:
                    return
                polls += 1
                self._wait(_POLL_SECONDS)
        raise ErasureError(f"{self._log_folder}: the gateway does not let go of segment {newest}: look at its log")

    def _take_log(self, stack: ExitStack) -> bool:
        """Do the gateway's part where none runs, with the gateway's code."""
        gateway = self._settings.gateway
        try:
            log = Log(
                self._log_folder,
                segment_bytes=gateway.segment_bytes,
                maximum_bytes=gateway.maximum_log_bytes,
                now=lambda: self._now().timestamp(),
            )
        except BlockingIOError:
            return False
        stack.callback(log.close)
        return True

    def rewrite_tables(self, orders: Sequence[Pending]) -> list[Scope]:
        """Take the rows out of every table, the events first; return the orders with the first day they cover."""
        scopes = [Scope(each) for each in orders]
        for table in self._tables():
            if table_name(table) in _MARTS:
                continue
            erase_rows(table, scopes, self._loader.marts.writer)
            if is_events(table):
                events = table
                scopes = [Scope(each, first_day(events, each)) for each in orders]
        erase_from_marts(self._loader.marts, events, scopes)
        return scopes

    def delete_remains(self) -> int:
        """Forget all older snapshots, and delete what nothing refers to any more; return how many files."""
        tables = self._tables()
        for table in tables:
            forget_past(table)
        if any(unreferenced_files(table) for table in tables):
            self._wait(self._settings.lake.erasure_grace_seconds)
        removed = 0
        for table in tables:
            files = unreferenced_files(table)
            delete_files(table, files)
            removed += len(files)
        return removed

    def tell_destinations(self, orders: Sequence[Pending]) -> None:
        """Have it erased wherever it was published."""
        for destination in self._destinations:
            for each in orders:
                destination.erase(each.order, each.user_id)

    def prove(self, scopes: Sequence[Scope], removed: int) -> list[Finding]:
        """Look through all files, and finish the orders of which nothing is found; return what is found."""
        events = next(table for table in self._tables() if is_events(table))
        remains = find_remains(self._loader.marts, events, scopes)
        made_anew = (file for table in self._loader.marts.tables.values() for file in data_files(table))
        scan = Scan(scopes, made_anew=frozenset(self._storage.identity(file.file_path) for file in made_anew))
        scan.findings += [Finding(erasure, f"{mart}: it is not what the events left give") for erasure, mart in remains]
        scan.scan_warehouse(self._storage, but=self._registry_files())
        scan.scan_log(self._settings.gateway, self._wait)
        found = {finding.erasure for finding in scan.findings}
        proved = [scope for scope in scopes if scope.id not in found]
        if not proved:
            return scan.findings
        digest = scan.keep_listing(self._storage)
        tables = self._tables()
        for scope in proved:
            erased = {table_name(table): read_erased(table, scope.id) for table in tables}
            finish(
                self._registry,
                ErasureProof(
                    account=scope.account,
                    erasure=scope.id,
                    rows=erased.get(EVENTS, Erased()).rows,
                    tables={name: each.total for name, each in erased.items() if each.total},
                    files_rewritten=sum(each.files for each in erased.values()),
                    files_removed=removed,
                    files_scanned=len(scan.files),
                    bytes_scanned=sum(each.size for each in scan.files),
                    digest=digest,
                    recorded=self._now(),
                    recorded_by="loader",
                ),
            )
            _log.info("erased", erasure=scope.id, rows=sum(each.total for each in erased.values()))
        still = {each.order.id for each in pending(self._registry)}
        for table in tables:
            forget_counts(table, still)
        return scan.findings

    def _tables(self) -> list[Table]:
        return concerned_tables(open_catalog(self._settings.lake))

    def _registry_files(self) -> frozenset[str]:
        """Return the registry's files, where it is in files: they hold the ids that the others are searched for."""
        scheme, _, path = self._settings.registry.url.partition(":///")
        if not scheme.startswith("sqlite"):
            return frozenset()
        return frozenset(str(Path(path + suffix).resolve()) for suffix in ("", "-wal", "-shm", "-journal"))


def count_covered(
    settings: Settings,
    registry: Registry,
    *,
    account: str,
    instance: str | None,
    since: datetime,
    now: datetime,
    writer: Writer | None = None,
) -> dict[str, int]:
    """Return how many rows of each table such an order would erase from the lake as of now.

    Raises:
        RegistryError: All that is wrong with such an order.
    """
    would_be = preview(registry, account=account, instance=instance, since=since, now=now)
    if find_events(settings.lake) is None:
        return {}
    scopes = [Scope(would_be)]
    writer = EmbeddedWriter(settings.lake) if writer is None else writer
    counts: dict[str, int] = {}
    for table in concerned_tables(open_catalog(settings.lake)):
        found = find_matches(table, scopes, writer).erased.get(would_be.order.id, Erased())
        if is_events(table):
            scopes = [Scope(would_be, found.first_day)]
        counts[table_name(table)] = found.total
    return counts
