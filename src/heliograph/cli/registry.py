"""`heliograph registry`."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True, help="Accounts, instances and agreements: who may send what, on which evidence."
)
