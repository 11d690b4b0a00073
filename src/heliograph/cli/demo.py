"""`heliograph demo`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from heliograph.cli.common import fail, out


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself: status 0 when all figures agree, 1 when any differs.")
    ] = False,
    history: Annotated[
        Path | None,
        typer.Option(help="Load this Parquet file of event_logs rows into a real PostgreSQL and export all of it."),
    ] = None,
    home: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(".heliograph"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Another tracking plan.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the randomness repeatable.")] = None,
) -> None:
    """Run both ends on this machine, and compare what each of them counted.

    Starts a gateway with TLS, a loader, and a handful of product instances with simulated use and their agents;
    prints the five questions with their answers and the loss account of both ends; goes on until Ctrl-C.

    With [bold]--history[/bold] the events are those of a real table: every instance in the file gets a database of
    its own in a PostgreSQL made for it, and all are exported at once, while one agent and the gateway are killed and
    started again.

    Example: heliograph demo --once --history event_logs.parquet
    """
    from heliograph.demo.processes import ProcessError  # noqa: PLC0415 - quick --help
    from heliograph.demo.run import Demonstration, Options  # noqa: PLC0415
    from heliograph.plan.load import PlanError  # noqa: PLC0415

    if history is not None and not history.is_file():
        fail([f"{history}: no such file"])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, stops what was started
    options = Options(home=home, once=once, history=history, json_file=json_file, plan=plan, seed=seed)
    try:
        agree = Demonstration(options, out).run()
    except PlanError as error:
        fail(str(problem) for problem in error.problems)
    except (ProcessError, FileExistsError) as error:
        fail([str(error)], status=1)
    except KeyboardInterrupt:
        fail(["stopped"], status=130)
    raise typer.Exit(0 if agree else 1)
