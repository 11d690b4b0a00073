"""`heliograph plan`: the tracking plan, checked and read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import fail, out, read_settings
from heliograph.cli.plan_diff import diff
from heliograph.cli.plan_generate import generate
from heliograph.cli.plan_lint import lint
from heliograph.cli.plan_new import new
from heliograph.cli.plan_schema import schema
from heliograph.cli.plan_try import try_
from heliograph.event import NAME_PATTERN
from heliograph.plan.facts import expected
from heliograph.plan.in_words import values_in_words
from heliograph.plan.load import PlanError, load_plan
from heliograph.plan.problem import nearest, shown

if TYPE_CHECKING:
    from heliograph.plan.model import EventDefinition, Plan

app = typer.Typer(no_args_is_help=True, help="The tracking plan: lint it, read it.")


@app.command()
def show(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [EVENT]",
            help="A tracking plan (default: the one of the settings), and one of its events (default: all).",
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show the events of a tracking plan by feature, or one event in full.

    Examples: [bold]heliograph plan show[/bold]; [bold]heliograph plan show SearchSubmitted[/bold];
    [bold]heliograph plan show examples/commit-history.yaml FileEdited --json[/bold]
    """
    file, event = _file_and_event(words or [])
    try:
        plan = load_plan(read_settings(context).plan.file if file is None else file)
    except PlanError as error:
        fail(map(str, error.problems), status=1)
    if event is not None and event not in plan.events:
        near = nearest(event, plan.events)
        hint = f"Did you mean {shown(near)}?" if near else "`heliograph plan show` lists them."
        fail([f"{plan.label} has no event {shown(event)}. {hint}"], status=1)
    if as_json:
        chosen = plan if event is None else {"name": event, **msgspec.to_builtins(plan.events[event])}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(chosen)).decode() + "\n")
    elif event is None:
        _show_plan(plan)
    else:
        _show_event(plan, event, plan.events[event])


def _file_and_event(words: list[str]) -> tuple[str | None, str | None]:
    """Tell the file from the event, which has neither dot nor slash in it and is not the name of a file or a folder."""
    if len(words) > 2:  # noqa: PLR2004 - a file and an event
        fail([f"{len(words)} words are given. Give a file, an event, or a file and an event."])
    file, event = [*words, None, None][:2]
    if file is not None and event is None and NAME_PATTERN.fullmatch(file) and not Path(file).exists():
        file, event = None, file
    return file, event


def _show_plan(plan: Plan) -> None:
    out.print(Text(f"{plan.label}: {plan.description}"))
    for feature, description in plan.features.items():
        table = Table(title=Text(f"{feature}: {description}"), title_justify="left", title_style="bold", expand=True)
        table.add_column("event", no_wrap=True)
        table.add_column("what happened", ratio=3)
        table.add_column("outcomes", ratio=1)
        table.add_column("properties", ratio=2)
        for name, event in plan.events.items():
            if event.feature == feature:
                outcomes, properties = Text(", ".join(event.outcomes)), Text(", ".join(event.properties))
                table.add_row(Text(name), Text(event.description + _marks(event)), outcomes, properties)
        out.print()
        out.print(table)
    if plan.facts:
        facts = Table("fact", "meaning", "values", title="Facts", title_justify="left", title_style="bold", expand=True)
        for name, fact in plan.facts.items():
            facts.add_row(Text(name), Text(fact.description), Text(expected(fact)))
        out.print()
        out.print(facts)


def _show_event(plan: Plan, name: str, event: EventDefinition) -> None:
    facts = Table(title=Text(f"{name} ({plan.label})"), title_justify="left", title_style="bold", show_header=False)
    rows = {
        "what happened": event.description + _marks(event),
        "question": event.question,
        "feature": f"{event.feature}: {plan.features[event.feature]}",
        "action": event.action,
        "owner": event.owner,
        "added": str(event.added),
        "expires": str(event.expires),
        "class": event.data_class,
    }
    if event.renamed_from:
        rows["earlier names"] = ", ".join(event.renamed_from)
    for label, value in rows.items():
        facts.add_row(label, Text(value))
    values = Table(title="Values", title_justify="left", title_style="bold")
    for column in ("name", "values", "meaning"):
        values.add_column(column)
    for outcome, meaning in event.outcomes.items():
        values.add_row("outcome", Text(outcome), Text(meaning))
    for key, definition in event.properties.items():
        values.add_row(Text(key), Text(values_in_words(definition)), Text(definition.description))
    out.print(facts, values, sep="\n")


def _marks(event: EventDefinition) -> str:
    """Return what sets an event apart from most others."""
    marks = " Core action." * event.core + " Does not make its user active." * (not event.active)
    if event.deprecated is not None:
        instead = f" Record {event.deprecated.use} in its place." if event.deprecated.use else ""
        marks += f" Deprecated since {event.deprecated.since}: {event.deprecated.reason}{instead}"
    return marks


app.command()(lint)
app.command()(schema)
app.command()(diff)
app.command()(generate)
app.command(name="try")(try_)
app.command()(new)
