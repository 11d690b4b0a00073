"""`heliograph plan schema`: what an editor checks a plan by."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of a plan's files, by which an editor completes and checks them while they are written.

    docs/plan.md says how an editor uses it.

    Example: [bold]heliograph plan schema > plan.schema.json[/bold]
    """
    from heliograph.cli.common import print_json  # noqa: PLC0415 - quick --help
    from heliograph.plan.schema import plan_schema  # noqa: PLC0415 - quick --help

    print_json(plan_schema())
