"""`heliograph registry`: who may send what, on which evidence."""

from __future__ import annotations

import enum
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import fail, out, parse_moment, print_json, read_settings
from heliograph.consent.agreement import Agreement, Route, Unreadable, last_moment
from heliograph.consent.deployment import Deployment  # noqa: TC001 - typer reads the annotations
from heliograph.consent.level import Level  # noqa: TC001 - typer reads the annotations
from heliograph.event import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.registry.snapshot import Snapshot
    from heliograph.registry.store import Registry

app = typer.Typer(
    no_args_is_help=True,
    help="Accounts, instances and agreements: who may send what, on which evidence.\n\n"
    "A new customer takes three steps: [bold]add-account[/bold], [bold]add-instance[/bold] with the line that "
    "[bold]heliograph agent key[/bold] printed on the instance, and [bold]agree[/bold]. Then [bold]explain[/bold] "
    "tells what the instance may send, and why.",
)


_LONGEST_PATH: Final = 1_000


class Kind(enum.StrEnum):
    """What an override is for."""

    ACCOUNT = "account"
    INSTANCE = "instance"


@contextmanager
def _open(context: typer.Context) -> Iterator[Registry]:
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415 - quick --help
    from heliograph.registry.store import Registry  # noqa: PLC0415 - quick --help

    try:
        with Registry.open(read_settings(context).registry) as registry:
            yield registry
    except RegistryError as error:
        fail(error.problems)


@app.command()
def add_account(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - _ and .")]
) -> None:
    """Add a customer.

    Example: heliograph registry add-account acme
    """
    with _open(context) as registry:
        registry.add_account(name)
    typer.echo(f"account {name} added; next: heliograph registry add-instance NAME --account {name} …")


@app.command()
def add_instance(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - _ and .")],
    *,
    account: Annotated[str, typer.Option(help="Whose instance it is.")],
    deployment: Annotated[Deployment, typer.Option(help="Who runs it.")],
    key: Annotated[
        str, typer.Option(help="Its public key: the line that `heliograph agent key` prints on it, or a file.")
    ],
) -> None:
    """Add an instance of a customer, with the public key by which it proves itself.

    Example: heliograph registry add-instance acme-1 --account acme --deployment managed --key acme-1.pub
    """
    with _open(context) as registry:
        registry.add_instance(name, account=account, deployment=deployment, public_key=_read_key(key))
    typer.echo(f"instance {name} added; see: heliograph registry explain {name}")


@app.command()
def replace_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The instance.")],
    *,
    key: Annotated[
        str, typer.Option(help="Its new public key: the line that `heliograph agent key` prints on it, or a file.")
    ],
) -> None:
    """Give an instance another key; within a second, the old one is worth nothing.

    Example: heliograph registry replace-key acme-1 --key acme-1.pub
    """
    with _open(context) as registry:
        registry.replace_key(name, _read_key(key))
    typer.echo(f"instance {name} has another key")


@app.command()
def deactivate(context: typer.Context, name: Annotated[str, typer.Argument(help="The instance.")]) -> None:
    """Keep an instance out, without forgetting it.

    Example: heliograph registry deactivate acme-1
    """
    with _open(context) as registry:
        registry.set_active(name, active=False)
    typer.echo(f"instance {name} is kept out")


@app.command()
def activate(context: typer.Context, name: Annotated[str, typer.Argument(help="The instance.")]) -> None:
    """Let an instance in again.

    Example: heliograph registry activate acme-1
    """
    with _open(context) as registry:
        registry.set_active(name, active=True)
    typer.echo(f"instance {name} is let in")


@app.command()
def agree(
    context: typer.Context,
    account: Annotated[str, typer.Argument(help="Who agreed.")],
    *,
    route: Annotated[Route, typer.Option(help="How: one of the four routes; see docs/consent.md.")],
    document: Annotated[str, typer.Option(help="Reference of the signed document, or of the accepted page.")],
    terms: Annotated[str, typer.Option(help="Version of the Terms as agreed.")],
    digest: Annotated[str, typer.Option(help="SHA-256 of these Terms: first word of `sha256sum FILE`.")],
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")],
    start: Annotated[
        datetime | None,
        typer.Option("--from", parser=parse_moment, metavar="TIME", help="First moment in force; default: now."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", parser=parse_moment, metavar="TIME", help="First moment after it; default: open."),
    ] = None,
    redline: Annotated[
        str | None, typer.Option(help="What a redline or carve-out says that takes event-level rights away.")
    ] = None,
) -> None:
    """Record for good what a customer agreed to, with its evidence.

    Example: heliograph registry agree acme --route order_form --document OF-2041 --terms 2026-05
    --digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --recorded-by legal

    A redline or carve-out is recorded with the agreement it stands in, and vetoes events for the whole account:
    --redline "Section 4.2 is struck"
    """
    with _open(context) as registry:
        agreement = registry.add_agreement(
            account,
            route=route,
            document=document,
            terms_version=terms,
            terms_digest=digest,
            recorded_by=recorded_by,
            effective_from=start,
            effective_to=end,
            redline=redline,
        )
    typer.echo(f"{agreement.id} recorded for account {account}")


@app.command()
def end(
    context: typer.Context,
    agreement: Annotated[str, typer.Argument(help="Its id, as `heliograph registry list` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, in words for the customer's admin as well.")],
    at: Annotated[
        datetime | None,
        typer.Option(parser=parse_moment, metavar="TIME", help="First moment no longer in force; default: now."),
    ] = None,
) -> None:
    """Record that an agreement ends. It stays readable.

    Example: heliograph registry end agreement-3 --reason "replaced by order form OF-2107"
    """
    with _open(context) as registry:
        ending = registry.end_agreement(agreement, reason=reason, effective=at)
    typer.echo(f"{agreement} of account {ending.account} ends at {format_time(ending.effective)}")


@app.command()
def override(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="The instance, or the account with all its instances.")],
    level: Annotated[Level, typer.Argument(help="The widest level left to it; events: nothing is narrowed any more.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, in words for the customer's admin as well.")],
    kind: Annotated[
        Kind | None, typer.Option(help="Which is meant, where an account and an instance have one name.")
    ] = None,
) -> None:
    """Narrow what an account or an instance may send. It never widens what the contract allows.

    Example: heliograph registry override acme critical --reason "asked for in ticket 512"
    """
    with _open(context) as registry:
        narrowed = registry.set_override(target, level, reason=reason, kind=None if kind is None else kind.value)
    typer.echo(f"{narrowed} {target}: at most {level} from now on")


@app.command(name="list")
def list_everything(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is recorded, as JSON.")] = False,
) -> None:
    """Show all accounts, instances and agreements.

    Example: heliograph registry list --json
    """
    with _open(context) as registry:
        snapshot = registry.snapshot()
    now = datetime.now(UTC)
    if as_json:
        print_json(_as_json(snapshot, now))
        return
    if not snapshot.accounts:
        typer.echo("no account is registered; begin with: heliograph registry add-account NAME")
        return
    out.print(_account_table(snapshot), _instance_table(snapshot, now), _agreement_table(snapshot, now))


@app.command()
def explain(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="The instance.")],
    *,
    at: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment,
            metavar="TIME",
            help="Answer for this moment, by what was recorded up to it; default: now.",
        ),
    ] = None,
) -> None:
    """Tell what an instance may send, and why: the word of each who has a say at the vendor's side.

    Example: heliograph registry explain acme-1 --at 2026-10-01
    """
    with _open(context) as registry:
        snapshot = registry.snapshot()
    moment = datetime.now(UTC) if at is None else at
    if at is not None:
        snapshot = snapshot.as_of(at)
    decision = snapshot.level(instance, moment)
    typer.echo(f"{instance} may send: {decision.level}  (at {format_time(moment)})")
    record = snapshot.instances.get(instance)
    if record is None or not record.active:
        typer.echo("\n".join(f"  {reason}" for reason in decision.reasons))
        return
    for party, word in snapshot.words(record, moment).items():
        for reason in word.reasons:
            typer.echo(f"  {party:<11} {word.level!s:<9} {reason}")
    typer.echo("The narrowest decides. On the instance, its admin can narrow it further.")


def _read_key(key: str) -> str:
    """Return the public key that `key` is, or that the file it names holds."""
    file = Path(key)
    try:
        return file.read_text(encoding="ascii") if len(key) < _LONGEST_PATH and file.is_file() else key
    except (OSError, ValueError) as error:
        fail([f"--key {key}: {error}; give the line that `heliograph agent key` prints on the instance, or a file"])


def _account_table(snapshot: Snapshot) -> Table:
    table = Table("account", "since", "instances", "agreements", title="Accounts", title_justify="left")
    for account in snapshot.accounts.values():
        instances = sum(instance.account == account.name for instance in snapshot.instances.values())
        agreements = sum(isinstance(record, Agreement) for record in account.records)
        table.add_row(account.name, f"{account.added:%Y-%m-%d}", str(instances), str(agreements))
    return table


def _instance_table(snapshot: Snapshot, now: datetime) -> Table:
    table = Table("instance", "account", "deployment", "may send", "by", title="Instances", title_justify="left")
    for instance in snapshot.instances.values():
        decision = snapshot.level(instance.name, now)
        by = decision.agreement or ("" if instance.active else "deactivated")
        table.add_row(instance.name, instance.account, instance.deployment, str(decision.level), by)
    return table


def _agreement_table(snapshot: Snapshot, now: datetime) -> Table:
    table = Table(
        "agreement", "account", "route", "document", "from", "to", "state", title="Agreements", title_justify="left"
    )
    for account in snapshot.accounts.values():
        for record in account.records:
            if isinstance(record, Agreement):
                end = last_moment(record, account.records)
                table.add_row(
                    record.id,
                    record.account,
                    record.route,
                    Text(record.document),
                    f"{record.effective_from:%Y-%m-%d}",
                    "" if end is None else f"{end:%Y-%m-%d}",
                    _state(record, end, now),
                )
            elif isinstance(record, Unreadable):
                table.add_row("?", record.account, "", Text(record.place), "", "", "cannot be read")
    return table


def _state(agreement: Agreement, end: datetime | None, now: datetime) -> str:
    if now < agreement.effective_from:
        return "not yet in force"
    if end is not None and end <= now:
        return "ended"
    return "in force" if agreement.redline is None else "vetoes events"


def _as_json(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    decisions = {name: snapshot.level(name, now) for name in snapshot.instances}
    return {
        "accounts": list(snapshot.accounts.values()),
        "instances": [
            {**msgspec.to_builtins(instance), "level": decisions[name].level, "agreement": decisions[name].agreement}
            for name, instance in snapshot.instances.items()
        ],
    }
