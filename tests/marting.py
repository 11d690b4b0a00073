"""What the marts have to be: the same, added up, as their definitions over all events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from heliograph.engines import EmbeddedEngine
from heliograph.insights.scope import Scope
from heliograph.insights.sessions import multi_feature_sessions
from heliograph.insights.tables import Tables, defined_tables, kept_tables
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.marts.tables import MARTS, SESSION_PARTS, SESSION_SPANS, Mart

if TYPE_CHECKING:
    import pyarrow as pa

    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings


def opened(settings: LakeSettings, plan: Plan, *, kept: bool) -> Tables:
    stored = read_lake(settings, plan)
    tables = EmbeddedEngine().open(stored)
    if kept:
        assert {mart.name for mart in MARTS} < tables.keys(), "the marts are not whole"
        return kept_tables(tables, plan)
    return defined_tables(tables["events"], plan)


def added_up(rows: pa.Table, mart: Mart) -> Counter[tuple[Any, ...]]:
    """Return what the counts and sets of each key are together; of the parts of sessions see `sessions`."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows.to_pylist():
        key = tuple(row[name] for name in mart.keys)
        for name in mart.sums or [""]:
            found[(*key, name)] += row[name] if name else 1
        for name in mart.unions:
            found[(*key, name)] |= row[name]
    return found


def sessions(parts: pa.Table, gap: int) -> Counter[Any]:
    """Return the sessions of each user: begin, end, events of each name, version and source, or the features."""
    by_user: dict[Any, list[dict[str, Any]]] = {}
    for row in parts.to_pylist():
        by_user.setdefault((row["account"], row["instance"], row["user_id"]), []).append(row)
    found: Counter[Any] = Counter()
    for user, rows in by_user.items():
        rows.sort(key=lambda row: row["begun"])
        begun, ended, counts = rows[0]["begun"], rows[0]["ended"], Counter[Any]()
        for row in rows:
            if row["begun"] > ended + timedelta(minutes=gap):
                found[user, begun, ended, frozenset(counts.items())] += 1
                begun, counts = row["begun"], Counter[Any]()
            ended = max(ended, row["ended"])
            if "features" in row:
                counts[row["page"], "events"] += row["events"]
                counts[row["page"], "features"] |= row["features"]
            else:
                counts[row["name"], row["version"], row["source"]] += row["events"]
        found[user, begun, ended, frozenset(counts.items())] += 1
    return found


def assert_kept_is_defined(settings: LakeSettings, plan: Plan) -> None:
    """Hold the marts that the loader keeps against their definitions over all events."""
    kept, defined = opened(settings, plan, kept=True), opened(settings, plan, kept=False)
    for mart in MARTS:
        ours, theirs = (getattr(tables, mart.name).to_pyarrow() for tables in (kept, defined))
        assert ours.schema.names == theirs.schema.names == mart.schema.names
        if mart in {SESSION_PARTS, SESSION_SPANS}:
            for gap in (30, 44, 60):
                assert sessions(ours, gap) == sessions(theirs, gap), gap
        else:
            assert added_up(ours, mart) == added_up(theirs, mart), mart.name
    always = Scope(
        since=date(2000, 1, 1), until=date(2100, 1, 1), now=datetime(2026, 1, 1, tzinfo=UTC), unit="instance"
    )
    # The one metric that looks at which files the rows of a mart are in.
    assert kept.filed_spans is not None
    answers = [multi_feature_sessions(tables, plan, always).to_pyarrow().to_pylist() for tables in (kept, defined)]
    assert answers[0] == answers[1]
