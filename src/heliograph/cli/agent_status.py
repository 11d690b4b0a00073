"""`heliograph agent status`: where every event is, and whether both ends say so."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import err, fail, out, print_json, read_plan_in_force, read_settings

if TYPE_CHECKING:
    from heliograph.instance.account import InstanceAccount
    from heliograph.instance.comparison import Comparison
    from heliograph.instance.metrics import Standing
    from heliograph.instance.state import State
    from heliograph.settings import Settings


def status(
    context: typer.Context,
    *,
    compare: Annotated[
        bool, typer.Option("--compare", help="Ask the gateway, too, and hold both ends against each other.")
    ] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print the metrics as they stand now, in Prometheus's text format.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show whether the agent runs, and this instance's half of the loss account: where every event is, by name.

    Ends with status 1 when the account does not close, differs from the gateway's, when the agent has found the ledger
    changed, or has stopped because another one sends for this instance. What is explained is shown, and is none of
    that. With --compare it asks the gateway, unless the level is off.

    Example: heliograph --config instance.toml agent status --compare
    """
    from heliograph.instance.account import read_account  # noqa: PLC0415 - quick --help
    from heliograph.instance.ledger_faults import open_faults  # noqa: PLC0415
    from heliograph.instance.metrics import read_metrics  # noqa: PLC0415
    from heliograph.instance.monitor import read_standing  # noqa: PLC0415
    from heliograph.instance.report import acknowledged_table  # noqa: PLC0415
    from heliograph.instance.standstill import read_standstill  # noqa: PLC0415
    from heliograph.instance.state import State, StateError  # noqa: PLC0415

    settings = read_settings(context)
    if not Path(settings.agent.state).is_dir():
        fail([f"{settings.agent.state}: no agent has run with this state yet"])
    comparison: Comparison | None = None
    standing = read_standing(Path(settings.agent.state))
    try:
        with closing(State(Path(settings.agent.state), exclusive=False)) as state:
            if prometheus:
                typer.echo(read_metrics(settings, state, standing, datetime.now(UTC)).text(), nl=False)
                return
            account = read_account(state, Path(settings.recorder.outbox), read_plan_in_force(settings, state))
            standstill = read_standstill(state.connection)
            faults = open_faults(state.ledger, [*standing.ledger.ends, *standing.ledger.faults]) if standing else []
            words = state.ledger.acknowledged()
            if compare:
                comparison = _compare(settings, state, context.find_root().obj)
    except (StateError, OSError) as error:
        fail([f"the account cannot be read: {error}. If an agent is running, look again: it deletes what it has sent."])
    if standstill is not None:
        since = f"{standstill.since:%Y-%m-%d %H:%M:%S} UTC"
        err.print(f"delivery stands still since {since}: {standstill.reason}; tell the vendor", highlight=False)
    if as_json:
        print_json(account if comparison is None else {"account": account, "comparison": comparison})
    else:
        err.print(_how_it_stands(settings, standing), highlight=False)
        _print(account, comparison)
        if words:
            out.print(acknowledged_table(words))
    problems = _problems(account) + _superseded(settings)
    problems += [f"The ledger is not as it was written: {fault}" for fault in faults]
    if comparison is not None:
        problems += [f"The two ends differ: {each}" for each in comparison.differences]
    if problems:
        fail(
            [
                *problems,
                "docs/runbook/ says what to do; where the account differs and an agent runs, look again first.",
            ],
            status=1,
        )


def _superseded(settings: Settings) -> list[str]:
    from heliograph.instance.superseded import Superseded  # noqa: PLC0415 - quick --help

    since = Superseded(Path(settings.agent.state)).since()
    if since is None:
        return []
    return [
        f"The agent has stopped at {since:%Y-%m-%d %H:%M:%S} UTC: a later one sends for this instance.",
        "Let one of them run, and start it again; a machine that was cloned needs an instance of its own.",
    ]


def explain_difference(
    context: typer.Context,
    *,
    compare: Annotated[
        bool, typer.Option("--compare", help="Ask the gateway, and explain how the two ends differ, too.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="The role that says so, to be recorded with it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="How it came to be, to be recorded with it.")] = "",
) -> None:
    """Record that what does not add up in the account so far is known, and why: its alarm ends.

    It stands in the ledger, and agent status shows it ever after. What is found to differ later, or to differ more, is
    not covered. A running agent takes notice within a minute. Run it as the user who runs the agent.

    Example: heliograph agent explain-difference --by operations --reason "the disk was replaced on 3 May"
    """
    import sqlite3  # noqa: PLC0415 - quick --help

    from heliograph.instance.comparison import explained_by, explained_ends_table  # noqa: PLC0415
    from heliograph.instance.explaining import explain, explain_ends  # noqa: PLC0415
    from heliograph.instance.report import explained_table  # noqa: PLC0415
    from heliograph.instance.state import State, StateError  # noqa: PLC0415
    from heliograph.ledger.entries import word_problems  # noqa: PLC0415

    settings = read_settings(context)
    if problems := word_problems(by, reason):
        fail(problems)
    if not Path(settings.agent.state).is_dir():
        fail([f"{settings.agent.state}: no agent has run with this state yet"])
    try:
        with closing(State(Path(settings.agent.state), exclusive=False)) as state:
            differences = _compare(settings, state, context.find_root().obj).differences if compare else []
            entry = explain(state, by=by, reason=reason)
            ends = explain_ends(state, differences, by=by, reason=reason)
    except (StateError, sqlite3.Error, OSError) as error:
        fail([f"{settings.agent.state}: {error}"])
    if entry is not None:
        out.print(explained_table([entry]))
    if ends is not None:
        out.print(explained_ends_table(explained_by(ends)))
    if entry is None and ends is None:
        fail(["the account closes" + (", and the two ends agree" if compare else "") + ": there is nothing to explain"])


def _how_it_stands(settings: Settings, standing: Standing | None) -> str:
    from heliograph.instance.monitor import is_alive  # noqa: PLC0415 - quick --help

    alive = "The agent runs" if is_alive(Path(settings.agent.state)) else "No agent runs with this state"
    if standing is None:
        return f"{alive}. It has not said yet how it stands."
    said = f"{alive}. At {standing.at:%Y-%m-%d %H:%M:%S} UTC its level was {standing.level}, and "
    if standing.failures:
        return f"{said}{standing.failures} rounds had failed one after the other: {standing.why}"
    return f"{said}it waited for nothing."


def _compare(settings: Settings, state: State, named: str | None) -> Comparison:
    import os  # noqa: PLC0415 - quick --help

    from heliograph.consent.level import Level  # noqa: PLC0415
    from heliograph.instance import choice  # noqa: PLC0415
    from heliograph.instance.comparison import compare  # noqa: PLC0415
    from heliograph.instance.transport import GatewayClient, TransportError  # noqa: PLC0415
    from heliograph.keys import KeyFileError, load_or_create_key  # noqa: PLC0415

    words = [choice.SettingsWatch.of_command(settings, named).word(), *choice.environment_words(os.environ)]
    chosen = choice.chosen([*words, *choice.recorded_word(state.last_choice())]).decision
    if chosen.level is Level.OFF:
        fail([f"The level is off, and nobody is asked: {' '.join(chosen.reasons)}"])
    try:
        with closing(GatewayClient(settings.agent, load_or_create_key(Path(settings.agent.key)))) as client:
            return compare(state, client.account())
    except (TransportError, KeyFileError) as error:
        fail([f"the gateway's account cannot be had: {error}"])


def _print(account: InstanceAccount, comparison: Comparison | None) -> None:
    from heliograph.instance.comparison import comparison_table, explained_ends_table  # noqa: PLC0415 - quick --help
    from heliograph.instance.report import account_table, explained_table, held_table, left_out_table  # noqa: PLC0415

    out.print(account_table(account))
    if account.held:
        out.print(held_table(account))
    if account.left_out:
        out.print(left_out_table(account))
    if account.explained:
        out.print(explained_table(account.explained))
    if comparison is not None:
        out.print(comparison_table(comparison))
        if comparison.explained:
            out.print(explained_ends_table(comparison.explained))


def _problems(account: InstanceAccount) -> list[str]:
    from heliograph.difference import in_words  # noqa: PLC0415 - quick --help

    if account.closes():
        return []
    names = ", ".join(f"{name} {-count:+,}" for name, count in sorted(account.unexplained().items()))
    return [
        f"The account does not close: {account.recorded:,} recorded, {account.accounted():,} accounted for."
        + (f" By name: {names}." if names else ""),
        *(f"The account differs: {in_words(each)}" for each in account.open_ranges()),
    ]
