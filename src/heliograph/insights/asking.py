"""Asks any question by its name: for the command line, and for programs.

A name is that of one of the five questions, or of a metric of `heliograph.insights.catalog`. What is particular to it
are the fields of its rule; who and when it is about is `Filters`, and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from heliograph.insights.activity import NoRule, answer_activity
from heliograph.insights.answer import Answer, scope_notes, scope_parameters
from heliograph.insights.backtest import answer_own_back_test, recorded_notes
from heliograph.insights.catalog import METRICS, Metric
from heliograph.insights.intervene import InterventionRule, answer_intervene
from heliograph.insights.power_users import PowerUserRule, answer_power_users
from heliograph.insights.resolve import resolve_filters, resolve_scope
from heliograph.insights.scope import QuestionError, Scope, Unit
from heliograph.insights.searches import answer_searches, parse_month
from heliograph.insights.sessions import SessionRule, answer_multi_feature_sessions
from heliograph.insights.stickiest import StickinessRule, answer_stickiest

if TYPE_CHECKING:
    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

Words: TypeAlias = tuple[str, ...]


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Who and when a question is about, as a person chooses it."""

    accounts: Words = ()
    """Only these; empty: all."""
    instances: Words = ()
    features: Words = ()
    """Keys of the plan."""
    versions: Words = ()
    """Of the product, such as ``5.3`` (with all 5.3.x), ``=5.3`` or ``>=5.2``."""
    clients: Words = ()
    """Sources of the plan, such as ``web``."""
    since: date | None = None
    """The first day that is answered for; None: what the question says."""
    until: date | None = None
    """The last day that counts; None: that of the latest event."""
    month: str | None = None
    """A calendar month, such as ``2026-10``, in the place of both."""
    zone: str = "UTC"
    """The time zone in which days begin and end."""
    by: Unit = "account"
    """Whose users are counted together."""


def _answer_intervene(tables: Tables, plan: Plan, scope: Scope, *, rule: InterventionRule) -> Answer:
    """Answer whether to step in, and how often such advice was right."""
    answer = answer_intervene(tables, plan, scope, rule=rule)
    return (
        msgspec.structs.replace(answer, notes=(*answer.notes, *recorded_notes())) if answer.table.num_rows else answer
    )


class _Told(msgspec.Struct, frozen=True):
    """A question whose answer has words of its own."""

    answer: Callable[..., Answer]
    rule: type[msgspec.Struct] = NoRule
    beside: frozenset[str] = frozenset()
    """Parameters that are not of the rule."""
    needed: Mapping[str, str] = {}
    """What those of them are that have no default."""
    shown: Callable[..., pa.Table] | None = None
    """Returns the rows of the metric that are shown, for the rows, the scope and what was chosen of `beside`."""


def _last_days(rows: pa.Table, scope: Scope, *, days: int) -> pa.Table:
    return rows.filter(pc.field("day") >= pa.scalar(scope.window(days).first, pa.date32()))


def _first_ranks(rows: pa.Table, _: Scope, *, top: int) -> pa.Table:
    return rows.filter(pc.field("rank") <= top)


_TOLD: Final = {
    "searches": _Told(
        answer_searches,
        beside=frozenset({"user", "month"}),
        needed={
            "user": "the user's random id, 32 hexadecimal digits in lower case",
            "month": "the calendar month, such as 2026-10",
        },
    ),
    "power-users": _Told(answer_power_users, PowerUserRule),
    "multi-feature-sessions": _Told(answer_multi_feature_sessions, SessionRule),
    "intervene": _Told(_answer_intervene, InterventionRule),
    "stickiest": _Told(answer_stickiest, StickinessRule, frozenset({"top"}), shown=_first_ranks),
    "back-test": _Told(answer_own_back_test, InterventionRule),
    "active": _Told(answer_activity, beside=frozenset({"days"}), shown=_last_days),
}
_UNDER_SUPPRESSION: Final = {"stickiest": "feature-stickiness", "active": "stickiness", "intervene": "components"}
"""The metrics that answer in the place of words of their own."""
_METRICS: Final = {metric.name: metric for metric in METRICS}
NAMES: Final = tuple(sorted(_TOLD.keys() | _METRICS.keys()))
"""All that can be asked by name."""


def find_scope(filters: Filters, tables: Tables, plan: Plan, *, now: datetime) -> Scope:
    """Return the scope of `filters`, after a look at what there is.

    Raises:
        QuestionError: A name is unknown, a month or a version is ill-formed, or a month stands beside a day.
    """
    since, until = filters.since, filters.until
    if filters.month is not None:
        if since or until:
            raise QuestionError(["Choose a month, or a first and last day; not both."])
        window = parse_month(filters.month)
        since, until = window.first, window.last
    scope = resolve_scope(
        tables.data_days,
        now=now,
        since=since,
        until=until,
        unit=filters.by,
        accounts=filters.accounts,
        instances=filters.instances,
        zone=filters.zone,
    )
    return resolve_filters(
        scope, tables, plan, features=filters.features, versions=filters.versions, clients=filters.clients
    )


def ask(name: str, tables: Tables, plan: Plan, scope: Scope, *, suppress: int | None = None, **chosen: Any) -> Answer:
    """Answer the question of this name.

    Args:
        name: One of `NAMES`.
        tables: The lake.
        plan: Says what its events mean.
        scope: Who and when it is about.
        suppress: Groups of fewer people are not told, nor what would give them away; None: all are. The question is
            then answered by its metric alone.
        chosen: Parameters of the question; without one, its default.

    Raises:
        QuestionError: There is no such question or parameter, a value is out of bounds, or the question is about single
            users and so is none for those to whom small groups are not told.
    """
    told = _TOLD.get(name)
    beside = {key: chosen.pop(key) for key in [*chosen] if told is not None and key in told.beside}
    if suppress is not None:
        # Small groups are left out before it is chosen which rows are shown.
        metric = metric_of(_UNDER_SUPPRESSION.get(name, name))
        answer = _answer_metric(metric, tables, plan, scope, chosen, suppress=suppress)
        if told is None or told.shown is None or not beside:
            return answer
        return msgspec.structs.replace(answer, table=told.shown(answer.table, scope, **beside))
    if told is not None:
        if missing := [f"{name} needs {key}: {what}." for key, what in told.needed.items() if beside.get(key) is None]:
            raise QuestionError(missing)
        if told.rule is NoRule:
            _rule(name, NoRule, chosen)
            return told.answer(tables, plan, scope, **beside)
        return told.answer(tables, plan, scope, rule=_rule(name, told.rule, chosen), **beside)
    return _answer_metric(metric_of(name), tables, plan, scope, chosen)


def metric_of(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        QuestionError: There is none.
    """
    try:
        return _METRICS[name]
    except KeyError:
        raise QuestionError([f"There is no question {name!r}. There are {', '.join(NAMES)}."]) from None


def _answer_metric(
    metric: Metric, tables: Tables, plan: Plan, scope: Scope, chosen: dict[str, Any], *, suppress: int | None = None
) -> Answer:
    rule = _rule(metric.name, metric.rule, chosen)
    table = metric.result(tables, plan, scope, rule=rule, suppress=suppress)
    notes = scope_notes(scope) if table.num_rows else [f"There is nothing to count until {scope.until}."]
    if "complete" in table.column_names and not all(table["complete"].to_pylist()):
        notes.append("Where complete says no, days are missing that are not over, or lie before the first event.")
    if suppress is not None:
        notes.append(f"Groups of fewer than {suppress} people are not told, nor what would give them away.")
    return Answer(
        question=metric.words,
        definition=_definition(metric),
        table=table,
        parameters=scope_parameters(scope, **msgspec.to_builtins(rule), suppress=suppress),
        notes=tuple(notes),
    )


def _definition(metric: Metric) -> str:
    """Return the first paragraph of what the function says that it returns, on one line."""
    told = " ".join((metric.function.__doc__ or metric.words).split("\n\n")[0].split()).removeprefix("Return ")
    return told[:1].upper() + told[1:]


def _rule(name: str, kind: type[msgspec.Struct], chosen: dict[str, Any]) -> msgspec.Struct:
    known = [field.name for field in msgspec.structs.fields(kind)]
    if unknown := sorted(chosen.keys() - set(known)):
        there = f"It has {', '.join(known)}." if known else "It has none."
        raise QuestionError([f"{name} has no parameter {' or '.join(unknown)}. {there}"])
    try:
        return msgspec.convert(chosen, kind)
    except msgspec.ValidationError as error:
        raise QuestionError([f"A parameter of {name} is out of bounds: {error}."]) from None
