"""`heliograph lake`."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from heliograph.cli import lake_erasures
from heliograph.cli.common import fail, follow_plan, out, print_json, read_settings, use_logs

app = typer.Typer(no_args_is_help=True, help="The lake: load the gateway's log, see what is stored, erase.")


@app.command()
def load(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as deliveries arrive, until told to stop.")] = False,
) -> None:
    """Load what the gateway's log holds into the lake, each event and each ping once.

    With --follow it also carries out the erasures that are ordered meanwhile.

    Example: heliograph --config vendor.toml lake load --follow
    """
    from heliograph.lake.erasure import Eraser  # noqa: PLC0415 - quick --help
    from heliograph.lake.loader import Loader, LoaderRunningError  # noqa: PLC0415
    from heliograph.lake.tables import ColumnTypeError  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.registry.store import Registry  # noqa: PLC0415

    settings = read_settings(context)
    try:
        loader = Loader(settings.gateway, settings.lake, follow_plan(settings))
    except (LoaderRunningError, ColumnTypeError, OSError) as error:
        fail([f"the loader cannot start: {error}"])
    use_logs()
    if follow:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        try:
            with Registry.open(settings.registry) as registry:
                loader.run(stop, Eraser(loader, settings, registry, wait=stop.wait).round)
        except RegistryError as error:
            fail(error.problems)
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
    """Show how many events and pings of each instance the lake holds, and how many events were erased.

    Example: heliograph --config vendor.toml lake status
    """
    from heliograph.lake.report import count_erased, count_events, count_pings, count_table  # noqa: PLC0415 - quick --help
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415

    settings = read_settings(context)
    events, pings = count_events(settings.lake), count_pings(settings.lake)
    try:
        erased = count_erased(settings)
    except RegistryError as error:
        fail(error.problems)
    if as_json:
        print_json({"events": events, "pings": pings, "erased": erased})
    else:
        out.print(count_table(events, pings, erased))


app.command()(lake_erasures.erase)
app.command()(lake_erasures.erasures)
