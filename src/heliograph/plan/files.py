"""The files that a plan is made of: one, or all of a folder; how many and how large is bounded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.plan.document import read_content
from heliograph.plan.problem import PlanError, PlanProblem, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES: Final = (".yaml", ".yml")
MAXIMUM_FILES: Final = 200
MAXIMUM_TOTAL_BYTES: Final = 4 << 20
"""Bytes of all files of a plan; `heliograph.plan.document.MAXIMUM_BYTES` bounds each."""


class PlanFile(NamedTuple):
    """One file of a plan, as read."""

    name: str
    """As problems show it."""
    content: bytes


def plan_files(path: str | Path) -> list[Path]:
    """Return the files of the plan at `path`: itself, or the ``*.yaml`` and ``*.yml`` of that folder, sorted.

    Folders below it and hidden files, such as an editor's, are left out. A path that is not there is returned as it
    is, so that whoever watches the files sees it appear.

    Raises:
        PlanError: a folder that cannot be read, or that holds no such file, or more than `MAXIMUM_FILES`.
    """
    try:
        folder = Path(path)
        if not folder.is_dir():
            return [folder]
        files = sorted(
            each
            for each in folder.iterdir()
            if each.suffix in SUFFIXES and not each.name.startswith(".") and not each.is_dir()
        )
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}", "Give a tracking plan's file or folder.") from None
    except ValueError:  # a name that no file can have: whoever reads it says why
        return [Path(path)]
    if not files:
        remedy = "Give a tracking plan's file, or the folder of its files."
        raise _refusal(path, f"the folder holds no file that ends in {' or '.join(SUFFIXES)}", remedy)
    if len(files) > MAXIMUM_FILES:
        message = f"the folder holds {len(files):,} files, and {MAXIMUM_FILES:,} is the most"
        raise _refusal(path, message, "Join some of them.")
    return files


def read_files(path: str | Path) -> list[PlanFile]:
    """Return the files of the plan at `path` with what they hold.

    Raises:
        PlanError: as `plan_files`, or some cannot be read, or they are too large together; all problems are in it.
    """
    files, problems, size = [], [], 0
    for each in _names(path):
        try:
            content = read_content(each)
        except PlanError as error:
            problems += error.problems
            continue
        size += len(content)
        if size > MAXIMUM_TOTAL_BYTES:
            message = f"the files of the plan are larger than {MAXIMUM_TOTAL_BYTES:,} bytes together"
            raise _refusal(path, message, "Check that they are a tracking plan; if they are, shorten it.")
        files.append(PlanFile(printable(each), content))
    if problems:
        raise PlanError(problems)
    return files


def _names(path: str | Path) -> Iterator[str]:
    """Yield the names of the files: a single one as it was given."""
    files = plan_files(path)
    yield from [str(path)] if files == [Path(path)] else map(str, files)


def _refusal(path: str | Path, message: str, remedy: str) -> PlanError:
    return PlanError([PlanProblem(file=printable(str(path)), message=message, remedy=remedy)])
