"""Every way in which the gateway refuses a request: one table of codes, statuses, titles and remedies."""

from __future__ import annotations

from typing import Final

from heliograph.wire import Problem, RefusalTable


class Refusal(RefusalTable):
    """A refusal: its code on the wire, its HTTP status, what is wrong, and what to do."""

    INVALID_TOKEN = (
        "invalid_token",
        401,
        "The access token is missing or was not issued by this gateway",
        "Ask for a token at /v1/token with an assertion that the instance's key signed.",
    )
    TOKEN_EXPIRED = (
        "token_expired",
        401,
        "The access token has expired",
        "Ask for another token at /v1/token.",
    )
    UNKNOWN_INSTANCE_OR_KEY = (
        "unknown_instance_or_key",
        401,
        "The instance and its key are not registered together, or the instance is deactivated",
        "Compare the instance's name and the line that `heliograph agent key` prints with what the vendor registered.",
    )
    CLOCK_SKEW = (
        "clock_skew",
        401,
        "The clocks of the instance and the gateway differ by more than five minutes",
        "Set the instance's clock by network time.",
    )
    MALFORMED_ASSERTION = (
        "malformed_assertion",
        400,
        "The assertion is not a JWT of the expected form",
        "Sign a JWT (EdDSA) with iss, sub, aud, iat, exp and jti, with a life of at most 60 seconds.",
    )
    REPLAYED_ASSERTION = (
        "replayed_assertion",
        401,
        "The assertion was used before",
        "Sign an assertion with a new jti for each token.",
    )
    TOO_MANY_ASSERTIONS = (
        "too_many_assertions",
        429,
        "The instance has asked for too many tokens within a few minutes",
        "Use a token until it expires, then ask for another.",
    )
    NOT_PERMITTED = (
        "not_permitted",
        403,
        "What this instance may send does not include this",
        "Ask /v1/policy for the level and its reasons, and send nothing wider.",
    )
    MISSING_HEADER = (
        "missing_header",
        400,
        "A header that every delivery needs is missing",
        "Send heliograph-epoch, heliograph-range and content-type with each delivery.",
    )
    BAD_HEADER = (
        "bad_header",
        400,
        "A header does not have the expected form",
        "Compare the header with docs/wire.md.",
    )
    BODY_TOO_LARGE = (
        "body_too_large",
        413,
        "The request's body is larger than this gateway takes",
        "Send fewer events in a delivery.",
    )
    INFLATED_TOO_LARGE = (
        "inflated_too_large",
        413,
        "The request's body is larger, decompressed, than this gateway takes",
        "Send fewer events in a delivery; a zstd frame has to declare its decompressed size.",
    )
    UNKNOWN_ENCODING = (
        "unknown_encoding",
        415,
        "The content encoding is not one that this gateway reads",
        "Compress the body with zstd or gzip, and say so in content-encoding.",
    )
    UNKNOWN_FORMAT = (
        "unknown_format",
        415,
        "The content type is not one that this gateway reads",
        "Send events as application/vnd.apache.arrow.stream or application/x-ndjson, a ping as application/json.",
    )
    DAMAGED_BODY = (
        "damaged_body",
        400,
        "The request's body cannot be decompressed or decoded",
        "Send the delivery again; if it is refused again, its bytes are damaged where they are kept.",
    )
    BAD_COLUMNS = (
        "bad_columns",
        422,
        "The columns of the Arrow stream are not those of the plan",
        "Build the stream from the plan that /v1/policy names, with the types of docs/wire.md.",
    )
    BAD_SEQUENCE = (
        "bad_sequence",
        422,
        "The events and the absences do not make up the range that the delivery claims",
        "Account for every number of the range once: as an event, or in heliograph-absent.",
    )
    SEQUENCE_GAP = (
        "sequence_gap",
        409,
        "The delivery begins after the next number of its epoch",
        "Send from the expected number on.",
    )
    SUPERSEDED_EXPORTER = (
        "superseded_exporter",
        409,
        "Another process, which began later, sends for this instance",
        "Let one agent run with this instance's key; a machine that was cloned needs an instance of its own.",
    )
    PLAN_CHANGED = (
        "plan_changed",
        409,
        "The delivery was built by another plan than the one in force",
        "Ask /v1/policy and /v1/plan again, and build the same range anew.",
    )
    TOO_MANY_EPOCHS = (
        "too_many_epochs",
        429,
        "The instance has delivered as many epochs as this gateway keeps in mind",
        "Record in fewer processes that live longer; the vendor has to raise the limit.",
    )
    BAD_PING = (
        "bad_ping",
        422,
        "The ping does not have the form, or breaks a rule, of the plan's pings",
        "Make it by the plan that /v1/policy names; docs/wire.md has the form and the rules.",
    )
    DAY_NOT_OVER = (
        "day_not_over",
        425,
        "The day that the ping tells about is not over by the gateway's clock",
        "Send the same ping again once it is over; now is the gateway's clock.",
    )
    OTHER_PING = (
        "other_ping",
        409,
        "Another ping of this day was stored before",
        "Keep the one that was stored, and go on with the next day.",
    )
    MALFORMED_ERASURE = (
        "malformed_erasure",
        400,
        "The request is not for the erasure of one user",
        "Send JSON with user_id alone: the 32 hexadecimal digits, in lower case, of one random id.",
    )
    TOO_MANY_ERASURES = (
        "too_many_erasures",
        429,
        "Too many erasures of this instance are waiting to be carried out",
        "Keep the request, and send it again later.",
    )
    NOT_FOUND = (
        "not_found",
        404,
        "There is nothing at this address",
        "Check the address against docs/wire.md.",
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        405,
        "This address does not take that method",
        "Use the method that the allow header names.",
    )
    TOO_MANY_REQUESTS = (
        "too_many_requests",
        429,
        "The instance delivers more often, or more bytes, than this gateway takes from one",
        "Wait as long as retry-after says, and send more events in each delivery.",
    )
    TOO_MANY_AT_ONCE = (
        "too_many_at_once",
        429,
        "Too many deliveries of the instance are being handled at this moment",
        "Wait for their answers first; one delivery after the other is enough for each epoch.",
    )
    TOO_SLOW = (
        "too_slow",
        408,
        "The request's body did not arrive in time",
        "Send the same again; on a slow line, send fewer events in a delivery.",
    )
    OVERLOADED = (
        "overloaded",
        503,
        "The gateway handles as much at this moment as its memory may hold",
        "Wait as long as retry-after says, and send the same again.",
    )
    UNAVAILABLE = (
        "unavailable",
        503,
        "The gateway cannot decide or store anything now",
        "Keep the events, and send them again later.",
    )
    LOG_FULL = (
        "log_full",
        507,
        "The gateway's log has reached its bound",
        "Keep the events, and send them again later; the vendor has to make room.",
    )


_RETRY_LATER: Final = {429: 5, 503: 5, 507: 30}
"""Seconds by status, where nothing better is known."""
_RETRY_SECONDS: Final = {
    Refusal.TOO_MANY_ASSERTIONS: 60,
    Refusal.TOO_MANY_EPOCHS: 3_600,
    Refusal.TOO_MANY_ERASURES: 60,
    Refusal.TOO_MANY_AT_ONCE: 1,
    Refusal.OVERLOADED: 1,
}


class RefusalError(Exception):
    """A request is refused; nothing of it was stored."""

    def __init__(
        self,
        refusal: Refusal,
        detail: str = "",
        *,
        expected: int | None = None,
        now: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{refusal.code}: {detail or refusal.title}")
        self.refusal = refusal
        self.detail = detail
        """What is wrong with this request; never any content of it."""
        self.expected = expected
        """The first number not stored, with `Refusal.SEQUENCE_GAP`."""
        self.retry_after = retry_after or _RETRY_SECONDS.get(refusal) or _RETRY_LATER.get(refusal.status)
        """After how many seconds the same may be taken; None where it never will, or nobody can tell."""
        self.now = now
        """The gateway's clock in seconds since 1970, with `Refusal.CLOCK_SKEW` and `Refusal.DAY_NOT_OVER`."""

    def to_problem(self) -> Problem:
        """Return what the client is told."""
        return self.refusal.to_problem(self.detail, expected=self.expected, now=self.now)
