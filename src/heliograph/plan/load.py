"""Loading a tracking plan: files → YAML nodes → model → rules; all problems at once, each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from heliograph.plan.files import PlanFile, plan_files, read_files
from heliograph.plan.problem import PlanError, PlanProblem, printable
from heliograph.plan.reading import Reading
from heliograph.plan.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heliograph.plan.model import Plan

__all__ = ["PlanError", "PlanProblem", "Review", "load_plan", "parse_plan", "plan_files", "review_plan"]


class Review(NamedTuple):
    """A plan as far as it could be read, and all that is wrong with it."""

    plan: Plan | None
    """With blanks in place of what could not be read, if there are problems; None if there is too little of it."""
    problems: list[PlanProblem]
    """In the order of the files."""
    reading: Reading
    """Where each part of the plan stands."""


def load_plan(path: str | Path) -> Plan:
    """Return the plan in the YAML file at `path`, or in all YAML files of that folder; see docs/plan.md.

    Raises:
        PlanError: it cannot be used; all problems are in it, and nothing else is ever raised.
    """
    return _checked(review_plan(path))


def parse_plan(content: bytes, *, file: str) -> Plan:
    """Return the plan that `content` holds in YAML; `file` names it in problems.

    Raises:
        PlanError: it cannot be used; all problems are in it.
    """
    return _checked(review_files([PlanFile(printable(file), content)], source=printable(file)))


def review_plan(path: str | Path) -> Review:
    """Return the plan at `path`, a file or a folder, with its problems.

    Raises:
        PlanError: the files cannot be read.
    """
    return review_files(read_files(path), source=printable(str(path)))


def review_files(files: Sequence[PlanFile], *, source: str) -> Review:
    """Return the plan that `files` hold, with its problems; `source` names them together."""
    reading = Reading(files, source=source)
    problems = list(reading.problems)
    if reading.plan is not None:
        findings = [finding for rule in RULES for finding in rule(reading.plan)]
        problems += [reading.problem(finding) for finding in findings if reading.stands(finding)]
    return Review(reading.plan, sorted(problems, key=reading.sort_key), reading)


def _checked(review: Review) -> Plan:
    if review.plan is None or review.problems:
        raise PlanError(review.problems)
    return review.plan
