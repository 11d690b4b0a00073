"""A CSV file in the place of a CRM: account, value and date, and whatever other columns people keep in it."""

from __future__ import annotations

import csv
import io
import os
import stat
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.frames import sync_folder
from heliograph.registry.crm import Change, CrmAccount, CrmError, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heliograph.settings import CrmSettings

COLUMNS: Final = ("account", "value", "date")
"""The columns that are read and written, in any order, among any others."""

_MARK: Final = "\ufeff"
"""What spreadsheets put before UTF-8."""


class _Table(msgspec.Struct):
    """A file's rows, with everything that is needed to write it as it was."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    """The line on which each row ends."""
    mark: str = ""
    newline: str = "\n"

    def cell(self, row: list[str], column: str) -> str:
        return row[self.header.index(column)].strip()

    def put(self, row: list[str], column: str, text: str) -> None:
        row[self.header.index(column)] = text


class CrmFile:
    """The CSV file that `settings` name; if there is none, it has no records, and the first one added makes it.

    Raises:
        CrmError: The words for Yes and No cannot be told apart.
    """

    def __init__(self, settings: CrmSettings) -> None:
        self._file = Path(settings.file)
        self._words = {True: settings.yes.strip(), False: settings.no.strip()}
        if not all(self._words.values()) or settings.yes.strip().casefold() == settings.no.strip().casefold():
            raise CrmError(["crm.yes, crm.no: must be two different words; set them, such as Yes and No"])

    @property
    def can_add(self) -> bool:
        """Nobody else makes the rows of a file."""
        return True

    def close(self) -> None:
        """Nothing is held open."""

    def read(self) -> list[CrmAccount]:
        """Return all rows.

        Raises:
            CrmError: The file cannot be read; all its malformed lines.
        """
        table = self._read()
        return [self._account(table, row) for row in table.rows if row]

    def write(self, changes: Sequence[Change]) -> list[Outcome]:
        """Write all of `changes` at once, over what the file holds by now.

        Raises:
            CrmError: The file cannot be read or written, and is as it was.
        """
        table = self._read()
        rows = {table.cell(row, "account"): row for row in table.rows if row}
        outcomes = []
        for change in changes:
            name = change.reference or change.account or ""
            row = rows.get(name)
            if row is None and change.reference is not None:
                outcomes.append(Outcome(change, f"{self._file}: has no row for {name} any more; run it again"))
                continue
            if row is None:
                row = rows[name] = [""] * len(table.header)
                table.rows.append(row)
                table.put(row, "account", name)
            table.put(row, "value", self._words[change.allowed])
            table.put(row, "date", change.since.isoformat())
            outcomes.append(Outcome(change))
        self._write(table)
        return outcomes

    def _account(self, table: _Table, row: list[str]) -> CrmAccount:
        name, value, day = (table.cell(row, column) for column in COLUMNS)
        allowed = next((meant for meant, word in self._words.items() if value.casefold() == word.casefold()), None)
        return CrmAccount(reference=name, account=name, allowed=allowed, since=date.fromisoformat(day) if day else None)

    def _read(self) -> _Table:
        try:
            text = self._file.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return _Table(header=list(COLUMNS), rows=[], lines=[])
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise CrmError([f"{self._file}:{line}: is not UTF-8; save the file as CSV in UTF-8"]) from None
        except (OSError, ValueError) as error:
            raise CrmError([f"{self._file}: cannot be read: {_reason(error)}; look at crm.file"]) from None
        table, problems = _parsed(text)
        problems = problems or [problem for row in self._row_problems(table) for problem in row]
        if problems:
            raise CrmError([f"{self._file}:{problem}" for problem in problems])
        return table

    def _row_problems(self, table: _Table) -> list[list[str]]:
        seen: dict[str, int] = {}
        return [
            [f"{line}: {problem}" for problem in self._problems_of(table, row, line, seen)]
            for row, line in zip(table.rows, table.lines, strict=True)
            if row
        ]

    def _problems_of(self, table: _Table, row: list[str], line: int, seen: dict[str, int]) -> list[str]:
        if len(row) != len(table.header):
            return [f"has {len(row)} cells under {len(table.header)} columns; mend its commas and quotes"]
        problems = []
        name, value, day = (table.cell(row, column) for column in COLUMNS)
        if not name:
            problems.append("names no account; give the registry's name, or remove the line")
        elif seen.setdefault(name, line) != line:
            problems.append(f"account {name!r} stands on line {seen[name]} already; keep one of them")
        if value and value.casefold() not in {word.casefold() for word in self._words.values()}:
            problems.append(
                f"value {value!r} is neither {self._words[True]} nor {self._words[False]}; write one of them"
            )
        if day and not _is_date(day):
            problems.append(f"date {day!r} is no date; write it as 2026-10-01")
        return problems

    def _write(self, table: _Table) -> None:
        lines = (_line(row) + table.newline for row in [table.header, *table.rows])
        try:
            _replace(self._file.resolve(), (table.mark + "".join(lines)).encode())
        except (OSError, ValueError) as error:
            raise CrmError([f"{self._file}: cannot be written: {_reason(error)}; look at crm.file"]) from None


def _parsed(text: str) -> tuple[_Table, list[str]]:
    """Return the rows of `text`, and what keeps them from being read as such."""
    mark = _MARK if text.startswith(_MARK) else ""
    content = text.removeprefix(_MARK)
    newline = "\r\n" if content.partition("\n")[0].endswith("\r") else "\n"
    table = _Table(header=[], rows=[], lines=[], mark=mark, newline=newline)
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        table.header = [name.strip() for name in next(reader, [])]
        for row in reader:
            table.rows.append(row)
            table.lines.append(reader.line_num)
    except csv.Error as error:
        return table, [f"{reader.line_num}: is not CSV: {error}; mend its quotes"]
    return table, [
        f"1: has {table.header.count(name) or 'no'} columns {name!r}; the first line names each of "
        f"{', '.join(COLUMNS)} once, with commas between"
        for name in COLUMNS
        if table.header.count(name) != 1
    ]


def _line(cells: list[str]) -> str:
    # The library quotes what is in its own end of line: with another, a lone carriage return would end a row.
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def _replace(file: Path, content: bytes) -> None:
    """Put `content` in the place of `file`, so that whoever looks finds the old whole or the new whole."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        try:
            new.write(content)
            new.flush()
            if file.exists():
                os.fchmod(new.fileno(), stat.S_IMODE(file.stat().st_mode))
            os.fsync(new.fileno())
            Path(new.name).replace(file)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
    sync_folder(file.parent)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
