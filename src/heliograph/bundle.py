"""Bundles: deliveries as one file, for an instance that has no way to the gateway. docs/bundles.md has the formats.

A bundle is encrypted in the age format, to whoever may read it. Inside are frames (`heliograph.frames`): the first
one's header is the manifest, which the instance's key signed, and each further one's body the exact bytes of a
delivery.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import jwt
import msgspec
import pyrage
from msgspec import Meta

from heliograph.consent.trust import read_header, verified
from heliograph.frames import encode_frame, read_frames
from heliograph.keys import fingerprint
from heliograph.wire import Counts, Seconds, VerdictCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from heliograph.consent.trust import Keys

BUNDLE_TYPE: Final = "heliograph-bundle+jws"
BUNDLE_KEY_TYPE: Final = "heliograph-bundle-key+jws"
MOST_BUNDLE_BYTES: Final = 256 << 20
MOST_PARTS: Final = 10_000
_MOST_MANIFEST_BYTES: Final = 16 << 20
_MAGIC: Final = b"age-encryption.org/"
_LARGEST: Final = (1 << 63) - 1
_jws: Final = jwt.PyJWS(algorithms=["EdDSA"])

_Number = Annotated[int, Meta(ge=1, le=_LARGEST)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One delivery of a bundle: what its headers would say."""

    epoch: _Number
    first: _Number
    last: _Number
    events: Counts
    absent: VerdictCounts
    digest: _Digest
    size: Annotated[int, Meta(ge=0, le=MOST_BUNDLE_BYTES)]
    ledger: _Digest


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle says of itself: the payload of what the instance signs."""

    format: Literal["heliograph-bundle/1"] = "heliograph-bundle/1"
    bundle: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
    """A random number, by which the receipts name it."""
    instance: Annotated[str, Meta(max_length=200)]
    made: Seconds
    parts: Annotated[list[Part], Meta(max_length=MOST_PARTS)]


class BundleKey(msgspec.Struct, frozen=True, kw_only=True):
    """To whom bundles are encrypted: the payload of what the vendor signs."""

    recipient: str
    """An age recipient."""
    issued: Seconds


class PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an instance without a way to the gateway is handed: a policy, its plan, and to whom it encrypts."""

    format: Literal["heliograph-policy/1"] = "heliograph-policy/1"
    policy: str
    bundle_key: str
    endorsements: list[str]
    plan: str
    """The plan's canonical JSON, whose digest the policy names."""


class PartAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery of a bundle."""

    epoch: int
    first: int
    last: int
    signature: str | None = None
    """The receipt as a compact JWS; None for a repetition of an older range, and where it was refused."""
    duplicate: bool = False
    problem: str | None = None
    """Why it was not taken: the problem's type, as docs/wire.md lists them."""


class Receipts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the vendor answers to a bundle."""

    format: Literal["heliograph-bundle-receipts/1"] = "heliograph-bundle-receipts/1"
    bundle: str
    instance: str
    endorsements: list[str]
    parts: list[PartAnswer]


_Kind = TypeVar("_Kind", PolicyFile, Receipts)


class BundleError(Exception):
    """A file cannot be used; the message says why, and what to do."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in the clear; whose word it is, is another question (`check_signer`)."""

    manifest: Manifest
    signed: str
    """The manifest as a compact JWS."""
    bodies: list[bytes]


def pack(manifest: Manifest, bodies: Sequence[bytes], key: Ed25519PrivateKey) -> bytes:
    """Return a bundle in the clear, signed by the instance."""
    signed = _jws.encode(
        msgspec.json.encode(manifest), key, "EdDSA", headers={"typ": BUNDLE_TYPE, "kid": fingerprint(key)}
    )
    return b"".join([encode_frame(signed.encode(), b""), *(encode_frame(b"part", body) for body in bodies)])


def seal(clear: bytes, recipients: Sequence[str]) -> bytes:
    """Encrypt a bundle to these age recipients.

    Raises:
        BundleError: One of them is none.
    """
    try:
        sealed: bytes = pyrage.encrypt(clear, [pyrage.x25519.Recipient.from_str(each) for each in recipients])
    except (pyrage.RecipientError, pyrage.EncryptError):
        raise BundleError(
            "this is no age recipient: expected age1… as `heliograph gateway bundle-key` prints"
        ) from None
    return sealed


def unseal(content: bytes, identity: str) -> bytes:
    """Decrypt a bundle, or return it as it is when it is in the clear.

    Raises:
        BundleError: It is too large, or not for this identity.
    """
    if len(content) > MOST_BUNDLE_BYTES:
        raise BundleError(f"this is larger than a bundle may be ({MOST_BUNDLE_BYTES:,} bytes): write several")
    if not content.startswith(_MAGIC):
        return content
    if not identity:
        raise BundleError("this bundle is encrypted: give the identity (an age secret key) to which it was")
    try:
        clear: bytes = pyrage.decrypt(content, [pyrage.x25519.Identity.from_str(identity)])
    except pyrage.IdentityError:
        raise BundleError(
            "the identity is no age secret key: expected a line that begins with AGE-SECRET-KEY-"
        ) from None
    except pyrage.DecryptError:
        raise BundleError(
            "this bundle cannot be decrypted: it is for another key, or was damaged on the way. Ask for it anew, "
            "written with a policy file of this gateway's."
        ) from None
    return clear


def unpack(clear: bytes) -> Opened:
    """Read a bundle in the clear: every part is there, in order, and has the digest that the manifest names.

    Raises:
        BundleError: It is none, or damaged.
    """
    frames = read_frames(clear)
    first = next(frames, None)
    if first is None or len(first.header) > _MOST_MANIFEST_BYTES:
        raise BundleError("this is no bundle: `heliograph bundle write` makes one")
    signed = first.header.decode("latin-1")
    manifest = _manifest(signed)
    bodies: list[bytes] = []
    end = first.end
    for frame, part in zip(frames, manifest.parts, strict=False):
        if len(frame.body) != part.size or hashlib.sha256(frame.body).hexdigest() != part.digest:
            raise BundleError(f"part {len(bodies) + 1} is not the one that the manifest names: the bundle was damaged")
        bodies.append(frame.body)
        end = frame.end
    if len(bodies) != len(manifest.parts) or end != len(clear):
        raise BundleError(
            f"the bundle is cut off or has something behind it: {len(bodies)} of {len(manifest.parts)} parts are whole"
        )
    return Opened(manifest=manifest, signed=signed, bodies=bodies)


def _manifest(signed: str) -> Manifest:
    try:
        header = jwt.get_unverified_header(signed)
        payload = _jws.decode_complete(signed, options={"verify_signature": False})["payload"]
        manifest = msgspec.json.decode(payload, type=Manifest)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise BundleError("this is no bundle, or one of a later release: its manifest cannot be read") from None
    if header.get("typ") != BUNDLE_TYPE:
        raise BundleError("what is signed here is no bundle's manifest")
    return manifest


def check_signer(opened: Opened, key: Ed25519PublicKey) -> None:
    """See that the instance with this public key has signed a bundle.

    Raises:
        BundleError: It has not.
    """
    if verified(opened.signed, key) is None:
        raise BundleError(
            f"the bundle is not signed by the registered key of {opened.manifest.instance!r}: it is from another "
            "instance, or the key was replaced since (`heliograph registry replace-key`)"
        )


def read_bundle_key(text: str, keys: Keys) -> str:
    """Return the recipient that the vendor signed.

    Raises:
        BundleError: It did not.
    """
    header = read_header(text)
    key = None if header is None or header.get("typ") != BUNDLE_KEY_TYPE else keys.get(header["kid"])
    content = None if key is None else verified(text, key)
    try:
        if content is not None:
            return msgspec.json.decode(content, type=BundleKey).recipient
    except (ValueError, RecursionError):
        pass
    raise BundleError("the policy file's bundle key is not signed by a key that is pinned here: ask the vendor for it")


def read_file(content: bytes, kind: type[_Kind], what: str) -> _Kind:
    """Return what a file of JSON says, in the form that is expected.

    Raises:
        BundleError: It has another form.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError):
        raise BundleError(f"this is no {what}, or one of a later release") from None
