"""`heliograph ledger`."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import err, fail, out, parse_moment, print_json, read_settings

if TYPE_CHECKING:
    from heliograph.consent.chain import Link
    from heliograph.consent.trust import Keys
    from heliograph.instance.state import State
    from heliograph.ledger.entries import Entry
    from heliograph.ledger.export import Exported
    from heliograph.ledger.reconcile import Reconciled
    from heliograph.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="The ledger of what left this instance: read it, verify it, compare it with the vendor."
)
_VendorKey = Annotated[
    list[str] | None,
    typer.Option("--vendor-key", help="A public key of the vendor's, or a file of them. Default: agent.vendor_keys."),
]


@app.command()
def show(
    context: typer.Context,
    *,
    content: Annotated[
        int | None, typer.Option("--bytes", metavar="ENTRY", help="Print the events that this entry sent, one a line.")
    ] = None,
    epoch: Annotated[int | None, typer.Option("--epoch", help="Only entries about this epoch.")] = None,
    day: Annotated[str | None, typer.Option("--day", help="Only entries of this day, in UTC: 2026-10-01.")] = None,
    event: Annotated[str | None, typer.Option("--event", help="Only deliveries with this event.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what left this instance, entry by entry; or the very events of one delivery, while its bytes are kept.

    Example: heliograph --config instance.toml ledger show --day 2026-10-01
    """
    from heliograph.ledger.report import entries_table  # noqa: PLC0415 - quick --help
    from heliograph.ledger.verify import read_entries  # noqa: PLC0415

    settings = read_settings(context)
    on = None if day is None else parse_moment(day)
    with closing(_open_state(settings)) as state:
        entries = read_entries(state.ledger.links())
        if content is not None:
            _print_events(state, dict(entries).get(content), content, settings)
            return
    found = [(number, each) for number, each in entries if _is_wanted(each, epoch, on, event)]
    if as_json:
        print_json([{"number": number, "entry": each} for number, each in found])
    else:
        out.print(entries_table(found))


def _is_wanted(entry: Entry, epoch: int | None, day: datetime | None, event: str | None) -> bool:
    if epoch is not None and getattr(entry, "epoch", None) != epoch:
        return False
    if day is not None and datetime.fromtimestamp(entry.time / 1_000_000, UTC).date() != day.date():
        return False
    return event is None or event in _names(entry)


def _names(entry: Entry) -> set[str]:
    from heliograph.ledger.entries import CarriedOver, Sent, Settled  # noqa: PLC0415 - quick --help
    from heliograph.ledger.receipts import ReceiptError, read_receipt  # noqa: PLC0415

    if isinstance(entry, Sent):
        return {*entry.events, *entry.absent}
    if isinstance(entry, (Settled, CarriedOver)):
        try:
            receipt = read_receipt(entry)
        except ReceiptError:
            return set()
        return {*receipt.accepted, *receipt.rejected, *receipt.absent}
    return set()


def _print_events(state: State, entry: Entry | None, number: int, settings: Settings) -> None:
    from heliograph.instance.sent_events import event_lines  # noqa: PLC0415 - quick --help
    from heliograph.ledger.entries import Sent  # noqa: PLC0415

    if not isinstance(entry, Sent):
        fail([f"entry {number} is no delivery that was sent: `heliograph ledger show` lists those of the kind sent"])
    body = state.kept.find(entry.digest)
    if body is None:
        why = (
            f"the bytes of entry {number} are not kept any more. agent.ledger_days ({settings.agent.ledger_days}) and "
            "agent.ledger_bytes bound them, and those that hold a forgotten user are deleted."
        )
        fail([why, f"Their SHA-256 is {entry.digest}."])
    for line in event_lines(body):
        sys.stdout.write(line.decode() + "\n")


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="An exported ledger; this instance's own when left out.")
    ] = None,
    *,
    vendor_key: _VendorKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify a ledger offline: that nothing changed, nothing is missing, and each receipt is the vendor's word.

    Anyone can who has the vendor's public key. What was cut off at the end shows against the vendor's half
    ([bold]heliograph ledger reconcile[/bold]). Ends with status 1 when something is wrong, and names the entry.

    Example: heliograph ledger verify acme-1.ledger --vendor-key vendor.keys
    """
    from heliograph.consent.trust import follow  # noqa: PLC0415 - quick --help
    from heliograph.ledger.report import verified_table  # noqa: PLC0415
    from heliograph.ledger.verify import verify as verify_links  # noqa: PLC0415

    settings = read_settings(context)
    pins = _pins(settings, vendor_key)
    if file is not None:
        exported = _read_ledger(file)
        trusted = follow(pins, exported.header.endorsements if exported.header else [])
        verified = verify_links(exported.links, trusted)
        verified.problems[:0] = exported.problems
    else:
        with closing(_open_state(settings)) as state:
            held = state.policy()
            kept = ((each.digest, _digest(each.body)) for each in state.kept.read())
            verified = verify_links(list(state.ledger.links()), follow(pins, held.endorsements if held else []), kept)
    if as_json:
        print_json(verified)
    else:
        out.print(verified_table(verified))
    for note in verified.notes:
        err.print(f"note: {note}", highlight=False)
    if verified.problems:
        fail([str(problem) for problem in verified.problems], status=1)


@app.command()
def acknowledge(
    context: typer.Context,
    *,
    by: Annotated[str, typer.Option("--by", help="The role that says so, to be recorded with it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="How it came to be, to be recorded with it.")] = "",
) -> None:
    """Record that what is wrong with this instance's ledger now is known, and why: its alarm ends.

    The fault stays, and `ledger verify` tells it ever after. The word is an entry of the ledger, which agent status
    shows and an export holds. What is found wrong later, or changes once more, is not covered. A running agent takes
    notice within a minute. Run it as the user who runs the agent.

    Example: heliograph ledger acknowledge --by operations --reason "put back from the copy of 3 May"
    """
    import sqlite3  # noqa: PLC0415 - quick --help

    from heliograph.instance.ledger_faults import MOST_FAULTS, trusted_keys  # noqa: PLC0415
    from heliograph.instance.ledger_faults import acknowledge as record  # noqa: PLC0415
    from heliograph.instance.monitor import read_standing  # noqa: PLC0415
    from heliograph.instance.report import acknowledged_table  # noqa: PLC0415
    from heliograph.ledger.entries import word_problems  # noqa: PLC0415

    settings = read_settings(context)
    if problems := word_problems(by, reason):
        fail(problems)
    standing = read_standing(Path(settings.agent.state))
    try:
        with closing(_open_state(settings)) as state:
            keys = trusted_keys(settings.agent.vendor_keys, state)
            word = record(state, keys, standing.ledger.ends if standing else [], by=by, reason=reason)
    except (sqlite3.Error, OSError) as error:
        fail([f"{settings.agent.state}: {error}"])
    if word is None:
        fail(["the ledger is as it was written, or all that is wrong with it is acknowledged"])
    out.print(acknowledged_table([word]))
    if len(word.faults) == MOST_FAULTS:
        err.print("there may be more: acknowledge once more", highlight=False)


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    *,
    instance: Annotated[
        str | None, typer.Option("--instance", help="At the vendor: export what it holds of this instance.")
    ] = None,
) -> None:
    """Write this instance's ledger into a file that anyone can verify; at the vendor, the vendor's half.

    It holds counts, digests and receipts, and nothing of any event. docs/ledger.md describes the format.

    Examples: heliograph ledger export acme-1.ledger;
    heliograph --config vendor.toml ledger export theirs.jsonl --instance acme-1
    """
    from heliograph.ledger.export import delivery_lines, ledger_lines, write_lines  # noqa: PLC0415 - quick --help

    settings = read_settings(context)
    try:
        if instance is not None:
            from heliograph.lake.deliveries import read_delivered  # noqa: PLC0415 - the vendor's side only

            lines = write_lines(file, delivery_lines(instance, read_delivered(settings, instance)))
        else:
            with closing(_open_state(settings)) as state:
                held = state.policy()
                endorsements = held.endorsements if held else []
                lines = write_lines(file, ledger_lines(state.ledger.links(), state.ledger.head(), endorsements))
    except OSError as error:
        fail([f"{file}: {error.strerror or error}"])
    err.print(f"{lines - 1:,} entries are in {file}", highlight=False)


@app.command()
def reconcile(
    context: typer.Context,
    ours: Annotated[
        Path | None, typer.Argument(metavar="OURS", help="The instance's export; its own ledger when left out.")
    ] = None,
    theirs: Annotated[
        Path | None, typer.Argument(metavar="THEIRS", help="The vendor's export; at the vendor, its lake and log.")
    ] = None,
    *,
    instance: Annotated[
        str | None, typer.Option("--instance", help="Which instance it is, if no receipt in OURS says so.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare what left the instance with what the vendor holds: every delivery is of one kind.

    On the instance without files the gateway is asked, which tells the latest delivery of each epoch and the totals.
    Ends with status 1 when anything needs a person. docs/ledger.md says what each kind means.

    Examples: heliograph ledger reconcile; heliograph --config vendor.toml ledger reconcile acme-1.ledger
    """
    from heliograph.ledger import report  # noqa: PLC0415 - quick --help

    settings = read_settings(context)
    result = _ask_and_compare(context, settings) if ours is None else _compare(settings, ours, theirs, instance)
    if as_json:
        print_json(
            {
                "kinds": {kind.value: count for kind, count in result.count().items()},
                "anchors": result.anchors,
                "ours": result.ours,
                "theirs": result.theirs,
                "problems": result.problems,
                "deliveries": result.deliveries,
            }
        )
    else:
        out.print(report.kinds_table(result))
        out.print(report.totals_table(result))
        unusual = [each for each in result.deliveries if each.kind.needs_a_person or each.kind.value == "undecided"]
        if unusual:
            out.print(report.deliveries_table(unusual))
    if not result.is_well:
        persons = sum(each.kind.needs_a_person for each in result.deliveries)
        last = [f"{persons:,} deliveries need a person: docs/ledger.md says what to do."] if persons else []
        fail([*result.problems, *last], status=1)


def _compare(settings: Settings, ours: Path, theirs: Path | None, instance: str | None) -> Reconciled:
    from heliograph.ledger.export import ExportError, read_deliveries  # noqa: PLC0415 - quick --help
    from heliograph.ledger.reconcile import reconcile as compare  # noqa: PLC0415
    from heliograph.ledger.verify import read_entries  # noqa: PLC0415

    exported = _read_ledger(ours)
    if exported.problems:
        fail(
            [*map(str, exported.problems), f"{ours}: verify it first: heliograph ledger verify {ours}"],
            status=1,
        )
    entries = read_entries(exported.links)
    named = instance or _instance_of(entries)
    try:
        if theirs is not None:
            of, delivered = read_deliveries(theirs)
            if named not in (None, of):
                fail(
                    [f"{theirs}: is about {of!r}, and the ledger about {named!r}. Give the two halves of one instance."]
                )
        else:
            from heliograph.lake.deliveries import read_delivered  # noqa: PLC0415 - the vendor's side only

            if named is None:
                fail([f"{ours}: no receipt in it says which instance it is: name it with --instance"])
            delivered = read_delivered(settings, named)
    except ExportError as error:
        fail([str(error)])
    except OSError as error:
        fail([f"{theirs or settings.lake.warehouse}: {error.strerror or error}"])
    return compare(entries, [each.receipt for each in delivered], _heads(exported.links))


def _ask_and_compare(context: typer.Context, settings: Settings) -> Reconciled:
    import os  # noqa: PLC0415 - quick --help

    from heliograph.instance.asking import NotAskedError, ask_account  # noqa: PLC0415 - quick --help
    from heliograph.instance.choice import SettingsWatch  # noqa: PLC0415
    from heliograph.instance.transport import TransportError  # noqa: PLC0415
    from heliograph.keys import KeyFileError  # noqa: PLC0415
    from heliograph.ledger.reconcile import Account, reconcile_with_account  # noqa: PLC0415
    from heliograph.ledger.verify import read_entries  # noqa: PLC0415

    word = SettingsWatch.of_command(settings, context.find_root().obj).word()
    with closing(_open_state(settings)) as state:
        try:
            told = ask_account(settings.agent, state, file=word, environment=os.environ, now=datetime.now(UTC))
        except NotAskedError as error:
            fail([str(error)])
        except (TransportError, KeyFileError, OSError) as error:
            fail([f"the gateway was not asked: {error}"])
        links = list(state.ledger.links())
    account = Account(accepted=told.accepted, rejected=told.rejected, absent=told.absent, latest=told.latest)
    return reconcile_with_account(read_entries(links), account, _heads(links))


def _instance_of(entries: list[tuple[int, Entry]]) -> str | None:
    from heliograph.ledger.entries import CarriedOver, Settled  # noqa: PLC0415 - quick --help
    from heliograph.ledger.receipts import ReceiptError, read_receipt  # noqa: PLC0415

    for _, entry in entries:
        if isinstance(entry, (Settled, CarriedOver)):
            try:
                return read_receipt(entry).instance
            except ReceiptError:
                continue
    return None


def _heads(links: list[Link]) -> dict[str, int]:
    return {link.digest: link.number for link in links}


def _read_ledger(file: Path) -> Exported:
    from heliograph.ledger.export import ExportError, read_ledger  # noqa: PLC0415 - quick --help

    try:
        return read_ledger(file)
    except ExportError as error:
        fail([str(error)])
    except OSError as error:
        fail([f"{file}: {error.strerror or error}"])


def _digest(body: bytes) -> str:
    import hashlib  # noqa: PLC0415 - quick --help

    return hashlib.sha256(body).hexdigest()


def _pins(settings: Settings, given: list[str] | None) -> Keys:
    from heliograph.consent.trust import PinError, read_pins  # noqa: PLC0415 - quick --help
    from heliograph.keys import fingerprint, parse_public_key  # noqa: PLC0415

    pins: Keys = {}
    try:
        for each in given or [settings.agent.vendor_keys]:
            if Path(each).exists() or not given:
                pins |= read_pins(each)
            else:
                key = parse_public_key(each)
                pins[fingerprint(key)] = key
    except PinError as error:
        fail(error.problems)
    except ValueError:
        fail(["--vendor-key: this is neither a file nor a public key: give what `heliograph gateway key` prints there"])
    return pins


def _open_state(settings: Settings) -> State:
    from heliograph.instance.state import State, StateError  # noqa: PLC0415 - quick --help

    folder = Path(settings.agent.state)
    if not (folder / "agent.db").exists():
        fail([f"{folder}: no agent has run with this state yet"])
    try:
        return State(folder, exclusive=False)
    except StateError as error:
        fail([str(error)])
