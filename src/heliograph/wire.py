"""What both ends say to each other over HTTPS: addresses, headers, answers. Formats are in docs/wire.md."""

from __future__ import annotations

import enum
import hashlib
from datetime import date
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from heliograph.event import RANDOM_ID_PATTERN, Verdict

TOKEN_PATH: Final = "/v1/token"  # noqa: S105 - an address, not a secret
POLICY_PATH: Final = "/v1/policy"
PLAN_PATH: Final = "/v1/plan"
EVENTS_PATH: Final = "/v1/events"
PINGS_PATH: Final = "/v1/pings"
ERASURES_PATH: Final = "/v1/erasures"
ACCOUNT_PATH: Final = "/v1/account"
KEYS_PATH: Final = "/v1/keys"
HEALTH_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"

ARROW: Final = "application/vnd.apache.arrow.stream"
NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
"""Errors are problem details (RFC 9457)."""

EPOCH_HEADER: Final = "heliograph-epoch"
RANGE_HEADER: Final = "heliograph-range"
"""``first-last``: the sequence numbers that a batch accounts for, both included."""
ABSENT_HEADER: Final = "heliograph-absent"
"""JSON, ``{name: {verdict: count}}``: numbers of the range whose events stayed on the instance, and why."""
PLAN_HEADER: Final = "heliograph-plan"
"""By which plan a batch was built: its digest, as the policy names it. Without it, the events alone are checked."""
LEDGER_HEADER: Final = "heliograph-ledger"
"""The digest of the last entry in the instance's ledger of what left: 64 hexadecimal digits. It may be left out."""

EXPORTER_HEADER: Final = "heliograph-exporter"
"""Which process sends: 32 hexadecimal digits, drawn at its start, so that two with one identity are told apart."""
AFTER_HEADER: Final = "heliograph-exporter-after"
"""Which processes of the instance's ran before that one, as far as it knows: such ids, the latest last, by commas."""

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""The instance proves itself with a JWT that its Ed25519 key signed (RFC 7523)."""
ASSERTION_AUDIENCE: Final = "heliograph-gateway"
ASSERTION_SECONDS: Final = 60
"""Life of that JWT; the gateway takes none that claims a longer one."""

RECEIPT_TYPE: Final = "heliograph-receipt+jws"
POLICY_TYPE: Final = "heliograph-policy+jws"
KEY_TYPE: Final = "heliograph-key+jws"
"""What a signature is for stands in its header (``typ``), so that none can be taken for another."""

Counts = dict[str, int]
"""Events by name."""
Seconds = Annotated[int, Meta(ge=0, le=1 << 33)]
"""Seconds since 1970, or a span of them, up to some day in 2242. Larger numbers are no times."""
VerdictCounts = dict[str, dict[Verdict, int]]
"""Events by name and verdict."""


class Skeleton(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is left of a rejected event: never a value, never an undeclared name."""

    verdict: Verdict
    name: str
    """The event's name, or `heliograph.event.UNDECLARED`."""
    sequence: int | None = None
    """None when the bytes did not decode far enough to tell."""
    field: str | None = None
    """The declared field at fault, where there is one."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway stored of a delivery: each number of the range is in just one of the three counts."""

    instance: str
    epoch: int
    first: int
    last: int
    accepted: Counts
    rejected: VerdictCounts
    absent: VerdictCounts
    digest: str
    """SHA-256 of the request's body as sent, in hexadecimal."""
    agreement: str
    """The agreement that allowed it."""
    received: int
    """When it was on disk: microseconds since 1970 in UTC."""
    ledger: str | None = None
    """Where the instance's ledger stood when it sent this, as it said; so that what is cut off its end is missed."""

    @property
    def delivery(self) -> str:
        """By what name the logs know it."""
        return delivery_id(self.instance, self.epoch, self.first, self.last)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's answer to a delivery that it holds."""

    receipt: Receipt | None
    """None when the range was delivered before and is not the latest: nothing was stored now."""
    signature: str | None = None
    """The receipt as a compact JWS (EdDSA)."""
    duplicate: bool = False
    rejections: list[Skeleton] = []
    """The first hundred."""


class PingReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway stored of a ping."""

    instance: str
    day: date
    digest: str
    """SHA-256 of the request's body as sent, in hexadecimal."""
    agreement: str | None
    """The agreement in force that allows events as well; None at the default, which is critical telemetry."""
    received: int
    """When it was on disk: microseconds since 1970 in UTC."""


class PingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's answer to a ping that it holds."""

    receipt: PingReceipt | None
    """None when this day or a later one was told before, and it is not the latest: nothing was stored now."""
    signature: str | None = None
    """The receipt as a compact JWS (EdDSA)."""
    duplicate: bool = False


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an instance that asks what it may send."""

    policy: str
    """A `PolicyStatement` as a compact JWS (EdDSA, `POLICY_TYPE`)."""


class PolicyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance may send, as far as the vendor's side decides: the payload of what the gateway signs."""

    instance: str
    """Whom it is for; it says nothing to anybody else."""
    level: str
    """A `heliograph.consent.level.Level`."""
    agreement: str | None
    reasons: list[str]
    plan: str
    """The plan's name and version."""
    plan_digest: str
    """SHA-256 of the plan's canonical JSON, in hexadecimal: what `PLAN_PATH` answers."""
    issued: Seconds
    """When it was said, in seconds since 1970; an older one never takes the place of a newer one."""
    valid_seconds: Seconds
    """For how long after its receipt it may be relied on; then the level is unknown, and so off."""
    evidence: str | None = None
    """Digest of the records from which the agreement follows; None where the vendor keeps no chain of them."""


class Endorsement(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key's word for the key that follows it: the payload of a compact JWS (EdDSA, `KEY_TYPE`)."""

    key: str
    """The new public key, on one line."""
    by: str
    """The public half of the key that signs this."""
    issued: Seconds


class KeysAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """With which key the gateway signs, and how it follows from earlier ones."""

    key: str
    """The public key, on one line."""
    endorsements: list[str]
    """Compact JWS of an `Endorsement` each, from the oldest on."""


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instance's wish that everything of one of its users be erased."""

    user_id: Annotated[str, Meta(pattern=f"^{RANDOM_ID_PATTERN.pattern}$", max_length=32)]
    """The user's random id."""


class ErasureAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's word that the erasure is recorded; it is carried out later."""

    erasure: str
    """The order's id."""
    ordered: int
    """When it was recorded: microseconds since 1970 in UTC."""
    duplicate: bool = False
    """Whether it had been ordered before and is still pending."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error: what was wrong, and what to do (RFC 9457, with a remedy)."""

    type: str
    title: str
    status: int
    detail: str = ""
    remedy: str = ""
    expected: int | None = None
    """With ``sequence_gap``: the first number that the gateway has not stored."""
    now: int | None = None
    """With ``clock_skew`` and ``day_not_over``: the gateway's clock, in seconds since 1970."""


class RefusalTable(enum.Enum):
    """Every way in which a server refuses a request, as a table: an enum that inherits this, with a line for each."""

    def __init__(self, code: str, status: int, title: str, remedy: str) -> None:
        self.code = code
        """Its name on the wire."""
        self.status = status
        """The HTTP status."""
        self.title = title
        """What is wrong."""
        self.remedy = remedy
        """What to do."""

    def to_problem(self, detail: str, *, expected: int | None = None, now: int | None = None) -> Problem:
        """Return what the client is told; `detail` says what is wrong with this request, and no content of it."""
        return Problem(
            type=self.code,
            title=self.title,
            status=self.status,
            detail=detail,
            remedy=self.remedy,
            expected=expected,
            now=now,
        )


def merge_counts(total: VerdictCounts, more: VerdictCounts) -> None:
    """Add `more` to `total`."""
    for name, verdicts in more.items():
        into = total.setdefault(name, {})
        for verdict, count in verdicts.items():
            into[verdict] = into.get(verdict, 0) + count


def delivery_id(instance: str, epoch: int, first: int, last: int) -> str:
    """Return by what name the logs of both ends know a delivery: its instance, and a digest of its range.

    So a delivery that is refused can be named, too: its numbers are only what somebody has put into a header.
    """
    return f"{instance}/{hashlib.sha256(f'{epoch}/{first}-{last}'.encode()).hexdigest()[:16]}"


def total_counts(counts: VerdictCounts) -> int:
    """Return the sum over all names and verdicts."""
    return sum(sum(verdicts.values()) for verdicts in counts.values())
