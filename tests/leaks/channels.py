"""The channels that are left: a client that wants to can choose these values, and the vendor stores them.

What is planted here is found, in the lake as in the log: that shows that the search sees what reaches them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from heliograph.wire import NDJSON
from leaks.canaries import CIPHERED_ID, VERSION
from leaks.doors import channel
from leaks.line_doors import encode, event, send_lines
from leaks.ping_doors import ping
from leaks.request_doors import Connection

if TYPE_CHECKING:
    from leaks.world import World


@channel(
    "user_id",
    "128 bits an event. Our agent draws them from the system's generator; another client may send a cipher's output",
)
def _user_id(world: World, name: str) -> None:
    forms = world.nest.forms(name, [CIPHERED_ID])
    send_lines(world, [encode(event(0, user_id=form.text)) for form in forms], "accepted")


@channel("session_id", "as `user_id`")
def _session_id(world: World, name: str) -> None:
    forms = world.nest.forms(name, [CIPHERED_ID])
    send_lines(world, [encode(event(0, session_id=form.text)) for form in forms], "accepted")


@channel("time", "microseconds between 1970 and now: 51 bits an event")
def _time(world: World, name: str) -> None:
    forms = world.nest.numbers(name, "microseconds")
    send_lines(world, [encode(event(0) | {"time": form.moment}) for form in forms], "accepted")


@channel(
    "version",
    "four numbers of at most five digits, of which the scan refuses those that look like a card's or the like",
)
def _version(world: World, name: str) -> None:
    lines = [encode(event(n, version=form.text)) for n, form in enumerate(world.nest.numbers(name, VERSION), 1)]
    receipt = world.stores(b"\n".join(lines), NDJSON, events=len(lines))
    assert sum(receipt.accepted.values()) > len(lines) // 2


@channel("a number without `precision`", "52 bits an event; with `precision` no more than the plan's range has steps")
def _mantissa(world: World, name: str) -> None:
    forms = world.nest.numbers(name, "mantissa")
    send_lines(world, [encode(event(0, share_seen=form.share)) for form in forms], "accepted")


@channel("epoch", "63 bits a delivery, and at most 100,000 epochs an instance")
def _epoch(world: World, name: str) -> None:
    for form in world.nest.numbers(name, "integer"):
        response = world.deliver(encode(event(1)), NDJSON, events=1, epoch=form.number)
        assert response.status_code == 200


@channel("a ping's versions", "as `version`, two of them a day, and ten digits for the plan's version")
def _ping_versions(world: World, name: str) -> None:
    day = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    forms = world.nest.numbers(name, VERSION)
    with Connection(world) as connection:
        for fact, agent in zip(forms[::2], forms[1::2], strict=False):
            body = encode(ping(world, day=day, facts={"version": fact.text}, agent=agent.text))
            if connection.ask("POST", "/v1/pings", [("content-type", b"application/json")], body) == 200:
                break
    world.pings += 1
