from __future__ import annotations

from datetime import date
from io import StringIO

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from heliograph.cli import charts

NAMES = st.text("abcdefghij_", min_size=1, max_size=30)
STEPS = st.lists(
    st.fixed_dictionaries(
        {"account": st.sampled_from(["acme", "globex"]), "name": NAMES, "users": st.integers(0, 10**7)},
        optional={},
    ),
    max_size=12,
)


def drawn(chart: charts.Chart, table: pa.Table, width: int) -> list[str]:
    console = Console(width=width, no_color=True, file=StringIO(), force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(chart(table, width))
    return captured.get().splitlines()


@given(STEPS, st.integers(40, 200))
def test_bars_fit_the_width_and_the_longest_is_of_the_most(rows: list[dict[str, object]], width: int) -> None:
    schema = pa.schema([("account", pa.string()), ("name", pa.string()), ("users", pa.int64())])
    lines = drawn(charts.bars("name", "users"), pa.Table.from_pylist(rows, schema), width)
    assert all(len(line.rstrip()) <= width for line in lines)
    for account in {row["account"] for row in rows}:
        own = [row for row in rows if row["account"] == account]
        most = max(int(str(row["users"])) for row in own)
        assert any(line.endswith(f"{most:,}") for line in lines) or width < 60


def test_bars_are_as_long_as_their_numbers() -> None:
    table = pa.table({"account": ["acme"] * 3, "step": [1, 2, 3], "users": [80, 40, 0], "share": [1.0, 0.5, None]})
    lines = drawn(charts.bars("step", "users", notes=["share"]), table, 60)
    assert lines[0] == "acme"
    lengths = [line.count("█") for line in lines[1:4]]
    assert lengths[0] > 20
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=1)
    assert lengths[2] == 0
    assert [line.split()[-2:] for line in lines[1:4]] == [["80", "100.0%"], ["40", "50.0%"], ["0", "-"]]


def test_a_heat_map_darkens_with_the_share_and_marks_what_is_not_final() -> None:
    rows = [
        {"account": "acme", "cohort": date(2026, 3, 2), "from_day": day, "users": 20, "share": share, "complete": whole}
        for day, share, whole in ((1, 0.9, True), (7, 0.05, True), (28, None, False), (14, 0.5, False))
    ]
    chart = charts.heat_map("cohort", "from_day", "share", size="users", complete="complete")
    lines = drawn(chart, pa.Table.from_pylist(rows), 80)
    assert lines[1].split() == ["cohort", "users", "day", "1", "day", "7", "day", "28", "day", "14"]
    assert lines[2].split() == ["2026-03-02", "20", "█", "90%", "5%", "-", "▒~", "50%"]


def test_lines_have_a_letter_each_and_fit_the_width() -> None:
    days = [date(2026, 3, day) for day in range(1, 29)]
    table = pa.table({"account": ["acme"] * 28, "day": days, "daily": range(28), "monthly": [40] * 28})
    lines = drawn(charts.lines("day", {"daily": "d", "monthly": "m"}), table, 70)
    assert all(len(line) <= 70 for line in lines)
    assert sum(line.count("m") for line in lines) > 20
    assert sum(line.count("d") for line in lines) > 20
    assert "2026-03-01" in " ".join(lines)
    assert "d: daily   m: monthly" in " ".join(lines)


@pytest.mark.parametrize("units", [3, 4])
def test_the_first_units_have_a_chart_and_the_rest_is_told(units: int) -> None:
    names = [f"account-{number}" for number in range(units)]
    lines = drawn(charts.bars("k", "users"), pa.table({"account": names, "k": [1] * units, "users": [1] * units}), 80)
    assert [line for line in lines if line.startswith("account-")] == names[:3]
    assert ("--plain shows all 4" in " ".join(lines)) == (units == 4)
