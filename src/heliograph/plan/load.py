"""Loading a tracking plan: bytes → YAML nodes → model → rules; all problems at once, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heliograph.plan.document import compose, read_content
from heliograph.plan.problem import PlanError, PlanProblem, printable
from heliograph.plan.rules import RULES
from heliograph.plan.shape import Shape, where

if TYPE_CHECKING:
    from heliograph.plan.model import Plan
    from heliograph.plan.rules import Finding

__all__ = ["PlanError", "PlanProblem", "load_plan", "parse_plan", "plan_files"]


def plan_files(path: str | Path) -> list[Path]:
    """Return the files of the plan at `path`."""
    return [Path(path)]


def load_plan(path: str | Path) -> Plan:
    """Return the plan in the YAML file at `path`; docs/plan.md describes the format.

    Raises:
        PlanError: it cannot be used; all problems are in it, and nothing else is ever raised.
    """
    return parse_plan(read_content(path), file=str(path))


def parse_plan(content: bytes, *, file: str) -> Plan:
    """Return the plan that `content` holds in YAML; `file` names it in problems.

    Raises:
        PlanError: it cannot be used; all problems are in it.
    """
    file = printable(file)
    shape = Shape(file)
    plan = shape.read(compose(content, file=file))
    problems = list(shape.problems)
    if plan is not None:
        findings = [finding for rule in RULES for finding in rule(plan)]
        problems += [_located(finding, shape) for finding in findings if _stands(finding, shape)]
    if plan is None or problems:
        raise PlanError(sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return plan


def _stands(finding: Finding, shape: Shape) -> bool:
    """Return whether all that the finding rests on was read; otherwise it may echo another problem."""
    return shape.readable(finding.path) and all(shape.whole(path) for path in finding.needs)


def _located(finding: Finding, shape: Shape) -> PlanProblem:
    line, column = shape.place(finding.path)
    other = "" if finding.also is None else f" (line {shape.place(finding.also)[0]}: {where(finding.also)})"
    return PlanProblem(
        file=shape.file,
        line=line,
        column=column,
        where=where(finding.path),
        message=f"{finding.message}{other}",
        remedy=finding.remedy,
    )
