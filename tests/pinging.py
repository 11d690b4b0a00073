"""Pings for tests: one of the small plan, and how it is sent."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness import SMALL_PLAN
from heliograph.ping import Ping

if TYPE_CHECKING:
    import httpx

DAY: Final = date(2026, 10, 1)
JSON: Final = "application/json"


def ping_fields(day: date = DAY, **fields: Any) -> dict[str, Any]:
    """One ping in wire form."""
    given: dict[str, Any] = {
        "format": 1,
        "day": day.isoformat(),
        "plan": SMALL_PLAN.label,
        "agent": "0.1.0",
        "facts": {},
        "active_users": {"day": 12, "week": 30, "month": 31},
        "features": {"search": {"users": 11, "events": 240}, "pages": {"users": None, "events": None}},
    }
    return given | fields


def make_ping(day: date = DAY, **fields: Any) -> Ping:
    return msgspec.convert(ping_fields(day, **fields), Ping)


def tell(
    http: httpx.Client, body: Any, *, encoding: str = "", content_type: str = "application/json"
) -> httpx.Response:
    """Send a ping: bytes as they are, anything else as JSON."""
    headers = {"content-type": content_type, **({"content-encoding": encoding} if encoding else {})}
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return http.post("/v1/pings", headers=headers, content=content)
