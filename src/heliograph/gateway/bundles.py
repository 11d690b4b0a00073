"""Importing bundles, and handing out what an instance needs to write them: a policy for days, and a key.

A bundle is proved by its signature, where a request is by its token; from there on each of its deliveries takes the way
of every other one, through `heliograph.gateway.intake`.
"""

from __future__ import annotations

import os
import stat
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pyrage

from heliograph.bundle import (
    BUNDLE_KEY_TYPE,
    BundleError,
    BundleKey,
    PartAnswer,
    PolicyFile,
    Receipts,
    check_signer,
    unpack,
    unseal,
)
from heliograph.frames import sync_folder
from heliograph.gateway.door import knock
from heliograph.gateway.intake import Intake
from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.policies import PolicySigner
from heliograph.gateway.problems import RefusalError
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.gateway.rotation import read_endorsements
from heliograph.gateway.server import open_log
from heliograph.gateway.signing import sign
from heliograph.gateway.writer import LocalWriter
from heliograph.keys import load_or_create_key, parse_public_key
from heliograph.wire import ABSENT_HEADER, ARROW, EPOCH_HEADER, LEDGER_HEADER, RANGE_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from heliograph.bundle import Part
    from heliograph.gateway.intake import Permissions
    from heliograph.gateway.writer import Writer
    from heliograph.plan.model import Plan
    from heliograph.registry.snapshot import Permission, Snapshot
    from heliograph.settings import GatewaySettings

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_DAY_SECONDS: Final = 86_400


def load_or_create_identity(file: Path) -> str:
    """Return the age secret key in a file; make the file, for its owner alone, if there is none.

    Raises:
        BundleError: It is readable for others, or holds no such key.
        OSError: It can be neither read nor made.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, f"{pyrage.x25519.Identity.generate()}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(file.parent)
    if stat.S_IMODE(file.stat().st_mode) & _OTHERS:
        raise BundleError(f"{file}: this secret key can be read by others; run: chmod 600 {file}")
    text = file.read_text(encoding="ascii", errors="replace").strip()
    recipient_of(text)
    return text


def recipient_of(identity: str) -> str:
    """Return to whom is encrypted what an age secret key decrypts.

    Raises:
        BundleError: It is none.
    """
    try:
        return str(pyrage.x25519.Identity.from_str(identity).to_public())
    except pyrage.IdentityError:
        raise BundleError("gateway.bundle_key holds no age secret key: move the file away, and make another") from None


def policy_file(
    settings: GatewaySettings, plan: Plan, *, instance: str, permission: Permission, days: int, now: datetime
) -> PolicyFile:
    """Return what an instance without a way here is handed.

    Args:
        settings: Where the keys are.
        plan: The plan in force.
        instance: For whom it is.
        permission: What it may send.
        days: For how long that holds.
        now: The clock.

    Raises:
        BundleError, KeyFileError, OSError: A key cannot be used.
    """
    signing_key = Path(settings.signing_key)
    key = load_or_create_key(signing_key)
    plans = PlanInForce.of(plan)
    signer = PolicySigner(key, plans, valid_seconds=days * _DAY_SECONDS, now=lambda: now)
    recipient = recipient_of(load_or_create_identity(Path(settings.bundle_key)))
    return PolicyFile(
        policy=signer.answer(instance, permission).policy,
        bundle_key=sign(BundleKey(recipient=recipient, issued=int(now.timestamp())), key, BUNDLE_KEY_TYPE),
        endorsements=read_endorsements(signing_key),
        plan=plans.checks().content.decode(),
    )


@asynccontextmanager
async def open_intake(
    settings: GatewaySettings, plan: Plan, permissions: Permissions, *, now: Callable[[], datetime]
) -> AsyncIterator[Intake]:
    """Open an intake beside the gateway that has the log, or in its place where none runs.

    Raises:
        BlockingIOError: One has the log, and does not answer.
        LogFullError, KeyFileError, OSError: See `heliograph.gateway.server.gateway_server`.
    """
    signer = ReceiptSigner(load_or_create_key(Path(settings.signing_key)))
    async with _writer(settings, now=now) as writer:
        yield Intake(plan=plan, log=writer, permissions=permissions, signer=signer, settings=settings, now=now)


@asynccontextmanager
async def _writer(settings: GatewaySettings, *, now: Callable[[], datetime]) -> AsyncIterator[Writer]:
    try:
        log = open_log(settings, now=now)
    except BlockingIOError as running:
        async with AsyncExitStack() as stack:
            try:
                writer = await stack.enter_async_context(knock(Path(settings.log)))
            except OSError:
                raise running from None
            yield writer
        return
    with closing(log):
        yield LocalWriter(log)


async def import_bundle(
    content: bytes, *, identity: str, snapshot: Snapshot, intake: Intake, endorsements: list[str]
) -> Receipts:
    """Take every delivery of a bundle that can be taken, and return what became of each.

    Args:
        content: The file.
        identity: The age secret key to which it is encrypted.
        snapshot: The registry, as it stands.
        intake: The way of every delivery.
        endorsements: How the key that signs receipts follows from earlier ones.

    Raises:
        BundleError: Nothing of it was taken: it is no bundle, is damaged, or not from a registered instance.
    """
    opened = unpack(unseal(content, identity))
    manifest = opened.manifest
    instance = snapshot.instances.get(manifest.instance)
    if instance is None or not instance.active or not instance.fingerprint:
        raise BundleError(f"no active instance {manifest.instance!r} is registered here: `heliograph registry show`")
    check_signer(opened, parse_public_key(instance.public_key))
    answers = [await _take(intake, instance.name, *each) for each in zip(manifest.parts, opened.bodies, strict=True)]
    return Receipts(bundle=manifest.bundle, instance=instance.name, endorsements=endorsements, parts=answers)


async def _take(intake: Intake, instance: str, part: Part, body: bytes) -> PartAnswer:
    headers = {
        "content-type": ARROW,
        "content-encoding": "zstd",
        EPOCH_HEADER: str(part.epoch),
        RANGE_HEADER: f"{part.first}-{part.last}",
        ABSENT_HEADER: msgspec.json.encode(part.absent).decode(),
        LEDGER_HEADER: part.ledger,
    }
    told = PartAnswer(epoch=part.epoch, first=part.first, last=part.last)
    try:
        answer = await intake.take(instance, headers, body)
    except RefusalError as error:
        return msgspec.structs.replace(told, problem=error.to_problem().type)
    return msgspec.structs.replace(told, signature=answer.signature, duplicate=answer.duplicate)
