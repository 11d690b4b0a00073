"""Lint finds what a reviewer would object to, with its place; what is wanted all the same is told with a reason."""

from __future__ import annotations

import copy
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from documents import read
from heliograph.plan.files import PlanFile
from heliograph.plan.lint import (
    LINT_RULES,
    UNUSED_SUPPRESSION,
    WRONG_SUPPRESSION,
    Lint,
    LintFinding,
    Severity,
    lint_plan,
    lint_review,
)
from heliograph.plan.load import review_files
from heliograph.plan.name_words import one_slip, stems, words

TODAY = date(2027, 1, 1)
PAGE = read("docs/plan-lint.md")

CLEAN = """\
heliograph_plan: 2
name: small
version: 3
description: A small plan.
sources: [web]
features:
  reading: Reading.
events:
  FileViewed:
    description: A user looked at a file.
    feature: reading
    action: read
    question: How often do people come to read?
    owner: reading
    added: 2026-10-01
    expires: never
    properties:
      depth:
        description: How far down.
        type: count
        buckets: [0, 1, 10]
"""
EVENT = yaml.safe_load(CLEAN)["events"]["FileViewed"]


def lint(text: str, *, today: date = TODAY) -> list[LintFinding]:
    return result(text, today=today).findings


def result(text: str, *, today: date = TODAY) -> Lint:
    return lint_review(review_files([PlanFile("p.yaml", text.encode())], source="p.yaml"), today=today)


def with_property(text: str) -> str:
    """Return the clean plan with a property, in YAML's short form."""
    return CLEAN + f"      {text}\n"


def rules(findings: list[LintFinding]) -> list[str]:
    return [finding.rule for finding in findings]


def merged(base: Any, more: Any) -> Any:
    if isinstance(base, dict) and isinstance(more, dict):
        return {
            key: merged(base.get(key), value) if key in more else base[key] for key, value in {**base, **more}.items()
        }
    return more


def sections() -> dict[str, str]:
    page = PAGE.split("\n## Rules\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^### ([\w-]+)\n\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL))


def test_the_page_has_every_rule_with_its_severity_and_meaning_in_the_order_of_the_table() -> None:
    told = {name: text.split(". ")[:2] for name, text in sections().items()}
    assert list(told) == [*(rule.name for rule in LINT_RULES), WRONG_SUPPRESSION, UNUSED_SUPPRESSION]
    for rule in LINT_RULES:
        flat = " ".join(sections()[rule.name].split())
        said = f"{rule.severity.capitalize()}. {rule.meaning.rstrip('.')}"
        assert flat.startswith(said), f"{rule.name}: docs/plan-lint.md does not begin with {said!r}"


@pytest.mark.parametrize("name", sections())
def test_the_example_of_a_rule_breaks_it_and_ends_with_a_remedy(name: str) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", sections()[name], re.DOTALL)
    change = yaml.safe_load(example)
    for event in change.get("events", {}).values():
        event |= {key: value for key, value in copy.deepcopy(EVENT).items() if key not in event}
    tree = yaml.safe_dump(merged(yaml.safe_load(CLEAN), change), sort_keys=False)
    assert name in rules(lint(tree))
    assert sections()[name].split("```")[-1].strip().endswith(".")


def test_a_clean_plan_has_no_findings() -> None:
    assert result(CLEAN) == (result(CLEAN).plan, [])


@pytest.mark.parametrize("path", ["plans", "plans/code-intelligence.yaml", "examples/commit-history.yaml"])
def test_shipped_plans_lint_without_blanket_suppressions(path: str) -> None:
    found = lint_plan(Path(__file__).resolve().parents[2] / path, today=date(2026, 12, 1))
    assert found.findings == []
    assert found.plan is not None
    assert not found.plan.suppress
    assert not any(event.suppress for event in found.plan.events.values())


def test_the_example_of_the_page_lints() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", read("docs/plan.md"), re.DOTALL)
    assert lint(example, today=date(2026, 12, 1)) == []


def test_a_finding_tells_its_place_the_offending_text_and_a_remedy() -> None:
    [finding] = lint(CLEAN.replace("owner: reading", "owner: tbd"))
    assert str(finding) == (
        "p.yaml:14:5: error placeholder-owner: events.FileViewed.owner: `tbd` is nobody who could be asked. "
        "Name the team that decides about the event."
    )
    assert json.loads(msgspec.json.encode(finding)) == {
        "file": "p.yaml",
        "line": 14,
        "column": 5,
        "where": "events.FileViewed.owner",
        "message": "`tbd` is nobody who could be asked",
        "remedy": "Name the team that decides about the event.",
        "rule": "placeholder-owner",
        "severity": "error",
    }


def test_what_the_loader_reports_comes_with_what_lint_finds_in_one_order() -> None:
    found = result(CLEAN.replace("version: 3", "version: 0").replace("owner: reading", "owner: me"))
    assert rules(found.findings) == ["format", "placeholder-owner"]
    assert found.plan is None
    assert found.count(Severity.ERROR) == 2


def test_nothing_echoes_from_what_could_not_be_read() -> None:
    assert rules(lint(with_property("share: {description: A., type: number, maximum: much}"))) == ["format"]
    assert rules(lint(CLEAN.replace("owner: reading", "owner: [me]"))) == ["format"]


SUPPRESSED = CLEAN.replace("owner: reading", "owner: tbd\n    suppress: {{{}}}")


def test_a_suppression_hides_a_finding_where_it_stands_and_below() -> None:
    assert lint(SUPPRESSED.format("placeholder-owner: The team has no name yet.")) == []
    top = CLEAN.replace("owner: reading", "owner: tbd") + "suppress: {placeholder-owner: None has a name yet.}\n"
    assert lint(top) == []
    number = "lines: {description: A., type: integer, maximum: 9999999, suppress: {wide-integer: For science.}}"
    assert lint(with_property(number)) == []
    elsewhere = with_property("own: {description: A., type: boolean, suppress: {placeholder-owner: No.}}")
    assert rules(lint(elsewhere.replace("owner: reading", "owner: tbd"))) == ["placeholder-owner", "unused-suppression"]


def test_only_the_nearest_of_two_suppressions_is_used() -> None:
    text = SUPPRESSED.format("placeholder-owner: One.") + "suppress: {placeholder-owner: Two.}\n"
    [finding] = lint(text)
    assert (finding.rule, finding.where) == ("unused-suppression", "suppress.placeholder-owner")


@pytest.mark.parametrize(
    ("suppress", "said"),
    [
        ("placeholder-onwer: Why., placeholder-owner: Why.", "Did you mean `placeholder-owner`?"),
        ("xyz: Why., placeholder-owner: Why.", "docs/plan-lint.md lists the rules"),
        ("format: Why., placeholder-owner: Why.", "`format` cannot be suppressed"),
        ("unused-suppression: Why., placeholder-owner: Why.", "`unused-suppression` cannot be suppressed"),
    ],
)
def test_a_wrong_suppression_is_an_error_itself(suppress: str, said: str) -> None:
    found = lint(SUPPRESSED.format(suppress))
    [wrong] = [finding for finding in found if finding.rule == "wrong-suppression"]
    assert said in str(wrong)
    assert wrong.severity is Severity.ERROR
    assert "placeholder-owner" not in rules(found)


def test_a_suppression_without_a_reason_hides_nothing() -> None:
    assert rules(lint(SUPPRESSED.format("placeholder-owner: ' '"))) == ["placeholder-owner", "format"]


def test_an_error_of_the_loader_is_not_hidden_by_any_suppression() -> None:
    text = CLEAN.replace("version: 3", "version: 0")
    names = [*(rule.name for rule in LINT_RULES), "format"]
    assert "format" in rules(lint(f"{text}suppress: {{{', '.join(f'{name}: Why.' for name in names)}}}\n"))


@pytest.mark.parametrize(
    ("question", "bad"),
    [
        ("How often do people come to read?", False),
        ("Do they (4)?", False),
        ("Count of views", True),
        ("TODO: ask what for?", True),
        ("Why?", True),
        ("A user looked at a file?", True),
    ],
)
def test_a_question_must_ask_something(question: str, bad: bool) -> None:
    found = lint(CLEAN.replace("question: How often do people come to read?", f"question: '{question}'"))
    assert rules(found) == ["no-question"] * bad


@pytest.mark.parametrize(
    ("owner", "rule"),
    [
        *((owner, "placeholder-owner") for owner in ("TBD", "me", "n/a", "the team", "???", "Todo!")),
        *((owner, "person-owner") for owner in ("Ada Lovelace", "maria", "stefan", "Jan van der Berg")),
        *(
            (owner, None)
            for owner in ("reading", "search-platform", "Code Intelligence", "Search Team", "growth", "crm")
        ),
    ],
)
def test_an_owner_is_a_team(owner: str, rule: str | None) -> None:
    assert rules(lint(CLEAN.replace("owner: reading", f"owner: '{owner}'"))) == [rule] * (rule is not None)


def test_expiry_is_judged_by_the_day_that_is_given() -> None:
    text = CLEAN.replace("expires: never", "expires: 2027-03-01")
    days = {date(2027, 1, 1): [], date(2027, 2, 1): ["expires-soon"], date(2027, 3, 1): ["expires-soon"]}
    days[date(2027, 3, 2)] = ["expired"]
    assert {today: rules(lint(text, today=today)) for today in days} == days


@pytest.mark.parametrize(
    ("one", "other", "similar"),
    [
        ("SearchSubmitted", "SubmitSearch", True),
        ("SearchSubmitted", "SearchSubmit", True),
        ("SearchSubmitted", "UserSearchSubmitted", True),
        ("SearchSubmitted", "SerachSubmitted", True),
        ("RepoOpened", "repositoryOpen", True),
        ("ConfigSaved", "ConfigurationSaved", True),
        ("FileOpened", "TileOpened", False),
        ("SearchSubmitted", "SearchStarted", False),
        ("BatchChangeCreated", "BatchChangeClosed", False),
        ("Step1Done", "Step2Done", False),
        ("SavedSearchCreated", "SearchCreated", False),
    ],
)
def test_events_are_compared_word_by_word(one: str, other: str, similar: bool) -> None:
    event = CLEAN[CLEAN.index("  FileViewed:") :]
    text = CLEAN.replace("FileViewed", one) + event.replace("FileViewed", other)
    assert rules(lint(text)) == ["similar-events"] * similar


def test_a_new_event_is_compared_with_the_retired_ones() -> None:
    gone = "retired:\n  FileView: {description: Seen., feature: reading, until: 2026-11-01, reason: Renamed.}\n"
    [finding] = lint(CLEAN + gone)
    assert finding.rule == "similar-events"
    assert "(line 23: retired.FileView)" in finding.message


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ("[github.com, gitlab.com, other]", "hosts"),
        ("[web-01, web-02, db-prod-1, other]", "hosts"),
        ("[10.0.0.1, none]", "addresses of machines"),
        ("[anna, boris, carlos, dmitry, other]", "people"),
        ("[maria.lopez, other]", "people"),
        ("[payments-api, checkout-web, other]", "repositories"),
        ("[3f2a9c1, other]", "hashes or random ids"),
        ("[c00412, c00413, c00977]", "numbers of customers or documents"),
        ("[c, cpp, csharp, dart, go, java, kotlin, php, python, ruby, rust, scala, swift, typescript]", None),
        ("[aws_codecommit, azure_devops, bitbucket_cloud, github, github_enterprise, gitlab, perforce]", None),
        ("[go-to-definition, find-references, open-file]", None),
        ("[5.3.1, 5.4.0, 5.4.1]", None),
        ("[april, may, june]", None),
        ("[c++, c-sharp, objective-c]", None),
        ("[http2, utf8, sha256]", None),
    ],
)
def test_lists_are_held_against_signals_of_identities(members: str, what: str | None) -> None:
    found = lint(with_property(f"area: {{description: A., type: member, members: {members}}}"))
    assert rules(found) == ["identity-list"] * (what is not None), found
    assert what is None or f"look like {what}: `" in found[0].message


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(
            (name, True)
            for name in ("query", "email", "file_path", "url", "code_host", "repo_name", "user_name", "token")
        ),
        *((name, True) for name in ("ip", "phone", "customer", "session_key", "search_terms", "sha", "org")),
        *(
            (name, False)
            for name in ("query_length", "path_depth", "email_kind", "token_count", "pattern_type", "rank")
        ),
    ],
)
def test_a_name_is_judged_by_its_last_word(name: str, bad: bool) -> None:
    integer = f"{name}: {{description: A., type: integer, maximum: 9}}"
    assert rules(lint(with_property(integer))) == ["identity-name"] * bad
    truth = f"{name}: {{description: A., type: boolean}}"
    assert lint(with_property(truth)) == []


def test_a_budget_tells_what_weighs_most() -> None:
    heavy = with_property("share: {description: A., type: number, maximum: 1, suppress: {full-precision: So.}}")
    [finding] = lint(f"{heavy}budget: {{event_bits: 20}}\n")
    assert "and the budget of an event is 20; most of it: `share` 62.0, `depth` 2.0" in finding.message
    [finding] = lint(f"{CLEAN}budget:\n  user_day_bits: 5\n")
    assert (finding.rule, finding.line) == ("user-day-budget", 23)
    assert "most of it: `FileViewed`" in finding.message


def test_words_and_slips() -> None:
    assert words("SearchResultClicked") == ("search", "result", "clicked") == words("search-result_clicked")
    assert words("HTTPServer2Up") == ("http", "server", "2", "up")
    assert stems("searches_created") == stems("creating-search")[::-1]
    assert one_slip("search", "serach")
    assert one_slip("search", "searc")
    assert not one_slip("search", "search")
    assert not one_slip("search", "reach")


TREE = yaml.safe_load(CLEAN + "suppress: {no-question: Why.}\nbudget: {event_bits: 3}\n")
PLACES = st.sampled_from(
    [
        *(("version",), ("features", "reading"), ("suppress",), ("budget",), ("budget", "event_bits"), ("events",)),
        *(("events", "FileViewed", key) for key in [*EVENT, "rate", "deprecated", "suppress"]),
        *(("events", "FileViewed"), ("events", "FileViewed", "properties", "depth")),
        ("events", "FileViewed", "properties", "depth", "buckets"),
    ]
)
VALUES = st.one_of(
    st.none(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.dates(),
    st.lists(st.sampled_from(["a", 1, "b c"]), max_size=2),
    st.sampled_from([{}, {"type": "integer", "maximum": -5}, {"type": "member", "members": []}, {"x": ""}]),
    st.sampled_from([{"type": "number", "maximum": 1e308, "precision": 0.0}, {"type": "duration", "maximum": -1}]),
    st.sampled_from([{"type": "count", "buckets": []}, {"type": "integer", "maximum": 9, "precision": 0}]),
)  # fmt: skip


@settings(max_examples=150)
@given(PLACES, VALUES)
def test_any_value_in_any_place_is_linted_without_an_exception(place: tuple[str, ...], value: Any) -> None:
    parent = tree = json.loads(json.dumps(TREE, default=str))
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    for finding in lint(yaml.safe_dump(tree, allow_unicode=True)):
        assert str(finding).isprintable()
