"""What can go wrong with Salesforce, from a failed connection to one record: told once, with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import requests

if TYPE_CHECKING:
    from collections.abc import Callable

LOCKED: Final = "UNABLE_TO_LOCK_ROW"
EXPIRED: Final = "INVALID_SESSION_ID"
_LONGEST: Final = 300
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429


class Failure(Exception):  # noqa: N818 - not an error of ours: the way of one answer to the one place that decides
    """A request that failed.

    Args:
        message: What Salesforce said, or why there is no answer; without secrets.
        remedy: What to do.
        passing: Whether it may help to ask again.
        expired: Whether it may help to log in again.
    """

    def __init__(self, message: str, remedy: str, *, passing: bool = False, expired: bool = False) -> None:
        super().__init__(f"{message}; {remedy}")
        self.passing = passing
        self.expired = expired


class _Kind(NamedTuple):
    remedy: str
    passing: bool = False


_LATER: Final = "try again later"
_UNKNOWN: Final = "look at crm.url, and at what Salesforce's documentation says of it"
_LOGIN: Final = "look at crm.url, crm.consumer_key and its secret"
_FIELDS: Final = (
    "look at crm.account_field, crm.value_field and crm.date_field, and at the field-level security of the app's user"
)
_RIGHTS: Final = "let the app's user edit accounts, and these fields of theirs"

_KINDS: Final = {
    # Sessions and limits
    EXPIRED: _Kind("the session ends as soon as it begins: look at the policies of the connected app"),
    "REQUEST_LIMIT_EXCEEDED": _Kind("the organisation has used up its API requests: try again in some hours"),
    "API_DISABLED_FOR_ORG": _Kind("let the app's user use the API, in an edition that has it"),
    "API_CURRENTLY_DISABLED": _Kind(_LATER, passing=True),
    "SERVER_UNAVAILABLE": _Kind(_LATER, passing=True),
    # Login
    "invalid_client": _Kind(_LOGIN),
    "invalid_client_id": _Kind(_LOGIN),
    "invalid_grant": _Kind("give the connected app a user to run as, in its client credentials flow"),
    "unsupported_grant_type": _Kind("switch on the client credentials flow of the connected app"),
    "inactive_user": _Kind("activate the user that the connected app runs as"),
    "rate_limit_exceeded": _Kind(_LATER, passing=True),
    # Fields and rights
    "INVALID_FIELD": _Kind(_FIELDS),
    "INVALID_FIELD_FOR_INSERT_UPDATE": _Kind(_FIELDS),
    "MALFORMED_QUERY": _Kind(_FIELDS),
    "INVALID_TYPE": _Kind("let the app's user read accounts"),
    "INSUFFICIENT_ACCESS": _Kind(_RIGHTS),
    "INSUFFICIENT_ACCESS_OR_READONLY": _Kind(_RIGHTS),
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": _Kind(_RIGHTS),
    "NOT_FOUND": _Kind("look at crm.url and crm.api_version"),
    "INVALID_QUERY_LOCATOR": _Kind("the pages of the answer have gone: run it again"),
    # One record
    LOCKED: _Kind("somebody else is changing this account: run it again", passing=True),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": _Kind("look at crm.yes and crm.no: the picklist has other words"),
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": _Kind("a rule of your organisation refuses it: mend the account, or the rule"),
    "ENTITY_IS_DELETED": _Kind("the account has been deleted: run it again"),
}


def failure_of_network(error: requests.RequestException) -> Failure:
    """Return what it means that no answer came."""
    # The error's own words are left out: they hold addresses, and whatever a proxy's URL does.
    if isinstance(error, requests.exceptions.SSLError):
        return Failure("Salesforce's certificate cannot be verified", "look at crm.url and crm.certificate_authority")
    if isinstance(error, requests.exceptions.Timeout):
        return Failure("Salesforce did not answer in time", f"{_LATER}, or raise crm.timeout_seconds", passing=True)
    if isinstance(error, requests.exceptions.ProxyError):
        return Failure("the proxy cannot be reached", "look at HTTPS_PROXY in the environment", passing=True)
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return Failure("Salesforce cannot be reached", "look at crm.url and at the network", passing=True)
    return Failure(f"the request cannot be made ({type(error).__name__})", "look at crm.url")


def failure_of_answer(status: int, content: bytes, hide: Callable[[str], str]) -> Failure:
    """Return what an answer means that is no success, from Salesforce or from what stands before it.

    Args:
        status: The HTTP status.
        content: The body.
        hide: Takes secrets out of what was answered.
    """
    code, message = (hide(text) for text in _told(content))
    kind = _KINDS.get(code)
    said = one_line(f"Salesforce answered {status} {code}: {message}" if code else f"Salesforce answered {status}")
    passing = kind.passing if kind else status >= _SERVER_ERROR or status == _TOO_MANY
    remedy = kind.remedy if kind else _LATER if passing else _UNKNOWN
    return Failure(said, remedy, passing=passing or status >= _SERVER_ERROR, expired=code == EXPIRED)


def malformed() -> Failure:
    """Return what an answer means that is none of the API's."""
    return Failure(
        "Salesforce's answer is not one of its API", "look at crm.url and crm.api_version, or try again later"
    )


def record_problem(code: str, message: str) -> str:
    """Return why one record was not written, and what to do."""
    kind = _KINDS.get(code)
    return (
        f"{one_line(f'{code}: {message}')}; {kind.remedy if kind else 'mend the account in the CRM, and run it again'}"
    )


def one_line(text: str) -> str:
    """Return foreign text fit for a message: printable, on one line, and not too long."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    words = " ".join(plain.split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _told(content: bytes) -> tuple[str, str]:
    """Return code and message of an error: the API sends a list of them, the login an object."""
    try:
        body: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError):
        return "", ""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, dict):
        return "", ""
    code = body.get("errorCode") or body.get("error")
    message = body.get("message") or body.get("error_description")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""
