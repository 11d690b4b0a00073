"""The entries of a ledger, and their one written form, over which each entry's digest is taken.

An entry is canonical JSON: sorted keys, no white space, UTF-8. `heliograph.consent.chain` says how entries are chained;
the chain's name is `CHAIN`. Entries hold counts, digests and receipts, and never anything of an event.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from heliograph.difference import Difference, EndsDifference
from heliograph.wire import Counts, Receipt, VerdictCounts

CHAIN: Final = "heliograph ledger"
MOST_BY: Final = 200
MOST_REASON: Final = 1_000
"""Characters of who explains a difference, and of why it came to be."""
SPLIT: Final = "split"
"""What followed on a refusal: its numbers were sent again in smaller ranges."""
GIVEN_UP: Final = "given_up"
"""Or: its one event stays on the instance for good."""

Time = Annotated[int, Meta(ge=0, le=1 << 60)]
"""Microseconds since 1970 in UTC, by the instance's clock."""
Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
"""SHA-256 in lower-case hexadecimal."""


class Written(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """Whatever stands in a ledger."""

    time: Time
    """When it was written."""


class Begun(Written, tag="begun", frozen=True, kw_only=True):
    """The first entry of every ledger, and of no other place."""

    ledger: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
    """A random number, so that no two ledgers have the same digests."""


class CarriedOver(Written, tag="carried_over", frozen=True, kw_only=True):
    """A receipt from before the instance had a ledger: what was sent for it was not written down."""

    epoch: Number
    first: Number
    last: Number
    signature: str | None
    receipt: Receipt | None


class Sent(Written, tag="sent", frozen=True, kw_only=True):
    """A delivery that is about to leave. A repetition of the same adds nothing."""

    epoch: Number
    first: Number
    last: Number
    """Which numbers, both included."""
    events: Counts
    """The events of the body, by name."""
    absent: VerdictCounts
    """The numbers that stay on the instance, and why."""
    digest: Digest
    """Of the exact bytes."""
    size: Number
    """How many bytes."""
    plan: str | None
    """The digest of the plan by which it was built."""


class Settled(Written, tag="settled", frozen=True, kw_only=True):
    """The gateway's receipt for a delivery."""

    epoch: Number
    first: Number
    last: Number
    signature: str | None
    """The receipt as a compact JWS; None where only the gateway's account told of it, after the answer was lost."""
    receipt: Receipt | None
    """The receipt, where it is not signed."""


class Refused(Written, tag="refused", frozen=True, kw_only=True):
    """The gateway refused a delivery, and stored nothing of it."""

    epoch: Number
    first: Number
    last: Number
    reason: str
    """The problem's type, as docs/wire.md lists them."""
    outcome: str
    """`SPLIT` or `GIVEN_UP`."""


class Moved(Written, tag="moved", frozen=True, kw_only=True):
    """The two ends differed on where an epoch stands, as after a restored backup, and the instance went along."""

    epoch: Number
    acknowledged: Number
    """The last number that the instance held for delivered."""
    expected: Number
    """The number that the gateway expected next."""


class PingSent(Written, tag="ping_sent", frozen=True, kw_only=True):
    """A ping that is about to leave."""

    day: date
    digest: Digest
    size: Number


class PingSettled(Written, tag="ping_settled", frozen=True, kw_only=True):
    """The answer to a ping."""

    day: date
    signature: str | None
    """The receipt as a compact JWS; None where the gateway held a later day already, or refused."""
    refused: str | None
    """Why it was not taken."""


class ErasureSent(Written, tag="erasure_sent", frozen=True, kw_only=True):
    """An order to erase a user that is about to leave."""

    digest: Digest
    """Of the request's body, which is not kept."""


class ErasureSettled(Written, tag="erasure_settled", frozen=True, kw_only=True):
    """The vendor's answer to it."""

    digest: Digest
    erasure: str
    """The vendor's id of the order."""
    ordered: Time
    """By the vendor's clock."""


class Explained(Written, tag="explained", frozen=True, kw_only=True):
    """The admin's word on what did not add up in the account until then: it is known, and why it came to be."""

    by: Annotated[str, Meta(max_length=MOST_BY)]
    """The role that says so."""
    reason: Annotated[str, Meta(max_length=MOST_REASON)]
    differences: Number
    """How many ranges of numbers had been found to differ until then, since the state was begun."""
    events: int
    """How many events were recorded until then, minus how many were accounted for."""
    names: dict[str, int]
    """The same by name: above zero have vanished, below zero are too many."""
    ranges: list[Difference]
    """The ranges that were known one by one, and not explained before."""


class EndsExplained(Written, tag="ends_explained", frozen=True, kw_only=True):
    """The admin's word on what this end and the gateway's differed in: it is known, and why it came to be."""

    by: Annotated[str, Meta(max_length=MOST_BY)]
    reason: Annotated[str, Meta(max_length=MOST_REASON)]
    differences: list[EndsDifference]
    """Those that were not explained before."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was found wrong with a ledger."""

    number: Number
    """Of the entry at fault; 0 for what is about no entry."""
    why: str
    """What is wrong, as `heliograph ledger verify` says it, to follow the words "entry N"."""
    found: str = ""
    """The SHA-256 of that entry as it stood then, so that a later change of it is another fault; empty: it is gone."""

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"entry {self.number} {self.why}" if self.number else self.why


class Acknowledged(Written, tag="acknowledged", frozen=True, kw_only=True):
    """The admin's word on faults of this very ledger: they are known, and why. The faults stay faults."""

    by: Annotated[str, Meta(max_length=MOST_BY)]
    reason: Annotated[str, Meta(max_length=MOST_REASON)]
    faults: list[Fault]
    """Those that were not acknowledged before."""


Entry: TypeAlias = (
    Begun
    | CarriedOver
    | Sent
    | Settled
    | Refused
    | Moved
    | PingSent
    | PingSettled
    | ErasureSent
    | ErasureSettled
    | Explained
    | EndsExplained
    | Acknowledged
)
_decode: Final = msgspec.json.Decoder[Entry](Entry).decode


def word_problems(by: str, reason: str) -> list[str]:
    """Return what is wrong with a person's word on why something differs."""
    problems = []
    if not 0 < len(by.strip()) <= MOST_BY:
        problems.append(f'--by: the role that says so, such as "operations"; at most {MOST_BY} characters')
    if not 0 < len(reason.strip()) <= MOST_REASON:
        problems.append(f"--reason: how it came to be; at most {MOST_REASON:,} characters")
    return problems


class EntryError(Exception):
    """These bytes are no entry; the message says why, to follow the words "entry N"."""


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry over which its digest is taken."""
    return canonical_json(entry)


def canonical_json(value: object) -> bytes:
    """Return a value's one written form."""
    return msgspec.json.encode(value, order="sorted")


def decode_entry(body: bytes) -> Entry:
    """Return the entry that `body` holds.

    Raises:
        EntryError: It holds none.
    """
    try:
        entry: Entry = _decode(body)
    except (ValueError, RecursionError):
        raise EntryError("is none that this release knows: it was changed, or a later release wrote it") from None
    return entry
