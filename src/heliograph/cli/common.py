"""What the verbs share: settings, output, and errors that say what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heliograph.settings import Settings

out = Console()
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
