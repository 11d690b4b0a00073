"""Records: everything that decides what an account may send, each written once and never changed.

The kinds are one closed union, `Record`. A new kind is a struct here (or beside what it is about) and a member of
that union. A chain of them belongs to one account, or to the vendor itself; see `heliograph.consent.chain`.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from heliograph.consent.agreement import (
    Agreement,
    Amendment,
    Ending,
    Moment,
    Recorded,
    agreement_problems,
    amendment_problems,
    text_problems,
)
from heliograph.consent.erasure import ErasureOrder, ErasureProof, order_problems
from heliograph.consent.level import Level

VENDOR: Final = ""
"""The name of the vendor's own chain; no account can have it."""


class Override(Recorded, frozen=True, kw_only=True, tag="override"):
    """The vendor's narrowing of an account, or of one of its instances; of each, the one recorded last stands."""

    account: str
    instance: str | None = None
    """None: the whole account."""
    level: Level
    """The widest level left; `Level.EVENTS`: nothing is narrowed any more."""
    reason: str


class Activation(Recorded, frozen=True, kw_only=True, tag="activation"):
    """An instance is kept out, or let in again; before the first of these it is let in."""

    account: str
    instance: str
    active: bool
    reason: str


class DeploymentDecision(Recorded, frozen=True, kw_only=True, tag="deployment_decision"):
    """What the vendor lets on-premises instances send from a moment on; it stands in the vendor's own chain."""

    level: Level
    document: str
    """Reference of the decision."""
    reason: str
    effective: Moment


class Unreadable(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="unreadable"):
    """In the place of a record that cannot be read or verified. It may be a redline, so it allows nothing.

    It is made when a chain is read, and never stored.
    """

    account: str
    place: str
    """Which record it is, in words."""
    why: str = "cannot be read: a newer version of Heliograph may know what it says"

    @property
    def doubt(self) -> str:
        """What is not known and why, and what to do, as sentences."""
        verify = f"heliograph registry verify {self.account}".rstrip()
        said = f"{self.place[:1].upper()}{self.place[1:]} {self.why}: nothing may leave."
        return f"{said} `{verify}` says more; a backup of the registry holds what was recorded."


Stored = Agreement | Amendment | Ending | Override | Activation | DeploymentDecision | ErasureOrder | ErasureProof
"""What can stand in a chain."""
Record = Stored | Unreadable
"""What can be read from a chain."""

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


def encode(record: Stored) -> bytes:
    """Return the bytes of `record` as they are stored and hashed: JSON in UTF-8."""
    return msgspec.json.encode(record, order="deterministic")


def decode(chain: str, body: bytes) -> Stored:
    """Return the record that `body` states in the chain of this name.

    Raises:
        ValueError: It is no record that is known here, or one of another chain.
    """
    record: Stored = msgspec.json.decode(body, type=Stored)
    if chain_of(record) != chain:
        raise ValueError("the record belongs to another chain")
    return record


def chain_of(record: Stored) -> str:
    """Return the name of the chain in which `record` stands: its account, or `VENDOR`."""
    return str(getattr(record, "account", VENDOR))


def of_kind(records: tuple[Record, ...], kind: type[_AnyRecord]) -> tuple[_AnyRecord, ...]:
    """Return those of `records` that are of this kind, in their order."""
    return tuple(record for record in records if isinstance(record, kind))


def record_problems(record: Stored) -> list[str]:
    """Return everything that keeps `record` from being recorded; empty: nothing."""
    if isinstance(record, Agreement):
        return agreement_problems(record)
    if isinstance(record, Amendment):
        return amendment_problems(record)
    if isinstance(record, ErasureOrder):
        return order_problems(record)
    texts = {field: getattr(record, field, None) for field in ("document", "reason", "recorded_by")}
    return [
        problem
        for field, text in texts.items()
        if text is not None
        for problem in text_problems(field.replace("_", " "), text)
    ]
