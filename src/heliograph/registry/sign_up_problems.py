"""Every way in which the sign-up webhook refuses a message: one table of codes, statuses, titles and remedies."""

from __future__ import annotations

from heliograph.wire import Problem, RefusalTable


class SignUpRefusal(RefusalTable):
    """A refusal: its code, its HTTP status, what is wrong, and what to do."""

    NO_SIGN_UPS = (
        "no_sign_ups",
        404,
        "This server takes no sign-ups",
        "The vendor has to set trials.webhook_secrets or trials.webhook_secrets_file.",
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        405,
        "This address does not take that method",
        "Use POST.",
    )
    BODY_TOO_LARGE = (
        "body_too_large",
        413,
        "The message's body is larger than a sign-up can be",
        "Send the fields of a sign-up, and nothing else.",
    )
    INCOMPLETE_BODY = (
        "incomplete_body",
        400,
        "The message's body did not arrive whole, or took too long",
        "Send the message again, under the same webhook-id.",
    )
    UNKNOWN_FORMAT = (
        "unknown_format",
        415,
        "The content type is not JSON",
        "Send application/json.",
    )
    BAD_HEADERS = (
        "bad_headers",
        400,
        "A header of the message is missing, or does not have the expected form",
        "Send webhook-id, webhook-timestamp and webhook-signature as Standard Webhooks says.",
    )
    INVALID_SIGNATURE = (
        "invalid_signature",
        401,
        "No signature of the message was made with a secret that is valid here",
        "Sign webhook-id, webhook-timestamp and the body as sent, with a secret that the vendor has set.",
    )
    STALE_MESSAGE = (
        "stale_message",
        401,
        "The message's timestamp differs from this server's clock by more than five minutes",
        "Set the sender's clock by network time, and sign each attempt with a timestamp of its own.",
    )
    MESSAGE_REUSED = (
        "message_reused",
        409,
        "Another message with this webhook-id was recorded before",
        "Give each sign-up a webhook-id of its own, and repeat it only with the same body.",
    )
    MALFORMED_BODY = (
        "malformed_body",
        422,
        "The message's body is not a sign-up",
        "Compare the body with docs/trials.md.",
    )
    UNKNOWN_TERMS = (
        "unknown_terms",
        422,
        "The vendor has not published Terms with this version and digest",
        "Show the Terms that the vendor has published, and send their version and SHA-256.",
    )
    BAD_ACCEPTANCE_TIME = (
        "bad_acceptance_time",
        422,
        "The Terms were accepted in the future, or so long ago that the trial is over",
        "Send the moment at which they were accepted, with its time zone.",
    )
    UNAVAILABLE = (
        "unavailable",
        503,
        "The sign-up cannot be recorded now",
        "Send the message again later, under the same webhook-id.",
    )


class SignUpRefusedError(Exception):
    """A message is refused; nothing of it was recorded."""

    def __init__(self, refusal: SignUpRefusal, detail: str = "") -> None:
        super().__init__(f"{refusal.code}: {detail or refusal.title}")
        self.refusal = refusal
        self.detail = detail
        """What is wrong with this message; never a value of it."""

    def to_problem(self) -> Problem:
        """Return what the sender is told."""
        return self.refusal.to_problem(self.detail)
