"""`heliograph agent ping` and `heliograph agent usage`: what leaves in numbers, and what stays."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import fail, out, print_json, read_plan, read_plan_in_force, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.instance.ping_table import KeptPing
    from heliograph.instance.state import State
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

_Day = Annotated[str | None, typer.Option("--day", metavar="DAY", help="The UTC day, as in 2026-10-31.")]


def ping(
    context: typer.Context,
    *,
    day: _Day = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the exact bytes, and nothing else.")] = False,
    fields: Annotated[bool, typer.Option("--fields", help="Explain every field that a ping can have.")] = False,
    sent: Annotated[
        bool, typer.Option("--sent", help="List the pings sent, with their receipts; with --json, those in full.")
    ] = False,
) -> None:
    """Show the next ping before it leaves, or the one of a day: critical telemetry, added up and anonymised here.

    The table tells which numbers are suppressed, and why. A ping that was made already is shown as it was made. Events
    that wait in the outbox are not counted yet.

    Example: heliograph --config instance.toml agent ping --json
    """
    settings = read_settings(context)
    if fields:
        _show_fields(_plan(settings))
        return
    chosen = _parse_day(day)
    with _state(settings) as state:
        plan = read_plan_in_force(settings, state)
        if sent:
            _show_sent(state, chosen, as_json=as_json)
        elif as_json:
            _print_bytes(state, settings, plan, chosen)
        else:
            _show_ping(state, settings, plan, chosen)


def usage(
    context: typer.Context,
    *,
    day: _Day = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show this instance's own use: active users of a day, its week and its month, and what they used.

    Nothing of it leaves as it stands here, and nothing is suppressed; without --day it is today's so far.

    Example: heliograph --config instance.toml agent usage
    """
    from heliograph.instance.ping import count_use  # noqa: PLC0415 - quick --help
    from heliograph.instance.ping_report import usage_table  # noqa: PLC0415
    from heliograph.ping import MONTH_DAYS  # noqa: PLC0415

    settings = read_settings(context)
    chosen = _parse_day(day) or datetime.now(UTC).date()
    with _state(settings) as state:
        plan = read_plan_in_force(settings, state)
        use = count_use(state.usage.read(chosen, days=MONTH_DAYS, sendable_only=False), plan, chosen)
    if as_json:
        print_json(use)
    else:
        out.print(usage_table(use, chosen))


def _parse_day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        fail([f"--day is {text!r}: give a day such as 2026-10-31"])


def _plan(settings: Settings) -> Plan:
    """Return the plan in force; where no agent has run yet, the instance's own."""
    if not Path(settings.agent.state).is_dir():
        return read_plan(settings)
    with _state(settings) as state:
        return read_plan_in_force(settings, state)


@contextmanager
def _state(settings: Settings) -> Iterator[State]:
    from heliograph.instance.state import State, StateError  # noqa: PLC0415 - quick --help

    folder = Path(settings.agent.state)
    if not folder.is_dir():
        fail([f"{folder}: no agent has run with this state yet"])
    try:
        state = State(folder, exclusive=False)
    except StateError as error:
        fail([str(error)])
    try:
        yield state
    finally:
        state.close()


def _show_fields(plan: Plan) -> None:
    from heliograph.instance.ping_report import fields_table  # noqa: PLC0415 - quick --help
    from heliograph.plan.ping_page import field_rows  # noqa: PLC0415

    out.print(fields_table(field_rows(plan)))


def _show_sent(state: State, day: date | None, *, as_json: bool) -> None:
    from heliograph.instance.ping_report import sent_table  # noqa: PLC0415 - quick --help

    kept = [each for each in state.pings.kept() if day in (None, each.day)]
    if as_json:
        print_json([_in_full(each) for each in kept])
    else:
        out.print(sent_table(kept))


def _in_full(kept: KeptPing) -> dict[str, object]:
    return {
        "day": kept.day,
        "body": kept.body.decode(),
        "made": kept.made,
        "settled": kept.settled,
        "receipt": kept.receipt,
        "signature": kept.signature,
        "refused": kept.refused,
    }


def _next_day(state: State) -> date:
    """Return the day of the next ping: one that waits, or is due, or today's, which is not over."""
    from heliograph.instance.ping_sender import due_day  # noqa: PLC0415 - quick --help

    now = datetime.now(UTC)
    unsettled = state.pings.unsettled()
    return unsettled[0] if unsettled is not None else due_day(state.pings, now) or now.date()


def _print_bytes(state: State, settings: Settings, plan: Plan, day: date | None) -> None:
    from heliograph.instance.ping_sender import ping_of  # noqa: PLC0415 - quick --help
    from heliograph.ping import encode_ping  # noqa: PLC0415

    day = day or _next_day(state)
    kept = next((each.body for each in state.pings.kept() if each.day == day), None)
    body = kept or encode_ping(ping_of(day, state, Path(settings.recorder.outbox), plan))
    sys.stdout.buffer.write(body)


def _show_ping(state: State, settings: Settings, plan: Plan, day: date | None) -> None:
    import msgspec  # noqa: PLC0415 - quick --help

    from heliograph.instance.facts import read_facts  # noqa: PLC0415
    from heliograph.instance.ping import count_use  # noqa: PLC0415
    from heliograph.instance.ping_report import ping_table, sent_table  # noqa: PLC0415
    from heliograph.instance.ping_sender import last_day_over, ping_of  # noqa: PLC0415
    from heliograph.ping import MONTH_DAYS  # noqa: PLC0415

    day = day or _next_day(state)
    outbox = Path(settings.recorder.outbox)
    kept = next((each for each in state.pings.kept() if each.day == day), None)
    if kept is not None:
        out.print(sent_table([kept]))
        out.print_json(msgspec.json.format(kept.body).decode())
        return
    use = count_use(state.usage.read(day, days=MONTH_DAYS, sendable_only=True), plan, day)
    out.print(ping_table(ping_of(day, state, outbox, plan), use, read_facts(outbox), plan))
    if day > last_day_over(datetime.now(UTC)):
        out.print("The day is not over: its ping is made an hour after it is, and what it counts may still grow.")
