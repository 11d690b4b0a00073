"""`heliograph registry`: what is recorded, what follows from it, and whether it is still what was recorded."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import fail, out, parse_moment, print_json
from heliograph.cli.registry import Kind, app, open_registry
from heliograph.consent.agreement import Agreement
from heliograph.consent.chain import genesis
from heliograph.consent.contract import standings, state_words
from heliograph.consent.records import VENDOR, Unreadable, of_kind
from heliograph.event import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heliograph.registry.chains import Chain
    from heliograph.registry.explanation import ExplainedRecord, Explanation
    from heliograph.registry.snapshot import Snapshot
    from heliograph.registry.store import Registry

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


__all__ = ["app"]


@app.command(name="list")
def list_everything(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is recorded, as JSON.")] = False,
) -> None:
    """Show all accounts, instances and agreements.

    Example: heliograph registry list --json
    """
    with open_registry(context) as registry:
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
    name: Annotated[str, typer.Argument(help="The instance, or the account.")],
    *,
    at: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment,
            metavar="TIME",
            help="Answer for this moment, by what was recorded up to it; default: now.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Which is meant, where an account and an instance have one name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same, as JSON.")] = False,
) -> None:
    """Tell what an instance or an account may send, and why: the word of each who has a say, and every record.

    Example: heliograph registry explain acme-1 --at 2026-10-01
    """
    with open_registry(context) as registry:
        explanation = _explanation(registry, name, at, kind)
    if as_json:
        print_json(explanation)
        return
    typer.echo("\n".join(_explained(explanation)))


def _explanation(registry: Registry, name: str, at: datetime | None, kind: Kind | None) -> Explanation:
    from heliograph.registry.explanation import explain_account, explain_instance  # noqa: PLC0415 - quick --help

    now = registry.snapshot()
    if kind is None and name in now.accounts and name in now.instances:
        fail([f"{name!r} is both an account and an instance: say which with --kind"])
    is_account = kind is Kind.ACCOUNT or (kind is None and name in now.accounts)
    account = name if is_account or name not in now.instances else now.instances[name].account
    chains = {chain: registry.chain(chain) for chain in (account, VENDOR)}
    moment = datetime.now(UTC) if at is None else at
    snapshot = now if at is None else now.as_of(at)
    return (explain_account if is_account else explain_instance)(snapshot, chains, name, moment)


def _explained(explanation: Explanation) -> list[str]:
    lines = [f"{explanation.name} may send: {explanation.level}  (at {format_time(explanation.at)})"]
    if not explanation.parties:
        lines += [f"  {reason}" for reason in explanation.reasons]
    for party, word in explanation.parties.items():
        lines += [f"  {party:<11} {word.level!s:<9} {reason}" for reason in word.reasons]
    if explanation.parties and explanation.kind == "instance":
        lines.append("The narrowest decides. On the instance, its admin can narrow it further.")
    elif explanation.parties:
        lines.append("The narrowest decides. Each instance's own override and deployment can narrow it further.")
    if explanation.records:
        lines += ["", f"Recorded for account {explanation.account}:", *_record_lines(explanation.records)]
    if explanation.vendor_records:
        lines += ["", "Recorded by the vendor for all:", *_record_lines(explanation.vendor_records)]
    return lines


def _record_lines(records: Iterable[ExplainedRecord]) -> list[str]:
    return [
        f"{record.number or '?':>4}  {'?' if record.recorded is None else f'{record.recorded:%Y-%m-%d}':<10}  "
        f"{record.digest[:12]:<12}  {record.words}  [{', '.join(filter(None, _notes(record)))}]"
        for record in records
    ]


def _notes(record: ExplainedRecord) -> tuple[str, str]:
    return record.state, f"recorded by {record.recorded_by}" if record.recorded_by else ""


@app.command()
def verify(
    context: typer.Context,
    account: Annotated[
        str | None, typer.Argument(help="Whose records; default: all accounts' and the vendor's.")
    ] = None,
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="A head that somebody noted earlier: all up to it must be as it was then."),
    ] = None,
) -> None:
    """Find out whether every record is still what was recorded, and print the heads, which people can note.

    Ends with 1, and names the record, when one was changed, removed, added or put elsewhere.

    Example: heliograph registry verify acme
    """
    with open_registry(context) as registry:
        chains = registry.chains()
    if account is not None:
        if account not in chains:
            fail([f"there is no account {account!r}: `heliograph registry list` shows all"])
        chains = {account: chains[account]}
    if head is not None and not _DIGEST.fullmatch(head):
        fail([f"--head {head!r} is no digest: give all 64 hexadecimal digits, as `heliograph registry verify` prints"])
    problems = []
    for name, chain in chains.items():
        words = _chain_words(name)
        problems += [f"{words}: record {fault.number} {fault.why}" for fault in chain.faults]
        for number in _unreadable(chain):
            typer.echo(f"{words}: record {number} is as it was recorded, but this version cannot read it")
        if not chain.faults:
            typer.echo(f"{words}: {chain.head.length} records, head {chain.head.digest}")
    if head is not None:
        found = _place_of(head, chains)
        typer.echo(found) if found else problems.append(
            f"head {head} is not in the records{'' if account is None else f' of account {account}'}: "
            "what it stood for was changed or removed, or it is of another account"
        )
    if problems:
        fail(problems, status=1)


def _unreadable(chain: Chain) -> list[int]:
    return [entry.link.number for entry in chain.entries if entry.link and isinstance(entry.record, Unreadable)]


def _place_of(head: str, chains: Mapping[str, Chain]) -> str | None:
    for name, chain in chains.items():
        if head == genesis(name):
            return f"head {head} is the beginning of {_chain_words(name)}"
        for entry in chain.entries:
            if entry.link is not None and entry.digest == head:
                return f"head {head} is record {entry.link.number} of {_chain_words(name)}: all up to it is as it was"
    return None


def _chain_words(name: str) -> str:
    return f"account {name}" if name else "the vendor's own chain"


@app.command()
def export(
    context: typer.Context,
    account: Annotated[str | None, typer.Argument(help="Whose records; default: the vendor's own.")] = None,
) -> None:
    """Print the records of an account as JSON lines, which anyone can verify; docs/consent.md shows how.

    Example: heliograph registry export acme > acme.jsonl
    """
    with open_registry(context) as registry:
        chain = registry.chains().get(account or VENDOR)
    if chain is None:
        fail([f"there is no account {account!r}: `heliograph registry list` shows all"])
    for link in chain.links:
        line = {"chain": chain.name, **link._asdict(), "body": link.body.decode("utf-8", "replace")}
        typer.echo(msgspec.json.encode(line))


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
        for standing in standings(account.records, now):
            agreement, end = standing.agreement, standing.ends
            table.add_row(
                agreement.id,
                agreement.account,
                agreement.route,
                Text(agreement.document),
                f"{agreement.effective_from:%Y-%m-%d}",
                "" if end is None else f"{end:%Y-%m-%d}",
                state_words(standing, now),
            )
        for unreadable in of_kind(account.records, Unreadable):
            table.add_row("?", account.name, "", Text(unreadable.place), "", "", "cannot be relied on")
    return table


def _as_json(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    decisions = {name: snapshot.level(name, now) for name in snapshot.instances}
    return {
        "accounts": list(snapshot.accounts.values()),
        "instances": [
            {**msgspec.to_builtins(instance), "level": decisions[name].level, "agreement": decisions[name].agreement}
            for name, instance in snapshot.instances.items()
        ],
    }
