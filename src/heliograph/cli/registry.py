"""`heliograph registry`: who may send what, on which evidence."""

from __future__ import annotations

import enum
from contextlib import contextmanager
from datetime import datetime  # noqa: TC003 - typer reads the annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from heliograph.cli.common import fail, parse_moment, read_settings
from heliograph.consent.agreement import Route  # noqa: TC001 - typer reads the annotations
from heliograph.consent.deployment import Deployment  # noqa: TC001 - typer reads the annotations
from heliograph.consent.level import Level
from heliograph.event import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.registry.store import Registry

app = typer.Typer(
    no_args_is_help=True,
    help="Accounts, instances and agreements: who may send what, on which evidence.\n\n"
    "A new customer takes three steps: [bold]add-account[/bold], [bold]add-instance[/bold] with the line that "
    "[bold]heliograph agent key[/bold] printed on the instance, and [bold]agree[/bold]. Then [bold]explain[/bold] "
    "tells what the instance may send, and why.",
)


NOT_STATED: Final = "not stated"
_LONGEST_PATH: Final = 1_000


class Kind(enum.StrEnum):
    """What a name names."""

    ACCOUNT = "account"
    INSTANCE = "instance"


class Decided(enum.StrEnum):
    """What can be decided for on-premises instances."""

    EVENTS = "events"
    CRITICAL = "critical"


@contextmanager
def open_registry(context: typer.Context) -> Iterator[Registry]:
    """Open the registry of the settings; end with all problems if there are any."""
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
    with open_registry(context) as registry:
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
    with open_registry(context) as registry:
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
    with open_registry(context) as registry:
        registry.replace_key(name, _read_key(key))
    typer.echo(f"instance {name} has another key")


@app.command()
def deactivate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The instance.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = NOT_STATED,
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")] = NOT_STATED,
) -> None:
    """Keep an instance out, without forgetting it.

    Example: heliograph registry deactivate acme-1
    """
    with open_registry(context) as registry:
        registry.set_active(name, active=False, reason=reason, recorded_by=recorded_by)
    typer.echo(f"instance {name} is kept out")


@app.command()
def activate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The instance.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = NOT_STATED,
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")] = NOT_STATED,
) -> None:
    """Let an instance in again.

    Example: heliograph registry activate acme-1
    """
    with open_registry(context) as registry:
        registry.set_active(name, active=True, reason=reason, recorded_by=recorded_by)
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
    with open_registry(context) as registry:
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
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")] = NOT_STATED,
) -> None:
    """Record that an agreement ends. It stays readable.

    Example: heliograph registry end agreement-3 --reason "replaced by order form OF-2107"
    """
    with open_registry(context) as registry:
        ending = registry.end_agreement(agreement, reason=reason, effective=at, recorded_by=recorded_by)
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
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")] = NOT_STATED,
) -> None:
    """Narrow what an account or an instance may send. It never widens what the contract allows.

    Example: heliograph registry override acme critical --reason "asked for in ticket 512"
    """
    with open_registry(context) as registry:
        narrowed = registry.set_override(
            target, level, reason=reason, kind=None if kind is None else kind.value, recorded_by=recorded_by
        )
    typer.echo(f"{narrowed} {target}: at most {level} from now on")


@app.command()
def amend(
    context: typer.Context,
    agreement: Annotated[str, typer.Argument(help="Its id, as `heliograph registry list` shows it.")],
    *,
    document: Annotated[str, typer.Option(help="Reference of the signed amendment.")],
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")],
    terms: Annotated[str | None, typer.Option(help="Version of other Terms, with --digest.")] = None,
    digest: Annotated[str | None, typer.Option(help="SHA-256 of these Terms: first word of `sha256sum FILE`.")] = None,
    start: Annotated[
        datetime | None,
        typer.Option("--from", parser=parse_moment, metavar="TIME", help="First moment in force; default: now."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", parser=parse_moment, metavar="TIME", help="Another end: first moment after it."),
    ] = None,
    redline: Annotated[
        str | None, typer.Option(help="What a redline or carve-out says that it adds; it vetoes events.")
    ] = None,
    lift_redline: Annotated[
        bool, typer.Option("--lift-redline", help="Lift the redlines of this agreement that were recorded before.")
    ] = False,
) -> None:
    """Record that an agreement changes: its Terms, its end, its redlines. What was agreed before stays readable.

    Example: heliograph registry amend agreement-3 --document AM-12 --to 2027-12-31 --recorded-by legal
    """
    with open_registry(context) as registry:
        amendment = registry.amend_agreement(
            agreement,
            document=document,
            recorded_by=recorded_by,
            terms_version=terms,
            terms_digest=digest,
            effective_to=end,
            redline=redline,
            lifts_redline=lift_redline,
            effective=start,
        )
    typer.echo(f"{amendment.id} to {agreement} recorded for account {amendment.account}")


@app.command()
def decide_deployment(
    context: typer.Context,
    level: Annotated[Decided, typer.Argument(help="The widest level of on-premises instances from then on.")],
    *,
    document: Annotated[str, typer.Option(help="Reference of the decision.")],
    reason: Annotated[str, typer.Option(help="Why, in words for the customers' admins as well.")],
    recorded_by: Annotated[str, typer.Option(help="Your role or team.")],
    start: Annotated[
        datetime | None,
        typer.Option("--from", parser=parse_moment, metavar="TIME", help="First moment in force; default: now."),
    ] = None,
) -> None:
    """Record whether on-premises instances may send events, or may no longer. Managed ones are not touched by it.

    Example: heliograph registry decide-deployment events --document DEC-7 --reason "agreed with security"
    --recorded-by product
    """
    with open_registry(context) as registry:
        decision = registry.decide_deployment(
            Level(level.value), document=document, reason=reason, recorded_by=recorded_by, effective=start
        )
    typer.echo(f"on-premises instances: at most {level} from {format_time(decision.effective)} on")


def _read_key(key: str) -> str:
    """Return the public key that `key` is, or that the file it names holds."""
    file = Path(key)
    try:
        return file.read_text(encoding="ascii") if len(key) < _LONGEST_PATH and file.is_file() else key
    except (OSError, ValueError) as error:
        fail([f"--key {key}: {error}; give the line that `heliograph agent key` prints on the instance, or a file"])
