"""`heliograph gateway`."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True, help="The vendor's gateway: receive deliveries, store them, answer with receipts."
)
