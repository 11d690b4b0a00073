"""What is made from a plan: the recording functions, the dictionary, and what other systems read.

Each artefact is one pure function from a plan to a text, in a module of its own. The same plan gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.plan.generate.python import python
from heliograph.plan.generate.typescript import typescript

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Plan


class Artefact(NamedTuple):
    """Something that is made from a plan."""

    name: str
    about: str
    """What it is, and who needs it."""
    suffix: str
    make: Callable[[Plan], str]


ARTEFACTS: Final[dict[str, Artefact]] = {
    artefact.name: artefact
    for artefact in (
        Artefact("python", "Typed recording functions for products in Python.", ".py", python),
        Artefact("typescript", "The same for products in TypeScript, over a sink.", ".ts", typescript),
    )
}
"""Everything that can be made, by name."""
