"""What every writer does: make files of files, without saying so to anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table


class Change(NamedTuple):
    """What becomes of rows, beside that they are put in the order of questions."""

    once: tuple[str, ...] = ()
    """Columns by which a row is known: of several that have the same values one stays."""
    sums: tuple[str, ...] = ()
    """Columns that are added up over all rows that are equal in the others."""

    @property
    def keeps_all(self) -> bool:
        """Whether no row goes."""
        return not (self.once or self.sums)


class Writer(Protocol):
    """Writes files in the place of others: as many rows at once as it can, safely, and nothing besides.

    It never commits, and deletes nothing that a table knows. Files that it has written are on disk when they are given
    back; whoever is killed before that, or before they are committed, leaves orphans, which `lake clean` deletes.
    """

    at_once: int
    """How many pieces it does best at once."""

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

    def rest(self) -> None:
        """Let go of what is held for the work: there is none at the moment."""

    def close(self) -> None:
        """Let go of everything."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *about: object) -> None: ...
