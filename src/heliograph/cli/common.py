"""What the verbs share: settings, output, and errors that say what to do."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heliograph.instance.state import State
    from heliograph.plan.follow import FollowedPlan
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

_PIPE_COLUMNS = 160
"""Into a file or a pipe, where nobody says how wide it is, tables are not cut to eighty columns."""
_is_sized = sys.stdout.isatty() or "COLUMNS" in os.environ

out = Console(width=None if _is_sized else _PIPE_COLUMNS)
err = Console(stderr=True)


def fail(problems: Iterable[str], *, status: int = 2) -> NoReturn:
    """Print all `problems` to standard error, one a line, and end with `status`."""
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    raise typer.Exit(status)


def read_settings(context: typer.Context) -> Settings:
    """Return the settings of ``--config`` and the environment; end with all problems if there are any."""
    from heliograph.settings import SettingsError, load_settings  # noqa: PLC0415 - quick --help

    try:
        return load_settings(context.find_root().obj)
    except SettingsError as error:
        fail(error.problems)


def read_plan(settings: Settings) -> Plan:
    """Return the tracking plan that the settings name; end with all problems if there are any."""
    from heliograph.plan.load import PlanError, load_plan  # noqa: PLC0415 - quick --help

    try:
        return load_plan(settings.plan.file)
    except PlanError as error:
        fail(str(problem) for problem in error.problems)


def read_own_plan(settings: Settings) -> FollowedPlan | None:
    """Return an instance's own plan, as its files change; None where it follows the vendor's and has none."""
    if settings.agent.plan_updates == "vendor" and not Path(settings.plan.file).exists():
        return None
    return follow_plan(settings)


def read_plan_in_force(settings: Settings, state: State) -> Plan:
    """Return the plan by which an instance sends, as far as it is known there."""
    from heliograph.instance.plan_updates import plan_in_force  # noqa: PLC0415 - quick --help

    own = read_own_plan(settings)
    pinned = settings.agent.plan_updates == "pinned"
    return plan_in_force(state.plans, None if own is None else own.plan, pinned=pinned)


def follow_plan(settings: Settings) -> FollowedPlan:
    """Return the tracking plan that the settings name, as its files change; end with all problems if there are any."""
    from heliograph.plan.follow import FollowedPlan  # noqa: PLC0415 - quick --help
    from heliograph.plan.load import PlanError  # noqa: PLC0415

    try:
        return FollowedPlan(settings.plan.file)
    except PlanError as error:
        fail(str(problem) for problem in error.problems)


def parse_moment(text: str) -> datetime:
    """Return the moment that an option gives, in UTC: a date, or a date and a time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date: write 2026-10-01, or 2026-10-01T12:00:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def print_json(value: object) -> None:
    """Print anything that msgspec can encode as indented JSON on standard output."""
    import msgspec  # noqa: PLC0415 - quick --help

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def use_logs() -> None:
    """Let a long-running verb write its log to standard error, one JSON object a line."""
    import structlog  # noqa: PLC0415 - quick --help

    from heliograph.cli.traces import silence_values  # noqa: PLC0415 - quick --help

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(_log_line),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
    )
    silence_values()


def _log_line(event: dict[str, object], default: Callable[[object], object]) -> bytes:
    """Return what is logged as JSON: a gateway logs each delivery, and the standard library takes ten times as long."""
    import msgspec  # noqa: PLC0415 - quick --help

    try:
        return msgspec.json.encode(event, enc_hook=default)
    except UnicodeEncodeError:  # a path may be no text
        return json.dumps(event, default=default).encode()


def share_counters(folder: Path) -> None:
    """Let this process, and those that it starts, count together in a folder; before any imports what counts."""
    import shutil  # noqa: PLC0415 - quick --help

    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run: counters begin anew with the gateway
    folder.mkdir(mode=0o700, parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
