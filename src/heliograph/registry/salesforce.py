"""Salesforce as the CRM: its accounts are read with SOQL, and written in collections in which each stands alone."""

from __future__ import annotations

import base64
import re
import time
from datetime import date
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.format import format_soql
from simple_salesforce.login import token_login

from heliograph.registry.crm import Change, CrmAccount, CrmError, Outcome
from heliograph.registry.salesforce_errors import (
    LOCKED,
    Failure,
    failure_of_answer,
    failure_of_network,
    malformed,
    record_problem,
)
from heliograph.registry.salesforce_settings import Connection, connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heliograph.settings import CrmSettings

PAUSES: Final = (1.0, 4.0, 16.0)
"""How long to wait before each further attempt, in seconds."""

_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?")
_ANSWER_PATH: Final = "/services/data/"
_DIVERTED: Final = 300
_MASK: Final = "********"

_T = TypeVar("_T")


class _Page(msgspec.Struct, frozen=True, rename="camel"):
    """One page of the answer to a query."""

    records: list[dict[str, Any]]
    done: bool
    next_records_url: str | None = None


class _Problem(msgspec.Struct, frozen=True, rename="camel"):
    status_code: str
    message: str = ""


class _Saved(msgspec.Struct, frozen=True):
    """What became of one record of a collection."""

    success: bool
    errors: list[_Problem] = []


class _Session(requests.Session):
    """A session that waits no longer than it may, goes nowhere else, and says what failed in one way."""

    def __init__(self, connection: Connection, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._connection = connection
        self._hide = hide
        self.auth = _as_it_is

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send `request`; raise a `Failure` unless it was answered well."""
        kwargs |= {"timeout": self._connection.timeout_seconds, "allow_redirects": False}
        if self._connection.authority:
            kwargs["verify"] = self._connection.authority
        failed: Failure | None = None
        try:
            response = super().send(request, **kwargs)
        except requests.RequestException as error:
            failed = failure_of_network(error)
        if failed is not None:  # raised out here, so that nothing of the original comes with it
            raise failed
        if response.status_code >= _DIVERTED:
            raise failure_of_answer(response.status_code, response.content, self._hide)
        return response


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep the request's own authorisation: without this, one from a .netrc file would replace it."""
    return request


class SalesforceCrm:
    """The accounts of a Salesforce organisation.

    Args:
        settings: Which organisation, its fields, and the app by which to log in.
        pauses: How long to wait before each further attempt, in seconds.
        sleep: Waits so many seconds.

    Raises:
        CrmError: The settings do not suffice: all that is wrong with them.
    """

    def __init__(
        self,
        settings: CrmSettings,
        *,
        pauses: Sequence[float] = PAUSES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._connection = connection(settings)
        self._session = _Session(self._connection, self._hide)
        self._client: Salesforce | None = None
        self._token = ""
        self._pauses = tuple(pauses)
        self._sleep = sleep

    @property
    def can_add(self) -> bool:
        """The accounts of a CRM are made by those who sell."""
        return False

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def read(self) -> list[CrmAccount]:
        """Return all accounts that name one of ours, and all at Yes.

        Raises:
            CrmError: Salesforce cannot be asked, or answers with an error.
        """
        query = self._query()
        page = self._call(lambda client: _page(client.query(query)))
        records, seen = list(page.records), {""}
        while not page.done:
            following = page.next_records_url or ""
            if following in seen or not following.startswith(_ANSWER_PATH):
                raise CrmError([f"{self._connection.url}: {malformed()}"])
            seen.add(following)
            page = self._call(partial(_following_page, following))
            records += page.records
        return [self._account(record) for record in records]

    def write(self, changes: Sequence[Change]) -> list[Outcome]:
        """Carry out `changes`; a record that is refused keeps no other from being written.

        Raises:
            CrmError: Not even the first of them could be sent.
        """
        told: dict[str, str | None] = {}
        unsent = "accounts are not added to Salesforce from here: make it there, and give it the account's name"
        for batch in _batches([change for change in changes if change.reference], self._settings.batch_records):
            try:
                self._write_batch(batch, told)
            except CrmError as error:
                if not told:
                    raise
                unsent = f"{error}; run it again"
                break
        return [Outcome(change, told.get(change.reference or "", unsent)) for change in changes]

    def _write_batch(self, batch: list[Change], told: dict[str, str | None]) -> None:
        """Write `batch`, once more where somebody else had locked an account; put a problem or None into `told`."""
        for pause in (*self._pauses, None):
            saved = self._save(batch)
            locked = []
            for change, result in zip(batch, saved, strict=True):
                if any(problem.status_code == LOCKED for problem in result.errors) and pause is not None:
                    locked.append(change)
                else:
                    told[change.reference or ""] = self._problem(result)
            if not locked or pause is None:
                return
            self._sleep(pause)
            batch = locked

    def _save(self, batch: list[Change]) -> list[_Saved]:
        records = [
            {
                "attributes": {"type": "Account"},
                "id": change.reference,
                self._settings.value_field: self._value(allowed=change.allowed),
                self._settings.date_field: change.since.isoformat(),
            }
            for change in batch
        ]
        body = {"allOrNone": False, "records": records}

        def ask(client: Salesforce) -> list[_Saved]:
            try:
                answer = client.restful("composite/sobjects", method="PATCH", json=body)
            except TypeError:  # the library's, over an answer that is no list
                raise malformed() from None
            saved = msgspec.convert(answer, list[_Saved])
            if len(saved) != len(batch):
                raise malformed()
            return saved

        return self._call(ask)

    def _problem(self, result: _Saved) -> str | None:
        if result.success:
            return None
        problems = [
            record_problem(self._hide(problem.status_code), self._hide(problem.message)) for problem in result.errors
        ]
        return " ".join(problems) or "not written, and Salesforce does not say why; run it again"

    def _query(self) -> str:
        settings = self._settings
        return format_soql(
            "SELECT Id, {account:literal}, {value:literal}, {date:literal} FROM Account "
            "WHERE {account:literal} != null OR {value:literal} = {yes}",
            account=settings.account_field,
            value=settings.value_field,
            date=settings.date_field,
            yes=self._value(allowed=True),
        )

    def _value(self, *, allowed: bool) -> str | bool:
        if self._settings.value_kind == "checkbox":
            return allowed
        return self._settings.yes if allowed else self._settings.no

    def _meant(self, value: object) -> bool | None:
        """Return what a field's value means: True for Yes, False for No, None for neither."""
        if self._settings.value_kind == "checkbox":
            return value if isinstance(value, bool) else None
        word = value.strip().casefold() if isinstance(value, str) else ""
        words = {self._settings.yes.strip().casefold(): True, self._settings.no.strip().casefold(): False}
        return words.get(word)

    def _account(self, record: dict[str, Any]) -> CrmAccount:
        # Salesforce does not care about the case of a field's name, and answers with its own.
        fields = {name.casefold(): value for name, value in record.items()}
        try:
            reference, name, value, day = (
                fields[field.casefold()]
                for field in ("Id", self._settings.account_field, self._settings.value_field, self._settings.date_field)
            )
        except KeyError:
            raise CrmError([f"{self._connection.url}: {malformed()}"]) from None
        return CrmAccount(
            reference=str(reference),
            account=str(name).strip() or None if name is not None else None,
            allowed=self._meant(value),
            since=_date(day),
        )

    def _call(self, ask: Callable[[Salesforce], _T]) -> _T:
        """Return the answer to `ask`: asked again where that may help, after logging in once more where that may."""
        pauses, renewed = iter(self._pauses), False
        while True:
            answer = self._attempt(ask)
            if not isinstance(answer, Failure):
                return answer
            if answer.expired and not renewed:
                self._client, renewed = None, True
                continue
            pause = next(pauses, None) if answer.passing else None
            if pause is None:
                raise CrmError([f"{self._connection.url}: {answer}"])
            self._sleep(pause)

    def _attempt(self, ask: Callable[[Salesforce], _T]) -> _T | Failure:
        try:
            if self._client is None:
                self._client = self._login()
            return ask(self._client)
        except Failure as failure:
            return failure
        except (msgspec.ValidationError, requests.exceptions.JSONDecodeError):
            return malformed()

    def _login(self) -> Salesforce:
        """Return a client with a new session (OAuth client credentials)."""
        app = base64.b64encode(f"{self._connection.key}:{self._connection.secret}".encode()).decode()
        address = f"{self._connection.url}/services/oauth2/token"
        form, headers = {"grant_type": "client_credentials"}, {"Authorization": f"Basic {app}"}
        try:
            token, host = token_login(address, form, "", self._connection.key, headers, None, self._session)
        except (SalesforceAuthenticationFailed, AttributeError):  # no JSON, or JSON of another shape
            raise malformed() from None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise malformed()
        host = str(host).rstrip("/")
        if not token or not _HOST.fullmatch(host):
            raise malformed()
        self._token = token
        return Salesforce(session_id=token, instance=host, version=self._settings.api_version, session=self._session)

    def _hide(self, text: str) -> str:
        """Return `text` without the secret and the session, should whoever answered repeat them."""
        key, secret = self._connection.key, self._connection.secret
        for hidden in (secret, base64.b64encode(f"{key}:{secret}".encode()).decode(), self._token):
            text = text.replace(hidden, _MASK) if hidden else text
        return text


def _page(answer: object) -> _Page:
    return msgspec.convert(answer, _Page)


def _following_page(url: str, client: Salesforce) -> _Page:
    return _page(client.query_more(url, identifier_is_url=True))


def _batches(changes: list[Change], size: int) -> Iterator[list[Change]]:
    left = iter(changes)
    while batch := list(islice(left, size)):
        yield batch


def _date(value: object) -> date | None:
    """Return a date, or the day of a date and time; None for anything else."""
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
