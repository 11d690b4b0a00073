"""Pings and the instance's own use, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from heliograph.ping import SMALLEST_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from heliograph.instance.facts import SaidFact
    from heliograph.instance.ping import UseCount
    from heliograph.instance.ping_table import KeptPing
    from heliograph.ping import Ping
    from heliograph.plan.model import Plan
    from heliograph.plan.ping_page import FieldRow

_SMALL = f"suppressed: about fewer than {SMALLEST_GROUP} users"


def ping_table(ping: Ping, use: UseCount, said: Mapping[str, SaidFact], plan: Plan) -> Table:
    """Return a table of each field of a ping beside what was counted, and why it does not leave as it is."""
    table = Table(title=f"The ping of {ping.day}", title_justify="left")
    table.add_column("field")
    table.add_column("counted here", justify="right")
    table.add_column("leaves as", justify="right")
    table.add_column("why")
    for name in ("format", "plan", "agent"):
        table.add_row(name, "", str(getattr(ping, name)), "")
    for name, fact in said.items():
        _add_fact(table, name, fact, ping, plan)
    for name in plan.facts.keys() - said.keys():
        table.add_row(f"facts.{name}", "", "", "left out: the product has not said it")
    for name in ("day", "week", "month"):
        _add_number(table, f"active_users.{name}", getattr(use, name), getattr(ping.active_users, name))
    for feature, count in use.features.items():
        leaving = ping.features[feature]
        _add_number(table, f"features.{feature}.users", count.users, leaving.users)
        _add_number(table, f"features.{feature}.events", count.events, leaving.events)
    return table


def _add_fact(table: Table, name: str, fact: SaidFact, ping: Ping, plan: Plan) -> None:
    value = Text(_plainly(fact.value))
    if name in ping.facts:
        table.add_row(f"facts.{name}", value, value, f"said {fact.time:%Y-%m-%d %H:%M} UTC")
    else:
        why = "not as the plan declares it" if name in plan.facts else "the plan does not declare it"
        table.add_row(f"facts.{name}", value, "", f"left out: {why}")


def _plainly(value: object) -> str:
    return ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)


def _add_number(table: Table, path: str, counted: int, leaving: int | None) -> None:
    table.add_row(
        path, f"{counted:,}", "null" if leaving is None else f"{leaving:,}", _SMALL if leaving is None else ""
    )


def fields_table(rows: Iterable[FieldRow]) -> Table:
    """Return a table of every field that a ping can have."""
    table = Table(title="Every field of a ping", title_justify="left")
    for heading in ("field", "meaning", "type", "unit", "source", "suppression"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    return table


def sent_table(kept: Iterable[KeptPing]) -> Table:
    """Return a table of the pings that were sent, or wait to be."""
    table = Table(title="Pings", title_justify="left")
    for heading in ("day", "bytes", "made", "answer"):
        table.add_column(heading, justify="right" if heading == "bytes" else "left")
    for ping in kept:
        table.add_row(str(ping.day), f"{len(ping.body):,}", f"{ping.made:%Y-%m-%d %H:%M} UTC", _answer(ping))
    return table


def _answer(ping: KeptPing) -> str:
    if not ping.settled:
        return "none yet: it is sent again"
    if ping.refused is not None:
        return f"refused for good: {ping.refused}"
    return "held already" if ping.receipt is None else f"receipt; SHA-256 {ping.receipt.digest[:16]}…"


def usage_table(use: UseCount, day: date) -> Table:
    """Return a table of the instance's own use, in full."""
    table = Table(
        title=f"Use of this instance on {day}",
        title_justify="left",
        caption="It stays on the instance: what leaves of it is in `heliograph agent ping`.",
    )
    table.add_column("")
    table.add_column("users", justify="right")
    table.add_column("events", justify="right")
    for name, users in (("the day", use.day), ("7 days", use.week), ("28 days", use.month)):
        table.add_row(f"active: {name}", f"{users:,}", "")
    table.add_section()
    for feature, count in use.features.items():
        table.add_row(feature, f"{count.users:,}", f"{count.events:,}")
    return table
