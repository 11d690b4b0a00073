"""An answer: a table, the parameters and definition behind it, and honest words where the data is too thin."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import pyarrow as pa
from pyarrow import csv
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from heliograph.insights.scope import Scope

Parameters: TypeAlias = dict[str, Any]
"""What was assumed or chosen, by name; values that JSON can hold."""


_NOTEBOOK_ROWS: Final = 50


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question."""

    question: str
    """The question in words."""
    definition: str
    """What the figures mean, in a sentence or two."""
    table: pa.Table
    """The figures."""
    parameters: Parameters
    """Every choice that the figures depend on: the days, the filters, the thresholds."""
    notes: tuple[str, ...] = ()
    """What to know before relying on the figures, such as groups that are too thin."""

    def as_json(self) -> str:
        """Return everything as one JSON object; the table under ``rows``, an object a row."""
        content = {
            "question": self.question,
            "definition": self.definition,
            "parameters": self.parameters,
            "notes": self.notes,
            "rows": self.table.to_pylist(),
        }
        return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()

    def as_csv(self) -> str:
        """Return the table alone as CSV with a header line; missing values are empty."""
        return as_csv(self.table)

    def as_rich(self, *, most: int | None = None, chart: RenderableType | None = None) -> RenderableType:
        """Return the answer for a terminal: the question, the table with its first `most` rows, the notes.

        Args:
            most: Rows that are shown; None: all.
            chart: Stands in the place of the table.
        """
        parts: list[RenderableType] = [Text(self.question, style="bold"), Text(self.definition, style="dim")]
        if chart is not None:
            parts += [Text(), chart]
        elif self.table.num_rows:
            parts.append(rich_table(self.table.slice(0, most)))
        if chart is None and most is not None and self.table.num_rows > most:
            parts.append(Text(f"… and {self.table.num_rows - most:,} more", style="dim"))
        parts.extend(Text(f"• {note}") for note in self.notes)
        return Group(*parts)

    def _repr_html_(self) -> str:
        """Return the answer as a notebook shows it."""
        head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in self.table.column_names)
        rows = self.table.slice(0, _NOTEBOOK_ROWS).to_pylist()
        body = "".join(f"<tr>{''.join(f'<td>{escape(_cell(v))}</td>' for v in row.values())}</tr>" for row in rows)
        more = self.table.num_rows - len(rows)
        notes = [*self.notes, *([f"… and {more:,} more rows: `.table` has all of them."] if more else [])]
        return (
            f"<p><b>{escape(self.question)}</b><br>{escape(self.definition)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
        )


def as_csv(table: pa.Table) -> str:
    """Return rows as CSV with a header line; missing values are empty."""
    buffer = io.BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue().decode()


def rich_table(table: pa.Table) -> Table:
    """Return rows for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        shown.add_column(field.name.replace("_", " "), justify="right" if right else "left", vertical="bottom")
    for row in table.to_pylist():
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    return shown


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.3f}"
        case _:
            return str(value)


def scope_parameters(scope: Scope, **parameters: object) -> Parameters:
    """Return `parameters` after the choices that `scope` holds."""
    return {
        "since": None if scope.since is None else scope.since.isoformat(),
        "until": scope.until.isoformat(),
        "time_zone": scope.zone,
        "unit": scope.unit,
        **{name: list(getattr(scope, name)) for name in ("accounts", "instances", "features", "versions", "clients")},
        **parameters,
    }


def scope_notes(scope: Scope) -> list[str]:
    """Return what to know about the days that `scope` counts."""
    if scope.until >= scope.today:
        return [f"{scope.until} is not over: its figures, and those of periods that hold it, can still change."]
    return []
