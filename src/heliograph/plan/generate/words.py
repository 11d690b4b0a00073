"""A plan's texts and names, as every artefact shows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heliograph.plan.model import EventDefinition, Plan


def one_line(text: str) -> str:
    """Return a plan's text on one line: each run of blanks is one space, and what does not print is left out.

    Among what does not print are the line separators that end a comment in some languages, and the marks that change
    the direction of text.
    """
    return " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())


def sentence(text: str) -> str:
    """Return a plan's text on one line, with a capital letter first and a full stop where it has no ending."""
    line = one_line(text)
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith(('.', '!', '?', '…')) else '.'}"


def source_of(plan: Plan) -> str:
    """Return from what an artefact is made, for its header."""
    return f"version {plan.version} of the plan {one_line(plan.name)}, digest {plan.digest()}"


def snake_case(name: str) -> str:
    """Return an event's name in lower snake case: ``search_submitted`` for ``SearchSubmitted``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return parted.lower()


def capitalised(name: str) -> str:
    """Return a snake-case word or an event's name in upper camel case: ``PatternType``, ``GoToDefinition``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def marks(event: EventDefinition) -> list[str]:
    """Return what sets an event apart from most others beside its deprecation, a sentence each."""
    return [
        *["It is a core action."] * event.core,
        *["It does not make its user active."] * (not event.active),
        *[f"Earlier names: {', '.join(event.renamed_from)}."] * bool(event.renamed_from),
    ]


def deprecation(event: EventDefinition) -> list[str]:
    """Return since when an event is deprecated, why, and what to use in its place; nothing if it is not."""
    if event.deprecated is None:
        return []
    instead = f" Use {event.deprecated.use}." if event.deprecated.use else ""
    return [f"{event.deprecated.since}. {sentence(event.deprecated.reason)}{instead}"]
