"""What does the latest ping of each instance say? Of an account at level critical, it is all that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from heliograph.insights.answer import Answer, scope_parameters
from heliograph.insights.filters import chosen
from heliograph.insights.scope import QuestionError, number_of
from heliograph.lake.tables import ACTIVE_USERS, FACT, FEATURE_USERS
from heliograph.ping import SMALLEST_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis

    from heliograph.insights.scope import Scope

STALE_DAYS: Final = 2
"""A ping tells about yesterday; one from longer ago means that something stands still."""
_SCHEMA: Final = pa.schema(
    [
        ("account", pa.string()),
        ("instance", pa.string()),
        ("level", pa.string()),
        ("day", pa.date32()),
        ("active_day", pa.int64()),
        ("active_week", pa.int64()),
        ("active_month", pa.int64()),
        ("top_features", pa.string()),
        ("facts", pa.string()),
    ]
)


def latest_pings(pings: ibis.Table, scope: Scope) -> ibis.Table:
    """Return all rows of the latest ping of each instance, up to the scope's last day."""
    numbered = chosen(pings, scope).mutate(number=pings.day.epoch_days().cast("int64"))
    numbered = numbered.filter(numbered.number <= number_of(scope.until))
    latest = numbered.group_by("instance").agg(number=numbered.number.max())
    return numbered.join(latest, ["instance", "number"])


def answer_critical(pings: ibis.Table, scope: Scope, *, top: int = 3) -> Answer:
    """Answer what the latest ping of each instance says: users, most used features, and the product's facts.

    Raises:
        QuestionError: `top` is less than 1.
    """
    if top < 1:
        raise QuestionError([f"Show 1 feature or more, not {top}."])
    by_instance: dict[str, list[dict[str, Any]]] = {}
    for row in latest_pings(pings, scope).to_pyarrow().to_pylist():
        by_instance.setdefault(row["instance"], []).append(row)
    rows = sorted(
        (_line(each, top) for each in by_instance.values()), key=lambda row: (row["account"], row["instance"])
    )
    return Answer(
        question="What does the latest ping of each instance say?",
        definition=(
            "Users active on the day, in the 7 and in the 28 days that end with it; the features with most users on "
            "the day; what the product says of itself. The level is that of the moment when the ping came."
        ),
        table=pa.Table.from_pylist(rows, _SCHEMA),
        parameters=scope_parameters(scope, top=top, smallest_group=SMALLEST_GROUP),
        notes=tuple(_notes(rows, scope)),
    )


def _line(rows: list[dict[str, Any]], top: int) -> dict[str, Any]:
    """Return one ping as a row of the answer."""
    first = rows[0]
    users = {row["key"]: row["value"] for row in rows if row["measure"] == ACTIVE_USERS}
    features = [(row["value"], row["key"]) for row in rows if row["measure"] == FEATURE_USERS]
    # Suppressed ones come after those that are told, and nobody's last.
    features.sort(key=lambda each: (-(1 if each[0] is None else each[0]), each[1]))
    facts = sorted((row["key"], row["word"] or row["value"]) for row in rows if row["measure"] == FACT)
    return {
        "account": first["account"],
        "instance": first["instance"],
        "level": "critical" if first["agreement"] is None else "events",
        "day": first["day"],
        **{f"active_{period}": value for period, value in users.items()},
        "top_features": ", ".join(f"{feature} {_shown(value)}" for value, feature in features[:top]),
        "facts": ", ".join(f"{key} {value}" for key, value in facts),
    }


def _shown(users: int | None) -> str:
    return f"<{SMALLEST_GROUP}" if users is None else f"{users:,}"


def _notes(rows: list[dict[str, Any]], scope: Scope) -> Iterator[str]:
    if not rows:
        yield f"There is no ping from {scope.until} or before."
        return
    periods = ("active_day", "active_week", "active_month")
    if any(row[period] is None for row in rows for period in periods):
        yield f"Where no number of users is given, there are 1 to {SMALLEST_GROUP - 1}: that is suppressed."
    stale = [row["instance"] for row in rows if (scope.today - row["day"]).days > STALE_DAYS]
    if stale:
        yield f"No ping for more than {STALE_DAYS} days: {', '.join(stale)}."
