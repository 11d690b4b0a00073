"""`heliograph agent`."""

from __future__ import annotations

import signal
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from heliograph.cli import agent_ping, agent_plan, agent_status
from heliograph.cli.common import (
    err,
    fail,
    out,
    print_json,
    read_own_plan,
    read_settings,
    use_logs,
)

app = typer.Typer(
    no_args_is_help=True, help="The process beside the product that sends: run it, and see what it has sent."
)


@app.command()
def key(context: typer.Context) -> None:
    """Print the instance's public key, for the vendor to register; make the key first if there is none.

    The private key stays in the file that agent.key names, and never leaves the instance.

    Example: heliograph agent key > acme-1.pub
    """
    from heliograph.keys import KeyFileError, load_or_create_key, public_key_text  # noqa: PLC0415 - quick --help

    file = Path(read_settings(context).agent.key)
    try:
        line = public_key_text(load_or_create_key(file))
    except KeyFileError as error:
        fail([str(error)])
    typer.echo(line)
    err.print(f"the private key is in {file}; give the line above to the vendor", highlight=False)


@app.command()
def run(
    context: typer.Context,
    *,
    until_drained: Annotated[
        bool, typer.Option("--until-drained", help="End once there is nothing left to read or to send.")
    ] = False,
) -> None:
    """Send what the product records, and what its event_logs table holds, until told to stop.

    Nothing leaves unless the vendor's policy, signed by a key of [bold]agent.vendor_keys[/bold], and the admin's
    choice ([bold]heliograph agent level[/bold]) both allow it; at level [bold]off[/bold] nobody is even asked. What
    cannot be sent now waits in the outbox.

    Example: heliograph --config instance.toml agent run
    """
    from heliograph.consent.trust import PinError, read_pins  # noqa: PLC0415 - quick --help
    from heliograph.instance.agent import Agent  # noqa: PLC0415
    from heliograph.instance.choice import SettingsWatch  # noqa: PLC0415
    from heliograph.instance.proxy import ProxySettingError  # noqa: PLC0415
    from heliograph.instance.source import SourceError  # noqa: PLC0415
    from heliograph.instance.state import StateError  # noqa: PLC0415
    from heliograph.keys import KeyFileError  # noqa: PLC0415

    settings = read_settings(context)
    if not settings.agent.instance:
        fail(["agent.instance is empty: give the name under which the vendor registered this instance"])
    if not settings.agent.gateway.startswith("https://"):
        fail([f"agent.gateway is {settings.agent.gateway!r}: events leave over https only"])
    try:
        read_pins(settings.agent.vendor_keys)
    except PinError as error:
        fail(error.problems)
    plan = read_own_plan(settings)
    use_logs()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        agent = Agent(settings, plan, choice=SettingsWatch.of_command(settings, context.find_root().obj))
    except (StateError, KeyFileError, SourceError, ProxySettingError, OSError) as error:
        fail([f"the agent cannot start: {error}"])
    try:
        agent.run(stop, until_drained=until_drained)
    finally:
        agent.close()


@app.command()
def level(
    context: typer.Context,
    choice: Annotated[
        str | None,
        typer.Argument(metavar="LEVEL", help="What to choose: off, critical or events; else only show."),
    ] = None,
    *,
    by: Annotated[str, typer.Option("--by", help="The role that chooses, to be recorded with it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, to be recorded with it.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Show every choice that was recorded here.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who says what of the level and what results, or choose; a running agent takes notice at its next round.

    The narrowest decides, of the vendor's last word, the settings file, the environment (HELIOGRAPH_AGENT_LEVEL and
    DO_NOT_TRACK), and the choice recorded here. Nobody is asked for it: no connection is opened. Run it as the user
    who runs the agent.

    Example: heliograph agent level critical --by "security office" --reason "under review"
    """
    import os  # noqa: PLC0415 - quick --help
    import sqlite3  # noqa: PLC0415

    from heliograph.instance import level_report  # noqa: PLC0415
    from heliograph.instance.choice import SettingsWatch, choice_problems  # noqa: PLC0415
    from heliograph.instance.state import Choice, State, StateError  # noqa: PLC0415

    settings = read_settings(context)
    if problems := choice_problems(choice, by=by, reason=reason):
        fail(problems)
    watch = SettingsWatch.of_command(settings, context.find_root().obj)
    try:
        with closing(State(Path(settings.agent.state), exclusive=False)) as state:
            if choice is not None:
                state.add_choice(Choice(datetime.now(UTC), choice, by, reason))
            if history:
                found = state.choices()
                if as_json:
                    print_json([each._asdict() for each in found])
                else:
                    out.print(level_report.history_table(found))
                return
            report = level_report.read_report(settings.agent, state, watch.word(), os.environ, datetime.now(UTC))
    except (StateError, sqlite3.Error, OSError) as error:
        fail([f"{settings.agent.state}: {error}"])
    if as_json:
        print_json(report)
    else:
        out.print(level_report.level_table(report))
    for line in level_report.narrower_than(choice, report):
        err.print(line, highlight=False)


app.command()(agent_status.status)
app.command()(agent_status.explain_difference)
app.command()(agent_plan.plan)
app.command()(agent_ping.ping)
app.command()(agent_ping.usage)
