"""`heliograph plan generate`: everything that is made from a plan, and whether what was made is still so."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import fail, read_plan, read_settings
from heliograph.plan.generate import ARTEFACTS
from heliograph.plan.load import PlanError, load_plan
from heliograph.plan.problem import nearest, shown

if TYPE_CHECKING:
    from heliograph.plan.generate import Artefact
    from heliograph.plan.model import Plan


def generate(
    context: typer.Context,
    artefact: Annotated[str, typer.Argument(metavar="ARTEFACT", help=f"One of {', '.join(ARTEFACTS)}.")],
    file: Annotated[
        str | None,
        typer.Argument(metavar="PLAN", help="A tracking plan; default: the one of the settings."),
    ] = None,
    *,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.")] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; end with status 1 if the file differs from what is made now."),
    ] = False,
) -> None:
    """Make something from a tracking plan, and print it: recording functions, a dictionary, and more.

    The same plan gives the same bytes. With [bold]--check[/bold], a product's continuous integration sees to it that
    what it has was made from the plan as it is. docs/generated.md shows each artefact.

    Example: [bold]heliograph plan generate python plans/code-intelligence.yaml --output product/events.py[/bold]
    """
    chosen = _chosen(artefact)
    if check and output is None:
        fail(["--check compares with a file, and none is given. Name it with --output."])
    plan = _plan(context, file)
    made = chosen.make(plan).encode()
    if output is None:
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()
    elif check:
        _compare(Path(output), made, chosen, plan)
    else:
        _write(Path(output), made)


def _chosen(name: str) -> Artefact:
    if name not in ARTEFACTS:
        near = nearest(name, ARTEFACTS)
        hint = f"Did you mean {shown(near)}?" if near else f"They are {', '.join(ARTEFACTS)}."
        fail([f"There is no artefact {shown(name)}. {hint}"])
    return ARTEFACTS[name]


def _plan(context: typer.Context, file: str | None) -> Plan:
    if file is None:
        return read_plan(read_settings(context))
    try:
        return load_plan(file)
    except PlanError as error:
        fail(map(str, error.problems), status=1)


def _compare(output: Path, made: bytes, artefact: Artefact, plan: Plan) -> None:
    try:
        held = output.read_bytes()
    except OSError as error:
        fail([f"{output}: cannot be read: {error.strerror}. {_remedy(artefact, output)}"], status=1)
    if held != made:
        what = f"differs from what {plan.label} (digest {plan.digest()[:12]}) gives"
        fail([f"{output}: {what}. {_remedy(artefact, output)}"], status=1)


def _remedy(artefact: Artefact, output: Path) -> str:
    return f"Make it anew: heliograph plan generate {artefact.name} … --output {output}"


def _write(output: Path, made: bytes) -> None:
    """Write the whole file or nothing."""
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        beside.write_bytes(made)
        beside.replace(output)
    except OSError as error:
        beside.unlink(missing_ok=True)
        fail([f"{output}: cannot be written: {error.strerror}. Name a file in a folder that is there."], status=1)
