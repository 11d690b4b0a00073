"""`heliograph lake`."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from heliograph.cli.common import fail, out, print_json, read_plan, read_settings, use_logs

app = typer.Typer(no_args_is_help=True, help="The lake: load the gateway's log, see what is stored.")


@app.command()
def load(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as deliveries arrive, until told to stop.")] = False,
) -> None:
    """Load what the gateway's log holds into the lake, each event and each ping once.

    Example: heliograph --config vendor.toml lake load --follow
    """
    from heliograph.lake.loader import Loader, LoaderRunningError  # noqa: PLC0415 - quick --help

    settings = read_settings(context)
    try:
        loader = Loader(settings.gateway, settings.lake, read_plan(settings))
    except (LoaderRunningError, OSError) as error:
        fail([f"the loader cannot start: {error}"])
    use_logs()
    if follow:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        loader.run(stop)
        return
    total = 0
    while rows := loader.load_round():
        total += rows
        out.print(f"{total:,} rows loaded")
    out.print("The lake holds all that the log does.")


@app.command()
def status(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how many events and pings of each instance the lake holds.

    Example: heliograph --config vendor.toml lake status
    """
    from heliograph.lake.report import count_events, count_pings, count_table  # noqa: PLC0415 - quick --help

    settings = read_settings(context).lake
    events, pings = count_events(settings), count_pings(settings)
    if as_json:
        print_json({"events": events, "pings": pings})
    else:
        out.print(count_table(events, pings))
