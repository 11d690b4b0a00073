"""`heliograph gateway`: what the vendor does with bundles."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.common import err, fail, follow_plan, out, read_plan, read_settings

if TYPE_CHECKING:
    from heliograph.bundle import Receipts


def bundle_key(context: typer.Context) -> None:
    """Print the age recipient to which instances encrypt their bundles; make the secret key first if there is none.

    Instances get it in their policy file, signed. The secret key is in the file that gateway.bundle_key names.

    Example: heliograph --config vendor.toml gateway bundle-key
    """
    from heliograph.bundle import BundleError  # noqa: PLC0415 - quick --help
    from heliograph.gateway.bundles import load_or_create_identity, recipient_of  # noqa: PLC0415

    file = Path(read_settings(context).gateway.bundle_key)
    try:
        line = recipient_of(load_or_create_identity(file))
    except (BundleError, OSError) as error:
        fail([str(error)])
    typer.echo(line)
    err.print(f"the secret key is in {file}; what it can read is lost with it", highlight=False)


def policy(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="For which instance.")],
    *,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="For how many days it holds from now on.")] = 30,
) -> None:
    """Print a policy file for an instance that has no way to the gateway: what it may send, by which plan, to whom.

    It cannot be taken back before its days are over: give it no more than the contract is sure for.

    Example: heliograph --config vendor.toml gateway policy acme-1 --days 30 > acme-1.policy
    """
    import msgspec  # noqa: PLC0415 - quick --help

    from heliograph.bundle import BundleError  # noqa: PLC0415
    from heliograph.consent.level import Level  # noqa: PLC0415
    from heliograph.gateway.bundles import policy_file  # noqa: PLC0415
    from heliograph.keys import KeyFileError  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.registry.view import RegistryView  # noqa: PLC0415

    settings = read_settings(context)
    plan, now = read_plan(settings), datetime.now(UTC)
    try:
        with RegistryView(settings.registry) as view:
            if instance not in view.snapshot().instances:
                fail([f"no instance {instance!r} is registered here: heliograph registry add-instance"])
            permission = view.permission(instance)
        file = policy_file(settings.gateway, plan, instance=instance, permission=permission, days=days, now=now)
    except RegistryError as error:
        fail(error.problems)
    except (BundleError, KeyFileError, OSError) as error:
        fail([str(error)])
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(file), indent=2).decode() + "\n")
    if permission.decision.level is not Level.EVENTS:
        err.print(f"it allows no events: {' '.join(permission.decision.reasons)}", highlight=False)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")],
    *,
    receipts: Annotated[
        Path | None, typer.Option("--receipts", help="Where to write the receipts. Default: FILE.receipts")
    ] = None,
) -> None:
    """Take the deliveries of a bundle in, as if they had come over the network, and write receipts to hand back.

    On the gateway's machine, as its user: beside the gateway while it runs, or in its place. What was taken before, by
    this way or the other, is not taken again. Ends with status 1 when a delivery was not taken.

    Example: heliograph --config vendor.toml gateway import acme-1.bundle
    """
    import asyncio  # noqa: PLC0415 - quick --help

    import msgspec  # noqa: PLC0415

    from heliograph.bundle import MOST_BUNDLE_BYTES, BundleError  # noqa: PLC0415
    from heliograph.frames import write_atomically  # noqa: PLC0415
    from heliograph.gateway.bundles import import_bundle, load_or_create_identity, open_intake  # noqa: PLC0415
    from heliograph.gateway.log import LogFullError  # noqa: PLC0415
    from heliograph.gateway.rotation import read_endorsements  # noqa: PLC0415
    from heliograph.keys import KeyFileError  # noqa: PLC0415
    from heliograph.registry.errors import RegistryError  # noqa: PLC0415
    from heliograph.registry.view import RegistryView  # noqa: PLC0415

    settings = read_settings(context)
    gateway = settings.gateway
    plan = follow_plan(settings).plan
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BUNDLE_BYTES + 1)
        with RegistryView(settings.registry) as view:

            async def take() -> Receipts:
                async with open_intake(gateway, plan, view.permission, now=lambda: datetime.now(UTC)) as intake:
                    return await import_bundle(
                        content,
                        identity=load_or_create_identity(Path(gateway.bundle_key)),
                        snapshot=view.snapshot(),
                        intake=intake,
                        endorsements=read_endorsements(Path(gateway.signing_key)),
                    )

            answers = asyncio.run(take())
        to = receipts or file.with_name(f"{file.name}.receipts")
        write_atomically(to, msgspec.json.format(msgspec.json.encode(answers), indent=2))
    except BlockingIOError:
        fail([f"{gateway.log}: a gateway has this log, and does not answer. Is it starting, or of another version?"])
    except BundleError as error:
        fail([f"{file}: {error}"])
    except RegistryError as error:
        fail(error.problems)
    except LogFullError:
        fail([f"{gateway.log}: no room for a segment. Free the disk, or raise gateway.maximum_log_bytes."])
    except (KeyFileError, OSError) as error:
        fail([f"{file}: {error}"])
    taken = sum(part.problem is None for part in answers.parts)
    out.print(f"{taken:,} of {len(answers.parts):,} deliveries of {answers.instance} are here; receipts: {to}")
    problems = [
        f"epoch {part.epoch}, {part.first}-{part.last}: {part.problem}" for part in answers.parts if part.problem
    ]
    if problems:
        fail(problems, status=1)
