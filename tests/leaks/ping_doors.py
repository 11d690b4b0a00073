"""Doors of the ping: facts, features, and everything in a ping that is a text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from leaks.doors import door
from leaks.line_doors import encode
from leaks.request_doors import Connection
from leaks.world import ENCODERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from leaks.world import World


def ping(world: World, **fields: Any) -> dict[str, Any]:
    """One ping in wire form that would be taken, but for `fields`."""
    day = (datetime.now(UTC) - timedelta(days=2)).date()
    given: dict[str, Any] = {
        "format": 1,
        "day": day.isoformat(),
        "plan": world.plan.label,
        "agent": "0.1.0",
        "facts": {"version": "5.3.1"},
        "active_users": {"day": 12, "week": 30, "month": 31},
        "features": {"search": {"users": 11, "events": 240}},
    }
    return given | fields


USE: Final = {"users": 11, "events": 240}
PLACES: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "name of a fact": lambda text: {"facts": {text: 1}},
    "value of an undeclared fact": lambda text: {"facts": {"note": text}},
    "fact that is a version": lambda text: {"facts": {"version": text}},
    "fact that is a member": lambda text: {"facts": {"deployment": text}},
    "fact that is an integer": lambda text: {"facts": {"seats": text}},
    "fact that is a boolean": lambda text: {"facts": {"trial": text}},
    "key of a fact that is counts": lambda text: {"facts": {"code_hosts": {text: 1}}},
    "value of a fact that is counts": lambda text: {"facts": {"code_hosts": {"github": text}}},
    "name of a feature": lambda text: {"features": {text: USE}},
    "field of a feature": lambda text: {"features": {"search": USE | {text: text}}},
    "users of a feature": lambda text: {"features": {"search": {"users": text, "events": 1}}},
    "plan": lambda text: {"plan": text},
    "agent": lambda text: {"agent": text},
    "day": lambda text: {"day": text},
    "format": lambda text: {"format": text},
    "active users": lambda text: {"active_users": {"day": text, text: 1}},
    "field": lambda text: {text: text},
}
for _place, _make in PLACES.items():

    def _plant(world: World, name: str, make: Callable[[str], dict[str, Any]] = _make) -> None:
        with Connection(world) as connection:
            forms = world.nest.some(name)
            for part in (part for form in forms for part in form.parts):
                encoding = world.next_encoding()
                headers = [("content-type", b"application/json"), ("content-encoding", encoding.encode())]
                body = ENCODERS[encoding](encode(ping(world, **make(part))))
                assert connection.ask("POST", "/v1/pings", headers, body) == 422

    door(f"ping: {_place}")(_plant)


@door("ping: what is not one")
def _no_ping(world: World, name: str) -> None:
    with Connection(world) as connection:
        for form in world.nest.few(name):
            headers = [("content-type", b"application/json")]
            for body in (form.text.encode(), encode(form.text), encode([form.text]), b"{" + encode(form.text) + b":"):
                assert connection.ask("POST", "/v1/pings", headers, body) in {400, 422}
            for kind in (form.text.encode("latin-1", "replace").replace(b"\n", b" "), b"text/plain"):
                status = connection.ask("POST", "/v1/pings", [("content-type", kind)], encode(ping(world)))
                assert status == 415


@door("ping: a key twice, and spaces")
def _twice(world: World, name: str) -> None:
    """Each is another ping of one day: the first is stored, as the gateway itself writes it, without the rest."""
    with Connection(world) as connection:
        for number, form in enumerate(world.nest.few(name)):
            text = encode(form.text[:40])
            body = b'{"plan":' + text + b',"agent":' + text + b"," + encode(ping(world))[1:]
            headers = [("content-type", b"application/json; a=" + text)]
            assert connection.ask("POST", "/v1/pings", headers, body) == (409 if number else 200)
    world.pings += 1
