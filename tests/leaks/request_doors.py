"""Doors of HTTP and TLS beside the body: addresses, methods, headers, claims, and requests that are none."""

from __future__ import annotations

import http.client
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode

import jwt
import msgspec

from heliograph.event import UNDECLARED
from heliograph.keys import load_or_create_key
from heliograph.wire import ASSERTION_AUDIENCE, EVENTS_PATH, GRANT_TYPE, NDJSON
from leaks.canaries import DIGITS_ONLY, KINDS
from leaks.doors import door, one_line
from leaks.line_doors import ACCEPTED, encode, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from leaks.world import World

_UNKNOWN_HEADERS: Final = (
    "user-agent",
    "cookie",
    "referer",
    "from",
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
    "accept",
    "accept-language",
    "if-none-match",
    "via",
    "x-anything",
    "heliograph-anything",
)
_HEADER_DISGUISES: Final = ("plain", "zero width", "base64")


class Connection:
    """One connection for many requests, whose headers may hold any byte but a line's end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._connection = http.client.HTTPSConnection(
            "localhost", world.settings.gateway.port, context=world.tls, timeout=10
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def ask(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, bytes]],
        body: bytes = b"",
        *,
        authorized: bool = True,
    ) -> int:
        """Send a request, keep the answer, and return its status."""
        self._connection.putrequest(method, path, skip_accept_encoding=True)
        if authorized:
            self._connection.putheader("authorization", f"Bearer {self._world.token}")
        for name, value in headers:
            self._connection.putheader(name, value)
        self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        content = answer.read()
        self._world.hear(str(answer.headers).encode(), content)
        if path == EVENTS_PATH and answer.status == 200:
            self._world.take_answer(content)
        return answer.status


def delivery(world: World, **changed: bytes) -> list[tuple[str, bytes]]:
    """Return the headers of a delivery that would be taken, but for those that are changed."""
    headers = {
        "content_type": NDJSON.encode(),
        "content_encoding": b"",
        "heliograph_epoch": str(world.epoch()).encode(),
        "heliograph_range": b"1-2",
    }
    return [(name.replace("_", "-"), value) for name, value in (headers | changed).items()]


def _texts(world: World, name: str) -> list[bytes]:
    """Return canaries of every class; those that are numbers are for doors of numbers."""
    forms = world.nest.forms(name, _HEADER_DISGUISES, KINDS.keys() - DIGITS_ONLY)
    return [part.encode() for form in forms for part in one_line(form)]


@door("request: headers that nobody asked for")
def _unknown(world: World, name: str) -> None:
    with Connection(world) as connection:
        for text in _texts(world, name):
            more = [(header, text) for header in _UNKNOWN_HEADERS]
            assert connection.ask("POST", "/v1/events", [*delivery(world), *more], ACCEPTED) == 200


@door("request: name of a header")
def _header_names(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.few(name):
            header = "".join(each if each.isalnum() else "-" for each in one_line(form)[0] if each.isascii())
            assert connection.ask("POST", "/v1/events", [*delivery(world), (header, b"1")], ACCEPTED) == 200


HEADERS: Final[dict[str, Callable[[bytes], dict[str, bytes]]]] = {
    "heliograph-epoch": lambda text: {"heliograph_epoch": text},
    "heliograph-range": lambda text: {"heliograph_range": b"1-" + text},
    "content-type": lambda text: {"content_type": text},
    "content-encoding": lambda text: {"content_encoding": text},
    "absent names": lambda text: {"heliograph_absent": encode({text.decode(): {"lost": 1}})},
    "absent names, escaped by Latin-1": lambda text: {"heliograph_absent": b'{"' + text + b'":{"lost":1}}'},
    "absent verdicts": lambda text: {"heliograph_absent": encode({UNDECLARED: {text.decode(): 1}})},
    "absent counts": lambda text: {"heliograph_absent": encode({UNDECLARED: {"lost": text.decode()}})},
    "absent that is no JSON": lambda text: {"heliograph_absent": text},
}
for _what, _change in HEADERS.items():

    def _header(world: World, name: str, change: Callable[[bytes], dict[str, bytes]] = _change) -> None:
        with Connection(world) as connection:
            for text in _texts(world, name):
                status = connection.ask("POST", "/v1/events", delivery(world, **change(text)), ACCEPTED)
                assert status in {400, 415, 422}

    door(f"request: {_what}")(_header)


@door("request: parameter of the content type")
def _parameter(world: World, name: str) -> None:
    with Connection(world) as connection:
        for text in _texts(world, name):
            headers = delivery(world, content_type=NDJSON.encode() + b"; charset=" + text)
            assert connection.ask("POST", "/v1/events", headers, ACCEPTED) == 200


@door("request: count that no range has, as a number")
def _counts(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.numbers(name, "integer"):
            for changed in (
                {"heliograph_absent": encode({UNDECLARED: {"lost": form.number}})},
                {"heliograph_range": f"{form.number}-{form.number}".encode()},
                {"heliograph_range": f"1-{form.number}".encode()},
                {"heliograph_epoch": f"{form.number}{form.number}".encode()},
            ):
                assert connection.ask("POST", "/v1/events", delivery(world, **changed), ACCEPTED) in {400, 409, 422}


@door("request: authorization")
def _authorization(world: World, name: str) -> None:
    with Connection(world) as connection:
        for text in _texts(world, name):
            for value in (text, b"Bearer " + text, b"Basic " + text, b"Bearer " + text + b"." + text + b"." + text):
                headers = [("authorization", value), *delivery(world)]
                assert connection.ask("POST", "/v1/events", headers, ACCEPTED, authorized=False) == 401


@door("request: path and query string")
def _paths(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.forms(name, _HEADER_DISGUISES):
            for part in form.parts:
                text = quote(part)
                assert connection.ask("GET", f"/{text}", []) == 404
                assert connection.ask("POST", f"/v1/events/{text}?q={text}#{text}", [], ACCEPTED) == 404
                assert connection.ask("GET", f"/v1/policy?{text}={text}", []) == 200
                assert connection.ask("DELETE", f"/v1/policy?{text}={text}", []) == 405


@door("request: body where none is asked for")
def _bodies(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.few(name):
            for path in ("/v1/policy", "/v1/plan", "/v1/account", "/v1/keys", "/healthz"):
                assert connection.ask("GET", path, [], form.text.encode()) == 200


MALFORMED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "no HTTP at all": lambda text: text + b"\r\n\r\n",
    "method": lambda text: text + b" /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "bytes in the path": lambda text: b"GET /\xff" + text + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "version": lambda text: b"GET / HTTP/" + text + b"\r\n\r\n",
    "host": lambda text: b"GET /nowhere HTTP/1.1\r\nhost: " + text + b"\r\n\r\n",
    "whole address": lambda text: b"GET https://" + quote(text).encode() + b"/v1/x HTTP/1.1\r\nhost: x\r\n\r\n",
    "header without a colon": lambda text: b"GET / HTTP/1.1\r\n" + text + b"\r\n\r\n",
    "folded header": lambda text: b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n " + text + b"\r\n\r\n",
    "content length": lambda text: b"POST /v1/token HTTP/1.1\r\nhost: x\r\ncontent-length: " + text + b"\r\n\r\n",
    "size of a chunk": lambda text: (
        b"POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + text + b"\r\n\r\n"
    ),
    "extension of a chunk": lambda text: (
        b"POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;a=" + text + b"\r\nx\r\n0\r\n\r\n"
    ),
    "trailer": lambda text: (
        b"POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: "
        + text
        + b"\r\n\r\n"
    ),
    "transfer encoding": lambda text: (
        b"POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: " + text + b"\r\n\r\n" + text + b"\r\n\r\n"
    ),
    "upgrade": lambda text: (
        b"GET /v1/policy HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: " + text + b"\r\n\r\n" + text
    ),
    "second request": lambda text: b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + text + b"\r\n\r\n",
    "expectation": lambda text: (
        b"POST /v1/token HTTP/1.1\r\nhost: x\r\nexpect: " + text + b"\r\ncontent-length: 1\r\n\r\nx"
    ),
}
_SOME: Final = ("name of a person", "mail address", "source code", "web token", "payment card", "file path")
for _what, _spoil in MALFORMED.items():

    def _malformed(world: World, name: str, spoil: Callable[[bytes], bytes] = _spoil) -> None:
        for form in world.nest.forms(name, ["plain"], _SOME):
            world.raw(spoil(one_line(form)[0].encode()))

    door(f"malformed request: {_what}")(_malformed)


@door("malformed request: plain text where TLS is expected")
def _no_tls(world: World, name: str) -> None:
    for form in world.nest.few(name):
        world.bare(b"GET /" + one_line(form)[0].encode() + b" HTTP/1.1\r\n\r\n")


@door("malformed request: server name in the TLS greeting")
def _server_name(world: World, name: str) -> None:
    for form in world.nest.forms(name, ["plain"], ["host name", "name of a person", "random string"]):
        world.raw(
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", server_name=form.text.replace(" ", "-").encode("idna").decode()
        )


@door("malformed request: a client that goes away")
def _gone(world: World, name: str) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: 99999\r\n" % (
        world.token.encode()
    )
    for form in world.nest.few(name):
        with (
            socket.create_connection(("localhost", world.settings.gateway.port), timeout=10) as plain,
            world.tls.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(head + b"x: " + one_line(form)[0].encode() + b"\r\n\r\n" + form.text.encode())


CLAIMS: Final[dict[str, Callable[[str], tuple[dict[str, Any], dict[str, Any]]]]] = {
    "iss": lambda text: ({"iss": text}, {}),
    "sub": lambda text: ({"iss": text, "sub": text}, {}),
    "aud": lambda text: ({"aud": text}, {}),
    "a claim of its own": lambda text: ({"name": text, text: text}, {}),
    "a claim of another type": lambda text: ({"iat": text, "exp": [text], "jti": {text: text}}, {}),
    "its header": lambda text: ({}, {"kid": text, "typ": text, "jku": text, "x5c": [text], text: text}),
    "its algorithm": lambda text: ({}, {"alg": text}),
    "what it calls critical": lambda text: ({}, {"crit": [text], text: text}),
}


@door("other requests: claims and header of a token's assertion")
def _assertions(world: World, name: str) -> None:
    key = load_or_create_key(Path(world.attacker.settings.agent.key))
    with Connection(world) as connection:
        for claim, make in CLAIMS.items():
            for form in world.nest.few(name):
                claims, header = make(form.text)
                now = int(time.time())
                own = {"iss": "acme-1", "sub": "acme-1", "aud": ASSERTION_AUDIENCE, "iat": now, "exp": now + 60}
                content = msgspec.json.encode(own | {"jti": f"{claim} {form.text}"[:64]} | claims)
                head = msgspec.json.encode({"alg": "EdDSA", "typ": "JWT"} | header)
                signed = b".".join(map(jwt.utils.base64url_encode, (head, content)))
                assertion = signed + b"." + jwt.utils.base64url_encode(key.sign(signed))
                body = urlencode({"grant_type": GRANT_TYPE, "assertion": assertion}).encode()
                form_type = [("content-type", b"application/x-www-form-urlencoded")]
                status = connection.ask("POST", "/v1/token", form_type, body, authorized=False)
                assert status == 200 if claim in {"a claim of its own", "its header"} else status in {400, 401, 429}


@door("other requests: form that asks for a token")
def _forms(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.forms(name, _HEADER_DISGUISES):
            for part in form.parts:
                for fields in (
                    {"grant_type": part, "assertion": part},
                    {"grant_type": GRANT_TYPE, "assertion": part},
                    {"grant_type": GRANT_TYPE, "assertion": f"{part}.{part}.{part}"},
                    {part: part},
                ):
                    assert connection.ask("POST", "/v1/token", [], urlencode(fields).encode(), authorized=False) in {
                        400,
                        401,
                    }


@door("other requests: erasure")
def _erasures(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.few(name):
            for body in (
                {"user_id": form.text},
                {"user_id": "0" * 32, form.text: form.text},
                {"user_id": [form.text]},
                form.text,
            ):
                assert connection.ask("POST", "/v1/erasures", [], encode(body)) == 400
            assert connection.ask("POST", "/v1/erasures", [], form.text.encode()) == 400


@door("bad moments: the disk is full")
def _disk_full(world: World, name: str) -> None:
    forms = world.nest.few(name)
    lines = [encode(event(n, query=form.text)) for n, form in enumerate(forms, 1)]
    with world.full_disk(), Connection(world) as connection:
        for body in (ACCEPTED, b"\n".join(lines)):
            headers = delivery(world, heliograph_range=f"1-{body.count(b'sequence')}".encode())
            assert connection.ask("POST", "/v1/events", headers, body) in {500, 503, 507}
        assert connection.ask("POST", f"/{quote(forms[0].text)}", [], forms[0].text.encode()) in {404, 500}
    receipt = world.stores(b"\n".join(lines), NDJSON, events=len(lines))
    assert not receipt.accepted


@door("bad moments: the gateway is told to end, and the loader is killed")
def _stopped(world: World, name: str) -> None:
    for form in world.nest.forms(name, ["plain"], ["web token"]):
        head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n" % world.token.encode()
        head += b"content-type: %s\r\nheliograph-epoch: 77777\r\nheliograph-range: 1-2\r\n" % NDJSON.encode()
        world.stop_in_the_middle(head + b"content-length: 99999\r\n\r\n" + encode(event(1, query=form.text)))
    world.http.close()
    del world.http
    world.loader.kill()
