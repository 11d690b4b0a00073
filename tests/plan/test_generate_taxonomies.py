"""What Amplitude and Looker are given: read back with a CSV reader, a LookML parser, and a database."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import duckdb
import lkml
import pytest
from hypothesis import given

from generating import ANY_PLAN, EVERYTHING, SHIPPED, made, plans
from heliograph.lake.tables import event_schema
from heliograph.plan.generate.amplitude import COLUMNS, amplitude
from heliograph.plan.generate.lookml import lookml
from heliograph.plan.generate.words import one_line
from heliograph.plan.model import BooleanProperty, MemberProperty, Plan

BOTH = pytest.mark.parametrize("plan", [EVERYTHING, SHIPPED], ids=lambda plan: plan.label)
FORMULA = ("=", "+", "-", "@", "\t")


def rows_of(plan: Plan) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(made(amplitude, plan)), strict=True)
    rows = list(reader)
    assert reader.fieldnames == list(COLUMNS)
    return rows


def view_of(text: str) -> dict[str, Any]:
    (view,) = lkml.load(text)["views"]
    assert isinstance(view, dict)
    return view


def unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def check_amplitude(plan: Plan) -> None:
    rows = rows_of(plan)
    assert not [
        cell
        for row in rows
        for cell in row.values()
        if cell.startswith(FORMULA) and not cell.lstrip("-").replace(".", "").isdigit()
    ]
    events = [row for row in rows if row["Object Type"] == "Event"]
    assert [row["Object Name"] for row in events] == [*plan.events, *plan.retired]
    held: dict[str, list[str]] = {}
    for row in rows:
        if row["Object Type"]:
            held[row["Object Name"]] = []
        else:
            held[list(held)[-1]].append(row["Event Property Name"])
    for name, event in plan.events.items():
        assert held[name] == ["outcome", *event.properties]
    for row, event in zip(events, plan.events.values(), strict=False):
        assert one_line(event.description) in row["Object Description"]
        assert row["Event Activity"] == ("Active" if event.active else "Inactive")
        assert row["Event Category"] == event.feature


def check_lookml(plan: Plan) -> None:
    text = made(lookml, plan)
    dumped = lkml.dump(lkml.load(text))
    assert dumped is not None
    assert lkml.load(dumped) == lkml.load(text)
    view = view_of(text)
    frames = [f"{group['name']}_{frame}" for group in view["dimension_groups"] for frame in group["timeframes"]]
    names = [each["name"] for kind in ("dimensions", "dimension_groups", "measures") for each in view[kind]] + frames
    assert len(set(names)) == len(names)
    dimensions = {each["name"]: each for each in view["dimensions"]}
    for key, kind in plan.property_kinds().items():
        assert dimensions[key]["sql"] == f"${{TABLE}}.{key}"
        assert dimensions[key]["type"] == {BooleanProperty: "yesno", MemberProperty: "string"}.get(kind, "number")
    said = [unquoted(each["description"]) for each in (*view["dimensions"], *view["measures"])]
    assert not [each for each in said if re.search(r"\{\{|\{%|@\{|\$\{", each)]
    for name, event in plan.events.items():
        (measure,) = [
            each
            for each in view["measures"]
            if each["label"] == name and each["type"] == "count" and "group_label" in each
        ]
        filters = {key: value for each in measure["filters__all"][0] for key, value in each.items()}
        assert filters["name"].split(",") == [name, *event.renamed_from]
        assert "yes" in filters.values()


@BOTH
def test_amplitude_is_told_each_event_with_its_properties_below_it(plan: Plan) -> None:
    check_amplitude(plan)


@given(plan=plans())
@ANY_PLAN
def test_whatever_the_plan_the_taxonomy_is_read_back_and_no_cell_is_a_formula(plan: Plan) -> None:
    check_amplitude(plan)


def test_amplitude_is_told_types_and_bounds_as_it_names_them() -> None:
    rows = {row["Event Property Name"]: row for row in rows_of(EVERYTHING)}
    wanted = (
        "Property Value Type",
        "Enum Values",
        "Number Property Value Min",
        "Number Property Value Max",
        "Number Is Integer",
    )
    assert {key: tuple(row[column] for column in wanted) for key, row in rows.items() if key} == {
        "outcome": ("enum", "ok", "", "", ""),
        "pattern_type": ("enum", "literal,regexp,structural", "", "", ""),
        "language": ("enum", "en,fr", "", "", ""),
        "result_count": ("number", "", "-10", "100000", "True"),
        "share": ("number", "", "0.0", "1.0", "False"),
        "ratio": ("number", "", "-0.5", "1000.0", "False"),
        "duration_ms": ("number", "", "0", "600000", "True"),
        "filter_count": ("number", "", "0", "100", "True"),
        "case_sensitive": ("boolean", "", "", "", ""),
        "class": ("enum", "import,default", "", "", ""),
        "lambda": ("number", "", "0", "10", "True"),
        "str": ("boolean", "", "", "", ""),
        "constructor": ("boolean", "", "", "", ""),
    }


@BOTH
def test_looker_is_told_each_property_and_each_event(plan: Plan) -> None:
    check_lookml(plan)


@given(plan=plans())
@ANY_PLAN
def test_whatever_the_plan_the_view_is_read_back_and_nothing_in_it_has_a_name_twice(plan: Plan) -> None:
    check_lookml(plan)


@BOTH
def test_every_expression_of_the_view_can_be_asked_of_the_lakes_table(plan: Plan) -> None:
    view = view_of(lookml(plan))
    table = event_schema(plan).empty_table()
    with duckdb.connect() as database:
        database.register("events", table)
        for field in (*view["dimensions"], *view["dimension_groups"], *view["measures"]):
            if "sql" in field:
                database.execute(f"SELECT {field['sql'].replace('${TABLE}', 'e')} FROM events AS e").fetchall()


def test_texts_come_back_from_the_view_as_they_were_but_for_what_looker_would_run() -> None:
    text = lookml(EVERYTHING)
    measures = {each["name"]: each for each in view_of(text)["measures"]}
    said = unquoted(measures["search_submitted_twice_count"]["description"])
    assert said.startswith(
        '"""Submitted""" twice: */ ends a comment in C:\\new, --> and ]]> in XML, </script> in HTML, ;; in LookML, '
        "{ { liquid }} and @ {constant}; `ticks`"
    )
