"""`heliograph gateway`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import err, fail, follow_plan, out, print_json, read_settings, share_counters, use_logs

if TYPE_CHECKING:
    from heliograph.gateway.account import Account
    from heliograph.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="The vendor's gateway: receive deliveries, store them, answer with receipts."
)


@app.command()
def run(context: typer.Context) -> None:
    """Serve until told to stop (Ctrl-C or SIGTERM); SIGHUP has it read settings, plan, certificate and keys anew.

    Listens with TLS where [bold]gateway.host[/bold] and [bold]gateway.port[/bold] say. A delivery is acknowledged
    once it is on disk in [bold]gateway.log[/bold]; [bold]heliograph lake load[/bold] takes it from there. A plan
    that has changed is in force a second or two later; one that cannot be used is logged, and the old one stays.

    Example: heliograph --config vendor.toml gateway run
    """
    settings = read_settings(context)
    if settings.gateway.workers > 1 and settings.gateway.metrics_port:
        # Before anything is imported that counts: prometheus-client looks once where it is to count.
        share_counters(Path(settings.gateway.log) / "metrics")

    from heliograph.gateway.log import LogFullError  # noqa: PLC0415 - quick --help
    from heliograph.gateway.plans import PlanInForce  # noqa: PLC0415
    from heliograph.gateway.server import gateway_server  # noqa: PLC0415
    from heliograph.gateway.single import run_single  # noqa: PLC0415
    from heliograph.gateway.supervisor import WorkersError, run_supervised  # noqa: PLC0415
    from heliograph.keys import KeyFileError  # noqa: PLC0415
    from heliograph.plan.follow import FollowedPlan  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.settings import load_settings  # noqa: PLC0415

    plan = follow_plan(settings)
    use_logs()
    try:
        if settings.gateway.workers > 1:
            run_supervised(settings.gateway, [*_same_program(context), "gateway", "worker"])
        else:

            def reread() -> tuple[Settings, PlanInForce]:
                now = load_settings(context.find_root().obj)
                return now, PlanInForce(FollowedPlan(now.plan.file))

            with gateway_server(settings, PlanInForce(plan)) as server:
                run_single(server, Path(settings.gateway.log), reread)
    except WorkersError:
        fail(["the gateway cannot start: its workers do not; what they say stands above"])
    except BlockingIOError:
        fail([f"{settings.gateway.log}: another gateway writes this log. Stop it first, or name another folder."])
    except LogFullError:
        fail([f"{settings.gateway.log}: no room for a segment. Free the disk, or raise gateway.maximum_log_bytes."])
    except RegistryError as error:
        fail(error.problems)
    except (KeyFileError, OSError) as error:
        fail([f"the gateway cannot start: {error}"])


@app.command(hidden=True)
def worker(context: typer.Context, *, link: int = -1, connections: int = -1) -> None:
    """Work for a gateway that was started with several workers; it starts them itself."""
    from heliograph.gateway.plans import PlanInForce  # noqa: PLC0415 - quick --help
    from heliograph.gateway.worker import run_worker  # noqa: PLC0415
    from heliograph.keys import KeyFileError  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415

    settings = read_settings(context)
    plan = follow_plan(settings)
    use_logs()
    try:
        run_worker(settings, PlanInForce(plan), link, connections)
    except RegistryError as error:
        fail(error.problems)
    except (KeyFileError, OSError) as error:
        fail([f"a worker cannot start: {error}"])


def _same_program(context: typer.Context) -> list[str]:
    """Return the words that start this program again, with the same settings file."""
    file = context.find_root().obj
    return [sys.executable, "-m", "heliograph.cli", *([] if file is None else ["--config", str(file)])]


@app.command()
def account(
    context: typer.Context,
    instance: Annotated[str | None, typer.Argument(help="One instance; all of them when left out.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the vendor's half of the loss account: what became of every number that was delivered.

    Ends with status 1 when a number has no outcome, or more than one, and nobody has explained it.

    Example: heliograph --config vendor.toml gateway account acme-1
    """
    import msgspec  # noqa: PLC0415 - quick --help

    from heliograph.gateway.explaining import Explanations  # noqa: PLC0415
    from heliograph.gateway.report import account_problems, account_table, explained_table  # noqa: PLC0415

    folder = Path(read_settings(context).gateway.log)
    accounts = _accounts(folder, instance)
    explanations = Explanations(folder)
    words = [word for name in accounts for word in explanations.of(name)]
    if as_json:
        print_json(
            {
                name: msgspec.structs.asdict(each) | {"explained": explanations.of(name)}
                for name, each in accounts.items()
            }
        )
    else:
        out.print(account_table(accounts))
        if words:
            out.print(explained_table(words))
    if problems := list(account_problems(accounts, explanations)):
        fail([*problems, "docs/runbook/account-differs.md says what to do."], status=1)


def _accounts(folder: Path, instance: str | None) -> dict[str, Account]:
    from heliograph.gateway.log_reading import read_accounts  # noqa: PLC0415 - quick --help

    accounts = read_accounts(folder)
    if instance is None:
        return accounts
    if instance not in accounts:
        fail([f"no delivery of an instance {instance!r} was stored here. Known: {', '.join(sorted(accounts))}"])
    return {instance: accounts[instance]}


@app.command("explain-difference")
def explain_difference(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="Whose account differs.")],
    *,
    by: Annotated[str, typer.Option("--by", help="The role that says so, to be recorded with it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="How it came to be, to be recorded with it.")] = "",
) -> None:
    """Record that what does not add up in an instance's account so far is known, and why: its alarm ends.

    It stands in [bold]gateway.log[/bold] for ever, and gateway account shows it. What is found to differ later is not
    covered. Run it as the user who runs the gateway; a running one takes notice at once.

    Example: heliograph gateway explain-difference acme-1 --by operations --reason "the log was put back on 3 May"
    """
    import time  # noqa: PLC0415 - quick --help

    from heliograph.gateway.explaining import explain  # noqa: PLC0415
    from heliograph.gateway.report import explained_table  # noqa: PLC0415
    from heliograph.ledger.entries import word_problems  # noqa: PLC0415

    folder = Path(read_settings(context).gateway.log)
    if problems := word_problems(by, reason):
        fail(problems)
    account = _accounts(folder, instance)[instance]
    try:
        word = explain(folder, instance, account, time=time.time_ns() // 1_000, by=by, reason=reason)
    except ValueError as error:
        fail([f"{error}. Put the file back from a copy, or move it away and explain anew."])
    except OSError as error:
        fail([f"{folder}: {error.strerror or error}"])
    if word is None:
        fail([f"the account of {instance!r} closes: there is nothing to explain"])
    out.print(explained_table([word]))


@app.command()
def key(
    context: typer.Context,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Print the keys before it too, the latest first: with them, older receipts.")
    ] = False,
) -> None:
    """Print the public key with which the gateway signs, for customers to pin; make the key first if there is none.

    Each instance trusts what stands in the file that [bold]agent.vendor_keys[/bold] names there. Hand the line out by
    a way that customers trust, such as with the contract.

    Example: heliograph --config vendor.toml gateway key > vendor.keys
    """
    from heliograph.gateway.rotation import public_keys  # noqa: PLC0415 - quick --help
    from heliograph.keys import KeyFileError  # noqa: PLC0415

    file = Path(read_settings(context).gateway.signing_key)
    try:
        lines = public_keys(file)
    except (KeyFileError, OSError) as error:
        fail([str(error)])
    for line in lines if everything else lines[:1]:
        typer.echo(line)
    err.print(f"the private key is in {file}; customers pin the first line above (agent.vendor_keys)", highlight=False)


@app.command("rotate-key")
def rotate_key(context: typer.Context) -> None:
    """Put a new signing key in the place of the present one, which endorses it.

    Agents that trust the old key come to trust the new one by its endorsement. A running gateway takes the new key
    when it is reloaded (SIGHUP). If this is interrupted, run it again: it goes on where it stood.

    Example: heliograph --config vendor.toml gateway rotate-key
    """
    import time  # noqa: PLC0415 - quick --help

    from heliograph.gateway import rotation  # noqa: PLC0415
    from heliograph.keys import KeyFileError, public_key_text  # noqa: PLC0415

    file = Path(read_settings(context).gateway.signing_key)
    try:
        done = rotation.rotate_key(file, now=time.time())
    except (KeyFileError, OSError) as error:
        fail([str(error)])
    typer.echo(public_key_text(done.after))
    err.print(
        f"the new private key is in {file}, and its endorsement by the old one in {rotation.endorsements_file(file)}; "
        "reload the gateways (SIGHUP), and give the line above to new customers",
        highlight=False,
    )
