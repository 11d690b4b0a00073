"""docs/metric-definitions.md, made of the catalogue: what each metric means, what may be chosen, and how it is read."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from heliograph.insights.catalog import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.insights.catalog import Metric

HEAD = """# What each metric means

Each metric is one pure function from tables to a table (`heliograph.insights.catalog.METRICS`), and gives the same on
every engine. This page is made of these functions and their parameters; `heliograph ask` asks them, and
[cli.md](cli.md) has its options.

## What holds for all of them

* A user is *active* on a day with at least one qualifying event: one of the tracking plan's that is not marked
  `active: false`, such as signing in. Operators and services, who have an `actor`, never count.
* Users are counted by account, by instance, or all together (`everyone`). Uniques are never summed: a user of two
  instances of an account is one user of the account.
* Days are of the time zone that is asked for, UTC by default. Trailing windows, curves and cohorts are made of whole
  days; a month is 28 of them, four whole weeks, so that each weekday counts alike. The calendar month is a metric of
  its own.
* A session counts whole in the days in which it began: it is not cut at midnight.
* What is counted is told by events and by nothing else: no data is never taken for zero use. Days before the first
  event of an account are no days of it.

## Filters

| filter | what it does |
| --- | --- |
| account, instance | nothing else exists, for any metric |
| feature | only the use of these features counts: *active* then means active with one of them, *new* means new to them |
| version | only what these versions of the product tell of; what tells of no version is left out |
| client | only what these sources tell of, such as `web` |
| period | the days that are answered for: the days shown, those on which cohorts begin, those in which sessions begin and funnels run; for metrics over one window, its days. What a day needs of the days before it is read all the same |
| time zone | where a day begins and ends |

Feature, version and client leave out use, and not the calendar: a day on which anything at all arrived has data. They
do not move the ends of a session, or what lies between two steps of an exact funnel, so that no filter ever raises a
number of users.

## Complete

Every row that is about a stretch of time says whether it is *complete*: all of its days are over, and lie after the
data of its account began. What is not complete understates, and is not compared with what is. The day in progress
never is. In a cohort it means that the interval has elapsed for all members; shares are of those for whom it has. In a
funnel it means that nobody is on the way.

## Small groups

Where the asker's role may not see small groups, those of fewer than five people are left out, and with them whatever
would give them away: `heliograph.insights.suppression` decides by elimination over all numbers of a table, its totals
included, what can be computed from what is shown. Nobody (zero) is always told. Bounds on what is hidden remain, and a
metric that tells of single users is refused.
"""  # noqa: E501 - rows of a Markdown table


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(line for metric in METRICS for line in _section(metric))])


def _section(metric: Metric) -> Iterator[str]:
    yield f"## {metric.name}"
    yield ""
    yield f"*{metric.words}* It reads {_listed([f'`{table}`' for table in metric.reads])}."
    yield ""
    if len(background := (inspect.getdoc(sys.modules[metric.function.__module__]) or "").split("\n\n", 1)) > 1:
        yield _plain(background[1])
        yield ""
    text = inspect.getdoc(metric.function) or ""
    about, _, returns = text.partition("\nReturns:\n")
    yield _plain(re.split(r"\n(?:Args|Raises):\n", about)[0])
    yield ""
    if returns:
        yield f"**Columns.** {_plain(inspect.cleandoc(returns.split(chr(10) + 'Raises:')[0]))}"
        yield ""
    yield from _parameters(metric.rule)
    told = "Told with small groups left out." if metric.counts else "Not told where small groups are left out."
    yield f"{told} `{metric.function.__module__}.{metric.function.__name__}`"
    yield ""


def _parameters(rule: type[msgspec.Struct]) -> Iterator[str]:
    meanings = _meanings(rule)
    information: Any = msgspec.inspect.type_info(rule)
    if not information.fields:
        return
    yield "| parameter | default | allowed | meaning |"
    yield "| --- | --- | --- | --- |"
    for field in information.fields:
        default = "" if field.required else f"`{_shown(field.default)}`"
        yield f"| `{field.name}` | {default} | {_allowed(field.type)} | {_plain(meanings[field.name])} |"
    yield ""


def _meanings(rule: type[msgspec.Struct]) -> dict[str, str]:
    """Return the text under each field."""
    (struct,) = ast.parse(inspect.getsource(rule)).body
    assert isinstance(struct, ast.ClassDef)
    found = {}
    for field, text in zip(struct.body, struct.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = ast.literal_eval(text.value)
    return found


def _allowed(kind: Any) -> str:
    match kind:
        case msgspec.inspect.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case msgspec.inspect.VarTupleType():
            return f"{kind.min_length} to {kind.max_length} of: {_allowed(kind.item_type)}"
        case msgspec.inspect.UnionType():
            return ", or ".join(_allowed(each) for each in kind.types)
        case msgspec.inspect.NoneType():
            return "nothing"
        case msgspec.inspect.StrType():
            return f"`{kind.pattern}`" if kind.pattern else "a name"
    # Whole or not: types that are equal are one for Python, written as the module had it that was first.
    low = f"from {kind.ge:g}" if kind.ge is not None else f"more than {kind.gt:g}" if kind.gt is not None else ""
    high = f"to {kind.le:g}" if kind.le is not None else f"less than {kind.lt:g}" if kind.lt is not None else ""
    return " ".join(part for part in (low, high) if part)


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else "nothing" if value is None else str(value)


def _plain(text: str) -> str:
    """Return text of a docstring as Markdown, a paragraph a line, with names as code."""
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in text.replace("``", "`").split("\n\n")]
    return "\n\n".join(paragraphs).replace("|", "\\|")


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
