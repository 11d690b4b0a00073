from __future__ import annotations

import json
from datetime import date

import pyarrow as pa
from rich.console import Console

from heliograph.insights.answer import Answer

ANSWER = Answer(
    question="How many?",
    definition="Counted.",
    table=pa.table(
        {
            "account": ["[bold]acme", None],
            "day": [date(2026, 1, 1), date(2026, 1, 2)],
            "active_users": [12345, None],
            "share": [0.25, None],
            "complete": [True, False],
        }
    ),
    parameters={"until": "2026-01-02", "steps": {"features": 1}},
    notes=("too thin: 3 users; at least 5 are needed",),
)


def shown(answer: Answer, *, most: int | None = None) -> str:
    console = Console(width=100, record=True, file=None, quiet=True)
    console.quiet = False
    with console.capture() as captured:
        console.print(answer.as_rich(most=most))
    return captured.get()


def test_json_holds_the_whole_answer() -> None:
    read = json.loads(ANSWER.as_json())
    assert read["question"] == "How many?"
    assert read["parameters"]["steps"] == {"features": 1}
    assert read["notes"] == ["too thin: 3 users; at least 5 are needed"]
    assert read["rows"][0]["day"] == "2026-01-01"
    assert read["rows"][1]["active_users"] is None


def test_csv_holds_the_table_alone() -> None:
    assert ANSWER.as_csv().splitlines() == [
        '"account","day","active_users","share","complete"',
        '"[bold]acme",2026-01-01,12345,0.25,true',
        ",2026-01-02,,,false",
    ]


def test_a_terminal_shows_figures_for_people_and_names_as_they_are() -> None:
    text = shown(ANSWER)
    assert "How many?" in text
    assert "active users" in text
    assert ["[bold]acme", "2026-01-01", "12,345", "0.250", "yes"] in [line.split() for line in text.splitlines()]
    assert ["-", "2026-01-02", "-", "-", "no"] in [line.split() for line in text.splitlines()]
    assert "too thin: 3 users; at least 5 are needed" in text


def test_a_terminal_says_how_many_rows_it_left_out() -> None:
    text = shown(ANSWER, most=1)
    assert "2026-01-02" not in text
    assert "… and 1 more" in text
    assert "more" not in shown(ANSWER, most=2)


def test_an_empty_table_is_not_drawn() -> None:
    assert "account" not in shown(
        Answer(question="How many?", definition="", table=ANSWER.table.slice(2), parameters={})
    )
