"""A small plan with facts and with an event that makes nobody active, and a history of events by it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from harness import SMALL_PLAN, definition
from heliograph.plan.model import BooleanProperty, CountsFact, IntegerProperty, MemberProperty, VersionFact

PLAN = replace(
    SMALL_PLAN,
    features={**SMALL_PLAN.features, "account": "Signing in."},
    events={**SMALL_PLAN.events, "SignedIn": definition("account", active=False), "FileViewed": definition("pages")},
    facts={
        "version": VersionFact(description="The version."),
        "seats": IntegerProperty(description="Seats.", maximum=1_000),
        "deployment": MemberProperty(description="Who runs it.", members=("managed", "on_premises")),
        "trial": BooleanProperty(description="Whether it is one."),
        "code_hosts": CountsFact(description="By kind.", members=("github", "gitlab"), maximum=50),
    },
)
DAY = date(2026, 11, 1)


def at(day: date, seconds: int = 0) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(seconds=seconds)


def line(name: str, user: str | None, time: datetime, **fields: Any) -> bytes:
    """An event as the outbox has it."""
    event = {"name": name, "sequence": 1, "time": time, "user": user, **fields}
    return msgspec.json.encode({key: value for key, value in event.items() if value is not None})
