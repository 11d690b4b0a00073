"""`heliograph bundle`."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import err, fail, out, print_json, read_own_plan, read_plan_in_force, read_settings

if TYPE_CHECKING:
    from heliograph.bundle import Opened, PartAnswer
    from heliograph.instance.state import State
    from heliograph.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Deliveries as a signed, encrypted file, for an instance with no way to the gateway."
)


@app.command()
def write(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the bundle.")],
    *,
    policy: Annotated[
        Path, typer.Option("--policy", help="The vendor's policy file, from `heliograph gateway policy` there.")
    ],
    plain: Annotated[
        Path | None, typer.Option("--plain", help="Write the same in the clear here as well, to be looked through.")
    ] = None,
    recipient: Annotated[
        list[str] | None, typer.Option("--recipient", help="Encrypt to this age recipient of your own as well.")
    ] = None,
    most_bytes: Annotated[int, typer.Option("--most-bytes", min=1, help="Of deliveries; the rest waits.")] = 64 << 20,
) -> None:
    """Put what waits in the outbox into a bundle, signed by this instance and encrypted to the vendor.

    It needs level events by the policy file, which is verified with [bold]agent.vendor_keys[/bold], and by the admin's
    choice. The agent must not run meanwhile. Nothing is deleted before the vendor's receipts are here
    ([bold]heliograph bundle receipts[/bold]): until then, each further bundle holds the same deliveries again.

    Example: heliograph bundle write acme-1.bundle --policy acme-1.policy --plain acme-1.review
    """
    import os  # noqa: PLC0415 - quick --help
    import sqlite3  # noqa: PLC0415

    from heliograph.bundle import BundleError, seal  # noqa: PLC0415
    from heliograph.consent.trust import PinError, read_pins  # noqa: PLC0415
    from heliograph.frames import write_atomically  # noqa: PLC0415
    from heliograph.instance.bundle import BundleWriter, read_policy_file  # noqa: PLC0415
    from heliograph.instance.choice import SettingsWatch, chosen, environment_words, recorded_word  # noqa: PLC0415
    from heliograph.instance.state import StaleError  # noqa: PLC0415
    from heliograph.keys import KeyFileError, load_or_create_key  # noqa: PLC0415

    settings = read_settings(context)
    if not settings.agent.instance:
        fail(["agent.instance is empty: give the name under which the vendor registered this instance"])
    own = read_own_plan(settings) if settings.agent.plan_updates == "pinned" else None
    now = datetime.now(UTC)
    try:
        with closing(_hold_state(settings)) as state:
            held = state.policy()
            allowed = read_policy_file(
                policy.read_bytes(),
                read_pins(settings.agent.vendor_keys),
                instance=settings.agent.instance,
                held=held.issued if held else 0,
                now=now,
                limit=own.plan if own else None,
            )
            file_word = SettingsWatch.of_command(settings, context.find_root().obj).word()
            words = [file_word, *environment_words(os.environ), *recorded_word(state.last_choice())]
            key = load_or_create_key(Path(settings.agent.key))
            writer = BundleWriter(settings, state, allowed, now=now)
            bundle = writer.write(chosen(words), key, most_bytes=most_bytes)
            if not bundle.manifest.parts:
                fail(["nothing waits in the outbox: there is nothing to write"])
            write_atomically(file, seal(bundle.clear, [allowed.recipient, *(recipient or [])]))
            if plain is not None:
                write_atomically(plain, bundle.clear)
    except PinError as error:
        fail(error.problems)
    except StaleError:
        fail(["somebody was forgotten, or has signed in, in this very moment: say it again"])
    except (BundleError, KeyFileError) as error:
        fail([str(error)])
    except (OSError, sqlite3.Error) as error:
        fail([f"nothing was handed over: {error}"])
    events = sum(sum(part.events.values()) for part in bundle.manifest.parts)
    err.print(f"{events:,} events in {len(bundle.manifest.parts):,} deliveries are in {file}", highlight=False)
    if not bundle.is_whole:
        err.print("more waits: it follows in a later bundle, once the receipts for this one are here", highlight=False)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle, or its review file in the clear.")],
    *,
    identity: Annotated[
        Path | None, typer.Option("--identity", help="A file with the age secret key to which it is encrypted.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Print every event, one a line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show what is in a bundle before it is handed over: its deliveries, or every event.

    Example: heliograph bundle show acme-1.review --events
    """
    from heliograph.bundle import BundleError, unpack, unseal  # noqa: PLC0415 - quick --help
    from heliograph.instance.sent_events import event_lines  # noqa: PLC0415

    try:
        secret = "" if identity is None else identity.read_text(encoding="ascii", errors="replace").strip()
        opened = unpack(unseal(_read(file), secret))
    except OSError as error:
        fail([f"{error.filename}: {error.strerror}"])
    except BundleError as error:
        fail([f"{file}: {error}"])
    if events:
        for body in opened.bodies:
            for line in event_lines(body):
                sys.stdout.write(line.decode() + "\n")
    elif as_json:
        print_json(opened.manifest)
    else:
        _print_parts(opened)


def _read(file: Path) -> bytes:
    from heliograph.bundle import MOST_BUNDLE_BYTES  # noqa: PLC0415 - quick --help

    with file.open("rb") as stream:
        return stream.read(MOST_BUNDLE_BYTES + 1)


def _print_parts(opened: Opened) -> None:
    from rich.table import Table  # noqa: PLC0415 - quick --help

    from heliograph.wire import total_counts  # noqa: PLC0415

    manifest = opened.manifest
    made = datetime.fromtimestamp(manifest.made, UTC)
    title = f"Bundle {manifest.bundle} of {manifest.instance}, made {made:%Y-%m-%d %H:%M} UTC"
    table = Table(title=title, title_justify="left")
    for heading in ("epoch", "numbers", "events", "stayed", "bytes", "SHA-256"):
        table.add_column(heading)
    for part in manifest.parts:
        table.add_row(
            str(part.epoch),
            f"{part.first:,}-{part.last:,}",
            ", ".join(f"{name} {count:,}" for name, count in part.events.items()),
            f"{total_counts(part.absent):,}",
            f"{part.size:,}",
            f"{part.digest[:16]}…",
        )
    out.print(table)


@app.command()
def receipts(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipts that the vendor's import wrote.")],
) -> None:
    """Take in the vendor's receipts for a bundle: what arrived is settled in the ledger, and leaves the outbox.

    Each receipt is verified with [bold]agent.vendor_keys[/bold]. To take the same file in twice changes nothing. The
    agent must not run meanwhile. Ends with status 1 when the vendor did not take everything.

    Example: heliograph bundle receipts acme-1.receipts
    """
    from heliograph.bundle import BundleError, Receipts, read_file  # noqa: PLC0415 - quick --help
    from heliograph.consent.trust import PinError, follow, read_pins  # noqa: PLC0415
    from heliograph.instance.bundle_receipts import settle  # noqa: PLC0415

    settings = read_settings(context)
    try:
        answers = read_file(_read(file), Receipts, "file of receipts")
        keys = follow(read_pins(settings.agent.vendor_keys), answers.endorsements)
        with closing(_hold_state(settings)) as state:
            done = settle(answers, keys, settings, state, read_plan_in_force(settings, state))
    except PinError as error:
        fail(error.problems)
    except BundleError as error:
        fail([f"{file}: {error}"])
    except OSError as error:
        fail([f"{file}: {error.strerror or error}"])
    out.print(f"{done.settled:,} deliveries settled; {done.known:,} were settled before, or went another way")
    if done.refused:
        fail([_refusal(part) for part in done.refused], status=1)


def _refusal(part: PartAnswer) -> str:
    return (
        f"epoch {part.epoch}, {part.first}-{part.last}: not taken ({part.problem}). docs/bundles.md says what to do; "
        "nothing of it is lost."
    )


def _hold_state(settings: Settings) -> State:
    from heliograph.instance.state import State, StateError  # noqa: PLC0415 - quick --help

    try:
        return State(Path(settings.agent.state))
    except StateError as error:
        fail([str(error)])
