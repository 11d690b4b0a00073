"""The verbs of maintenance over all tables of a lake, and all of them in their order."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from heliograph.lake.commits import commit
from heliograph.lake.exclusion import Exclusion
from heliograph.lake.maintenance.compaction import Compacted, compact_pieces, find_pieces, foresee
from heliograph.lake.maintenance.expiry import Removed, clean, expire
from heliograph.lake.maintenance.retention import Retained, bound_of, files_to_look_at, retain_file, settle
from heliograph.lake.rewriting import table_name
from heliograph.lake.tables import PROPERTIES, find_catalog, find_tables
from heliograph.lake.writers.embedded import EmbeddedWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pyiceberg.table import Table, Transaction

    from heliograph.lake.writers import Writer
    from heliograph.settings import LakeSettings


class Tell(Protocol):
    """Is told how far a verb has come."""

    def __call__(self, step: str, done: int, of: int) -> object:
        """Take what is being done, how much of it is, and of how much; the unit is the step's own."""


class Kept(msgspec.Struct, kw_only=True):
    """What upkeep did, step by step; each has a line for each table."""

    retained: list[Retained]
    compacted: list[Compacted]
    expired: list[Removed]
    cleaned: list[Removed]


class Keeper:
    """Maintains one lake, beside a loader, questions, and erasures, and in turn with other maintenance.

    Each piece of work is small and commits for itself: whoever is killed leaves nothing undone but the rest.

    Args:
        settings: Which lake, and how it is to be kept.
        now: The clock by which snapshots, orphans and rows are old.
        wait: Waits for so many seconds.
        dry_run: Change nothing, and say what would be.
        tell: Is told how far it has come.
        writer: Rewrites files; None: this process does.
    """

    def __init__(
        self,
        settings: LakeSettings,
        *,
        now: Callable[[], datetime],
        wait: Callable[[float], object] = time.sleep,
        dry_run: bool = False,
        tell: Tell = lambda step, done, of: None,  # noqa: ARG005 - a protocol's names
        writer: Writer | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._exclusion = Exclusion(settings, wait=wait)
        self._dry_run = dry_run
        self._tell = tell
        self._writer = EmbeddedWriter(settings) if writer is None else writer

    def upkeep(self) -> Kept:
        """Do all that is due: rows that are too old first, so that nothing is rewritten which goes anyway."""
        self._give_properties()
        return Kept(retained=self.retain(), compacted=self.compact(), expired=self.expire(), cleaned=self.clean())

    def retain(self) -> list[Retained]:
        """Take out rows that are older than their class may be."""
        found = []
        for table in find_tables(self._settings):
            one = bound_of(table, self._settings, self._now())
            if one is None:
                continue
            files = files_to_look_at(table, one)
            for number, file in enumerate(files):
                self._tell(f"{one.table}: retaining", number, len(files))
                with self._exclusion.rewriting():
                    retain_file(table, file, one, dry_run=self._dry_run)
            found.append(one)
        catalog = find_catalog(self._settings)
        if catalog is not None and not self._dry_run:
            settle(catalog, self._now())
        return found

    def compact(self, *, everything: bool = False) -> list[Compacted]:
        """Rewrite small files; with `everything`, all files."""
        return [self._compact(table, everything=everything) for table in find_tables(self._settings)]

    def _compact(self, table: Table, *, everything: bool) -> Compacted:
        pieces = find_pieces(table, self._settings, everything=everything)
        if self._dry_run:
            return foresee(table, pieces)
        done = Compacted(table=table_name(table))
        rows, all_rows = 0, sum(piece.rows for piece in pieces)
        for first in range(0, len(pieces), self._writer.at_once):
            some = pieces[first : first + self._writer.at_once]
            self._tell(f"{done.table}: rewriting rows", rows, all_rows)
            with self._exclusion.rewriting():
                compact_pieces(table, some, self._writer, done)
            rows += sum(piece.rows for piece in some)
        return done

    def expire(self) -> list[Removed]:
        """Forget snapshots that nobody reads any more, and delete what only they had."""
        return self._remove("expiring", expire)

    def clean(self) -> list[Removed]:
        """Delete files that nothing refers to."""
        return self._remove("looking for orphans", clean)

    def _remove(self, step: str, remove: Callable[..., Removed]) -> list[Removed]:
        tables = find_tables(self._settings)
        found = []
        for number, table in enumerate(tables):
            self._tell(f"{table_name(table)}: {step}", number, len(tables))
            with self._exclusion.rewriting():
                found.append(remove(table, self._settings, self._now(), dry_run=self._dry_run))
        return found

    def _give_properties(self) -> None:
        """Give tables from before what new ones have."""
        for table in find_tables(self._settings):
            missing = {name: value for name, value in PROPERTIES.items() if table.properties.get(name) is None}
            if missing and not self._dry_run:
                commit(table, functools.partial(_set, properties=missing))


def _set(transaction: Transaction, *, properties: dict[str, str]) -> None:
    transaction.set_properties(properties)
