"""The command line: one verb for each question that a person has."""

from __future__ import annotations

from typing import Annotated

import typer

from heliograph.cli import (
    agent,
    ask,
    bundle,
    config,
    crm,
    demo,
    gateway,
    gateway_bundles,
    lake,
    ledger,
    plan,
    registry_report,
    sql,
    trial,
    users,
)

app = typer.Typer(
    name="heliograph",
    help="Event-level product-usage data, from customer instances to the vendor: only what the contract "
    "allows, and in full view of the customer.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for verb in (users.opt_out, users.opt_in, users.opt_outs, users.forget, users.mark):
    agent.app.command()(verb)
gateway.app.command()(gateway_bundles.bundle_key)
gateway.app.command()(gateway_bundles.policy)
gateway.app.command("import")(gateway_bundles.import_)
app.add_typer(agent.app, name="agent")
app.add_typer(ask.app, name="ask")
app.add_typer(bundle.app, name="bundle")
app.add_typer(config.app, name="config")
app.add_typer(crm.app, name="crm")
app.add_typer(gateway.app, name="gateway")
app.add_typer(lake.app, name="lake")
app.add_typer(ledger.app, name="ledger")
app.add_typer(plan.app, name="plan")
app.add_typer(registry_report.app, name="registry")
app.add_typer(trial.app, name="trial")
sql.add_to(app)
app.command(name="demo")(demo.demo)


@app.callback()
def options(
    context: typer.Context,
    settings_file: Annotated[
        str | None,
        typer.Option(
            "--config",
            envvar="HELIOGRAPH_CONFIG",
            help="The settings file; see [bold]heliograph config show[/bold]. Default: ./heliograph.toml, if there.",
        ),
    ] = None,
) -> None:
    """Options that come before the verb."""
    context.obj = settings_file


def main() -> None:
    """Run the command line; the entry point of ``heliograph``."""
    app()
