"""Whose word is the vendor's: keys that the admin pinned, and those that follow from them by endorsements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt
import msgspec

from heliograph.keys import fingerprint, parse_public_key
from heliograph.wire import KEY_TYPE, Endorsement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LONGEST_CHAIN: Final = 32
"""Endorsements that are followed from a pinned key, at most."""
MOST_ENDORSEMENTS: Final = 1_000
"""More are not looked at."""
LONGEST_JWS: Final = 64 << 10
"""Characters; a policy has about a thousand."""
_MOST_PIN_BYTES: Final = 1 << 20
_jws: Final = jwt.PyJWS(algorithms=["EdDSA"])

Keys = dict[str, "Ed25519PublicKey"]
"""Public keys by fingerprint, as the header of a signature names them (``kid``)."""


class PinError(Exception):
    """No key of the vendor's is pinned; `problems` says all that is wrong, and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def read_pins(file: str) -> Keys:
    """Return the keys that the admin pinned: one a line as `heliograph gateway key` prints it; ``#`` begins a comment.

    Raises:
        PinError: The file is missing, cannot be read, or has a line that is no key; all of it at once.
    """
    path = Path(file)
    remedy = (
        "Ask the vendor for the line that `heliograph gateway key` prints there, by a way that you trust and not from "
        "the gateway itself, and put it into the file that agent.vendor_keys names: without it nobody can tell the "
        "vendor's word from another's, and nothing leaves."
    )
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_PIN_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PinError(
            [f"{file or 'agent.vendor_keys'}: the vendor's key cannot be read: {reason}. {remedy}"]
        ) from None
    pins: Keys = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        body = line.partition("#")[0].strip()
        try:
            if body:
                key = parse_public_key(body)
                pins[fingerprint(key)] = key
        except ValueError:
            problems.append(f"{file}:{number}: this is no public key of the vendor's, alone on its line.")
    if not pins and not problems:
        problems.append(f"{file}: holds no key.")
    if problems:
        raise PinError([*problems, remedy])
    return pins


def read_endorsement(text: str) -> Endorsement | None:
    """Return what an endorsement says, which is nobody's word yet; None if `text` is none."""
    header = read_header(text)
    if header is None or header.get("typ") != KEY_TYPE:
        return None
    try:
        content = _jws.decode_complete(text, options={"verify_signature": False})["payload"]
        return msgspec.json.decode(content, type=Endorsement)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None


def follow(pins: Mapping[str, Ed25519PublicKey], endorsements: Iterable[str]) -> Keys:
    """Return the pinned keys, and those that follow from them by at most `LONGEST_CHAIN` endorsements each.

    What is no endorsement, or was signed by a key that does not follow from a pinned one, counts for nothing. So a
    key that is pinned no more takes with it all that hangs on it.
    """
    waiting = list(endorsements)[-MOST_ENDORSEMENTS:]
    trusted: Keys = dict(pins)
    for _ in range(LONGEST_CHAIN):
        reached = [text for text in waiting if _signer(text) in trusted]
        waiting = [text for text in waiting if _signer(text) not in trusted]
        fresh = [key for text in reached if (key := _endorsed(text, trusted[_signer(text)])) is not None]
        if not fresh:
            break
        trusted |= {fingerprint(key): key for key in fresh}
    return trusted


def _signer(text: str) -> str:
    header = read_header(text)
    return "" if header is None or header.get("typ") != KEY_TYPE else str(header["kid"])


def _endorsed(text: str, signer: Ed25519PublicKey) -> Ed25519PublicKey | None:
    content = verified(text, signer)
    try:
        return None if content is None else parse_public_key(msgspec.json.decode(content, type=Endorsement).key)
    except (ValueError, RecursionError):
        return None


def read_header(text: str) -> dict[str, Any] | None:
    """Return the header of a compact JWS, which is nobody's word yet; None if `text` is none that we would take."""
    if len(text) > LONGEST_JWS or not text.isascii():
        return None
    try:
        header: dict[str, Any] = jwt.get_unverified_header(text)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return header if header.get("alg") == "EdDSA" and isinstance(header.get("kid"), str) else None


def verified(text: str, key: Ed25519PublicKey) -> bytes | None:
    """Return the payload of a compact JWS that `key` signed; None if it did not."""
    try:
        content: bytes = _jws.decode_complete(text, key, algorithms=["EdDSA"])["payload"]
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return content
