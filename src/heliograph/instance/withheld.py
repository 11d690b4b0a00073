"""When somebody had said no: intervals whose events stay on the instance, also when they are found later.

What is queued is purged while the no holds. But a product that had not heard of it, or its own table, may hold events
of that time still when the level is wider again. An interval begins when the agent sees a no, and ends when it sees a
yes: not knowing ends nothing, as nobody has taken the no back, and begins nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from heliograph.consent.level import Level
from heliograph.event import microseconds

if TYPE_CHECKING:
    from heliograph.consent.policy import Policy
    from heliograph.instance.state import State

ADMIN_WORD: Final = timedelta(hours=1)
"""For how long the admin's own word may be told before the agent has to say it again."""
_SCHEMA: Final = """
create table if not exists withheld (
    least text not null, since integer not null, until integer not null, is_open integer not null,
    primary key (least, since)
) without rowid
"""

LevelName = Literal["off", "critical", "events"]


class Word(NamedTuple):
    """What those who have a say have said, as far as it is known."""

    level: Level | None
    """The narrowest of their words; None where one is not known that could be narrower."""
    narrowest: Level | None
    """The narrowest of the words that are known, whatever the others may say; None where none is."""
    until: datetime
    """Until when this holds."""

    def refuses(self, least: Level) -> bool:
        """Tell whether somebody has said no to what needs the level `least`."""
        return self.narrowest is not None and self.narrowest < least

    def allows(self, least: Level) -> bool:
        """Tell whether all have said yes to what needs the level `least`."""
        return self.level is not None and self.level >= least

    @property
    def level_name(self) -> LevelName | None:
        """Return the level as a notice has it."""
        names: dict[Level, LevelName] = {Level.OFF: "off", Level.CRITICAL: "critical", Level.EVENTS: "events"}
        return None if self.level is None else names[self.level]


def heard(decided: Level, policy: Policy | None, admin: Level | None, now: datetime) -> Word:
    """Return whose word it is that `decided` rests on, if it is anybody's.

    Args:
        decided: The effective level, which doubt makes `Level.OFF`.
        policy: The vendor's latest word; None when there is none, or it is in doubt.
        admin: What the admin said; None when that cannot be read.
        now: The clock.
    """
    ends = now + ADMIN_WORD
    vendor = None
    if policy is not None and policy.received <= now < policy.received + timedelta(seconds=policy.valid_seconds):
        vendor = policy.level
        ends = policy.received + timedelta(seconds=policy.valid_seconds)
    words = [word for word in (vendor, admin) if word is not None]
    narrowest = min(words, default=None)
    known = len(words) == 2 or narrowest is Level.OFF  # noqa: PLR2004 - both of them
    return Word(
        level=narrowest if known and narrowest is decided else None,
        narrowest=narrowest,
        until=now + ADMIN_WORD if admin is Level.OFF else ends,
    )


class Interval(NamedTuple):
    """From the first moment, included, to the last, which is not; in microseconds since 1970 in UTC."""

    since: int
    until: int


class Withheld:
    """The intervals in which somebody had said no to what needs a level, in the agent's state.

    Args:
        state: The agent's memory.
        least: That level.
    """

    def __init__(self, state: State, least: Level = Level.EVENTS) -> None:
        self._connection = state.connection
        self._least = least
        self._connection.execute(_SCHEMA)
        self._open: Interval | None = None
        self.intervals: tuple[Interval, ...] = ()
        """All of them, in order; none overlaps another."""
        self._read()

    def tell(self, word: Word, now: datetime) -> None:
        """Take note of what is said now, before anything is done about it.

        Wherever the clock is set meanwhile, an interval holds every moment at which the no was seen to hold.
        """
        moment = microseconds(now)
        if word.refuses(self._least):
            held = Interval(moment, moment + 1)
            if self._open is not None:
                held = Interval(min(self._open.since, moment), max(self._open.until, moment + 1))
            if held != self._open:
                self._write(held, is_open=True)
        elif word.allows(self._least) and self._open is not None:
            self._write(Interval(min(self._open.since, moment), max(self._open.until, moment)), is_open=False)

    def _write(self, held: Interval, *, is_open: bool) -> None:
        """Put `held` in the place of the open interval, and of all that it overlaps once it is closed."""
        with self._connection:
            self._connection.execute("begin immediate")
            least = self._least.value
            self._connection.execute("delete from withheld where least = ? and is_open", (least,))
            overlapping = self._connection.execute(
                "select since, until from withheld where least = ? and since <= ? and until >= ?",
                (least, held.until, held.since),
            ).fetchall()
            for since, until in overlapping:
                self._connection.execute("delete from withheld where least = ? and since = ?", (least, since))
                held = Interval(min(held.since, since), max(held.until, until))
            self._connection.execute("insert into withheld values (?, ?, ?, ?)", (least, *held, is_open))
        self._read()

    def _read(self) -> None:
        rows = self._connection.execute(
            "select since, until, is_open from withheld where least = ? order by since", (self._least.value,)
        ).fetchall()
        self._open = next((Interval(since, until) for since, until, is_open in rows if is_open), None)
        self.intervals = tuple(Interval(since, until) for since, until, _ in rows)
