"""What an event is: its names, its identity, its time, and the verdicts on it.

An event says that a user (a random id), at a time, did something (a declared name), with an outcome. Its
identity is *(instance, epoch, sequence)*: an epoch is the series of one writing process, and the sequence
counts from 1 within it without gaps. Nothing here imports anything else of Heliograph.
"""

from __future__ import annotations

import enum
import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NewType

Instance = NewType("Instance", str)
"""An instance's name: lower-case letters, digits, ``-``, ``_`` and ``.``; see `INSTANCE_PATTERN`."""

Epoch = NewType("Epoch", int)
"""The series of one writing process on one instance: a positive 63-bit integer; see `new_epoch`."""

INSTANCE_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
NAME_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
"""Event names: letters and digits, a letter first, as in ``goToDefinition`` and ``SearchSubmitted``."""
RANDOM_ID_PATTERN: Final = re.compile(r"[0-9a-f]{32}")
"""A random id of a user or a session on the wire: 128 bits in lower-case hexadecimal."""
VERSION_PATTERN: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")
"""A product's version: up to four numbers with dots between. Anything else is not sent."""

ENVELOPE: Final = ("name", "sequence", "time", "user_id", "session_id", "outcome", "version", "source", "actor")
"""The fields that every event has, in wire order. All others are properties, which the plan declares."""

RESERVED: Final = frozenset(
    (*ENVELOPE, "instance", "account", "epoch", "agreement", "plan", "received", "user", "session", "anonymous")
)
"""Names that no property may have: the envelope, the lake's own columns, and `record`'s own arguments."""


class Actor(enum.StrEnum):
    """Who acts where it is not one of the customer's own people: marked on the instance, and never counted."""

    OPERATOR = "operator"
    """One of the vendor's people, who look after the instance."""
    SERVICE = "service"
    """A program: a service account, a script, a monitor."""


class Verdict(enum.StrEnum):
    """What became of an event: every event ends in exactly one of these.

    The members from `RECORDER_BUSY` to `UNRECORDABLE` are given before an event has a sequence number, those from
    `NOT_PERMITTED` to `OPTED_OUT` and `UNDECLARED_EVENT` before or after, and `REFUSED` and `LOST` after; all of them
    on the instance. The gateway gives the rest. Some are given at either end: both ends hold the same plan, and
    neither trusts the other.
    """

    ACCEPTED = "accepted"
    """On the vendor's disk, and acknowledged."""

    RECORDER_BUSY = "recorder_busy"
    """Another thread held the recorder for too long: recording never waits."""
    OUTBOX_FULL = "outbox_full"
    """The outbox had reached its bound on disk."""
    OUTBOX_FAILED = "outbox_failed"
    """The operating system refused the write (disk full, permissions, a missing folder)."""
    UNRECORDABLE = "unrecordable"
    """The arguments of `record` cannot form an event: a reserved name, a type that no property can have."""

    NOT_PERMITTED = "not_permitted"
    """The effective level did not allow it to leave."""
    OPTED_OUT = "opted_out"
    """Its user had opted out, or was forgotten since."""
    REFUSED = "refused"
    """The gateway refused a batch of this event alone, for good."""
    LOST = "lost"
    """The outbox no longer holds it: a damaged disk, or a power cut before it was written."""

    UNDECLARED_EVENT = "undeclared_event"
    """The plan has no event of this name."""
    UNDECLARED_PROPERTY = "undeclared_property"
    """The plan declares no such property for this event."""
    INVALID_PROPERTY = "invalid_property"
    """A declared property has a value of another type, out of range, finer than the plan allows, or not of its list."""
    SENSITIVE_VALUE = "sensitive_value"
    """A value that the plan allows looks like personal or secret data."""
    INVALID_ENVELOPE = "invalid_envelope"
    """A missing or ill-formed time, random id, outcome, version, source or actor."""
    FUTURE_TIME = "future_time"
    """Its time lies ahead of the gateway's clock by more than the tolerance."""
    MALFORMED = "malformed"
    """The bytes of this event do not decode."""


BEFORE_SEQUENCE: Final = frozenset(
    {
        Verdict.RECORDER_BUSY,
        Verdict.OUTBOX_FULL,
        Verdict.OUTBOX_FAILED,
        Verdict.UNRECORDABLE,
        Verdict.NOT_PERMITTED,
        Verdict.OPTED_OUT,
        Verdict.UNDECLARED_EVENT,
    }
)
"""Given before an event has a sequence number, so that the gateway never hears of it."""

ABSENT: Final = frozenset(
    {
        Verdict.NOT_PERMITTED,
        Verdict.OPTED_OUT,
        Verdict.REFUSED,
        Verdict.LOST,
        Verdict.UNDECLARED_EVENT,
        Verdict.UNDECLARED_PROPERTY,
        Verdict.INVALID_PROPERTY,
        Verdict.SENSITIVE_VALUE,
        Verdict.INVALID_ENVELOPE,
        Verdict.FUTURE_TIME,
        Verdict.MALFORMED,
    }
)
"""Given on the instance to a numbered event: the batch says so in place of the event."""

_MICROSECOND: Final = timedelta(microseconds=1)
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)

UNDECLARED: Final = "(undeclared)"
"""Stands in accounts and skeletons for a name that the plan does not hold: such a name may be private."""


def new_epoch(*, milliseconds: int | None = None, randomness: int | None = None) -> Epoch:
    """Return an epoch that no other process of the instance has.

    It is 42 bits of Unix time in milliseconds, then 21 random bits, so that epochs sort by their beginning.
    """
    now = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    noise = secrets.randbits(21) if randomness is None else randomness
    return Epoch((now & ((1 << 42) - 1)) << 21 | (noise & ((1 << 21) - 1)))


def epoch_began(epoch: int) -> datetime:
    """Return when an epoch of `new_epoch` began."""
    return datetime.fromtimestamp((epoch >> 21) / 1000, UTC)


def format_time(moment: datetime) -> str:
    """Return `moment` as RFC 3339 in UTC with microseconds: ``2026-10-01T12:00:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970 in UTC: the form of the agent's tables, and of batches."""
    return (moment - _1970) // _MICROSECOND


def from_microseconds(number: int) -> datetime:
    """Return the moment so many microseconds after 1970, in UTC."""
    return _1970 + number * _MICROSECOND


def whole_milliseconds(span: timedelta) -> int:
    """Return the number of milliseconds that is nearest to `span`; a half becomes the even one."""
    return round(span // _MICROSECOND, -3) // 1000
