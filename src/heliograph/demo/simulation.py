"""Simulated use of a product: people with habits, sessions on working days, and outcomes that mostly are good.

Nothing here claims to be real: it gives the demonstration and the tests something to count, from a seed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from heliograph.plan.coarsen import least
from heliograph.plan.model import (
    BooleanProperty,
    CountProperty,
    EventDefinition,
    MemberProperty,
    NumberProperty,
    Plan,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_SATURDAY: Final = 5
_GOOD_SHARE: Final = 0.94
_WEEKEND_SHARE: Final = 0.12


class SimulatedEvent(NamedTuple):
    """One call of `record` to come."""

    time: datetime
    name: str
    user: int
    session: str
    outcome: str | None
    properties: dict[str, Any]


class Person(NamedTuple):
    """One simulated user."""

    number: int
    eagerness: float
    """The chance of using the product on a working day."""
    features: list[str]
    """What this person uses, the most used first."""
    first_day: int
    last_day: int


class Simulation:
    """One instance's people.

    Args:
        plan: The events to simulate.
        people: How many people there are.
        days: How many days of use, the last being today.
        source: All randomness.
    """

    def __init__(self, plan: Plan, *, people: int, days: int, source: random.Random) -> None:
        self._plan = plan
        self._source = source
        self._days = days
        self._by_feature: dict[str, list[str]] = {}
        for name, event in plan.events.items():
            self._by_feature.setdefault(event.feature, []).append(name)
        self._people = [self._person(number) for number in range(1, people + 1)]

    def _person(self, number: int) -> Person:
        source = self._source
        # Features differ in reach: the plan's first ones are known to nearly all, the last ones to few.
        known = [
            feature
            for rank, feature in enumerate(self._plan.features)
            if source.random() < 0.95 / (1 + 0.45 * rank) or rank == 0
        ]
        first = source.choice((0, 0, 0, source.randrange(self._days)))
        last = self._days if source.random() < 0.85 else source.randrange(first, self._days + 1)  # noqa: PLR2004
        return Person(number, source.betavariate(1.1, 2.2), known, first, last)

    def past(self, now: datetime) -> Iterator[SimulatedEvent]:
        """Yield the use of all days before today, day by day."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(self._days):
            morning = midnight - timedelta(days=self._days - day)
            for person in self._people:
                if person.first_day <= day <= person.last_day and self._comes(person, morning):
                    yield from self._day(person, morning)

    def _comes(self, person: Person, morning: datetime) -> bool:
        chance = person.eagerness * (_WEEKEND_SHARE if morning.weekday() >= _SATURDAY else 1.0)
        return self._source.random() < chance

    def _day(self, person: Person, morning: datetime) -> Iterator[SimulatedEvent]:
        source = self._source
        for _ in range(1 + (source.random() < 0.6) + (source.random() < 0.25)):  # noqa: PLR2004
            moment = morning + timedelta(hours=source.triangular(7, 20, 11))
            yield from self.session(person, moment)

    def session(self, person: Person, moment: datetime) -> Iterator[SimulatedEvent]:
        """Yield one session of a person, from `moment` on."""
        source = self._source
        name = f"{person.number}-{moment.isoformat()}"
        for _ in range(1 + int(source.expovariate(1 / 5))):
            weights = [1 / (1 + rank) for rank in range(len(person.features))]
            [feature] = source.choices(person.features, weights)
            event = source.choice(self._by_feature[feature])
            definition = self._plan.events[event]
            yield SimulatedEvent(
                moment, event, person.number, name, self._outcome(definition), self._properties(definition)
            )
            moment += timedelta(seconds=source.expovariate(1 / 45))

    def live(self) -> Iterator[SimulatedEvent]:
        """Yield the use of right now, without end; the times are to be taken when they are recorded."""
        while True:
            yield from self.session(self._source.choice(self._people), datetime.now(UTC))

    def _outcome(self, definition: EventDefinition) -> str | None:
        outcomes = list(definition.outcomes)
        if not outcomes:
            return None
        return outcomes[0] if self._source.random() < _GOOD_SHARE else self._source.choice(outcomes)

    def _properties(self, definition: EventDefinition) -> dict[str, Any]:
        source = self._source
        values: dict[str, Any] = {}
        for name, kind in definition.properties.items():
            if isinstance(kind, MemberProperty):
                weights = [1 / (1 + rank) for rank in range(len(kind.members))]
                [values[name]] = source.choices(kind.members, weights)
            elif isinstance(kind, BooleanProperty):
                values[name] = source.random() < 0.3  # noqa: PLR2004
            elif isinstance(kind, CountProperty):
                values[name] = self._count(kind)
            else:
                # Most values are small, as durations are. They are as a product has them: the instance rounds them.
                low = least(kind)
                value = low + (kind.maximum - low) * source.random() ** 6 / 10
                values[name] = value if isinstance(kind, NumberProperty) else int(value)
        return values

    def _count(self, kind: CountProperty) -> int:
        """Return a number in one of the buckets, rather one of the first."""
        bounds = [*kind.buckets, 2 * kind.buckets[-1] + 1]
        [rank] = self._source.choices(range(len(kind.buckets)), [1 / (1 + rank) for rank in range(len(kind.buckets))])
        return self._source.randrange(bounds[rank], bounds[rank + 1])
