"""Keys in files: made once, whole, for their owner alone; and public keys on one line."""

from __future__ import annotations

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from heliograph.keys import KeyFileError, fingerprint, load_or_create_key, parse_public_key, public_key_text

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def pem(
    key: Ed25519PrivateKey | EllipticCurvePrivateKey, encryption: KeySerializationEncryption | None = None
) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_is_made_for_its_owner_alone_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "instance.pem"
    mask = os.umask(0)
    try:
        first = load_or_create_key(path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_key_text(load_or_create_key(path)) == public_key_text(first)
    assert list(path.parent.iterdir()) == [path]


def test_of_several_starts_at_once_all_get_the_one_key(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.pem"
        with ThreadPoolExecutor(4) as pool:
            found = {public_key_text(key) for key in pool.map(load_or_create_key, [path] * 4)}
        assert len(found) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601])
def test_a_key_that_others_can_use_is_refused_with_a_remedy(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "instance.pem", pem(Ed25519PrivateKey.generate()), mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_or_create_key(path)


def test_what_is_no_such_key_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    locked = pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret"))
    for content in (b"", b"nonsense", pem(other), locked):
        path = write(tmp_path / "instance.pem", content)
        with pytest.raises(KeyFileError, match=r"instance\.pem.*move this one away"):
            load_or_create_key(path)
        assert path.read_bytes() == content


def test_a_path_that_cannot_be_a_file_is_told_with_a_remedy(tmp_path: Path) -> None:
    blocker = write(tmp_path / "blocker", b"")
    for path in (tmp_path, blocker / "instance.pem"):
        with pytest.raises(KeyFileError, match="give a path"):
            load_or_create_key(path)


def test_the_public_key_is_the_line_that_openssl_prints(tmp_path: Path) -> None:
    path = tmp_path / "instance.pem"
    line = public_key_text(load_or_create_key(path))
    printed = subprocess.run(["openssl", "pkey", "-in", path, "-pubout"], check=True, capture_output=True, text=True)
    assert printed.stdout.splitlines()[1:-1] == [line]
    assert fingerprint(parse_public_key(printed.stdout)) == fingerprint(parse_public_key(f"  {line}\n"))


def test_a_public_key_of_another_type_is_refused() -> None:
    other = generate_private_key(SECP256R1()).public_key()
    text = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="not of type Ed25519"):
        parse_public_key(text)


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_text_is_no_public_key(text: str) -> None:
    with pytest.raises(ValueError, match="heliograph agent key"):
        parse_public_key(text)
