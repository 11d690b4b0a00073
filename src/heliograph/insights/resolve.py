"""A scope made of what a person chose: names are checked against what there is, and versions are looked up."""

from __future__ import annotations

import difflib
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.insights.filters import chosen
from heliograph.insights.scope import QuestionError, Scope, Unit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import ibis

    from heliograph.insights.tables import Tables
    from heliograph.plan.model import Plan

_VERSION: Final = re.compile(r"(<=|>=|<|>|=)?([0-9]{1,5}(?:\.[0-9]{1,5}){0,3})")


def latest_day(days: ibis.Table) -> date | None:
    """Return the latest `day` of the rows; None when there is none."""
    latest: date | None = days.day.max().to_pyarrow().as_py()
    return latest


def resolve_scope(
    days: ibis.Table,
    *,
    now: datetime,
    until: date | None = None,
    since: date | None = None,
    unit: Unit = "account",
    accounts: Iterable[str] = (),
    instances: Iterable[str] = (),
    zone: str = "UTC",
    noun: str = "event",
) -> Scope:
    """Return the scope that these choices make, after a look at which accounts and instances there are.

    Args:
        days: The lake's `instance_days`; or other rows with an account, an instance and a `day`.
        now: The moment of asking, with its time zone.
        until: The last day that counts; None: the latest day of those chosen, in UTC.
        since: The first day that is answered for; see `Scope.since`.
        unit: Whose users are counted together.
        accounts: Only these accounts; empty: all.
        instances: Only these instances; empty: all.
        zone: The time zone of days.
        noun: What the days are days of, for messages.

    Raises:
        QuestionError: The lake holds no event of a named account or instance, or none of both together, or what
            `Scope` says.
    """
    scope = Scope(
        until=until or date.max,
        now=now,
        unit=unit,
        accounts=tuple(dict.fromkeys(accounts)),
        instances=tuple(dict.fromkeys(instances)),
        zone=zone,
    )
    if scope.accounts or scope.instances:
        _check_known(days, scope, noun)
    if until is None:
        scope = msgspec.structs.replace(scope, until=latest_day(chosen(days, scope)) or scope.today)
    return msgspec.structs.replace(scope, since=since)


def resolve_filters(
    scope: Scope,
    tables: Tables,
    plan: Plan,
    *,
    features: Iterable[str] = (),
    versions: Iterable[str] = (),
    clients: Iterable[str] = (),
) -> Scope:
    """Return `scope` with these filters too.

    Args:
        scope: As `resolve_scope` returns it.
        tables: Tell which versions there are.
        plan: Says which features and clients there are.
        features: Keys of the plan.
        versions: ``5.3`` is 5.3 and every 5.3.x; ``=5.3`` is 5.3 alone; ``>=5.2``, ``>5.2``, ``<6`` and ``<=6`` compare
            number by number. What begins with a sign of comparison holds together (``>=5.2`` and ``<5.4``: both);
            of the others, one must hold.
        clients: Sources of the plan.

    Raises:
        QuestionError: One of them is unknown, ill-formed, or matches nothing that there is.
    """
    features, versions, clients = (tuple(dict.fromkeys(each)) for each in (features, versions, clients))
    problems = [
        *(_unknown_word("feature", each, plan.features) for each in features if each not in plan.features),
        *(_unknown_word("client", each, plan.sources) for each in clients if each not in plan.sources),
        *(
            f"{each!r} is no version; write one such as 5.3, =5.3 or >=5.3."
            for each in versions
            if _VERSION.fullmatch(each) is None
        ),
    ]
    found: tuple[str, ...] = ()
    if versions and not problems:
        known = _versions(tables, scope)
        found = tuple(each for each in known if matches(each, versions))
        if not found:
            some = ", ".join(known[-5:]) or "none"
            problems.append(f"No event is of a version {' '.join(versions)}; the newest known are: {some}.")
    if problems:
        raise QuestionError(problems)
    return msgspec.structs.replace(scope, features=features, versions=found, clients=clients)


def matches(version: str, patterns: Iterable[str]) -> bool:
    """Return whether a version is one of those that the patterns of `resolve_filters` mean together."""
    own = _numbers(version)
    single, bounds = [], []
    for pattern in patterns:
        match = _VERSION.fullmatch(pattern)
        if match is None:
            return False
        sign, other = match[1], _numbers(match[2])
        if sign is None:
            single.append(own[: match[2].count(".") + 1] == other[: match[2].count(".") + 1])
        elif sign == "=":
            single.append(own == other)
        else:
            bounds.append({"<": own < other, "<=": own <= other, ">": own > other, ">=": own >= other}[sign])
    return all(bounds) and (any(single) or not single)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the four numbers of a version; 5.3 is 5.3.0.0."""
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def _versions(tables: Tables, scope: Scope) -> list[str]:
    rows = chosen(tables.user_days, scope).select("version").distinct().to_pyarrow()["version"].to_pylist()
    return sorted((each for each in rows if each is not None), key=_numbers)


def _check_known(days: ibis.Table, scope: Scope, noun: str) -> None:
    pairs = days.select("account", "instance").distinct().to_pyarrow().to_pylist()
    known_accounts = {pair["account"] for pair in pairs}
    known_instances = {pair["instance"] for pair in pairs}
    problems = [
        *(_unknown("account", name, known_accounts, noun) for name in scope.accounts if name not in known_accounts),
        *(_unknown("instance", name, known_instances, noun) for name in scope.instances if name not in known_instances),
    ]
    if not problems and scope.accounts and scope.instances:
        problems = [
            f"No instance {name!r} belongs to the account {' or '.join(map(repr, scope.accounts))}."
            for name in scope.instances
            if not any(pair["instance"] == name and pair["account"] in scope.accounts for pair in pairs)
        ]
    if problems:
        raise QuestionError(problems)


def _unknown(kind: str, name: str, known: Collection[str], noun: str) -> str:
    if not known:
        return f"The lake holds no {noun}s yet, so none of the {kind} {name!r}."
    return f"The lake holds no {noun} of the {kind} {name!r}. {_nearest(name, known, 'It knows')}"


def _unknown_word(kind: str, name: str, known: Collection[str]) -> str:
    return f"The tracking plan has no {kind} {name!r}. {_nearest(name, known, 'It has')}"


def _nearest(name: str, known: Collection[str], verb: str) -> str:
    if similar := difflib.get_close_matches(name, known, n=3, cutoff=0.5):
        return f"Did you mean {' or '.join(similar)}?"
    some = sorted(known)[:5]
    rest = f" and {len(known) - len(some)} more" if len(known) > len(some) else ""
    return f"{verb} {', '.join(some)}{rest}."
