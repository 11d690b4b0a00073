"""`heliograph plan diff`: what a change of the plan does, for a reviewer, the customer and programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from heliograph.cli.common import fail, print_json

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

STANDARD_INPUT: Final = "-"
BREAKS: Final = 1
"""Exit status when the change breaks something; as for a plan that cannot be read."""
COLLECTS_MORE: Final = 3
"""Exit status with ``--check`` when something is newly collected; 2 stands for a wrong command line."""


def diff(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The plan before: a file or a folder; `-` reads standard input.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="The plan after: a file or a folder; `-` reads standard input.")
    ],
    *,
    customer: Annotated[
        bool, typer.Option("--customer", help="Say it in plain sentences for the customer's admin, in Markdown.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="End with status 3 if anything is newly collected.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what a change of the plan newly collects, what it stops, and what it means for what is stored.

    The exit status is 1 if the change breaks something: an event's name that is neither kept, retired nor renamed, a
    name that is used again, a property whose stored column would change its type, a version that was not raised.

    Examples: [bold]heliograph plan diff old.yaml plans/code-intelligence.yaml --customer[/bold];
    [bold]git show main:old.yaml | heliograph plan diff - plans/code-intelligence.yaml --check[/bold]
    """
    from heliograph.plan.diff import plan_diff  # noqa: PLC0415 - quick --help
    from heliograph.plan.diff_customer import as_markdown  # noqa: PLC0415 - quick --help
    from heliograph.plan.diff_text import as_json as in_json  # noqa: PLC0415 - quick --help
    from heliograph.plan.diff_text import as_text  # noqa: PLC0415 - quick --help

    if customer and as_json:
        fail(["Choose --customer or --json, not both."])
    found = plan_diff(*_read_both(old, new))
    if as_json:
        print_json(in_json(found))
    else:
        sys.stdout.write(as_markdown(found) if customer else as_text(found))
    if found.breaks:
        raise typer.Exit(BREAKS)
    if check and found.collects_more:
        raise typer.Exit(COLLECTS_MORE)


def _read_both(old: str, new: str) -> tuple[Plan, Plan]:
    """Return both plans; end with the problems of both if there are any."""
    from heliograph.plan.load import PlanError  # noqa: PLC0415 - quick --help

    if old == new == STANDARD_INPUT:
        fail(["Standard input can be one of the two plans, not both."])
    plans: list[Plan] = []
    problems: list[str] = []
    for source in (old, new):
        try:
            plans.append(_read(source))
        except PlanError as error:
            problems += map(str, error.problems)
    if problems:
        fail(problems, status=BREAKS)
    return plans[0], plans[1]


def _read(source: str) -> Plan:
    from heliograph.plan.load import load_plan, parse_plan  # noqa: PLC0415 - quick --help

    if source == STANDARD_INPUT:
        return parse_plan(sys.stdin.buffer.read(), file="standard input")
    return load_plan(source)
