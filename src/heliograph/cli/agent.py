"""`heliograph agent`."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True, help="The process beside the product that sends: run it, and see what it has sent."
)
