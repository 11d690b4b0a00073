"""`heliograph agent plan`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from heliograph.cli.common import err, fail, out, print_json, read_plan_in_force, read_settings


def plan(
    context: typer.Context,
    *,
    history: Annotated[bool, typer.Option("--history", help="Show every plan that was in force here.")] = False,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Write the vendor's plan into a new file."),
    ] = None,
    before: Annotated[
        int, typer.Option("--before", min=0, help="With --write: not the latest one, but so many before it.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show by which plan this instance sends, since when, and what the last update lets leave that could not before.

    The vendor's plan comes with its signed policy, and needs no release of the product. With agent.plan_updates =
    "pinned" nothing leaves that this instance's own plan.file does not declare as well. Nobody is asked for it: no
    connection is opened.

    Example: heliograph --config instance.toml agent plan --write vendors-plan.yaml
    """
    from heliograph.instance import plan_report  # noqa: PLC0415 - quick --help
    from heliograph.instance.state import State, StateError  # noqa: PLC0415

    settings = read_settings(context)
    if not Path(settings.agent.state).is_dir():
        fail([f"{settings.agent.state}: no agent has run with this state yet"])
    try:
        with closing(State(Path(settings.agent.state), exclusive=False)) as state:
            updates = state.plans.history()
            report = plan_report.read_report(read_plan_in_force(settings, state), updates, settings.agent.plan_updates)
            found = None if write is None else state.plans.content(before=before)
    except (StateError, OSError) as error:
        fail([f"{settings.agent.state}: {error}"])
    if write is not None:
        if found is None:
            fail([f"there is no such plan: {len(updates)} of the vendor's have been in force here (--history)"])
        _write(write, found)
    elif as_json:
        print_json(updates if history else report)
    elif history:
        out.print(plan_report.history_table(updates))
    else:
        for line in plan_report.plan_lines(report):
            typer.echo(line)


def _write(file: Path, content: bytes) -> None:
    """Write a plan, as its signed bytes are: JSON, and so YAML, in canonical form."""
    try:
        with file.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        fail([f"{file}: there is such a file already; name another one"])
    except OSError as error:
        fail([f"{file}: {error.strerror or error}"])
    err.print(f"{file} is written; compare it with another one: heliograph plan diff OLD NEW", highlight=False)
