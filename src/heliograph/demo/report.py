"""What the demonstration prints: the five questions with their answers, both accounts, and where to look."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from rich import box
from rich.rule import Rule
from rich.table import Table

from heliograph.demo.comparison import rejected_by_reason
from heliograph.insights.opening import open_lake
from heliograph.insights.questions import QUESTIONS
from heliograph.insights.resolve import resolve_scope
from heliograph.insights.searches import searches

if TYPE_CHECKING:
    from rich.console import Console

    from heliograph.demo.home import Home
    from heliograph.demo.run import Figures
    from heliograph.insights.scope import Scope
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

_MOST_ROWS: Final = 12


def print_answers(console: Console, vendor: Settings, plan: Plan) -> None:
    """Ask the five questions of the lake and print the answers."""
    with open_lake(vendor, plan) as lake:
        scope = resolve_scope(lake.tables.instance_days, now=datetime.now(UTC))
        for question in QUESTIONS:
            console.print(Rule())
            details = _busiest_user(lake.tables, plan, scope) if question.verb == "searches" else {}
            answer = question.answer(lake.tables, plan, scope, **details)
            console.print(answer.as_rich(most=_MOST_ROWS))
            console.print(f"[dim]heliograph ask {question.verb}{_as_options(details)}[/dim]")


def _busiest_user(tables: Tables, plan: Plan, scope: Scope) -> dict[str, Any]:
    """Return the user with the most searches in the month of the last event: somebody to ask about."""
    month = scope.until.replace(day=1)
    counts: Counter[str] = Counter()
    for row in searches(tables, plan, replace(scope, since=month)).to_pyarrow().to_pylist():
        counts[row["user_id"]] += row["events"]
    busiest = min(counts, key=lambda user: (-counts[user], user), default="0" * 32)
    return {"user": busiest, "month": f"{month:%Y-%m}"}


def _as_options(details: dict[str, Any]) -> str:
    return "".join(f" --{name} {value}" for name, value in details.items())


def loss_account(figures: Figures) -> Table:
    """Return a table with each instance's figures at every place where they are counted."""
    table = Table(
        title="The loss account of both ends",
        caption="every number counted where it stands",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("instance", no_wrap=True)
    for heading in ("at the\nsource", "accepted", "rejected", "in the\nlake", "receipts", "pending"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("reasons")
    table.add_column("agree", no_wrap=True)
    for one in figures.instances:
        reasons = rejected_by_reason(one.rejected)
        table.add_row(
            one.instance,
            *(f"{sum(counts.values()):,}" for counts in (one.source, one.accepted, reasons, one.lake)),
            f"{sum(one.instance_delivered.values()):,}",
            f"{one.pending:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in reasons.items()),
            "[red]no[/red]" if one.differences else "[green]yes[/green]",
        )
    table.add_section()
    table.add_row("[bold]all[/bold]", *(f"[bold]{total:,}[/bold]" for total in _totals(figures)))
    return table


def print_figures(console: Console, figures: Figures) -> None:
    """Print each instance's figures at every place where they are counted, and all differences."""
    console.print(Rule())
    console.print(loss_account(figures))
    names = Table(title="By event name, over all instances")
    names.add_column("event")
    for heading in ("at the source", "accepted", "in the lake"):
        names.add_column(heading, justify="right")
    for name in sorted({name for one in figures.instances for name in one.source}):
        places = ((one.source, one.accepted, one.lake) for one in figures.instances)
        sums = [sum(counts.get(name, 0) for counts in place) for place in zip(*places, strict=True)]
        names.add_row(name, *(f"{total:,}" for total in sums))
    console.print(names)
    for one in figures.instances:
        for difference in one.differences:
            console.print(f"[red]{one.instance}: {difference}[/red]")
    kills = ", ".join(f"{name} {count}" for name, count in figures.kills.items()) or "none"
    console.print(f"killed without warning: {kills}; rows twice in the lake: {figures.repeated_in_lake:,}")
    total = sum(sum(one.accepted.values()) for one in figures.instances)
    console.print(f"{total:,} events from first start to last row in {figures.seconds:.1f} seconds")
    verdict = "[green]All figures agree.[/green]" if figures.agree else "[red]The figures differ.[/red]"
    console.print(f"[bold]{verdict}[/bold]")


def _totals(figures: Figures) -> list[int]:
    one = figures.instances
    return [
        sum(sum(figures.source.values()) for figures in one),
        sum(sum(figures.accepted.values()) for figures in one),
        sum(sum(rejected_by_reason(figures.rejected).values()) for figures in one),
        sum(sum(figures.lake.values()) for figures in one),
        sum(sum(figures.instance_delivered.values()) for figures in one),
        sum(figures.pending for figures in one),
    ]


def print_places(console: Console, home: Home) -> None:
    """Print where everything is, and what to type to look at it."""
    started = Path(sys.argv[0])
    program = _short(started) if started.name == "heliograph" else "heliograph"
    vendor = f"{program} --config {_short(home.vendor_file)}"
    customer = next((home.folder / "customers").iterdir(), home.folder) / "heliograph.toml"
    places = {
        "the vendor": [f"{vendor} {words}" for words in ("ask stickiest", "gateway account", "registry list")],
        "a customer": [f"{program} --config {_short(customer)} agent status"],
        "the gateway": [f"{home.gateway_address}/healthz (certificate authority: {_short(home.folder)}/authority.pem)"],
        "the lake": [f"{_short(home.vendor_folder)}/lake (Apache Iceberg)"],
        "logs": [_short(home.logs)],
    }
    console.print(Rule("where to look"))
    for place, lines in places.items():
        # Not wrapped, so that they can be copied.
        for label, line in zip((place, *[""] * len(lines)), lines, strict=False):
            console.print(f"{label:<12} {line}", soft_wrap=True, highlight=False)


def _short(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
