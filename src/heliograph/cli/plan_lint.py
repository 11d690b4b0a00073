"""`heliograph plan lint`: all that is wrong with tracking plans, and how much they let be told."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import out, print_json, read_settings
from heliograph.plan.budget import plan_bits
from heliograph.plan.lint import Severity, lint_plan

if TYPE_CHECKING:
    from heliograph.plan.lint import Lint
    from heliograph.plan.model import Plan

_RICHEST: Final = 5
_BAR: Final = 24
"""Characters of a bar that is full."""


def lint(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...", help="Tracking plans, files or folders (default: the one of the settings)."
        ),
    ] = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail too.")] = False,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="DATE", help="Judge as on this day, as in 2026-10-01 (default: today)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Lint tracking plans: every problem with its place and remedy, and what an event and a user's day can carry.

    Besides what makes a plan unusable, it finds names that are one by mistake, questions that ask nothing, lists of
    identities, what is past its day, and more than the information budget allows; docs/plan-lint.md explains each rule.
    The exit status is 1 if there is an error.

    Example: [bold]heliograph plan lint plans examples/commit-history.yaml[/bold]
    """
    today = datetime.now(UTC).date() if on is None else _day(on)
    results = {path: lint_plan(path, today=today) for path in paths or [read_settings(context).plan.file]}
    if as_json:
        print_json([_as_json(path, result) for path, result in results.items()])
    else:
        for path, result in results.items():
            _show(path, result)
    failing = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    if any(result.count(severity) for result in results.values() for severity in failing):
        raise typer.Exit(1)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date: write 2026-10-01") from None


def _show(path: str, result: Lint) -> None:
    for finding in result.findings:
        sys.stdout.write(f"{finding}\n")
    counts = [_counted(result.count(severity), severity) for severity in Severity if result.count(severity)]
    if result.plan is None:
        sys.stdout.write(f"{path}: {' and '.join(counts)}; the plan cannot be used\n")
        return
    sys.stdout.write(f"{path}: {_summary(result.plan)}; {' and '.join(counts) or 'nothing to mend'}\n")
    sys.stdout.flush()
    _show_budget(result.plan)


def _counted(count: int, severity: Severity) -> str:
    return f"{count} {severity}{'s' if count > 1 else ''}"


def _summary(plan: Plan) -> str:
    counts = f"{len(plan.events)} events, {len(plan.features)} features, {len(plan.property_kinds())} properties"
    counts += f", {len(plan.facts)} facts" if plan.facts else ""
    return f"{plan.label}, {counts}, digest {plan.digest()[:12]}"


def _show_budget(plan: Plan) -> None:
    bits = plan_bits(plan)
    table = Table(title="Bits that can be told at most", title_justify="left", title_style="bold")
    table.add_column("")
    for column in ("bits", "budget"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("used", no_wrap=True)
    richest = sorted(bits.events.items(), key=lambda item: -item[1].total)[:_RICHEST]
    rows = [(f"one {name}", each.total, plan.budget.event_bits) for name, each in richest]
    rows.append(("all of a user's day", bits.user_day, plan.budget.user_day_bits))
    for what, each, budget in rows:
        table.add_row(Text(what), f"{each:,.0f}", f"{budget:,.0f}", _bar(each / budget if budget > 0 else 1.0))
    out.print(table)


def _bar(share: float) -> Text:
    full = min(_BAR, round(share * _BAR))
    return Text("█" * full + "░" * (_BAR - full) + f" {share:,.0%}", style="red" if share > 1 else "")


def _as_json(path: str, result: Lint) -> dict[str, Any]:
    plan = result.plan
    shown: dict[str, Any] = {"path": path, "findings": result.findings}
    if plan is not None:
        bits = plan_bits(plan)
        shown |= {
            "plan": plan.label,
            "digest": plan.digest(),
            "budget": {"event_bits": plan.budget.event_bits, "user_day_bits": plan.budget.user_day_bits},
            "bits": {
                "user_day": round(bits.user_day, 1),
                "events": {name: round(each.total, 1) for name, each in bits.events.items()},
            },
        }
    return shown
