"""The dictionary as one page of HTML, which needs no server, loads nothing, and is whole without its script.

Every text of the plan is escaped for HTML, and none stands in the style or the script. The page's policy (Content
Security Policy, level 3) allows that style and that script alone, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape as escaped
from importlib.resources import files
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
from heliograph.plan.generate.words import deprecation, one_line, snake_case, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from heliograph.plan.model import EventDefinition, Plan, Retirement

_ASSETS: Final = files("heliograph.plan.generate") / "assets"
_NEVER: Final = "never-collected"
_ENVELOPE: Final = "every-event"
_FACTS: Final = "facts-of-an-instance"
_RETIRED: Final = "retired-events"
"""Anchors: no event's name holds a hyphen, and features begin with ``feature-``."""


def dictionary_html(plan: Plan) -> str:
    """Return the dictionary of `plan` as a page of HTML."""
    style = (_ASSETS / "dictionary.css").read_text(encoding="utf-8")
    script = (_ASSETS / "dictionary.js").read_text(encoding="utf-8")
    lines = [*_head(plan, style, script), "<body>", *_top(plan), '<div class="page columns">', *_navigation(plan)]
    lines += ['<main id="content">', *_general(plan)]
    for feature, description in plan.features.items():
        lines += _feature(plan, feature, description)
    lines += [*_facts(plan), *_retired(plan), "</main>", "</div>"]
    lines += [f'<footer class="page"><p class="foot quiet">Made from {_text(source_of(plan))}.</p></footer>']
    return "\n".join([*lines, f"<script>{script}</script>", "</body>", "</html>"]) + "\n"


def _text(text: str) -> str:
    return escaped(one_line(text))


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _head(plan: Plan, style: str, script: str) -> Iterator[str]:
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}"
    yield "<!doctype html>"
    yield f"<!-- Made by `heliograph plan generate dictionary-html` from {source_of(plan)}. Do not edit. -->"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}; base-uri 'none'; form-action 'none'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>Dictionary of {_text(plan.name)}</title>"
    yield f"<style>{style}</style>"
    yield "</head>"


def _top(plan: Plan) -> Iterator[str]:
    yield '<a class="skip" href="#content">Skip to the content</a>'
    yield '<header class="page hero">'
    yield f'<p class="eyebrow">Version {plan.version}: {counts(plan)}</p>'
    yield f"<h1>Dictionary of {_text(plan.name)}</h1>"
    yield f'<p class="lead">{_text(plan.description)}</p>'
    yield f'<p class="quiet">{COLLECTED}</p>'
    yield "</header>"
    yield '<search class="search" id="search" hidden>'
    yield '<div class="page"><label for="words">Search</label>'
    yield '<input type="search" id="words" placeholder="Press / to begin" autocomplete="off" spellcheck="false">'
    yield '<span class="quiet" id="found" role="status"></span></div>'
    yield "</search>"


def _navigation(plan: Plan) -> Iterator[str]:
    yield '<nav aria-labelledby="parts"><h2 id="parts">On this page</h2>'
    yield "<ul>"
    yield _link(_NEVER, "What is never collected")
    yield _link(_ENVELOPE, "What every event has")
    for feature in plan.features:
        yield _link(f"feature-{feature}", feature, len(events_of(plan, feature)))
    if plan.facts:
        yield _link(_FACTS, "Facts of an instance")
    if plan.retired:
        yield _link(_RETIRED, "Retired events", len(plan.retired))
    yield "</ul></nav>"


def _link(anchor: str, title: str, count: int | None = None) -> str:
    number = "" if count is None else f' <span class="count">{count}</span>'
    return f'<li><a href="#{anchor}"><span>{title}</span>{number}</a></li>'


def _class(name: str) -> str:
    return f' class="{name}"'


def _general(plan: Plan) -> Iterator[str]:
    yield f'<section id="{_NEVER}"><h2>What is never collected</h2>'
    items = "".join(f"<li>{line}</li>" for line in NEVER)
    yield f'<div class="card" data-entry><ul class="never">{items}</ul></div></section>'
    yield f'<section id="{_ENVELOPE}"><h2>What every event has</h2>'
    rows = [(name, _text(meaning)) for name, meaning in envelope(plan)]
    yield f'<div class="card" data-entry>{_table(("field", "meaning"), rows)}</div></section>'


def _feature(plan: Plan, feature: str, description: str) -> Iterator[str]:
    yield f'<section id="feature-{feature}">'
    yield f"<header><h2>{feature}</h2><p>{_text(description)}</p></header>"
    for name, event in events_of(plan, feature).items():
        yield from _event(name, event)
    yield "</section>"


def _event(name: str, event: EventDefinition) -> Iterator[str]:
    yield f'<article class="card" id="{name}" data-entry="{_words(name)}">'
    marks = "".join(
        f'<span class="badge{" warn" if badge == "deprecated" else ""}">{badge}</span>' for badge in badges(event)
    )
    yield f'<div class="top"><h3><a href="#{name}"><code>{name}</code></a></h3>{marks}</div>'
    yield f"<p>{_text(event.description)}</p>"
    for since in deprecation(event):
        yield f'<p class="note">Deprecated since {_text(since)}</p>'
    wide = ("Question", "Earlier names")
    said = "".join(
        f"<div{_class('wide') if label in wide else ''}><dt>{label}</dt><dd>{_text(text)}</dd></div>"
        for label, text in about(event)
    )
    yield f'<dl class="about">{said}</dl>'
    outcomes = [(outcome, _text(meaning)) for outcome, meaning in event.outcomes.items()]
    yield _table(("outcome", "meaning"), outcomes)
    if event.properties:
        rows = [(key, _text(values), _text(meaning)) for key, values, meaning in value_rows(event.properties)]
        yield _table(("property", "values", "meaning"), rows)
    yield "</article>"


def _words(name: str) -> str:
    """Return an event's name as its words too, so that a search for them finds it."""
    return snake_case(name).replace("_", " ")


def _facts(plan: Plan) -> Iterator[str]:
    if plan.facts:
        rows = [(name, _text(values), _text(meaning)) for name, values, meaning in value_rows(plan.facts)]
        yield f'<section id="{_FACTS}"><header><h2>Facts of an instance</h2><p>{FACTS}</p></header>'
        yield f'<div class="card" data-entry>{_table(("fact", "values", "meaning"), rows)}</div></section>'


def _retired(plan: Plan) -> Iterator[str]:
    if plan.retired:
        yield f'<section id="{_RETIRED}"><header><h2>Retired events</h2><p>{RETIRED}</p></header>'
        for name, event in plan.retired.items():
            yield from _retirement(name, event)
        yield "</section>"


def _retirement(name: str, event: Retirement) -> Iterator[str]:
    yield f'<article class="card" id="{name}" data-entry="{_words(name)}">'
    yield f'<h3><a href="#{name}"><code>{name}</code></a></h3><p>{_text(event.description)}</p>'
    parts = (("Feature", event.feature), ("Collected until", str(event.until)), ("Why it is gone", event.reason))
    said = "".join(f"<div><dt>{label}</dt><dd>{_text(text)}</dd></div>" for label, text in parts)
    yield f'<dl class="about">{said}</dl>'
    yield "</article>"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; names come first and are plain, all other cells are escaped already."""
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row"><code>{name}</code></th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    kind = _class("three") if len(heads) > 2 else ""  # noqa: PLR2004 - name, values and meaning
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
