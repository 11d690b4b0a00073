"""docs/classification.md: its tables are made here, from what the scan really finds and from the leak test's doors."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heliograph.plan.load import load_plan
from heliograph.plan.model import MemberProperty
from heliograph.plan.sensitive import find_sensitive
from leaks.canaries import KINDS, Nest
from leaks.every_door import BOUNDS, CHANNELS, DOORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Plan

PAGE: Final = Path(__file__).parents[2] / "docs" / "classification.md"
REAL_PLAN: Final = Path(__file__).parents[2] / "plans" / "code-intelligence.yaml"
SEED: Final = 20261002
EACH: Final = 10
"""Canaries of each class in each disguise."""
COLUMNS: Final = {
    "plain": ("plain", "in a sentence"),
    "case": ("upper case", "lower case"),
    "Unicode": ("accents apart", "full width", "look-alikes", "zero width"),
    "encoded": ("base64", "hexadecimal", "percent", "escaped"),
    "in two": ("split",),
}
"""Disguises under one heading: a cell is about all of them."""
LEVELS: Final = ("restricted", "private", "personal", "confidential")


def caught() -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many of a class, in the disguises of a column, the scan finds, and how many there were."""
    nest = Nest(SEED)
    counts: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for _ in range(EACH):
        for column, disguises in COLUMNS.items():
            for form in nest.forms("scan", disguises):
                found, planted = counts[form.canary.kind, column]
                hit = any(find_sensitive(part) is not None for part in form.parts)
                counts[form.canary.kind, column] = (found + hit, planted + 1)
    return counts


def scan_table() -> str:
    """Return the table of what the scan alone finds."""
    counts = caught()
    lines = [
        f"| class | data | {' | '.join(COLUMNS)} | all | |",
        "| --- | --- |" + " ---: |" * (len(COLUMNS) + 1) + " --- |",
    ]
    kinds = sorted(KINDS, key=lambda kind: (LEVELS.index(KINDS[kind].level), kind.lower()))
    for kind in kinds:
        cells = [counts[kind, column] for column in COLUMNS if (kind, column) in counts]
        total = _sum(cells)
        shown = [_percent(*counts[kind, column]) if (kind, column) in counts else "" for column in COLUMNS]
        lines.append(f"| {KINDS[kind].level} | {kind} | {' | '.join(shown)} | {_percent(*total)} | {_bar(*total)} |")
    sums = [_sum([counts[kind, column] for kind in kinds if (kind, column) in counts]) for column in COLUMNS]
    total = _sum(sums)
    shown = [f"**{_percent(*each)}**" for each in sums]
    lines.append(f"| | **all** | {' | '.join(shown)} | **{_percent(*total)}** | {_bar(*total)} |")
    words = plan_words(load_plan(REAL_PLAN))
    alarms = sorted(word for word in words if find_sensitive(word) is not None)
    said = f": {', '.join(f'`{word}`' for word in alarms)}" if alarms else ""
    summary = (
        f"{total[1]:,} canaries; the scan alone caught {total[0]:,} of them and missed {total[1] - total[0]:,}. Of the "
        f"{len(words):,} words that `plans/code-intelligence.yaml` declares, all harmless, it holds {len(alarms)} for "
        f"sensitive{said}."
    )
    return "\n".join([*lines, "", summary])


def _sum(cells: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(found for found, _ in cells), sum(planted for _, planted in cells)


def _percent(found: int, planted: int) -> str:
    """Return a share in whole percent, never rounded to all or nothing."""
    if found in {0, planted}:
        return "100" if found else "0"
    return str(min(max(round(100 * found / planted), 1), 99))


def _bar(found: int, planted: int) -> str:
    full = 10 * found // planted
    return "█" * full + "░" * (10 - full)


def plan_words(plan: Plan) -> set[str]:
    """Return every word that an event of a plan may hold."""
    words = set(plan.sources)
    for event in plan.events.values():
        words |= {*event.outcomes}
        for definition in event.properties.values():
            words |= {*definition.members} if isinstance(definition, MemberProperty) else set()
    return words


def doors_table() -> str:
    """Return the doors in groups."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in DOORS:
        group, _, what = name.partition(": ")
        groups[group].append(what)
    rows = [f"| {group} | {'; '.join(filter(None, what))} |" for group, what in groups.items()]
    return "\n".join(["| door | places |", "| --- | --- |", *rows])


def channels_table() -> str:
    """Return the channels that are left."""
    rows = [f"| {name} | {BOUNDS[name]} |" for name in CHANNELS]
    return "\n".join(["| value | what bounds it |", "| --- | --- |", *rows])


TABLES: Final[dict[str, Callable[[], str]]] = {"scan": scan_table, "doors": doors_table, "channels": channels_table}


def test_the_tables_of_the_page_are_what_is_measured(golden: Callable[[str, str], None]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
        [(begin, end)] = pattern.findall(page)
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{make()}\n{end}{rest.partition(end)[2]}"
    golden("docs/classification.md", page)


def test_the_page_tells_of_each_level_of_classification() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert {kind.level for kind in KINDS.values()} == set(LEVELS)
    assert all(f"| **{level}** |" in page for level in (*LEVELS, "usage"))
