"""A plan may be one file or a folder of files: what is loaded is the same, and what is wrong is told with its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.plan.files import MAXIMUM_FILES, PlanFile
from heliograph.plan.load import PlanError, load_plan, parse_plan, plan_files, review_files
from heliograph.plan.reading import SHARED

HEAD = """\
heliograph_plan: 2
name: small
version: 3
description: A small plan.
sources: [web, backend]
features:
  search: Searching.
searches:
  event: SearchSubmitted
  by: pattern_type
"""
SEARCH = """\
part_of: small
events:
  SearchSubmitted:
    description: A search.
    feature: search
    action: search
    question: How many?
    owner: search
    added: 2026-10-01
    expires: never
    properties:
      pattern_type:
        description: How it was understood.
        type: member
        members: [literal, regexp]
"""
READING = """\
part_of: small
features:
  reading: Reading.
events:
  FileViewed:
    description: A file.
    feature: reading
    action: read
    question: How often?
    owner: reading
    added: 2026-10-01
    expires: 2027-06-30
facts:
  release:
    description: The version.
    type: version
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"main.yaml": HEAD, "search.yaml": SEARCH, "reading.yml": READING}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(PlanError) as caught:
        load_plan(folder)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_folder_is_one_plan(folder: Path) -> None:
    (folder / ".#main.yaml").write_text("an editor's lock", encoding="utf-8")
    (folder / "notes.txt").write_text("not a plan", encoding="utf-8")
    (folder / "old.yaml").mkdir()
    assert [file.name for file in plan_files(folder)] == ["main.yaml", "reading.yml", "search.yaml"]
    plan = load_plan(folder)
    assert plan.label == "small@3"
    assert set(plan.events) == {"SearchSubmitted", "FileViewed"}
    assert set(plan.features) == {"search", "reading"}
    assert set(plan.facts) == {"release"}


def test_a_file_is_the_only_file_of_its_plan(folder: Path) -> None:
    assert plan_files(folder / "main.yaml") == [folder / "main.yaml"]
    assert plan_files("not/there.yaml") == [Path("not/there.yaml")]


def test_what_stands_in_two_files_is_named_with_both_places(folder: Path) -> None:
    text = READING.replace("FileViewed", "SearchSubmitted").replace("reading: Reading.", "search: Again.")
    (folder / "reading.yml").write_text(text, encoding="utf-8")
    assert [line for line in problems_of(folder) if "twice" in line] == [
        "reading.yml:3:3: features.search: `search` stands twice, first in main.yaml, line 7. Keep one of the two.",
        (
            "search.yaml:3:3: events.SearchSubmitted: `SearchSubmitted` stands twice, first in reading.yml, line 5. "
            "Keep one of the two."
        ),
    ]


def test_a_contradiction_between_two_files_is_told_with_both(folder: Path) -> None:
    change(folder / "reading.yml", "  FileViewed:", "  searchSubmitted:")
    assert problems_of(folder) == [
        (
            "search.yaml:3:3: events.SearchSubmitted: `SearchSubmitted` differs from `searchSubmitted` by case alone "
            "(reading.yml, line 5: events.searchSubmitted). Give one of them another name."
        )
    ]


def test_problems_of_all_files_are_told_at_once_in_the_order_of_the_files(folder: Path) -> None:
    change(folder / "main.yaml", "version: 3", "version: three")
    change(folder / "reading.yml", "feature: reading", "feature: raeding")
    change(folder / "search.yaml", "type: member", "type: string")
    assert [line.split(": ")[0] for line in problems_of(folder)] == [
        "main.yaml:3:10",
        "reading.yml:3:3",
        "reading.yml:7:5",
        "search.yaml:14:15",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("search.yaml", "part_of: small", "part_of: large", "search.yaml:1:1: `large` is not the plan of this folder"),
        ("search.yaml", "part_of: small\n", "", "search.yaml:1:1: it says neither `heliograph_plan` nor `part_of`"),
        ("search.yaml", "part_of: small", "heliograph_plan: 2", "search.yaml:1:1: the plan has its head already, in"),
        ("main.yaml", "heliograph_plan: 2", "part_of: small", ": no file holds the plan's head. Let one of them begin"),
        ("search.yaml", "part_of: small\n", "part_of: small\nversion: 3\n", "`version` is not a field here"),
        ("main.yaml", "features:", "features: [", "main.yaml:8:9: not YAML"),
        ("search.yaml", "feature: search", "feature: searhc", "`searhc` is not one of the plan's features"),
    ],
)
def test_a_folder_that_does_not_fit_together_is_refused(folder: Path, file: str, old: str, new: str, said: str) -> None:
    change(folder / file, old, new)
    assert any(said in line for line in problems_of(folder)), problems_of(folder)


def test_a_part_alone_is_no_plan(folder: Path) -> None:
    with pytest.raises(PlanError, match=r"it is a part of a plan, not a whole one\. Give the folder"):
        load_plan(folder / "search.yaml")


def test_a_head_alone_needs_its_events(folder: Path) -> None:
    with pytest.raises(PlanError, match="`events` is missing"):
        load_plan(folder / "main.yaml")


def test_files_and_bytes_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HEAD, encoding="utf-8")
    for number in range(5):
        (tmp_path / f"p{number}.yaml").write_bytes(b"part_of: small\n" + b"#" * 900_000)
    assert "larger than 4,194,304 bytes together" in problems_of(tmp_path)[0]
    for number in range(MAXIMUM_FILES):
        (tmp_path / f"p{number}.yaml").write_bytes(b"part_of: small\n")
    assert "the folder holds 201 files, and 200 is the most" in problems_of(tmp_path)[0]


@st.composite
def splits(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw a plan, and the same spread over files, with all keys in any order."""
    whole = yaml.safe_load(HEAD)
    for part in map(yaml.safe_load, (SEARCH, READING)):
        for section in SHARED:
            whole.setdefault(section, {}).update(part.get(section, {}))
    count = draw(st.integers(1, 4))
    head = {key: value for key, value in whole.items() if key not in SHARED}
    files = [head, *({"part_of": whole["name"]} for _ in range(count - 1))]
    for section in SHARED:
        for name, value in whole.get(section, {}).items():
            draw(st.sampled_from(files)).setdefault(section, {})[name] = value
    if count == 1:
        head.update({key: value for key, value in whole.items() if key in SHARED})
    source = draw(st.randoms(use_true_random=False))
    mixed = [_mixed(file, source) for file in files]
    source.shuffle(mixed)
    return whole, mixed


def _mixed(tree: Any, source: Any) -> Any:
    if isinstance(tree, dict):
        entries = [(key, _mixed(value, source)) for key, value in tree.items()]
        source.shuffle(entries)
        return dict(entries)
    return tree


def _dumped(tree: Any) -> bytes:
    return yaml.safe_dump(tree, sort_keys=False).encode()


@settings(max_examples=40)
@given(splits())
def test_the_digest_knows_neither_the_files_nor_the_order_of_keys(drawn: tuple[Any, list[Any]]) -> None:
    whole, files = drawn
    review = review_files([PlanFile(f"{n}.yaml", _dumped(file)) for n, file in enumerate(files)], source="folder")
    assert review.problems == []
    assert review.plan is not None
    expected = parse_plan(_dumped(whole), file="whole.yaml")
    assert review.plan == expected
    assert review.plan.digest() == expected.digest()
