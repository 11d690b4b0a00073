"""`heliograph lake marts`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from heliograph.cli.common import err, fail, out, print_json, read_plan, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heliograph.lake.marts.report import Standing
    from heliograph.lake.writers import Writer
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

_LOOK_SECONDS: Final = 0.5


def marts(
    context: typer.Context,
    *,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make all of them anew from the events.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare them with what their definitions say.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how the marts stand, which questions read in place of the events.

    With --rebuild the loader that runs makes them anew, or this command where none does; questions read the events
    meanwhile. It may be interrupted: whoever loads next goes on with it. With --check it ends with status 1 when a mart
    is not what its definition says of the events. With engine.kind spark the cluster does either.

    Example: heliograph --config vendor.toml lake marts --check
    """
    from heliograph.engines import EngineError  # noqa: PLC0415 - quick --help
    from heliograph.lake.marts import report  # noqa: PLC0415
    from heliograph.lake.writers import open_writer  # noqa: PLC0415

    settings = read_settings(context)
    plan = read_plan(settings)
    differing: dict[str, dict[str, int]] = {}
    try:
        if rebuild:
            with err.status("making the marts anew") as status, open_writer(settings) as writer:
                _rebuild(settings, plan, writer, status.update)
        if check:
            with err.status("comparing") as status, open_writer(settings) as writer:
                differing = report.check_marts(
                    settings.lake, plan, lambda day: status.update(f"comparing from {day} on"), writer=writer
                )
    except report.NotWholeError as error:
        fail([str(error)], status=1)
    except EngineError as error:
        fail([*error.problems, "What was done until then stays; run it again."], status=1)
    standing = report.take_stock(settings.lake, plan)
    if as_json:
        print_json({"marts": standing, "differing": differing} if check else standing)
    else:
        out.print(_table(standing))
    if differing:
        fail(
            [
                f"{table}: {count:,} rows differ in the days from {first} on"
                for table, days in differing.items()
                for first, count in days.items()
            ],
            status=1,
        )


def _rebuild(settings: Settings, plan: Plan, writer: Writer, tell: Callable[[str], object]) -> None:
    from heliograph.lake.loader import Loader  # noqa: PLC0415 - quick --help
    from heliograph.lake.loader_locks import LoaderRunningError  # noqa: PLC0415 - quick --help
    from heliograph.lake.marts import report  # noqa: PLC0415

    writer.begin()  # until the marts are made, questions take longer: not for nothing
    if not report.ask_anew(settings.lake):
        fail(["there is no mart yet: the loader makes them with the first events"])
    while True:
        try:
            loader = Loader(settings.gateway, settings.lake, plan, writer)
        except LoaderRunningError:
            writer.rest()  # the loader has its own
            standing = report.take_stock(settings.lake, plan)
            if all(each.state == "whole" for each in standing):
                return
            tell(f"the loader makes the marts anew: {_progress(standing)}")
            time.sleep(_LOOK_SECONDS)
            continue
        try:
            while loader.make_on():
                tell(f"making the marts anew: {_progress(report.take_stock(settings.lake, plan))}")
        finally:
            loader.close()
        return


def _progress(standing: Sequence[Standing]) -> str:
    untils = [each.until for each in standing if each.until is not None]
    return f"days before {min(untils)} are there" if untils else "nearly done"


def _table(standing: Sequence[Standing]) -> object:
    from rich.table import Table  # noqa: PLC0415 - quick --help

    table = Table(title="The marts")
    table.add_column("mart")
    for heading in ("rows", "files", "bytes"):
        table.add_column(heading, justify="right")
    for heading in ("days", "definition", "state"):
        table.add_column(heading)
    for each in standing:
        table.add_row(
            each.table,
            f"{each.rows:,}",
            f"{each.files:,}",
            f"{each.bytes:,}",
            "" if each.first_day is None else f"{each.first_day} to {each.last_day}",
            each.digest[:12],
            each.state if each.until is None else f"{each.state}: before {each.until}",
        )
    return table
