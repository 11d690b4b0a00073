"""What a question is about: which use, which days, in which time zone, and whose users are counted together.

`heliograph.insights.filters` says what each filter does to each table, and `heliograph.insights.resolve` makes a scope
of what a person chose. Times in the lake are naive UTC timestamps, and no engine's session zone is ever read.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import ibis
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Unit: TypeAlias = Literal["account", "instance", "everyone"]
"""Whose users are counted together: all of an account's, each instance's alone, or all of them. Uniques are never
summed."""

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
        QuestionError: `now` has no time zone, `zone` is not known, or the first day lies after the last.
    """

    until: date
    """The last day that counts."""
    now: datetime
    """The moment of asking, with its time zone: the day in progress is never complete."""
    since: date | None = None
    """The first day that is answered for. None: for metrics by day, period or cohort, all that there are; for those
    over one window of days, as many as their rule says. What a day needs of the days before it, such as a trailing
    window or the day of the first use, is read all the same."""
    unit: Unit = "account"
    """Whose users are counted together."""
    accounts: tuple[str, ...] = ()
    """Only these accounts; empty: all."""
    instances: tuple[str, ...] = ()
    """Only these instances; empty: all."""
    features: tuple[str, ...] = ()
    """Only the use of these features, by the plan's keys; empty: all."""
    versions: tuple[str, ...] = ()
    """Only the use of exactly these versions of the product; empty: all."""
    clients: tuple[str, ...] = ()
    """Only the use that these sources tell of, such as ``web``; empty: all."""
    zone: str = "UTC"
    """The time zone of days, such as ``Europe/Berlin``."""

    def __post_init__(self) -> None:
        problems = []
        if self.now.tzinfo is None:
            problems.append("The moment of asking has no time zone; give it as an aware datetime.")
        if zone_named(self.zone) is None:
            problems.append(f"{self.zone!r} is no time zone; write one such as UTC or Europe/Berlin.")
        if self.since is not None and self.since > self.until:
            problems.append(f"The first day, {self.since}, lies after the last, {self.until}.")
        if problems:
            raise QuestionError(problems)

    @property
    def today(self) -> date:
        """The day in progress."""
        return self.now.astimezone(zone_named(self.zone)).date()

    @property
    def last_complete_day(self) -> date:
        """The last day that counts and is over."""
        return min(self.until, self.today - timedelta(days=1))

    def window(self, days: int) -> Window:
        """Return the days from the first to the last, or the last `days` where there is no first day."""
        return Window(last=self.until, days=days if self.since is None else (self.until - self.since).days + 1)


def zone_named(name: str) -> tzinfo | None:
    """Return the time zone; None when it is not known."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A number of whole days and the last of them."""

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
