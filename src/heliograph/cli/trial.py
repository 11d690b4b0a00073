"""`heliograph trial`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import fail, out, parse_moment, print_json, read_settings, use_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.registry.trials import TrialLink, TrialLinks
    from heliograph.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Trials: links to a page on which a prospect accepts the Terms, and sign-ups of the vendor's sites.\n\n"
    "A trial led by a customer engineer takes two steps: [bold]create[/bold] prints a link, once; the prospect "
    "opens it and accepts. The instance is enabled at its next contact.",
)

_LONGEST_DAYS = 366


@contextmanager
def _open(settings: Settings) -> Iterator[TrialLinks]:
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415 - quick --help
    from heliograph.registry.store import Registry  # noqa: PLC0415
    from heliograph.registry.trials import TrialLinks  # noqa: PLC0415

    try:
        with Registry.open(settings.registry) as registry:
            yield TrialLinks(registry)
    except RegistryError as error:
        fail(error.problems)


@app.command()
def serve(context: typer.Context) -> None:
    """Serve the pages and the sign-up webhook until told to stop (Ctrl-C or SIGTERM).

    Listens with TLS where [bold]trials.host[/bold] and [bold]trials.port[/bold] say, and shows the Terms in
    [bold]trials.terms[/bold] under their label [bold]trials.terms_version[/bold]. After a change of either, start it
    anew: whoever was reading the old Terms is shown the new ones, and asked again.

    Example: heliograph --config vendor.toml trial serve
    """
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415 - quick --help
    from heliograph.registry.trial_pages.server import trial_server  # noqa: PLC0415

    settings = read_settings(context)
    use_logs()
    try:
        with trial_server(settings) as server:
            server.run()
    except RegistryError as error:
        fail(error.problems)
    except OSError as error:
        fail([f"the trial server cannot start: {error}; look at trials.certificate and trials.private_key"])


@app.command()
def create(
    context: typer.Context,
    account: Annotated[str, typer.Argument(help="Whom the trial is for; registered already.")],
    *,
    days: Annotated[int, typer.Option(min=1, max=_LONGEST_DAYS, help="How long the trial lasts once accepted.")],
    created_by: Annotated[str, typer.Option(help="Your role or team.")],
    expires: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment,
            metavar="TIME",
            help="First moment at which it cannot be used; default: after trials.link_days.",
        ),
    ] = None,
) -> None:
    """Make a trial link, and print its address. It is shown this once: only its digest is kept.

    Whoever has the address can accept for the account, once; give it to nobody else.

    Example: heliograph trial create acme --days 30 --created-by customer-engineering
    """
    from heliograph.registry.trials import PATH, address_problems  # noqa: PLC0415 - quick --help

    settings = read_settings(context)
    if problems := address_problems(settings.trials):
        fail(problems)
    until = expires or datetime.now(UTC) + timedelta(days=settings.trials.link_days)
    with _open(settings) as links:
        link, token = links.create(account, days=days, created_by=created_by, expires=until)
    typer.echo(f"{settings.trials.public_address}{PATH}{token}")
    typer.echo(f"{link.id} for account {account} can be accepted until {until:%Y-%m-%d %H:%M} UTC", err=True)


@app.command(name="list")
def list_links(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show all trial links with their states; their addresses are not kept.

    Example: heliograph trial list --json
    """
    with _open(read_settings(context)) as links:
        found = links.all()
    now = datetime.now(UTC)
    if as_json:
        print_json([_as_json(link, now) for link in found])
    elif not found:
        typer.echo("no trial link was made; begin with: heliograph trial create ACCOUNT --days … --created-by …")
    else:
        out.print(_table(found, now))


@app.command()
def revoke(
    context: typer.Context,
    link: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `heliograph trial list` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Take back a link that nobody has accepted yet.

    A trial that was accepted is an agreement: [bold]heliograph registry end[/bold] ends it.

    Example: heliograph trial revoke trial-3 --reason "sent to the wrong customer"
    """
    with _open(read_settings(context)) as links:
        links.revoke(link, reason=reason)
    typer.echo(f"{link} cannot be accepted any more")


def _as_json(link: TrialLink, now: datetime) -> dict[str, Any]:
    return {**msgspec.to_builtins(link), "state": link.state(now)}


def _table(links: list[TrialLink], now: datetime) -> Table:
    table = Table("link", "account", "days", "created by", "until", "state", "", title="Trials", title_justify="left")
    for link in links:
        table.add_row(
            link.id,
            link.account,
            str(link.days),
            Text(link.created_by),
            f"{link.expires:%Y-%m-%d}",
            link.state(now),
            Text(link.agreement or link.revoked_because or ""),
        )
    return table
