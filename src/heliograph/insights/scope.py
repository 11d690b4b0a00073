"""Which events a question is about: accounts, instances, the last day, and whose users are counted together.

All days are UTC days: times in the lake are naive UTC timestamps, and no engine's session zone is ever read.
"""

from __future__ import annotations

import difflib
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import ibis
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Unit: TypeAlias = Literal["account", "instance"]
"""Whose users are counted together: all of an account's, or each instance's alone. Uniques are never summed."""

Rule = TypeVar("Rule", bound=msgspec.Struct)
"""The parameters of one question."""

EPOCH: Final = date(1970, 1, 1)


class QuestionError(Exception):
    """The question cannot be answered as it was put; `problems` says all that is wrong, with remedies."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a question is about.

    Raises:
        QuestionError: `now` has no time zone.
    """

    until: date
    """The last UTC day that counts."""
    now: datetime
    """The moment of asking, with its time zone: the UTC day in progress is never complete."""
    unit: Unit = "account"
    """Whose users are counted together."""
    accounts: tuple[str, ...] = ()
    """Only these accounts; empty: all."""
    instances: tuple[str, ...] = ()
    """Only these instances; empty: all."""

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise QuestionError(["The moment of asking has no time zone; give it as an aware datetime."])

    @property
    def today(self) -> date:
        """The UTC day in progress."""
        return self.now.astimezone(UTC).date()

    @property
    def last_complete_day(self) -> date:
        """The last UTC day that counts and is over."""
        return min(self.until, self.today - timedelta(days=1))


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A number of whole UTC days and the last of them."""

    last: date
    days: int

    @property
    def first(self) -> date:
        """The first day of the window."""
        return self.last - timedelta(days=self.days - 1)

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


def checked(rule: Rule) -> Rule:
    """Return `rule` if every parameter is of its type and within its bounds.

    Raises:
        QuestionError: One is not.
    """
    try:
        return msgspec.convert(msgspec.structs.asdict(rule), type(rule))
    except msgspec.ValidationError as error:
        raise QuestionError([f"A parameter of the question is out of bounds: {error}."]) from None


def is_valid(rule: msgspec.Struct) -> bool:
    """Return whether every parameter of `rule` is of its type and within its bounds."""
    try:
        checked(rule)
    except QuestionError:
        return False
    return True


def number_of(day: date) -> int:
    """Return `day` as a number of days since 1970-01-01, which every engine computes with alike."""
    return (day - EPOCH).days


def day_number(time: ibis.Value) -> ibis.Value:
    """Return the UTC day of `time`, a naive UTC timestamp, as a number of days since 1970-01-01."""
    return time.date().epoch_days().cast("int64")


def day_date(number: ibis.Value) -> ibis.Value:
    """Return the date of a number of days since 1970-01-01: the inverse of `day_number`."""
    return (ibis.date(EPOCH) + number.as_interval("D")).cast("date")


def chosen(events: ibis.Table, scope: Scope) -> ibis.Table:
    """Return the events of the accounts and instances that `scope` names, of any time."""
    if scope.accounts:
        events = events.filter(events.account.isin(scope.accounts))
    if scope.instances:
        events = events.filter(events.instance.isin(scope.instances))
    return events


def between(events: ibis.Table, first: date | None, last: date) -> ibis.Table:
    """Return the events from the UTC day `first` (None: the beginning) to `last`, both included.

    The bounds are compared with the bare column, so that an engine skips files and row groups outside them.
    """
    events = events.filter(events.time < _midnight(last + timedelta(days=1)))
    return events if first is None else events.filter(events.time >= _midnight(first))


def _midnight(day: date) -> ibis.Value:
    return ibis.literal(datetime(day.year, day.month, day.day), "timestamp(6)")  # noqa: DTZ001 - naive UTC, as in the lake


def latest_day(events: ibis.Table) -> date | None:
    """Return the UTC day of the latest event; None when there is none."""
    latest = events.time.max().to_pyarrow().as_py()
    return None if latest is None else latest.date()


def resolve_scope(
    events: ibis.Table,
    *,
    now: datetime,
    until: date | None = None,
    unit: Unit = "account",
    accounts: Iterable[str] = (),
    instances: Iterable[str] = (),
    noun: str = "event",
) -> Scope:
    """Return the scope that these choices make, after a look at which accounts and instances there are.

    Args:
        events: The lake's events; or other rows with an account, an instance and a time.
        now: The moment of asking, with its time zone.
        until: The last UTC day that counts; None: the day of the latest event of those chosen.
        unit: Whose users are counted together.
        accounts: Only these accounts; empty: all.
        instances: Only these instances; empty: all.
        noun: What `events` are, for messages.

    Raises:
        QuestionError: The lake holds no event of a named account or instance, or none of both together.
    """
    scope = Scope(
        until=until or now.astimezone(UTC).date(),
        now=now,
        unit=unit,
        accounts=tuple(dict.fromkeys(accounts)),
        instances=tuple(dict.fromkeys(instances)),
    )
    if scope.accounts or scope.instances:
        _check_known(events, scope, noun)
    if until is None and (latest := latest_day(chosen(events, scope))) is not None:
        scope = msgspec.structs.replace(scope, until=latest)
    return scope


def _check_known(events: ibis.Table, scope: Scope, noun: str) -> None:
    pairs = events.select("account", "instance").distinct().to_pyarrow().to_pylist()
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


def _unknown(kind: Unit, name: str, known: set[str], noun: str) -> str:
    if not known:
        return f"The lake holds no {noun}s yet, so none of the {kind} {name!r}."
    similar = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if similar:
        return f"The lake holds no {noun} of the {kind} {name!r}. Did you mean {' or '.join(similar)}?"
    some = sorted(known)[:5]
    rest = f" and {len(known) - len(some)} more" if len(known) > len(some) else ""
    return f"The lake holds no {noun} of the {kind} {name!r}. It knows {', '.join(some)}{rest}."
