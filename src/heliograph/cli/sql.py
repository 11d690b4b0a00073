"""`heliograph sql`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from heliograph.cli.asking import FORM, Asked, verb


def add_to(app: typer.Typer) -> None:
    """Make the verb one of `app`."""
    forms = {name: option for name, option in FORM.items() if name != "plain"}
    verb(app, forms)(sql)


def sql(
    asked: Asked,
    *,
    statement: Annotated[str, typer.Argument(help="One query, in DuckDB's SQL; - reads it from standard input.")],
    seconds: Annotated[float, typer.Option(help="Stop it after so many seconds.", min=0.1)] = 60.0,
    memory_mib: Annotated[int, typer.Option(help="Stop it when it needs more memory, in MiB.", min=64)] = 2048,
    rows: Annotated[int, typer.Option(help="Print so many rows, at most.", min=1)] = 1000,
) -> None:
    """Ask the marts and the pings in SQL, read-only.

    Tables: user_days, user_feature_days, active_days, session_parts, session_spans, instance_days and pings; DESCRIBE
    user_days tells columns. A mart can have several rows of one key, each with a part of the counts: sum counts, and
    never count rows. Raw events are not to be reached from here. Nothing is suppressed: it is for the data team.

    Example: heliograph sql "SELECT day, sum(events) AS events FROM instance_days GROUP BY day ORDER BY day DESC"
    """
    asked.sql(sys.stdin.read() if statement == "-" else statement, seconds=seconds, memory_mib=memory_mib, rows=rows)
