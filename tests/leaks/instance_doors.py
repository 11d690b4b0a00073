"""Doors on the customer's instance: whatever a product records, and whatever its table holds, by way of the agent."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg.types.json import Jsonb

from heliograph.demo.processes import wait_until
from heliograph.instance.account import read_account
from heliograph.instance.ping_sender import last_day_over
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.settings import commented_file
from heliograph.wire import total_counts
from leaks.doors import door
from leaks.world import SECONDS
from product_database import ProductDatabase

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.demo.home import Customer
    from heliograph.instance.account import InstanceAccount
    from leaks.world import World

_RECORDED: Final[dict[str, Callable[[str], tuple[str, dict[str, Any]]]]] = {
    "event name": lambda text: (text, {}),
    "member": lambda text: ("SearchSubmitted", {"pattern_type": text}),
    "duration": lambda text: ("SearchSubmitted", {"took_ms": text}),
    "integer": lambda text: ("SearchSubmitted", {"filter_count": text}),
    "count": lambda text: ("SearchSubmitted", {"results": text}),
    "number": lambda text: ("SearchSubmitted", {"share_seen": text}),
    "boolean": lambda text: ("SearchSubmitted", {"limit_hit": text}),
    "a value of another type": lambda text: ("SearchSubmitted", {"pattern_type": [text], "limit_hit": {text: text}}),
    "outcome": lambda text: ("SearchSubmitted", {"outcome": text}),
    "source": lambda text: ("SearchSubmitted", {"source": text}),
    "actor": lambda text: ("SearchSubmitted", {"actor": text}),
}
"""Arguments of `record` that no event may have."""
_LEFT_BEHIND: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "name of a property": lambda text: {text: 1},
    "value of an undeclared property": lambda text: {"query": text},
    "user": lambda text: {"user": text},
    "visitor": lambda text: {"anonymous": text},
    "visitor who has signed in": lambda text: {"user": 42, "anonymous": text},
    "session": lambda text: {"session": text},
}
"""Arguments that stay on the instance, while their event leaves: undeclared properties, and the product's own ids."""


@door("instance: arguments of the recorder, the product's facts, every column of `event_logs`")
def _instance(world: World, name: str) -> None:
    """One agent sends what a product has recorded, and what its table holds."""
    product = ProductDatabase(world.cluster, "leaks")
    product.make()
    try:
        accepted, refused = map(sum, zip(_record(world, "record"), _insert(world, "event_logs", product), strict=True))
        section = product.settings(linger_seconds=0.05, pause_seconds=0.05)
        settings = msgspec.structs.replace(world.product.settings, event_logs=section)
        world.product.settings_file.write_text(commented_file(settings))
        account = run_agent(world, world.product)
    finally:
        product.drop()
    assert sum(account.delivered.values()) == accepted
    assert total_counts(account.dropped) == refused
    world.pings += 1


def _record(world: World, name: str) -> tuple[int, int]:
    """Record canaries; return how many events may leave, and how many may not."""
    recorder = Recorder(world.product.settings.recorder, version="6.1.0", source="web")
    refused = accepted = 0
    for place, make in _RECORDED.items():
        for form in world.nest.some(f"{name}: {place}"):
            for part in form.parts:
                event, arguments = make(part)
                recorder.record(event, **arguments)
                refused += 1
    for place, own in _LEFT_BEHIND.items():
        for form in world.nest.some(f"{name}: {place}"):
            for part in form.parts:
                accepted += recorder.record("SearchSubmitted", pattern_type="regexp", **own(part))
    for form in world.nest.numbers(f"{name}: a number out of range", "integer"):
        for property_name in ("took_ms", "filter_count", "share_seen"):
            numbers: dict[str, Any] = {property_name: form.number}
            recorder.record("SearchSubmitted", **numbers)
            refused += 1
    _report_facts(world, name, recorder)
    recorder.close()
    for form in world.nest.few(f"{name}: version of the product"):
        versioned = Recorder(world.product.settings.recorder, version=form.text)
        versioned.record("SearchSubmitted")
        versioned.close()
        refused += 1
    told = last_day_over(datetime.now(UTC))
    state = State(Path(world.product.settings.agent.state))
    state.pings.begin(told)  # as an agent that has run since then: no test waits for a day to be over
    state.close()
    return accepted, refused


def _report_facts(world: World, name: str, recorder: Recorder) -> None:
    facts: dict[str, Callable[[str], dict[str, Any]]] = {
        "name of a fact": lambda text: {text: 1},
        "undeclared fact": lambda text: {"note": text},
        "version": lambda text: {"version": text},
        "member": lambda text: {"deployment": text},
        "key of counts": lambda text: {"code_hosts": {text: 1}},
    }
    for place, make in facts.items():
        for form in world.nest.few(f"{name}: facts: {place}"):
            recorder.report_facts(**make(form.text))


def run_agent(world: World, customer: Customer) -> InstanceAccount:
    """Let an agent send all that there is, and return its account, which closes."""
    agent = world.agents.start(
        customer.instance, "heliograph.cli", "--config", str(customer.settings_file), "agent", "run", "--until-drained"
    )
    wait_until(lambda: agent.status() is not None, seconds=SECONDS, what="the agent", check=[world.gateway])
    assert agent.status() == 0, agent.tail()
    with closing(State(Path(customer.settings.agent.state), exclusive=False)) as state:
        account = read_account(state, Path(customer.settings.recorder.outbox), world.plan)
    assert account.closes()
    world.accepted[customer.instance] += sum(account.delivered.values())
    return account


_COLUMNS: Final = (
    "url",
    "insert_id",
    "first_source_url",
    "last_source_url",
    "referrer",
    "device_id",
    "billing_product_category",
    "billing_event_id",
    "client",
    "anonymous_user_id",
    "version",
)
"""Text columns that may hold anything: they are not read, or their value is replaced or left out."""
_JSON_COLUMNS: Final = ("argument", "feature_flags")
_TABLE_DISGUISES: Final = ("plain", "zero width")


def _insert(world: World, name: str, product: ProductDatabase) -> tuple[int, int]:
    """Insert rows with canaries; return how many make an event that may leave, and how many do not."""
    rows, refused = _rows(world, name)
    with product.connect().cursor() as cursor:
        for row in rows:
            columns = ", ".join(row)
            values = ", ".join(["%s"] * len(row))
            cursor.execute(f"insert into event_logs ({columns}, timestamp) values ({values}, now())", [*row.values()])
    return len(rows) - refused, refused


def _rows(world: World, name: str) -> tuple[list[dict[str, Any]], int]:
    """Return rows that hold canaries in every column, and how many of them make no event that may be sent."""
    columns = {
        column: [part for form in world.nest.forms(f"{name}: {column}", _TABLE_DISGUISES) for part in form.parts]
        for column in (*_COLUMNS, *_JSON_COLUMNS)
    }
    rows = []
    for number in range(len(columns["url"])):
        row: dict[str, Any] = {column: columns[column][number] for column in _COLUMNS}
        row |= {column: Jsonb({columns[column][number]: columns[column][number]}) for column in _JSON_COLUMNS}
        rows.append(row | {"name": "SearchSubmitted", "source": "web"})
    arguments: dict[str, Callable[[str], Any]] = {
        "key of public_argument": lambda text: {text: text},
        "value of public_argument": lambda text: {"query": [text, {text: text}]},
        "public_argument": lambda text: text,
    }
    for place, make in arguments.items():
        for form in world.nest.forms(f"{name}: {place}", _TABLE_DISGUISES):
            argument = Jsonb(make(form.text))
            rows.append({"name": "SearchSubmitted", "source": "web", "public_argument": argument})
    refused = 0
    wrong: dict[str, Callable[[str], dict[str, Any]]] = {
        "name": lambda text: {"name": text},
        "source": lambda text: {"source": text},
        "member": lambda text: {"public_argument": Jsonb({"pattern_type": text})},
        "integer": lambda text: {"public_argument": Jsonb({"filter_count": text})},
        "number": lambda text: {"public_argument": Jsonb({"share_seen": [text]})},
    }
    for place, make in wrong.items():
        for form in world.nest.forms(f"{name}: {place}", _TABLE_DISGUISES):
            rows.append({"name": "SearchSubmitted", "source": "web", **make(form.text)})
            refused += 1
    return rows, refused
