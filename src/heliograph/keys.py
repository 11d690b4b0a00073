"""Ed25519 keys as both ends keep them: a private key in a file of its own, a public key on one line."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from heliograph.frames import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_PEM_BEGIN: Final = "-----BEGIN PUBLIC KEY-----"
_PEM_END: Final = "-----END PUBLIC KEY-----"


class KeyFileError(Exception):
    """A private key cannot be used; the message says why, and what to do."""


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in the PEM file at `path`; make the file, for its owner alone, if there is none.

    An existing file is never overwritten. Of several processes that start at once, one makes the key and all
    get that one.

    Raises:
        KeyFileError: The file is readable for others, holds no such key, or can be neither read nor made.
    """
    try:
        if not path.exists():
            _create(path)
        return _load(path)
    except OSError as error:
        raise KeyFileError(
            f"{path}: {error.strerror or error}; give a path that this user can read and write"
        ) from error


def _create(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    # The temporary file has mode 0600. The link to it appears whole, and only where there is no file yet.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return
    sync_folder(path.parent)


def _load(path: Path) -> Ed25519PrivateKey:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        pem = file.read()
    if mode & _OTHERS:
        raise KeyFileError(
            f"{path}: this private key can be used by others (mode {mode:04o}); run: chmod 600 {path}. "
            "If somebody may have read it, remove it, make a new one, and have that registered"
        )
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path}: holds no private key in PEM without a passphrase; name another file, or move this one "
            "away so that a key is made"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: this key is not of type Ed25519; name another file, or move this one away")
    return key


def public_key_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the public key on one line: base64 of its SubjectPublicKeyInfo (RFC 8410), 60 characters.

    That is the middle line of what ``openssl pkey -in instance.pem -pubout`` prints.
    """
    return base64.b64encode(_encoded(key)).decode()


def parse_public_key(text: str) -> Ed25519PublicKey:
    """Return the public key that `text` holds: the line of `public_key_text`, or the same as PEM.

    Raises:
        ValueError: It holds none; the message says what was expected.
    """
    body = text.strip().removeprefix(_PEM_BEGIN).removesuffix(_PEM_END)
    try:
        key = load_der_public_key(base64.b64decode("".join(body.split()), validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError(
            "this is no public key: expected the line that `heliograph agent key` prints on the instance"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("this public key is not of type Ed25519")  # noqa: TRY004 - the text is wrong, not its type
    return key


def fingerprint(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the SHA-256 of the public key as SubjectPublicKeyInfo, in base64url: a short name for it."""
    return base64.urlsafe_b64encode(hashlib.sha256(_encoded(key)).digest()).rstrip(b"=").decode()


def _encoded(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
