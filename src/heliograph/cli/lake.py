"""`heliograph lake`."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli import lake_erasures, lake_marts, lake_upkeep
from heliograph.cli.common import fail, follow_plan, out, print_json, read_settings, use_logs

if TYPE_CHECKING:
    from heliograph.lake.report import Holds
    from heliograph.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="The lake: load the gateway's log, see what is stored, keep it in order, erase."
)


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
    from heliograph.engines import EngineError  # noqa: PLC0415 - quick --help
    from heliograph.lake.erasure import Eraser  # noqa: PLC0415
    from heliograph.lake.loader import Loader  # noqa: PLC0415
    from heliograph.lake.loader_locks import LoaderRunningError  # noqa: PLC0415
    from heliograph.lake.tables import ColumnTypeError  # noqa: PLC0415
    from heliograph.lake.writers import loader_writer  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.registry.store import Registry  # noqa: PLC0415

    settings = read_settings(context)
    use_logs()
    writer = loader_writer(settings)
    try:
        loader = Loader(settings.gateway, settings.lake, follow_plan(settings), writer)
    except (LoaderRunningError, ColumnTypeError, OSError) as error:
        fail([f"the loader cannot start: {error}"])
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
    try:
        while loader.make_on():
            pass
    except EngineError as error:
        fail([*error.problems, "What was loaded is in the lake; the marts are made by the next one."], status=1)
    out.print("The lake holds all that the log does.")


@app.command()
def status(
    context: typer.Context,
    *,
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Another gateway's log that can be read here; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the lake holds of each instance, what was erased, and how far each gateway's log is in it.

    Ends with status 1 when that is not what the gateways had accepted of each name, up to where their logs are loaded,
    or when a loader has found a range that does not add up, and nobody has explained it. What waits is known of this
    gateway's log, and of those that --log names; of others there is a question mark.

    Example: heliograph --config vendor.toml lake status
    """
    from heliograph.lake import report  # noqa: PLC0415 - quick --help
    from heliograph.lake.differences import LakeDifferences  # noqa: PLC0415
    from heliograph.lake.tables import find_events  # noqa: PLC0415

    settings = read_settings(context)
    holds = _holds(settings, _folders(log or []))
    found = LakeDifferences(find_events(settings.lake))
    differences = report.find_differences(holds.compared(), found)
    if as_json:
        print_json(
            {
                "events": holds.events,
                "pings": holds.pings,
                "erased": holds.erased,
                "retired": holds.retired,
                "logs": holds.logs,
                "differences": differences,
                "explained": found.words,
            }
        )
    else:
        out.print(report.count_table(holds.events, holds.pings, holds.erased))
        out.print(report.log_table(holds.logs, datetime.now(UTC)))
        if found.words:
            out.print(report.explained_table(found.words))
    if differences:
        fail(
            [
                *(f"The account differs: {each}" for each in differences),
                "docs/runbook/account-differs.md says what to do; if a loader is at work, look again first.",
            ],
            status=1,
        )


@app.command("explain-difference")
def explain_difference(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="Whose events differ.")],
    *,
    by: Annotated[str, typer.Option("--by", help="The role that says so, to be recorded with it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="How it came to be, to be recorded with it.")] = "",
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Another gateway's log that can be read here; may be repeated."),
    ] = None,
) -> None:
    """Record that what differs in the lake of an instance's events so far is known, and why: its alarm ends.

    It covers the ranges that loaders have found, and by how many events of each name the lake differs from what was
    accepted. It stands in the lake for ever, and lake status shows it. What is found to differ later is not covered.

    Example: heliograph lake explain-difference acme-1 --by operations --reason "the warehouse was put back on 3 May"
    """
    import time  # noqa: PLC0415 - quick --help

    from heliograph.lake import report  # noqa: PLC0415
    from heliograph.lake.commits import CommitConflictError  # noqa: PLC0415
    from heliograph.lake.differences import explain  # noqa: PLC0415
    from heliograph.lake.tables import find_events  # noqa: PLC0415
    from heliograph.ledger.entries import word_problems  # noqa: PLC0415

    settings = read_settings(context)
    if problems := word_problems(by, reason):
        fail(problems)
    table = find_events(settings.lake)
    if table is None:
        fail(["there is no lake yet: nothing differs"])
    compared = _holds(settings, _folders(log or [])).compared()
    names = compared[instance].names() if instance in compared else {}
    try:
        word = explain(table, instance, names, time=time.time_ns() // 1_000, by=by, reason=reason)
    except ValueError as error:
        fail([f"{error}. Set the property to what a copy of the catalog has, or remove it and explain anew."])
    except CommitConflictError as error:
        fail([f"{error}: try again"], status=1)
    if word is None:
        fail([f"nothing differs of {instance!r} in the lake that is not explained"])
    out.print(report.explained_table([word]))


def _holds(settings: Settings, folders: dict[str, Path]) -> Holds:
    from heliograph.lake.report import read_holds  # noqa: PLC0415 - quick --help
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415

    try:
        return read_holds(settings, folders)
    except RegistryError as error:
        fail(error.problems)


def _folders(logs: list[str]) -> dict[str, Path]:
    """Return the folders of logs by their names."""
    named = [each.partition("=") for each in logs]
    problems = [f"--log {name}: it is NAME=FOLDER" for name, _, folder in named if not folder]
    problems += [
        f"--log {name}: {folder} is no folder" for name, _, folder in named if folder and not Path(folder).is_dir()
    ]
    if problems:
        fail(problems)
    return {name: Path(folder) for name, _, folder in named}


app.command()(lake_marts.marts)
app.command()(lake_erasures.erase)
app.command()(lake_erasures.erasures)
for verb in (
    lake_upkeep.upkeep,
    lake_upkeep.compact,
    lake_upkeep.expire,
    lake_upkeep.clean,
    lake_upkeep.retain,
    lake_upkeep.files,
):
    app.command()(verb)
