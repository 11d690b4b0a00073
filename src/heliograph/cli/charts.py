"""Charts in the terminal, for what people would rather look at than read; they need no colour.

Each takes the rows of a metric and returns what rich prints, no wider than it is told. A unit is an account, an
instance or everyone: each has a chart of its own, up to `MOST_UNITS` of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from rich.console import RenderableType

Row: TypeAlias = dict[str, Any]
Chart: TypeAlias = Callable[["pa.Table", int], "RenderableType"]
"""Makes a chart of rows, in at most so many columns of the terminal."""

MOST_UNITS: Final = 3
"""Units that have a chart; the table has all of them."""
_SHADES: Final = " ░▒▓█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_NARROWEST: Final = 40
_LINES: Final = 14
"""Height of a chart of lines."""


def by_unit(table: pa.Table, draw: Callable[[list[Row]], RenderableType]) -> RenderableType:
    """Draw the first units one below the other, each under its name; the unit is the table's first column."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in table.to_pylist():
        groups[str(row[table.column_names[0]])].append(row)
    parts: list[RenderableType] = []
    for name, rows in list(groups.items())[:MOST_UNITS]:
        parts += [Text(name, style="bold"), draw(rows), Text()]
    if len(groups) > MOST_UNITS:
        parts.append(
            Text(f"Charts of the first {MOST_UNITS}; --plain shows all {len(groups)} as a table.", style="dim")
        )
    return Group(*parts)


def bars(label: str, value: str, *, notes: Iterable[str] = ()) -> Chart:
    """Return a chart of horizontal bars.

    Args:
        label: The column that stands before each bar.
        value: The column that its length shows.
        notes: Columns whose values stand behind it; fractions as per cent.
    """
    columns = tuple(notes)

    def draw(rows: list[Row], width: int) -> RenderableType:
        labels = [_shown(row[label]) for row in rows]
        tails = [
            "  ".join(_shown(row[name], share=name.startswith("share")) for name in (value, *columns)) for row in rows
        ]
        room = max(width, _NARROWEST) - max(map(len, labels), default=0) - max(map(len, tails), default=0) - 4
        most = max((row[value] or 0 for row in rows), default=0) or 1
        lines = (
            f"{name:>{max(map(len, labels))}} {_bar((row[value] or 0) / most, max(room, 4))} {tail}"
            for name, row, tail in zip(labels, rows, tails, strict=True)
        )
        return Text("\n".join(lines), no_wrap=True, overflow="crop")

    return lambda table, width: by_unit(table, lambda rows: draw(rows, width))


def heat_map(row: str, column: str, share: str, *, size: str, complete: str) -> Chart:
    """Return a table of shares, each with a shade: darker is more. What is not complete has a tilde.

    Args:
        row: The column whose values are the lines.
        column: The column whose values are the columns.
        share: The column of the shares.
        size: The column that says how many a line is about.
        complete: The column that says whether a share is final.
    """

    def draw(rows: list[Row], width: int) -> RenderableType:
        columns = list(dict.fromkeys(each[column] for each in rows))
        cells = {(each[row], each[column]): _cell(each[share], final=each[complete]) for each in rows}
        sizes = {each[row]: each[size] for each in rows}
        room = (max(width, _NARROWEST) - 20) // 8
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        for name in (row, size, *(f"{column.split('_', maxsplit=1)[-1]} {_shown(each)}" for each in columns[:room])):
            table.add_column(name.replace("_", " "), justify="left" if name == row else "right", no_wrap=True)
        for each, number in sizes.items():
            table.add_row(_shown(each), _shown(number), *(Text(cells.get((each, name), "")) for name in columns[:room]))
        return table

    return lambda table, width: by_unit(table, lambda rows: draw(rows, width))


def lines(day: str, series: Mapping[str, str]) -> Chart:
    """Return a chart of lines over days, each drawn with its own letter, so that it needs no colour.

    Args:
        day: The column of dates.
        series: The columns of numbers, and the letter of each.
    """

    def draw(rows: list[Row], width: int) -> RenderableType:
        import plotext  # noqa: PLC0415 - quick --help

        figure = plotext.figure
        figure.clear()
        figure.theme("colorless")
        figure.plot_size(max(width, _NARROWEST), _LINES)
        places = list(range(len(rows)))
        for name, letter in series.items():
            points = figure.signal(places, [row[name] or 0 for row in rows], marker=letter)
            figure.draw(points.lines())
        figure.ruler("y").lim(0, max((row[name] or 0 for row in rows for name in series), default=0) + 1)
        ticks = sorted({0, len(rows) // 2, len(rows) - 1})
        figure.ruler("x").ticks(ticks, [str(rows[place][day]) for place in ticks])
        drawn = plotext.uncolorize(str(figure.build()))
        legend = "   ".join(f"{letter}: {name.replace('_', ' ')}" for name, letter in series.items())
        return Group(Text(drawn.rstrip(), no_wrap=True, overflow="crop"), Text(legend, style="dim"))

    return lambda table, width: by_unit(table, lambda rows: draw(rows, width))


def _bar(share: float, width: int) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _cell(share: float | None, *, final: bool) -> str:
    if share is None:
        return "-"
    shade = _SHADES[min(int(share * len(_SHADES)), len(_SHADES) - 1)]
    return f"{shade}{'' if final else '~'}{share:4.0%}"


def _shown(value: object, *, share: bool = False) -> str:
    match value:
        case None:
            return "-"
        case float() if share:
            return f"{value:.1%}"
        case int() | float():
            return f"{value:,}"
        case _:
            return str(value)
