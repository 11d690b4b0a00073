"""Signed messages (Standard Webhooks): the secrets that are valid, and whether a message is authentic."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from standardwebhooks import Webhook

from heliograph.registry.errors import RegistryError
from heliograph.registry.sign_up_problems import SignUpRefusal, SignUpRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heliograph.settings import TrialsSettings

TOLERANCE: Final = timedelta(minutes=5)
"""How far the sender's clock may be from ours."""
MOST_BYTES: Final = 16 << 10
"""Largest body of a message, and largest file of secrets."""

_LEAST_SECRET_BYTES: Final = 24
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets begin
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ID: Final = re.compile(r"[A-Za-z0-9_:-]{1,128}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,11}")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose signature is valid."""

    id: str
    body: bytes


def read_secrets(settings: TrialsSettings) -> list[Webhook]:
    """Return what the settings give as secrets of the webhook; several are valid at once, so that they can be changed.

    Raises:
        RegistryError: A secret cannot be used, or others can read the file.
    """
    problems: list[str] = []
    given = [("trials.webhook_secrets", word) for word in settings.webhook_secrets.split()]
    if settings.webhook_secrets_file:
        given += [("trials.webhook_secrets_file", word) for word in _read_file(settings.webhook_secrets_file, problems)]
    keys = [_secret_key(where, word, problems) for where, word in given]
    if problems:
        raise RegistryError(problems)
    return [Webhook(key) for key in keys]


def _read_file(path: str, problems: list[str]) -> list[str]:
    try:
        with Path(path).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MOST_BYTES).decode()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        problems.append(f"trials.webhook_secrets_file: {path}: {why}; name a file with one secret a line")
        return []
    if mode & _OTHERS:
        problems.append(
            f"trials.webhook_secrets_file: {path} can be read by others (mode {mode:04o}); run: chmod 600 {path}. "
            "If somebody may have read it, change the secrets"
        )
    return content.split()


def _secret_key(where: str, word: str, problems: list[str]) -> bytes:
    try:
        key = base64.b64decode(word.removeprefix(_SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) < _LEAST_SECRET_BYTES or not word.startswith(_SECRET_PREFIX):
        problems.append(
            f"{where}: a secret is {_SECRET_PREFIX} and base64 of at least {_LEAST_SECRET_BYTES} random bytes: "
            f'run: echo "{_SECRET_PREFIX}$(openssl rand -base64 32)"'
        )
    return key


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[Webhook], *, now: datetime) -> Message:
    """Return the message if one of its signatures was made with one of `secrets`, within `TOLERANCE` of `now`.

    Args:
        headers: By lower-case name.
        body: As it arrived.
        secrets: All that are valid.
        now: This server's clock.

    Raises:
        SignUpRefusedError: It is not authentic, or too old.
    """
    if not secrets:
        raise SignUpRefusedError(SignUpRefusal.NO_SIGN_UPS)
    message, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(message) or not _TIMESTAMP.fullmatch(timestamp):
        raise SignUpRefusedError(
            SignUpRefusal.BAD_HEADERS,
            "webhook-id: 1 to 128 letters, digits, '_', ':' and '-'; webhook-timestamp: seconds since 1970",
        )
    signed = datetime.fromtimestamp(int(timestamp), tz=UTC)
    if not _is_signed(headers.get("webhook-signature", ""), message, signed, body, secrets):
        raise SignUpRefusedError(SignUpRefusal.INVALID_SIGNATURE)
    if abs(now - signed) > TOLERANCE:
        raise SignUpRefusedError(SignUpRefusal.STALE_MESSAGE)
    return Message(id=message, body=body)


def _is_signed(header: str, message: str, signed: datetime, body: bytes, secrets: Sequence[Webhook]) -> bool:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    expected = [secret.sign(message, signed, text).encode() for secret in secrets]
    given = [word.encode() for word in header.split(" ")]
    # All pairs are compared, so that the time does not tell which secret it was.
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in given]
    return any(matches)
