"""The dictionary in Markdown: one page, which a forge shows beside the plan.

Plan texts are escaped, so that nothing in them is a heading, a list, a link or HTML (CommonMark 0.31, section 2.4:
a backslash before any ASCII punctuation makes it plain).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from heliograph.plan.generate.dictionary import (
    COLLECTED,
    FACTS,
    NEVER,
    RETIRED,
    about,
    badges,
    counts,
    envelope,
    events_of,
    value_rows,
)
from heliograph.plan.generate.words import deprecation, one_line, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heliograph.plan.model import EventDefinition, Plan

_SPECIAL: Final = re.compile(r"[\\`*_{}\[\]<>#|~!&$^]")
_AT_THE_START: Final = re.compile(r"^([-+=]|\d{1,9}(?=[.)]))")


def dictionary_markdown(plan: Plan) -> str:
    """Return the dictionary of `plan` as a page of Markdown."""
    parts = [
        f"<!-- Made by `heliograph plan generate dictionary-markdown` from {source_of(plan)}. Do not edit. -->",
        f"# Dictionary of {escape(plan.name)}",
        escape(plan.description),
        COLLECTED,
        f"Version {plan.version} of the plan: {counts(plan)}.",
        *_contents(plan),
        "## What is never collected",
        "\n".join(f"* {line}" for line in NEVER),
        "## What every event has",
        _table(("field", "meaning"), ((_code(name), escape(meaning)) for name, meaning in envelope(plan))),
    ]
    for feature, description in plan.features.items():
        parts += [f"## {_feature_heading(feature)}", escape(description)]
        for name, event in events_of(plan, feature).items():
            parts += _event(name, event)
    parts += [*_facts(plan), *_retired(plan)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return a plan's text such that Markdown shows it as it is, on one line, wherever it stands."""
    plain = _SPECIAL.sub(r"\\\g<0>", one_line(text))
    return _AT_THE_START.sub(lambda found: f"\\{found[0]}" if found[0] in "-+=" else f"{found[0]}\\", plain)


def _contents(plan: Plan) -> Iterator[str]:
    rows = []
    for feature in plan.features:
        links = ", ".join(f"[{name}](#{name.lower()})" for name in events_of(plan, feature))
        anchor = _feature_heading(feature).lower().replace(" ", "-")
        rows.append((f"[{escape(feature)}](#{anchor})", links))
    yield _table(("feature", "events"), rows)


def _feature_heading(feature: str) -> str:
    """Return a heading that no event can have: the names of events hold no space."""
    return f"Feature {feature}"


def _event(name: str, event: EventDefinition) -> Iterator[str]:
    yield f"### {name}"
    yield escape(event.description)
    for since in deprecation(event):
        yield f"**Deprecated** since {escape(since)}"
    if marks := [badge for badge in badges(event) if badge != "deprecated"]:
        yield f"*{', '.join(marks)}*"
    yield _table(("about", ""), ((label, escape(text)) for label, text in about(event)))
    outcomes = ((_code(outcome), escape(meaning)) for outcome, meaning in event.outcomes.items())
    yield _table(("outcome", "meaning"), outcomes)
    if event.properties:
        rows = ((_code(key), escape(values), escape(meaning)) for key, values, meaning in value_rows(event.properties))
        yield _table(("property", "values", "meaning"), rows)


def _facts(plan: Plan) -> Iterator[str]:
    if plan.facts:
        yield "## Facts of an instance"
        yield FACTS
        rows = ((_code(name), escape(values), escape(meaning)) for name, values, meaning in value_rows(plan.facts))
        yield _table(("fact", "values", "meaning"), rows)


def _retired(plan: Plan) -> Iterator[str]:
    if plan.retired:
        yield "## Retired events"
        yield RETIRED
        rows = (
            (_code(name), escape(event.description), _code(event.feature), str(event.until), escape(event.reason))
            for name, event in plan.retired.items()
        )
        yield _table(("event", "what happened", "feature", "until", "why it is gone"), rows)


def _code(name: str) -> str:
    """Return a name in the font of code: none of them holds a backtick."""
    return f"`{name}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)
