"""What is wrong with a plan: each problem with its place, the offending text, and what to do."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN: Final = 60
"""Characters of offending text that a message repeats."""


class PlanProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a plan."""

    file: str
    line: int | None = None
    """Counted from 1; None when the file as a whole is at fault."""
    column: int | None = None
    """Counted from 1."""
    where: str = ""
    """The path to the offending part, such as ``events.SearchSubmitted.properties.pattern_type``."""
    message: str
    """What was wrong, with the offending text; no full stop at the end."""
    remedy: str
    """What to do: a sentence."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.where and f'{self.where}: '}{self.message}. {self.remedy}"


class PlanError(Exception):
    """The plan cannot be used; `problems` holds all that is wrong, in the order of the file."""

    def __init__(self, problems: list[PlanProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def shown(text: str) -> str:
    """Return `text` between backticks for a message: on one line, printable, and not longer than needed."""
    return f"`{printable(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…')}`"


def printable(text: str) -> str:
    """Return `text` on one line, with an escape in place of whatever does not print."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def nearest(text: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `text` was most likely meant to be, or None if none is near."""
    near = difflib.get_close_matches(text[:_SHOWN], [word for word in candidates if len(word) <= _SHOWN], n=1)
    return near[0] if near else None
