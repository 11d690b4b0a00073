"""From the files of a plan to one plan whose every part still knows its file, line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import yaml

from heliograph.plan.document import compose
from heliograph.plan.model import EventDefinition, Fact, Plan, Retirement
from heliograph.plan.problem import PlanError, PlanProblem, shown
from heliograph.plan.shape import Shape, where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heliograph.plan.document import Node
    from heliograph.plan.files import PlanFile
    from heliograph.plan.finding import Finding
    from heliograph.plan.shape import Document, Path

SHARED: Final = ("features", "events", "facts", "retired")
"""What may be spread over the files of a plan; all else stands in its head."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file that adds to the plan whose head stands in another file of the same folder."""

    part_of: str
    """The plan's name."""
    features: dict[str, str] = {}
    """More of the plan's features."""
    events: dict[str, EventDefinition] = {}
    """More of the plan's events."""
    facts: dict[str, Fact] = {}
    """More of the plan's facts."""
    retired: dict[str, Retirement] = {}
    """More of the plan's retired events."""


class Place(NamedTuple):
    """Where a part of a plan stands."""

    file: str
    line: int
    column: int


class Reading:
    """The reading of all files of a plan.

    Afterwards `problems` holds what was wrong with their form, file by file; and `plan` the plan, with blanks in place
    of what could not be read, or None if there is too little to judge it by.
    """

    def __init__(self, files: Sequence[PlanFile], *, source: str) -> None:
        """Read `files`; `source` names the whole of them."""
        self.problems: list[PlanProblem] = []
        self._shapes: list[Shape] = []
        self._order = {file.name: position for position, file in enumerate(files)}
        roots = dict(self._composed(files))
        whole = len(roots) == len(files)
        head = self._head(roots, source, whole=whole)
        named = [name for name, root in roots.items() if name != head and _key(root, "part_of")]
        parts = [part for name in named if (part := self._read(name, roots[name], Part)) is not None]
        plan = None if head is None else self._read(head, roots[head], Plan, optional=SHARED if parts else ())
        self._check_names(plan, parts)
        for shape in self._shapes:
            self.problems += shape.problems
        self.problems += self._repeated()
        self.problems.sort(key=self.sort_key)
        complete = whole and len(parts) == len(roots) - 1
        self.plan: Plan | None = _joined(plan, parts) if complete and plan is not None else None

    def sort_key(self, problem: PlanProblem) -> tuple[int, int, int]:
        """Return what sorts problems by file, line and column."""
        return self._order.get(problem.file, -1), problem.line or 0, problem.column or 0

    def place(self, path: Path) -> Place:
        """Return where `path` stands, or the nearest part above it that a file holds."""
        shape = max(self._shapes, key=lambda each: each.held(path))
        return Place(shape.file, *shape.place(path))

    def stands(self, finding: Finding) -> bool:
        """Return whether all that the finding rests on was read; otherwise it may echo another problem."""
        return all(shape.readable(finding.path) and all(map(shape.whole, finding.needs)) for shape in self._shapes)

    def problem(self, finding: Finding) -> PlanProblem:
        """Return a finding with its place."""
        place = self.place(finding.path)
        return PlanProblem(
            file=place.file,
            line=place.line,
            column=place.column,
            where=where(finding.path),
            message=finding.message + self._elsewhere(finding, place.file),
            remedy=finding.remedy,
        )

    def _elsewhere(self, finding: Finding, file: str) -> str:
        if finding.also is None:
            return ""
        other = self.place(finding.also)
        line = f"line {other.line}" if other.file == file else f"{other.file}, line {other.line}"
        return f" ({line}: {where(finding.also)})"

    def _composed(self, files: Sequence[PlanFile]) -> Iterator[tuple[str, Node]]:
        for file in files:
            try:
                yield file.name, compose(file.content, file=file.name)
            except PlanError as error:
                self.problems += error.problems

    def _head(self, roots: dict[str, Node], source: str, *, whole: bool) -> str | None:
        """Return the file that holds the head; with several files, say of each other that is no part what it is."""
        if len(roots) == 1 and whole:
            [(name, root)] = roots.items()
            if (place := _key(root, "part_of")) is None:
                return name
            self._refuse(name, place, "it is a part of a plan, not a whole one", "Give the folder that it stands in.")
            return None
        heads = [name for name, root in roots.items() if _key(root, "heliograph_plan")]
        for name, root in roots.items():
            if name in heads[1:]:
                message = f"the plan has its head already, in {heads[0]}"
                remedy = "Write `part_of` and the plan's name in place of all that only a head holds."
                self._refuse(name, _key(root, "heliograph_plan") or (1, 1), message, remedy)
            elif name not in heads and not _key(root, "part_of"):
                remedy = "Write `part_of: …` with the plan's name, or keep other files elsewhere."
                self._refuse(name, (1, 1), "it says neither `heliograph_plan` nor `part_of`", remedy)
        if not heads and whole:
            remedy = "Let one of them begin with `heliograph_plan: 2`; docs/plan.md tells what else stands there."
            self.problems.append(PlanProblem(file=source, message="no file holds the plan's head", remedy=remedy))
        return heads[0] if heads else None

    def _check_names(self, plan: Plan | None, parts: list[Part]) -> None:
        """Refuse the parts of another plan than the head's."""
        for shape, part in zip(self._shapes, parts, strict=False):  # the head was read after them
            if plan is not None and plan.name and part.part_of and part.part_of != plan.name:
                message = f"{shown(part.part_of)} is not the plan of this folder, which is {shown(plan.name)}"
                self._refuse(shape.file, shape.place(("part_of",)), message, "Mend the name, or move the file.")

    def _read(self, name: str, root: Node, kind: type[Document], *, optional: Sequence[str] = ()) -> Document | None:
        shape = Shape(name)
        self._shapes.append(shape)
        return shape.read(root, kind, optional=optional)

    def _repeated(self) -> Iterator[PlanProblem]:
        """Yield the names that stand in two files."""
        first: dict[Path, Place] = {}
        for shape in sorted(self._shapes, key=lambda each: self._order[each.file]):
            for path, (line, column) in shape.places.items():
                if len(path) == 2 and path[0] in SHARED:  # noqa: PLR2004 - the section, and the name
                    other = first.setdefault(path, Place(shape.file, line, column))
                    if other.file != shape.file:
                        yield PlanProblem(
                            file=shape.file,
                            line=line,
                            column=column,
                            where=where(path),
                            message=f"{shown(path[1])} stands twice, first in {other.file}, line {other.line}",
                            remedy="Keep one of the two.",
                        )

    def _refuse(self, file: str, place: tuple[int, int], message: str, remedy: str) -> None:
        line, column = place
        self.problems.append(PlanProblem(file=file, line=line, column=column, message=message, remedy=remedy))


def _joined(plan: Plan, parts: list[Part]) -> Plan:
    spread = {
        section: {name: value for each in (plan, *parts) for name, value in getattr(each, section).items()}
        for section in SHARED
    }
    return msgspec.structs.replace(plan, **spread)


def _key(root: Node, name: str) -> tuple[int, int] | None:
    """Return line and column of a key of the whole file, or None if it has no such key."""
    if isinstance(root, yaml.MappingNode):
        for key, _ in root.value:
            if isinstance(key, yaml.ScalarNode) and key.value == name:
                return key.start_mark.line + 1, key.start_mark.column + 1
    return None
