"""Linting a tracking plan: whatever the loader refuses, and then a table of rules on what a plan says and tells.

A rule may be broken on purpose: ``suppress: {rule: reason}`` at the plan, an event, a property or a fact takes it away
there and below. A suppression that hides nothing is reported itself, so that none outlives its reason. That lint is a
table of named rules is the idea of Mozilla's glean_parser.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.plan.finding import Finding
from heliograph.plan.lint_budget import event_budget, full_precision, user_day_budget, wide_integer
from heliograph.plan.lint_identities import identity_list, sensitive_word
from heliograph.plan.lint_meaning import (
    expired,
    expires_soon,
    long_deprecated,
    no_question,
    person_owner,
    placeholder_owner,
    unexplained_outcome,
)
from heliograph.plan.lint_names import identity_name, similar_events, similar_members, similar_properties
from heliograph.plan.load import PlanError, PlanProblem, review_plan
from heliograph.plan.problem import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path as FilePath

    from heliograph.plan.load import Review
    from heliograph.plan.model import Plan
    from heliograph.plan.shape import Path


class Severity(enum.StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The plan is not to be used."""
    WARNING = "warning"
    """Somebody should look at it."""


class LintRule(NamedTuple):
    """One rule of the table."""

    name: str
    severity: Severity
    meaning: str
    """What it finds, in a sentence."""
    find: Callable[[Plan, date], Iterator[Finding]]
    """Takes a plan and today's date."""


_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

LINT_RULES: Final = (
    LintRule("no-question", _ERROR, "An event's question asks nothing.", no_question),
    LintRule("placeholder-owner", _ERROR, "An event's owner is nobody in particular.", placeholder_owner),
    LintRule("person-owner", _ERROR, "An event's owner is a person rather than a team.", person_owner),
    LintRule("expired", _ERROR, "An event's day of expiry has passed.", expired),
    LintRule("expires-soon", _WARNING, "An event expires within 30 days.", expires_soon),
    LintRule("long-deprecated", _WARNING, "An event is deprecated for more than 180 days.", long_deprecated),
    LintRule("unexplained-outcome", _WARNING, "No description explains an outcome.", unexplained_outcome),
    LintRule("similar-events", _ERROR, "Two events have nearly the same name.", similar_events),
    LintRule("similar-properties", _ERROR, "Two properties have nearly the same name.", similar_properties),
    LintRule("similar-members", _WARNING, "Two members of a list are nearly the same.", similar_members),
    LintRule("identity-name", _ERROR, "A name sounds as if its values were private.", identity_name),
    LintRule("identity-list", _ERROR, "The members of a list look like hosts, people or the like.", identity_list),
    LintRule("sensitive-word", _ERROR, "A word of the plan looks like personal or secret data.", sensitive_word),
    LintRule("wide-integer", _WARNING, "A whole number has room for an identity.", wide_integer),
    LintRule("full-precision", _ERROR, "A number leaves with all its digits.", full_precision),
    LintRule("event-budget", _ERROR, "An event can carry more bits than the budget allows.", event_budget),
    LintRule("user-day-budget", _ERROR, "A user's day can carry more bits than the budget allows.", user_day_budget),
)
"""The rules that a suppression may name, in the order in which a plan is held against them."""

FORMAT: Final = "format"
"""What the loader reports goes under this name: it is an error, and nothing hides it."""
WRONG_SUPPRESSION: Final = "wrong-suppression"
"""A suppression names no rule that can be suppressed: an error."""
UNUSED_SUPPRESSION: Final = "unused-suppression"
"""A suppression hides nothing: a warning."""


class LintFinding(PlanProblem, frozen=True, kw_only=True):
    """One thing that lint has to say of a plan."""

    rule: str
    severity: Severity

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        subject = f"{self.where}: " if self.where else ""
        return f"{place}: {self.severity} {self.rule}: {subject}{self.message}. {self.remedy}"


class Lint(NamedTuple):
    """What lint has to say of a plan."""

    plan: Plan | None
    """None if it cannot be used."""
    findings: list[LintFinding]
    """In the order of the files."""

    def count(self, severity: Severity) -> int:
        """Return how many findings are of a severity."""
        return sum(finding.severity is severity for finding in self.findings)


class _Suppression(NamedTuple):
    scope: Path
    rule: str
    reason: str

    @property
    def path(self) -> Path:
        return (*self.scope, "suppress", self.rule)


def lint_plan(path: str | FilePath, *, today: date) -> Lint:
    """Return what is wrong with the plan at `path`, a file or a folder, on the day `today`."""
    try:
        review = review_plan(path)
    except PlanError as error:
        return Lint(None, [_as_format(problem) for problem in error.problems])
    return lint_review(review, today=today)


def lint_review(review: Review, *, today: date) -> Lint:
    """Return what is wrong with a plan that was read."""
    findings = [_as_format(problem) for problem in review.problems]
    if review.plan is not None:
        findings += [
            _as_finding(each.rule, each.severity, review.reading.problem(each.finding))
            for each in _told(review.plan, today, whole=not review.problems)
            if review.reading.stands(each.finding)
        ]
    findings.sort(key=review.reading.sort_key)
    return Lint(None if review.problems else review.plan, findings)


class _Told(NamedTuple):
    rule: str
    severity: Severity
    finding: Finding


def _told(plan: Plan, today: date, *, whole: bool) -> list[_Told]:
    """Return what the rules find and no suppression hides, and what is wrong with suppressions."""
    found = list(_check_rules(plan, today))
    given = _suppressions(plan)
    good = [each for each in given if _fault(each) is None and each.reason.strip()]
    hiding = [_suppressing(rule, finding, good) for rule, finding in found]
    told = [
        _Told(rule.name, rule.severity, finding)
        for (rule, finding), by in zip(found, hiding, strict=True)
        if by is None
    ]
    told += [_Told(WRONG_SUPPRESSION, Severity.ERROR, fault) for each in given if (fault := _fault(each)) is not None]
    if whole:  # otherwise it may well hide something in what could not be read
        told += [_Told(UNUSED_SUPPRESSION, Severity.WARNING, _unused(each)) for each in good if each not in hiding]
    return told


def _check_rules(plan: Plan, today: date) -> Iterator[tuple[LintRule, Finding]]:
    for rule in LINT_RULES:
        for finding in rule.find(plan, today):
            yield rule, finding


def _suppressions(plan: Plan) -> list[_Suppression]:
    scopes: dict[Path, dict[str, str]] = {(): plan.suppress}
    for event, definition in plan.events.items():
        scopes["events", event] = definition.suppress
        for name, kind in definition.properties.items():
            scopes["events", event, "properties", name] = kind.suppress
    for name, fact in plan.facts.items():
        scopes["facts", name] = fact.suppress
    return [_Suppression(scope, rule, reason) for scope, given in scopes.items() for rule, reason in given.items()]


def _suppressing(rule: LintRule, finding: Finding, suppressions: list[_Suppression]) -> _Suppression | None:
    """Return the suppression that hides a finding: the nearest one above it."""
    above = [each for each in suppressions if each.rule == rule.name and finding.path[: len(each.scope)] == each.scope]
    return max(above, key=lambda each: len(each.scope), default=None)


def _fault(suppression: _Suppression) -> Finding | None:
    names = [rule.name for rule in LINT_RULES]
    if suppression.rule in names:
        return None
    if suppression.rule in (FORMAT, WRONG_SUPPRESSION, UNUSED_SUPPRESSION):
        return Finding(suppression.path, f"{shown(suppression.rule)} cannot be suppressed", "Mend what it finds.")
    near = nearest(suppression.rule, names)
    remedy = f"Did you mean {shown(near)}?" if near else "docs/plan-lint.md lists the rules."
    return Finding(suppression.path, f"{shown(suppression.rule)} is not a rule of lint", remedy)


def _unused(suppression: _Suppression) -> Finding:
    message = f"{shown(suppression.rule)} is suppressed here, and nothing breaks it"
    return Finding(suppression.path, message, "Leave it out.")


def _as_format(problem: PlanProblem) -> LintFinding:
    return _as_finding(FORMAT, Severity.ERROR, problem)


def _as_finding(rule: str, severity: Severity, problem: PlanProblem) -> LintFinding:
    return LintFinding(rule=rule, severity=severity, **msgspec.structs.asdict(problem))
