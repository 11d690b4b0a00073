"""The gateway's signing key and those before it: a new key is endorsed by the old one, and then takes its place.

Beside the key's file `signing.pem` stands `signing.endorsements`, with a compact JWS a line in which a key vouches for
the key that follows it. Whoever trusts one key of the chain can follow it to the key that signs now.

A rotation is three steps, each of them whole or not done at all: make the new key beside the old one, write down its
endorsement, rename it into its place. Whatever interrupts them, the key in place is either the old one or one that
is endorsed; the next rotation goes on with the key that was left.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.consent.trust import read_endorsement
from heliograph.frames import sync_folder, write_atomically
from heliograph.gateway.signing import sign
from heliograph.keys import KeyFileError, load_or_create_key, public_key_text
from heliograph.wire import KEY_TYPE, Endorsement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_SUFFIX: Final = ".endorsements"


class Rotation(NamedTuple):
    """What a rotation has changed."""

    before: Ed25519PublicKey
    after: Ed25519PublicKey


def endorsements_file(signing_key: Path) -> Path:
    """Return where the endorsements of the key at `signing_key` are."""
    return signing_key.with_suffix(_SUFFIX)


def read_endorsements(signing_key: Path) -> list[str]:
    """Return the endorsements, from the oldest on; none if the key was never changed.

    Raises:
        OSError: They cannot be read.
    """
    try:
        text = endorsements_file(signing_key).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line]


def public_keys(signing_key: Path) -> list[str]:
    """Return the public halves of the key at `signing_key` and of those before it, the latest first.

    Raises:
        KeyFileError: The key cannot be used.
        OSError: The endorsements cannot be read.
    """
    current = public_key_text(load_or_create_key(signing_key))
    former = [found.by for found in map(read_endorsement, reversed(read_endorsements(signing_key))) if found]
    return list(dict.fromkeys([current, *former]))


def rotate_key(signing_key: Path, *, now: float) -> Rotation:
    """Put a new key in the place of the one at `signing_key`, endorsed by it.

    Args:
        signing_key: The key's file.
        now: Seconds since 1970.

    Raises:
        KeyFileError: There is no key yet, it cannot be used, or another rotation is under way.
        OSError: The new key or its endorsement cannot be written.
    """
    if not signing_key.exists():
        raise KeyFileError(f"{signing_key}: there is no key to rotate; `heliograph gateway key` makes the first one")
    with _alone(signing_key):
        old = load_or_create_key(signing_key)
        following = signing_key.with_name(f"{signing_key.name}.next")
        new = load_or_create_key(following)
        endorsement = Endorsement(key=public_key_text(new), by=public_key_text(old), issued=int(now))
        known = read_endorsements(signing_key)
        if not any(_is_for(line, endorsement) for line in known):
            lines = [*known, sign(endorsement, old, KEY_TYPE)]
            write_atomically(endorsements_file(signing_key), "".join(f"{line}\n" for line in lines).encode())
        following.replace(signing_key)
        sync_folder(signing_key.parent)
    return Rotation(old.public_key(), new.public_key())


def _is_for(line: str, endorsement: Endorsement) -> bool:
    found = read_endorsement(line)
    return found is not None and (found.key, found.by) == (endorsement.key, endorsement.by)


@contextmanager
def _alone(signing_key: Path) -> Iterator[None]:
    lock = os.open(signing_key.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise KeyFileError(f"{signing_key}: another rotation is under way; look again when it is done") from None
    finally:
        os.close(lock)
