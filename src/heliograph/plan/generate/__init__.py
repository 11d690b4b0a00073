"""What is made from a plan: the recording functions, the dictionary, and what other systems read.

Each artefact is one pure function from a plan to a text, in a module of its own. The same plan gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.plan.generate.amplitude import amplitude
from heliograph.plan.generate.dictionary_html import dictionary_html
from heliograph.plan.generate.dictionary_markdown import dictionary_markdown
from heliograph.plan.generate.lookml import lookml
from heliograph.plan.generate.python import python
from heliograph.plan.generate.typescript import typescript
from heliograph.plan.generate.words import source_of
from heliograph.plan.line_schema import line_schema

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


def line_schema_json(plan: Plan) -> str:
    """Return the JSON Schema of one line of `plan`; see `heliograph.plan.line_schema`."""
    made = f"Made by `heliograph plan generate line-schema` from {source_of(plan)}. Do not edit."
    schema = {**line_schema(plan), "$comment": made}
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


ARTEFACTS: Final[dict[str, Artefact]] = {
    artefact.name: artefact
    for artefact in (
        Artefact("python", "Typed recording functions for products in Python.", ".py", python),
        Artefact("typescript", "The same for products in TypeScript, over a sink.", ".ts", typescript),
        Artefact("dictionary-html", "What each event means, as a page to search in.", ".html", dictionary_html),
        Artefact("dictionary-markdown", "The same as a page for a forge.", ".md", dictionary_markdown),
        Artefact("line-schema", "The gateway's check of a line, as JSON Schema.", ".line.json", line_schema_json),
        Artefact("amplitude", "The taxonomy, as Amplitude Data imports it.", ".csv", amplitude),
        Artefact("lookml", "A view of the lake's events, with dimensions and measures.", ".view.lkml", lookml),
    )
}
"""Everything that can be made, by name."""
