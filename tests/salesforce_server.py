"""The part of Salesforce's REST API that is used, on a real HTTPS server, with failures on command."""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import trustme

from heliograph.settings import CrmSettings

if TYPE_CHECKING:
    from pathlib import Path

KEY = "3MVG9.consumer.key"
SECRET = "canary-7f3a-consumer-secret"
ACCOUNT, VALUE, DATE = (
    "Heliograph_Account__c",
    "User_Level_Event_Usage_Data_Analytics__c",
    "User_Level_Event_Usage_Data_Since__c",
)
FIELDS = ("Id", ACCOUNT, VALUE, DATE)
API = "/services/data/v62.0"
_TOKENS = re.compile(r"\s*('(?:[^'\\]|\\.)*'|!=|=|[\w.]+|,)")


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    body: str
    authorization: str


class Reply(NamedTuple):
    """An answer: on command, in the place of the right one."""

    status: int
    body: Any
    """JSON, or text."""


HANG = Reply(0, "")
"""No answer at all."""
DROP = Reply(-1, "")
"""The connection ends."""


def error(code: str, message: str = "as told", status: int = 400) -> Reply:
    return Reply(status, [{"message": message, "errorCode": code}])


class FakeSalesforce:
    """An organisation with accounts in memory. `faults` are answered in the place of the next requests to a path."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "salesforce-authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        # The handshake is the connection's own affair: a client that breaks it off stops no other.
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._released = threading.Event()
        self.checkbox = False
        self.reset()

    def reset(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.page = 2_000
        self.sessions: set[str] = set()
        self.asked: list[Asked] = []
        self.faults: dict[str, list[Reply]] = {}
        self.refused: dict[str, list[dict[str, Any]]] = {}
        """Errors of single records, by id, each for one attempt."""
        self.instance_url = self.url
        self.fields = set(FIELDS)
        self.checkbox = False
        self._answers: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def settings(self, **changes: Any) -> CrmSettings:
        given: dict[str, Any] = {
            "kind": "salesforce",
            "url": self.url,
            "certificate_authority": str(self.authority),
            "consumer_key": KEY,
            "consumer_secret": SECRET,
            "timeout_seconds": 30.0,
        }
        return CrmSettings(**(given | changes))

    def add(self, account: str | None, value: Any, day: str | None = None) -> str:
        """Add an account, and return its id."""
        reference = f"001{len(self.records):015d}"
        self.records[reference] = {"Id": reference, ACCOUNT: account, VALUE: value, DATE: day}
        return reference

    def fail(self, part: str, *replies: Reply) -> None:
        """Answer the next requests whose path holds `part` with `replies`, one each."""
        self.faults.setdefault(part, []).extend(replies)

    def count(self, part: str) -> int:
        return sum(part in asked.path for asked in self.asked)

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        for part, replies in self.faults.items():
            if part in asked.path and replies:
                if replies[0] is HANG:
                    self._released.wait()
                return replies.pop(0)
        address = urlsplit(asked.path)
        if address.path == "/services/oauth2/token":
            return self._login(asked)
        return self._data(asked)

    def _data(self, asked: Asked) -> Reply:
        address = urlsplit(asked.path)
        if asked.authorization.removeprefix("Bearer ") not in self.sessions:
            return error("INVALID_SESSION_ID", "Session expired or invalid", 401)
        if address.path == f"{API}/query/":
            return self._query(parse_qs(address.query)["q"][0])
        if address.path.startswith(f"{API}/query/"):
            return self._following(address.path)
        if (asked.method, address.path) == ("PATCH", f"{API}/composite/sobjects"):
            return self._update(json.loads(asked.body))
        return error("NOT_FOUND", "The requested resource does not exist", 404)

    def _login(self, asked: Asked) -> Reply:
        if asked.authorization != f"Basic {base64.b64encode(f'{KEY}:{SECRET}'.encode()).decode()}":
            return Reply(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        if (asked.method, parse_qs(asked.body)) != ("POST", {"grant_type": ["client_credentials"]}):
            return Reply(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
        session = f"00D!session-{len(self.asked)}"
        self.sessions.add(session)
        return Reply(200, {"access_token": session, "instance_url": self.instance_url, "token_type": "Bearer"})

    def _query(self, query: str) -> Reply:
        found = re.fullmatch(r"SELECT (.+?) FROM Account WHERE (.+)", query)
        if found is None:
            return error("MALFORMED_QUERY", f"unexpected token in {query}")
        names = [name.strip() for name in found[1].split(",")]
        for name in (*names, *re.findall(r"\b\w+__c\b", re.sub(r"'(?:[^'\\]|\\.)*'", "", found[2]))):
            if name not in self.fields:
                return error("INVALID_FIELD", f"No such column '{name}' on entity 'Account'")
        try:
            hits = [record for record in self.records.values() if _holds(found[2], record)]
        except ValueError:
            return error("MALFORMED_QUERY", f"unexpected token in {found[2]}")
        rows = [{"attributes": {"type": "Account"}, **{name: hit[name] for name in names}} for hit in hits]
        self._answers["01g1"] = rows
        return self._page(rows, 0)

    def _following(self, path: str) -> Reply:
        locator, _, start = path.rpartition("/")[2].partition("-")
        return self._page(self._answers[locator], int(start))

    def _page(self, rows: list[dict[str, Any]], start: int) -> Reply:
        end = start + self.page
        page = {"totalSize": len(rows), "done": end >= len(rows), "records": rows[start:end]}
        if end < len(rows):
            page["nextRecordsUrl"] = f"{API}/query/01g1-{end}"
        return Reply(200, page)

    def _update(self, body: dict[str, Any]) -> Reply:
        records = body["records"]
        if body["allOrNone"] is not False or len(records) > 200:
            return error("EXCEEDED_ID_LIMIT", "record limit reached")
        for name in {name for record in records for name in record} - {"attributes", "id"} - self.fields:
            return error("INVALID_FIELD", f"No such column '{name}' on sobject of type Account")
        return Reply(200, [self._save(record) for record in records])

    def _save(self, record: dict[str, Any]) -> dict[str, Any]:
        reference = record["id"]
        if self.refused.get(reference):
            return {"success": False, "errors": [self.refused[reference].pop(0)]}
        if reference not in self.records:
            return {"success": False, "errors": [{"statusCode": "ENTITY_IS_DELETED", "message": "entity is deleted"}]}
        if record[VALUE] not in ((True, False) if self.checkbox else ("Yes", "No")):
            code = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
            return {"success": False, "errors": [{"statusCode": code, "message": "bad value", "fields": [VALUE]}]}
        date.fromisoformat(record[DATE])
        self.records[reference] |= {VALUE: record[VALUE], DATE: record[DATE]}
        return {"id": reference, "success": True, "errors": []}


def refusal(code: str, message: str = "as told") -> dict[str, Any]:
    """Return the error of one record."""
    return {"statusCode": code, "message": message, "fields": []}


def _holds(condition: str, record: dict[str, Any]) -> bool:
    """Tell whether `condition`, comparisons with OR between them, holds; raise a `ValueError` if it is none."""
    tokens, place = [], 0
    while place < len(condition):
        found = _TOKENS.match(condition, place)
        if found is None:
            raise ValueError(condition)
        tokens.append(found[1])
        place = found.end()
    if len(tokens) % 4 != 3 or any(word != "OR" for word in tokens[3::4]):
        raise ValueError(condition)
    triples = zip(tokens[0::4], tokens[1::4], tokens[2::4], strict=True)
    return any(_compared(name, sign, literal, record) for name, sign, literal in triples)


def _compared(name: str, sign: str, literal: str, record: dict[str, Any]) -> bool:
    words: dict[str, Any] = {"null": None, "true": True, "false": False}
    value: Any
    if literal.startswith("'"):
        value = re.sub(r"\\(.)", r"\1", literal[1:-1])
    elif literal in words:
        value = words[literal]
    else:
        raise ValueError(literal)
    held = record[name]
    same = held.casefold() == value.casefold() if isinstance(held, str) and isinstance(value, str) else held == value
    return same if sign == "=" else not same


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a client broke off."""


def _handler(organisation: FakeSalesforce) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Keep quiet."""

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            reply = organisation.answer(Asked(self.command, self.path, body, self.headers.get("Authorization", "")))
            if reply.status <= 0:
                self.close_connection = True
                return
            content = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json;charset=UTF-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Sforce-Limit-Info", "api-usage=18/15000")
            if 300 <= reply.status < 400:
                self.send_header("Location", "https://elsewhere.invalid/")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the library's names

    return Handler
