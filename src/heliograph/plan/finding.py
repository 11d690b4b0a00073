"""What a rule finds, and the words that rules share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from heliograph.plan.problem import nearest, shown

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from heliograph.plan.shape import Path


class Finding(NamedTuple):
    """A rule that is broken."""

    path: Path
    message: str
    remedy: str
    needs: tuple[Path, ...] = ()
    """The other parts that it rests on; while one of them could not be read, it is not reported."""
    also: Path | None = None
    """The other place, where two places contradict each other."""


def too_many(path: Path, count: int, most: int, what: str = "properties") -> Finding:
    """Return the finding that there are more of something than can be planned for."""
    return Finding(path, f"there are {count:,} {what}, and {most:,} is the most", "Leave some out.")


def unknown(path: Path, text: str, candidates: Iterable[str], what: str, *, needs: tuple[Path, ...]) -> Finding:
    """Return the finding that `text` names none of `candidates`."""
    known = list(candidates)
    near = nearest(text, known)
    listing = f"They are {', '.join(map(shown, known[:12]))}{', …' if len(known) > 12 else ''}."  # noqa: PLR2004 - one line
    return Finding(
        path,
        f"{shown(text)} is not one of the {what}",
        f"Did you mean {shown(near)}?" if near else listing if known else "There are none: declare it first.",
        needs=needs,
    )


def pattern_remedy(example: str, pattern: re.Pattern[str]) -> str:
    """Say how a name is written."""
    return f"Write it as in `{example}`, to the pattern `{pattern.pattern}`."
