"""Committing to a table to which others commit, too: the loader every few seconds, and maintenance.

PyIceberg's catalog takes a commit only if the table is as it was when the commit was made; else it has to be made anew.
Before that, each looks whether what it has found still holds: the loader, that nobody else has moved the table's place
in the log; maintenance, that the files it replaces are still the table's.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table.update import ValidatableTableRequirement

from heliograph.lake.storage import storage_of
from heliograph.lake.transactions import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata

_ATTEMPTS: Final = 20
_LONGEST_PAUSE_SECONDS: Final = 2.0


class CommitConflictError(Exception):
    """Nothing was committed: others came first at each attempt, or have changed what was relied upon."""


class _AssertProperties(ValidatableTableRequirement):
    """The table's properties are still those; the catalog asks within the commit."""

    type: Literal["assert-heliograph-properties"] = Field(default="assert-heliograph-properties")
    expected: dict[str, str | None]

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]  # pydantic has one of its own
        properties = {} if base_metadata is None else base_metadata.properties
        if any(properties.get(name) != value for name, value in self.expected.items()):
            raise CommitFailedException("Requirement failed: a property has changed")


def commit(
    table: Table,
    change: Callable[[Transaction], object],
    *,
    relying_on: Mapping[str, str | None] | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Commit a change, made anew as often as others come first.

    Args:
        table: The table, which is as it was committed afterwards.
        change: Makes the change in a transaction.
        relying_on: Properties that must still be so, None for missing ones: what the change was found by.
        wait: Waits for so many seconds.

    Raises:
        CommitConflictError: A property is another now, or others came first too often.
    """
    _commit(table, change, dict(relying_on or {}), wait, lambda: True)


def _commit(
    table: Table,
    change: Callable[[Transaction], object],
    expected: Mapping[str, str | None],
    wait: Callable[[float], object],
    stands: Callable[[], bool],
) -> bool:
    """Commit a change as long as what it was found by stands; tell whether it was done."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            wait(pause_after(attempt))
            table.refresh()
        if not stands():
            return False
        _check(table, expected)
        try:
            with begin(table) as transaction:
                _require(transaction, expected)
                change(transaction)
        except (CommitFailedException, ValidationException):
            continue
        table.refresh()
        return True
    table.refresh()
    _check(table, expected)
    raise CommitConflictError(f"{'.'.join(table.name())}: others committed to it first, {_ATTEMPTS} times")


def _require(transaction: Transaction, expected: Mapping[str, str | None]) -> None:
    if expected:
        requirement: Any = _AssertProperties(expected=dict(expected))
        transaction._stage((), (requirement,))  # noqa: SLF001 - it has no other


def _check(table: Table, expected: Mapping[str, str | None]) -> None:
    for name, value in expected.items():
        if table.properties.get(name) != value:
            raise CommitConflictError(f"{'.'.join(table.name())}: somebody else has changed {name}")


def replace_files(
    table: Table,
    old: Iterable[DataFile],
    new: Iterable[DataFile],
    *,
    properties: Mapping[str, str] | None = None,
    of_snapshot: Mapping[str, str] | None = None,
    relying_on: Mapping[str, str | None] | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> bool:
    """Put files in the place of others, in one commit; tell whether it was done.

    It is not when one of the old files is the table's no more: then others have replaced it, or have erased some of its
    rows, and what was made of it must not come in. The new files are deleted.

    Args:
        table: Whose files.
        old: Those that go.
        new: Those that come.
        properties: What the table says of itself from then on, besides.
        of_snapshot: What the snapshot says of itself, besides.
        relying_on: Properties that must still be so, None for missing ones: what the new files were made by.
        wait: Waits for so many seconds.

    Raises:
        CommitConflictError: A property is another now, or others came first too often.
    """
    old, new = list(old), list(new)

    def change(transaction: Transaction) -> None:
        with transaction.update_snapshot(snapshot_properties=dict(of_snapshot or {})).overwrite() as overwrite:
            for file in old:
                overwrite.delete_data_file(file)
            for file in new:
                overwrite.append_data_file(file)
        if properties:
            transaction.set_properties(dict(properties))

    done = _commit(table, change, dict(relying_on or {}), wait, lambda: holds(table, old))
    if not done:
        storage_of(table).delete(file.file_path for file in new)
    return done


def holds(table: Table, files: Iterable[DataFile]) -> bool:
    """Tell whether all these files are a table's as of now."""
    table.refresh()
    live = {task.file.file_path for task in table.scan().plan_files()}
    return all(file.file_path in live for file in files)


def pause_after(attempt: int) -> float:
    """Return how many seconds to wait after so many attempts: ever longer, and never all at the same moment."""
    return min(_LONGEST_PAUSE_SECONDS, 0.05 * float(2**attempt)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
