"""`heliograph crm`: the CRM's mirror of consent, and the report of every account at Yes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from heliograph.cli.common import fail, out, print_json, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.registry.crm import Change, Finding, Outcome
    from heliograph.registry.crm_report import AtYes
    from heliograph.registry.snapshot import Snapshot
    from heliograph.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="The account field [bold]User Level Event Usage Data Analytics[/bold] in the CRM: it mirrors what the "
    "registry's evidence allows, and the evidence wins.\n\n"
    "[bold]report[/bold] needs no CRM; [bold]check[/bold] and [bold]sync[/bold] need one, or a CSV file: docs/crm.md.",
)


@contextmanager
def _told() -> Iterator[None]:
    """End with all problems of the registry or the CRM, if there are any."""
    from heliograph.registry.crm import CrmError  # noqa: PLC0415 - quick --help
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415 - quick --help

    try:
        yield
    except (CrmError, RegistryError) as error:
        fail(error.problems)


def _snapshot(settings: Settings) -> Snapshot:
    from heliograph.registry.store import Registry  # noqa: PLC0415 - quick --help

    with Registry.open(settings.registry) as registry:
        return registry.snapshot()


@app.command()
def report(
    context: typer.Context,
    *,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write it to this file as CSV; - for standard output.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every account at Yes: since when, on which evidence, and what its instances may send.

    An account is at Yes when its contract, and the vendor's override of the account, allow events now.

    Example: heliograph crm report --csv at-yes.csv
    """
    from heliograph.registry.crm_report import accounts_at_yes, as_csv  # noqa: PLC0415 - quick --help

    with _told():
        rows = accounts_at_yes(_snapshot(read_settings(context)), datetime.now(UTC))
    if csv is not None:
        _write(csv, as_csv(rows), len(rows))
    if as_json:
        print_json(rows)
    elif csv is None:
        _print_report(rows)


@app.command()
def sync(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be written.")] = False,
) -> None:
    """Make the CRM say what the evidence says, and tell for each account what changed.

    An account at Yes that the registry does not know is set to No. The exit status is 1 if anything could not be
    written.

    Example: heliograph crm sync --dry-run
    """
    from heliograph.registry import mirror  # noqa: PLC0415 - quick --help

    settings = read_settings(context)
    with _told(), mirror.open_crm(settings.crm) as crm:
        done = mirror.sync(crm, _snapshot(settings), datetime.now(UTC), rehearse=dry_run)
    written = [outcome.change for outcome in done.outcomes if outcome.problem is None]
    for change in written:
        _say(_change_in_words(change))
    typer.echo(f"{len(written)} {'would be ' if dry_run else ''}written")
    problems = [_problem_in_words(outcome) for outcome in done.outcomes if outcome.problem is not None]
    if problems:
        fail(problems, status=1)


@app.command()
def check(
    context: typer.Context,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: every account, with what both sides say.")
    ] = False,
) -> None:
    """Tell where the CRM and the evidence differ, and what to do; the exit status is 1 if any of it is an alarm.

    Example: heliograph crm check
    """
    from heliograph.registry import mirror  # noqa: PLC0415 - quick --help

    settings = read_settings(context)
    with _told(), mirror.open_crm(settings.crm) as crm:
        findings = mirror.check(crm, _snapshot(settings), datetime.now(UTC))
    if as_json:
        print_json([_finding_as_json(finding) for finding in findings])
    else:
        _print_findings(findings)
    if any(finding.standing.is_alarm for finding in findings):
        raise typer.Exit(1)


def _write(file: Path, text: str, accounts: int) -> None:
    if str(file) == "-":
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        fail([f"--csv {file}: {error}; name a file in a folder that you may write to"])
    typer.echo(f"{accounts} accounts at Yes written to {file}", err=True)


def _print_report(rows: list[AtYes]) -> None:
    from heliograph.registry.crm_report import instances_in_words  # noqa: PLC0415 - quick --help

    if not rows:
        typer.echo("no account is at Yes: no event-level data may be collected")
        return
    table = Table("account", "since", "agreement", "route", "document", "Terms", "instances")
    for row in rows:
        cells = (row.document, row.terms_version, instances_in_words(row))
        table.add_row(row.account, f"{row.since:%Y-%m-%d}", row.agreement, row.route, *map(Text, cells))
    out.print(table)


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        if finding.standing.severity is not None:
            kind = "alarm" if finding.standing.is_alarm else "notice"
            _say(f"{kind} ({finding.standing.severity}): {finding.name}: {finding.standing}")
            _say(f"  {finding.difference}")
            _say(f"  {finding.remedy}")
    agreeing = sum(finding.standing.severity is None for finding in findings)
    alarms = sum(finding.standing.is_alarm for finding in findings)
    typer.echo(f"{alarms} alarms; {len(findings) - agreeing - alarms} notices; {agreeing} of {len(findings)} agree")


def _finding_as_json(finding: Finding) -> dict[str, object]:
    return {
        "account": finding.name,
        "standing": finding.standing,
        "severity": finding.standing.severity,
        "alarm": finding.standing.is_alarm,
        "crm": finding.record,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
    }


def _change_in_words(change: Change) -> str:
    from heliograph.registry.crm import value_words  # noqa: PLC0415 - quick --help

    before = change.before
    was = "new" if before is None else f"was {value_words(allowed=before.allowed)}"
    if before is not None and before.since is not None:
        was += f" since {before.since}"
    return f"{_name(change)}: {value_words(allowed=change.allowed)} since {change.since} ({was})"


def _problem_in_words(outcome: Outcome) -> str:
    return _plain(f"{_name(outcome.change)}: not written: {outcome.problem}")


def _name(change: Change) -> str:
    return change.account or f"record {change.reference}"


def _say(line: str) -> None:
    typer.echo(_plain(line))


def _plain(line: str) -> str:
    """Return a line with what people wrote in a CRM, so that it cannot steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
