"""Small groups are left out of a table, and as much besides as keeps them from being computed from what is shown.

A *group* is a number of people that the table tells, or that follows from several of its numbers: those who use the
product and never several features in a session are the difference of two columns. Each metric says how its numbers
hang together (`Counts.links`). Groups of fewer than the minimum, but not of nobody, are hidden; that is the primary
suppression. Then, as long as a small group, or the small rest of a total, can be computed from the numbers shown, the
smallest number that takes part in it is hidden, too: the secondary suppression. What all units together make is taken
to be known where it would itself be told, as it can be asked for.

What can be computed is decided by elimination over the hidden numbers, exactly. That is protection against exact
disclosure (Cox 1980): an attacker who knows nothing but such tables cannot compute the size of a small group. Bounds
on it remain, and so does what they know from elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import pyarrow as pa

from heliograph.insights.scope import QuestionError

if TYPE_CHECKING:
    from collections.abc import Iterable

MINIMUM_GROUP: Final = 5
"""People; fewer are told of only to those who may see raw data."""

Cell: TypeAlias = tuple[int, str]
"""A row's number and a column."""
Equation: TypeAlias = dict[Cell, int]
"""Numbers of a table, each with a factor."""
Variable: TypeAlias = Cell | int
"""A number of the table; or one that it does not show, by the number of its equation."""


class Link(msgspec.Struct, frozen=True):
    """An equation between numbers of a table."""

    terms: Equation
    """Those that add up, with their factors."""
    rest: bool = False
    """What they add up to: a group of its own, such as those of a total that are in none of its parts; or zero."""


Row: TypeAlias = Mapping[str, Any]
Links: TypeAlias = Callable[[Sequence[Row], str], "Iterable[Link]"]
"""Makes the equations of a table's rows, whose unit stands in the named column."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Which numbers of a metric are of people, and how they hang together."""

    people: tuple[str, ...]
    """Columns with numbers of distinct people."""
    derived: dict[str, tuple[str, ...]] = {}
    """Columns that follow from people, and from which: hidden when one of these is."""
    links: tuple[Links, ...] = ()
    """Say how the numbers hang together."""
    keys: tuple[str, ...] = ()
    """Columns, beside the unit, that say what a row is about: over the units, such rows add up to a known total."""


def suppressed(table: pa.Table, counts: Counts, *, unit: str, minimum_group: int = MINIMUM_GROUP) -> pa.Table:
    """Return `table` without its small groups, and without what would give them away.

    Args:
        table: As a metric gives it.
        counts: What that metric says of its numbers.
        unit: The column whose values are the units; a table without it is of all of them together.
        minimum_group: The smallest number of people that is told; nobody, zero, always is.

    Returns:
        The same rows and columns with null in place of what is hidden, and `suppressed`: whether any of the row is.

    Raises:
        QuestionError: The minimum is less than 1.
    """
    if minimum_group < 1:
        raise QuestionError([f"A group that is told has 1 person or more, not {minimum_group}."])
    rows = table.to_pylist()
    hidden = hidden_cells(rows, counts, unit=unit, minimum_group=minimum_group)
    for number, row in enumerate(rows):
        own = {column for place, column in hidden if place == number}
        for column in (*own, *(name for name, sources in counts.derived.items() if own & set(sources))):
            row[column] = None
        row["suppressed"] = bool(own)
    return pa.Table.from_pylist(rows, table.schema.append(pa.field("suppressed", pa.bool_())))


def hidden_cells(rows: Sequence[Row], counts: Counts, *, unit: str, minimum_group: int) -> set[Cell]:
    """Return the cells that may not be shown; see `suppressed`."""
    values: dict[Variable, int] = {
        (number, column): row[column]
        for number, row in enumerate(rows)
        for column in counts.people
        if row.get(column) is not None
    }
    cells = [variable for variable in values if isinstance(variable, tuple)]
    equations = [
        *_equations(rows, counts, unit, values),
        *_over_units(rows, counts, unit, values, minimum_group),
    ]
    hidden: set[Variable] = {variable for variable in values if not isinstance(variable, tuple)}
    hidden |= {cell for cell in cells if 0 < values[cell] < minimum_group}
    while groups := _given_away(equations, values, hidden, minimum_group):
        newly: set[Variable] = set()
        for group in groups:
            near = [equation for equation in equations if equation.keys() & group]
            if any(equation.keys() & newly for equation in near):
                continue
            shown = [cell for each in near for cell in each if cell not in hidden and isinstance(cell, tuple)]
            # One that counts nobody hides nothing, unless there is no other.
            newly.add(min(shown or cells, key=lambda cell: (cell in hidden, values[cell] == 0, values[cell], cell)))
        if newly <= hidden:
            return set(cells)
        hidden |= newly
    return {cell for cell in hidden if isinstance(cell, tuple)}


def _equations(
    rows: Sequence[Row], counts: Counts, unit: str, values: dict[Variable, int]
) -> list[dict[Variable, int]]:
    """Return the equations of a table's own numbers; the groups that it does not show are added to the values."""
    equations = []
    for number, link in enumerate(link for make in counts.links for link in make(rows, unit)):
        if not all(cell in values for cell in link.terms):
            continue
        equation: dict[Variable, int] = dict(link.terms.items())
        if link.rest:
            values[number] = sum(factor * values[cell] for cell, factor in equation.items())
            equation[number] = -1
        equations.append(equation)
    return equations


def _over_units(
    rows: Sequence[Row], counts: Counts, unit: str, values: Mapping[Variable, int], minimum_group: int
) -> list[dict[Variable, int]]:
    """Return an equation for each total over the units that is told; what it is equal to is known, and no variable."""
    places: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if unit in row:
            places[tuple(row[key] for key in counts.keys)].append(number)
    if all(len(numbers) == 1 for numbers in places.values()):
        return []
    # In the order of the rows of one unit, in which the equations from row to row hold.
    ordered = sorted(places.items(), key=lambda item: item[0])
    totals = [
        {
            **dict(zip(counts.keys, key, strict=True)),
            **{name: sum(values.get((number, name), 0) for number in numbers) for name in counts.people},
        }
        for key, numbers in ordered
    ]
    kept = hidden_cells(totals, counts, unit=unit, minimum_group=minimum_group)
    return [
        {(number, name): 1 for number in numbers if (number, name) in values}
        for place, (_, numbers) in enumerate(ordered)
        for name in counts.people
        if (place, name) not in kept
    ]


def _given_away(
    equations: Sequence[dict[Variable, int]], values: Mapping[Variable, int], hidden: set[Variable], minimum: int
) -> list[set[Variable]]:
    """Return the sets of hidden variables that make up a small group which what is shown gives away."""
    known = [{variable: factor for variable, factor in each.items() if variable in hidden} for each in equations]
    solved = _reduced(each for each in known if each)
    groups: list[dict[Variable, int]] = [{variable: 1} for variable in hidden if 0 < values[variable] < minimum]
    for each in known:
        for sign in (1, -1):
            # The rest of a total: the hidden of its parts, which are people apart from each other.
            part = {variable: 1 for variable, factor in each.items() if factor == sign}
            if len(part) > 1 and 0 < sum(values[variable] for variable in part) < minimum:
                groups.append(part)
    return [
        set(group)
        for group in groups
        if not _remainder({variable: Fraction(factor) for variable, factor in group.items()}, solved)
    ]


def _reduced(equations: Iterable[Mapping[Variable, int]]) -> dict[Variable, dict[Variable, Fraction]]:
    """Return the equations solved for a variable each, by elimination."""
    solved: dict[Variable, dict[Variable, Fraction]] = {}
    for equation in equations:
        left = _remainder({variable: Fraction(factor) for variable, factor in equation.items()}, solved)
        if not left:
            continue
        pivot = next(iter(left))
        row = {variable: factor / left[pivot] for variable, factor in left.items()}
        for other, earlier in solved.items():
            if pivot in earlier:
                solved[other] = _less(earlier, row, earlier[pivot])
        solved[pivot] = row
    return solved


def _remainder(
    form: dict[Variable, Fraction], solved: Mapping[Variable, dict[Variable, Fraction]]
) -> dict[Variable, Fraction]:
    """Return what of a form is left once the equations are taken off; nothing: it follows from them."""
    for variable in list(form):
        if variable in solved and variable in form:
            form = _less(form, solved[variable], form[variable])
    return form


def _less(
    form: Mapping[Variable, Fraction], row: Mapping[Variable, Fraction], times: Fraction
) -> dict[Variable, Fraction]:
    result = dict(form)
    for variable, factor in row.items():
        result[variable] = result.get(variable, Fraction(0)) - times * factor
        if not result[variable]:
            del result[variable]
    return result


def parts_of(total: str, *parts: str, rest: bool = False) -> Links:
    """Return the equation, in each row, of a total and its parts; with `rest`, some may be in none of these."""

    def make(rows: Sequence[Row], _: str) -> Iterable[Link]:
        for number, row in enumerate(rows):
            known = [part for part in parts if part in row]
            if total in row and known:
                yield Link({(number, total): 1, **{(number, part): -1 for part in known}}, rest=rest)

    return make


def from_row_to_row(terms: Mapping[tuple[str, int], int], *, rest: bool = False) -> Links:
    """Return the equation, for each row, of columns of it (0), of the one before (-1) or after (1), of the same unit.

    What stands beyond the last row of a unit counts as zero; beyond the first, there is no equation.
    """

    def make(rows: Sequence[Row], unit: str) -> Iterable[Link]:
        for number, row in enumerate(rows):
            found: Equation = {}
            for (column, offset), factor in terms.items():
                place = number + offset
                inside = 0 <= place < len(rows) and rows[place].get(unit) == row.get(unit)
                if inside:
                    found[place, column] = factor
                elif offset < 0:
                    break
            else:
                yield Link(found, rest=rest)

    return make


def repeated(column: str, *keys: str) -> Links:
    """Return the equations that say that a column is the same in all rows with the same unit and keys."""

    def make(rows: Sequence[Row], unit: str) -> Iterable[Link]:
        first: dict[tuple[Any, ...], int] = {}
        for number, row in enumerate(rows):
            place = first.setdefault((row.get(unit), *(row[key] for key in keys)), number)
            if place != number:
                yield Link({(place, column): 1, (number, column): -1})

    return make


def subsets(column: str, sets: str, separator: str) -> Links:
    """Return the equations of sets of words: whoever is counted in one is counted in each that lacks words of it.

    Of three words, those counted with one and neither of the others follow from four of the numbers.
    """

    def make(rows: Sequence[Row], _: str) -> Iterable[Link]:
        places = {frozenset(row[sets].split(separator)): number for number, row in enumerate(rows)}
        for words, number in places.items():
            for word in words:
                if (smaller := places.get(words - {word})) is not None:
                    yield Link({(smaller, column): 1, (number, column): -1}, rest=True)
                pairs = [places.get(words - {other}) for other in words - {word}]
                alone = places.get(frozenset([word]))
                if len(pairs) == 2 and alone is not None and None not in pairs:  # noqa: PLR2004 - a set of three
                    terms = {(alone, column): 1, (number, column): 1}
                    yield Link({**terms, **{(pair, column): -1 for pair in pairs if pair is not None}}, rest=True)

    return make
