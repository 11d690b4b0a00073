from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from heliograph.insights.critical import answer_critical
from heliograph.insights.scope import QuestionError
from told import open_as_pings, told

if TYPE_CHECKING:
    from pathlib import Path

    import ibis

    from asking import MakeEvents, MakeScope


@pytest.fixture
def pings(make_events: MakeEvents, tmp_path: Path) -> ibis.Table:
    features = {"search": (None, None), "navigation": (40, 90), "notebooks": (1_200, 9_000), "accounts": (0, 0)}
    facts = {"version": "5.3.1", "hosts": {"github": 2}, "managed": True}
    return open_as_pings(
        [
            told("2026-05-30", (50, 60, 70), instance="one", agreement=None),
            told("2026-05-31", (None, 1_300, 1_400), features, instance="one", agreement=None, facts=facts),
            told("2026-05-20", (5, 6, 7), instance="two", account="globex"),
        ],
        make_events([]),
        tmp_path / "pings.parquet",
    )


def test_the_latest_ping_of_each_instance_is_shown(pings: ibis.Table, make_scope: MakeScope) -> None:
    answer = answer_critical(pings, make_scope("2026-05-31", unit="instance", now="2026-06-01T12:00"))
    assert answer.table.to_pylist() == [
        {
            "account": "acme",
            "instance": "one",
            "level": "critical",
            "day": date(2026, 5, 31),
            "active_day": None,
            "active_week": 1_300,
            "active_month": 1_400,
            "top_features": "notebooks 1,200, navigation 40, search <5",
            "facts": "hosts.github 2, managed true, version 5.3.1",
        },
        {
            "account": "globex",
            "instance": "two",
            "level": "events",
            "day": date(2026, 5, 20),
            "active_day": 5,
            "active_week": 6,
            "active_month": 7,
            "top_features": "",
            "facts": "",
        },
    ]
    assert answer.notes == (
        "Where no number of users is given, there are 1 to 4: that is suppressed.",
        "No ping for more than 2 days: two.",
    )


def test_days_features_and_instances_can_be_chosen(pings: ibis.Table, make_scope: MakeScope) -> None:
    (row,) = answer_critical(pings, make_scope("2026-05-30", instances=("one",))).table.to_pylist()
    assert (row["day"], row["active_day"]) == (date(2026, 5, 30), 50)
    (row,) = answer_critical(pings, make_scope("2026-05-31", accounts=("acme",)), top=1).table.to_pylist()
    assert row["top_features"] == "notebooks 1,200"
    with pytest.raises(QuestionError, match="1 feature or more"):
        answer_critical(pings, make_scope("2026-05-31"), top=0)


def test_no_ping_is_said_in_words(pings: ibis.Table, make_scope: MakeScope) -> None:
    answer = answer_critical(pings, make_scope("2026-05-01"))
    assert answer.table.num_rows == 0
    assert answer.notes == ("There is no ping from 2026-05-01 or before.",)
