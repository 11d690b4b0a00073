"""What every writer does: make files of files, without saying so to anybody."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - a tuple with names reads its annotations
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.engines import Stored
    from heliograph.lake.marts.tables import Mart
    from heliograph.lake.matching import Scope
    from heliograph.plan.model import Plan


class Change(NamedTuple):
    """What becomes of rows, beside that they are put in the order of questions."""

    once: tuple[str, ...] = ()
    """Columns by which a row is known: of several that have the same values one stays."""
    folds: Mart | None = None
    """The mart whose rows are folded: of several with one key, or of parts that belong together, one is left."""
    without: tuple[Scope, ...] = ()
    """Orders: the rows that one of them covers are left out."""

    @property
    def keeps_all(self) -> bool:
        """Whether no row goes."""
        return not (self.once or self.folds or self.without)


class Covered(NamedTuple):
    """Rows of one file that an order covers."""

    erasure: str
    """The order's id."""
    file: str
    """Its path."""
    rows: int
    instance: str = ""
    """Of events: of which instance and epoch they are, and by what name, a row of this for each."""
    name: str = ""
    epoch: int = 0
    last: int = 0
    """The greatest number of them."""
    first: datetime | None = None
    """When the first of them happened, in UTC."""


class Days(NamedTuple):
    """Some days, one after the other."""

    first: date
    until: date | None = None
    """The day after the last one; None: there is no last one."""


def slices(days: Sequence[tuple[date, int]], most: int) -> Iterator[Days]:
    """Yield spans of days: of so many events at the most, or of one day.

    Args:
        days: How many events there are of each day, in order.
        most: Events of a span.
    """
    starts: list[date] = []
    total = 0
    for day, count in days:
        if not starts or total + count > most:
            starts.append(day)
            total = 0
        total += count
    yield from map(Days, starts, [*starts[1:], None])


class Writer(Protocol):
    """Writes files in the place of others: as many rows at once as it can, safely, and nothing besides.

    It never commits, and deletes nothing that a table knows. Files that it has written are on disk when they are given
    back; whoever is killed before that, or before they are committed, leaves orphans, which `lake clean` deletes.
    """

    at_once: int
    """How many pieces it does best at once."""
    slice_rows: int
    """How many events it does best at once when it makes marts."""

    def rewrite(self, table: Table, pieces: Sequence[Sequence[DataFile]], change: Change) -> list[list[DataFile]]:
        """Write the rows of each piece to one new file, in the columns that the table has now.

        Args:
            table: Whose files.
            pieces: Files that become one, each of one partition.
            change: What becomes of the rows of each piece.

        Returns:
            For each piece its new file, on disk, with its statistics; no file where no row is left.

        Raises:
            LayoutError: A file does not hold what it should.
            EngineError: The engine could not.
        """

    def find(self, table: Table, files: Sequence[str], scopes: Sequence[Scope]) -> list[Covered]:
        """Return what of a table's files orders cover.

        Args:
            table: Whose files; of the table of events more is told.
            files: Their paths.
            scopes: The orders.
        """

    def make(
        self,
        marts: Mapping[Mart, Table],
        plan: Plan,
        files: Sequence[str],
        days: Days,
        scopes: Sequence[Scope] | None = None,
    ) -> dict[Mart, list[DataFile]]:
        """Write what the definitions of marts say of the events of some days.

        Args:
            marts: Which of them, with their tables.
            plan: What the definitions depend on.
            files: The paths of the files that may hold such events.
            days: Which.
            scopes: Orders, with the first day that each covers: of all that is not theirs nothing is made. None: of all
                events. They name the same columns in each of the marts.

        Returns:
            The new files of each mart, as `rewrite` gives them.

        Raises:
            LayoutError, EngineError: As `rewrite` does.
        """

    def count_days(self, plan: Plan, files: Sequence[str], days: Days) -> list[tuple[date, int]]:
        """Return how many events there are in files of each day, in order."""

    def count_differing(
        self, plan: Plan, stored: Mapping[str, Stored], days: Days, tell: Callable[[date], object]
    ) -> dict[str, dict[date, int]]:
        """Compare marts with what their definitions say of the events, both with one row for each key.

        Args:
            plan: What the definitions depend on.
            stored: The events, and the marts, by name.
            days: Which are compared.
            tell: Is told the first of the days that are compared next.

        Returns:
            By the mart's name and the first of some days, how many rows stand on one side alone.
        """

    def begin(self) -> None:
        """See that work can begin: else it is when there is some that one finds out.

        Raises:
            EngineError: It cannot; the message says why.
        """

    def rest(self) -> None:
        """Let go of what is held for the work: there is none at the moment."""

    def close(self) -> None:
        """Let go of everything."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *about: object) -> None: ...
