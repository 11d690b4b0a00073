"""A new event in the text of a plan: it loads, it is what was meant, and nothing else is another than before."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plan_changes
from heliograph.plan.files import PlanFile, read_files
from heliograph.plan.in_words import on_one_line
from heliograph.plan.load import PlanError, load_plan, parse_plan
from heliograph.plan.model import BooleanProperty, CountProperty, EventDefinition
from heliograph.plan.scaffold import NewEvent, new_plan, review, with_event

REPOSITORY = Path(__file__).resolve().parents[2]
PLANS = [REPOSITORY / "plans" / "code-intelligence.yaml", REPOSITORY / "examples" / "commit-history.yaml"]

texts = st.text(min_size=1, max_size=200) | st.sampled_from(
    ["yes", "A: b", "# no", "- x", "'", '"', "{a}", "[b]", "*c", "&d", "!e", "%f", "@g", "`h`", "null", "1.5", "?",
     "a #b", "2026-01-01", ">-", "|", "\\", "word " * 60, "=", "<<", "~"]
)  # fmt: skip
kinds = st.one_of(*plan_changes.KINDS.values())


@st.composite
def new_events(draw: Any, features: list[str]) -> NewEvent:
    """An event with texts of all sorts, on a feature that is there or a new one."""
    feature = draw(st.sampled_from([*features, "brand_new"]))
    described = st.builds(lambda kind, text: msgspec.structs.replace(kind, description=text), kinds, texts)
    event = EventDefinition(
        description=draw(texts),
        feature=feature,
        action=draw(texts),
        question=draw(texts),
        owner=draw(texts),
        added=date(2026, 10, 1),
        expires=draw(st.sampled_from(["never", date(2027, 10, 1)])),
        core=draw(st.booleans()),
        active=draw(st.booleans()),
        outcomes=draw(st.dictionaries(st.sampled_from(["ok", "no", "failed", "null"]), texts, min_size=1)),
        properties=draw(st.dictionaries(st.sampled_from(["alpha", "beta_ms", "on"]), described, max_size=2)),
    )
    return NewEvent("EventOfAllSorts", event, None if feature in features else draw(texts))


def as_read(event: EventDefinition) -> EventDefinition:
    """An event with its texts on one line each, as they are written."""
    flat: dict[str, Any] = {
        field: on_one_line(getattr(event, field)) for field in ("description", "action", "question", "owner")
    }
    flat["outcomes"] = {key: on_one_line(text) for key, text in event.outcomes.items()}
    flat["properties"] = {
        key: msgspec.structs.replace(kind, description=on_one_line(kind.description))
        for key, kind in event.properties.items()
    }
    return msgspec.structs.replace(event, **flat)


def simple(name: str, feature: str, feature_is: str | None = None, **fields: Any) -> NewEvent:
    fixed: dict[str, Any] = {"description": "It happened.", "action": "use", "question": "Who?", "owner": "a-team"}
    event = EventDefinition(feature=feature, added=date(2026, 10, 1), expires="never", **fixed, **fields)
    return NewEvent(name, event, feature_is)


SMALL = """\
# First words.
heliograph_plan: 1   # the format
version: 7   # raise it
name: small
description: It.
sources: [web]
features:
  one: The first.   # a remark
  two: >-
    The second
    of them.

# Between.
events:
    First:
        description: It happened.
        feature: one
        action: use
        question: Who?
        owner: a-team
        added: 2026-01-01
        expires: never   # for now

    # ------ two
    Second:
        feature: two
        action: use
        question: Who?
        owner: a-team
        added: 2026-01-01
        expires: never
        description: >-
            It happened,
            too.

# The end.
"""


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_written_loads_as_it_was_meant_or_is_refused(data: st.DataObject) -> None:
    file = PlanFile("small.yaml", SMALL.encode())
    before = parse_plan(file.content, file=file.name)
    new = data.draw(new_events(list(before.features)))
    (after,) = with_event([file], before, new)
    found = review([after], source=file.name)
    if found.problems:
        return
    assert found.plan is not None
    assert found.plan.events.pop(new.name) == as_read(new.event)
    features = dict(before.features)
    if new.feature_is is not None:
        features["brand_new"] = on_one_line(new.feature_is)
    assert found.plan.features == features
    unchanged = msgspec.structs.replace(
        found.plan, version=before.version, features=before.features, heliograph_plan=before.heliograph_plan
    )
    assert (found.plan.version, unchanged) == (before.version + 1, before)
    assert_kept(file, after, found.plan.heliograph_plan)


def assert_kept(before: PlanFile, after: PlanFile, plan_format: int) -> None:
    """Each line of before is still there, in order, but for the numbers that were raised."""
    raised = re.sub(rb"(?m)^version: (\d+)", lambda found: b"version: %d" % (int(found[1]) + 1), before.content)
    raised = re.sub(rb"(?m)^heliograph_plan: 1", b"heliograph_plan: %d" % plan_format, raised)
    lines = iter(after.content.splitlines())
    assert all(line in lines for line in raised.splitlines())


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_an_event_more_in_a_real_plan_leaves_all_the_rest_as_it_was(path: Path) -> None:
    files, before = read_files(path), load_plan(path)
    for feature, feature_is in ((next(iter(before.features)), None), ("brand_new", "It is new.")):
        (after,) = with_event(files, before, simple("EventOfAllSorts", feature, feature_is))
        assert parse_plan(after.content, file="after").events.keys() == {*before.events, "EventOfAllSorts"}
        assert_kept(files[0], after, before.heliograph_plan)


@settings(max_examples=40)
@given(data=st.data())
def test_a_plan_from_nothing_loads_as_it_was_meant_or_is_refused(data: st.DataObject) -> None:
    new = data.draw(new_events([]))
    content = new_plan(name="mine", description=data.draw(texts), sources=["web", "on"], new=new)
    found = review([PlanFile("mine.yaml", content)], source="mine.yaml")
    if not found.problems:
        assert found.plan is not None
        assert found.plan.events == {new.name: as_read(new.event)}
        assert (found.plan.label, found.plan.sources) == ("mine@1", ("web", "on"))


def inserted(new: NewEvent, text: str = SMALL) -> str:
    plan = parse_plan(text.encode(), file="small.yaml")
    (made,) = with_event([PlanFile("small.yaml", text.encode())], plan, new)
    assert parse_plan(made.content, file="small.yaml").events[new.name] == new.event
    return made.content.decode()


def test_an_event_stands_after_the_last_of_its_feature_with_the_comments_where_they_were() -> None:
    after = inserted(simple("Third", "one"))
    assert "version: 8   # raise it\n" in after
    assert "heliograph_plan: 1   # the format\n" in after
    begin = after.index("    Third:\n")
    assert after[:begin].endswith("expires: never   # for now\n\n")
    assert after[begin:].startswith("    Third:\n      description: It happened.\n      feature: one\n")
    assert after[begin:].partition("\n\n")[2].startswith("    # ------ two\n    Second:\n")


def test_what_follows_a_folded_text_stays_behind_it() -> None:
    after = inserted(simple("Third", "two"))
    assert "            too.\n\n    Third:\n" in after
    assert after.endswith("expires: never\n\n# The end.\n")


def test_a_new_feature_stands_after_the_last_one_and_its_event_at_the_end() -> None:
    after = inserted(simple("Third", "three", "The third."))
    assert "    of them.\n  three: The third.\n\n# Between.\n" in after
    assert after.index("Second:") < after.index("Third:") < after.index("# The end.")


def test_what_came_with_format_2_raises_the_format() -> None:
    count = CountProperty(description="It.", buckets=(0, 1))
    assert "heliograph_plan: 2   # the format\n" in inserted(simple("Third", "one", properties={"much": count}))
    flag = BooleanProperty(description="It.")
    assert "heliograph_plan: 1   # the format\n" in inserted(simple("Third", "one", properties={"such": flag}))


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_line_endings_and_a_last_line_without_one_are_kept(ending: str) -> None:
    text = SMALL.partition("\n# The end.")[0].rstrip("\n").replace("\n", ending)
    after = inserted(simple("Third", "two"), text)
    assert after.startswith(text.replace("version: 7", "version: 8"))
    assert after.count("\n") == after.count(ending)


def test_a_plan_of_several_files_gets_the_event_where_its_feature_is(tmp_path: Path) -> None:
    head, _, tail = SMALL.partition("\n    # ------ two\n")
    (tmp_path / "a.yaml").write_text(head + "\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("part_of: small\nevents:\n" + tail, encoding="utf-8")
    plan, files = load_plan(tmp_path), read_files(tmp_path)
    made = with_event(files, plan, simple("Third", "two"))
    assert "version: 8" in made[0].content.decode()
    assert "Third:" not in made[0].content.decode()
    assert "    Third:\n" in made[1].content.decode()
    found = review(made, source="a folder")
    assert found.plan is not None
    assert not found.problems
    assert found.plan.label == "small@8"


def test_what_stands_between_braces_is_refused_with_the_place() -> None:
    text = SMALL.partition("events:")[0] + (
        "events: {First: {description: It., feature: one, action: use, question: Who?, owner: a-team, "
        "added: 2026-01-01, expires: never}, Second: {description: It., feature: two, action: use, question: Who?, "
        "owner: a-team, added: 2026-01-01, expires: never}}\n"
    )
    with pytest.raises(PlanError, match=r"small.yaml:14:9: events: it is written between braces\. Write each entry"):
        inserted(simple("Third", "one"), text)
