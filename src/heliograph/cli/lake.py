"""`heliograph lake`."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="The lake: load the gateway's log, see what is stored.")
