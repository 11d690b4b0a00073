"""A population's events by the million: Arrow batches of the lake's columns, made a few days at a time.

`heliograph.demo.simulation` gives single calls of `record` to a running product. Here whole days are drawn at once,
with the same mix of events, outcomes and properties, as they would stand in the lake.
"""

from __future__ import annotations

from datetime import datetime, time
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from heliograph.demo.columns import spread, take_ids
from heliograph.demo.population import RELEASE_DAYS, Incident
from heliograph.lake.tables import event_schema
from heliograph.plan.coarsen import least, steps_in_one
from heliograph.plan.model import BooleanProperty, CountProperty, MemberProperty, NumberProperty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.demo.population import Flags, Floats, Integers, Population
    from heliograph.plan.model import Plan, Property

BATCH_EVENTS: Final = 130_000
"""About so many events make a batch: enough for columns to be worth their while, and little memory."""
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 24 * 60 * _MINUTE
_PAUSE: Final = 45.0 * _SECOND
"""Between two events of a session, on average."""
_FAILING: Final = 0.05
_FAILING_MUCH: Final = 0.3
_SHALLOW: Final = 1 / 3


def event_batches(population: Population, plan: Plan, *, batch_events: int = BATCH_EVENTS) -> Iterator[pa.RecordBatch]:
    """Yield all events of a population, by rising days, in the order of their times within a batch.

    Args:
        population: Who does what.
        plan: The population's plan.
        batch_events: How many events a batch has, on average; a day is never divided.

    Yields:
        Batches of `heliograph.lake.tables.event_schema`. Each instance has one epoch for each version of the product,
        and its sequence numbers count from 1 without gaps.
    """
    return _Stream(population, plan, batch_events).batches()


class _Use(NamedTuple):
    """Some days of use, an item for each event, in the order of times."""

    time: Integers
    """Microseconds since 1970-01-01."""
    day: Integers
    person: Integers
    session: Integers
    """A position among the sessions of these days."""
    sessions: int


class _Stream:
    """Makes one population's batches; it knows the sequence numbers that are given."""

    def __init__(self, population: Population, plan: Plan, batch_events: int) -> None:
        rule = population.rule
        self._population, self._plan = population, plan
        self._schema = event_schema(plan)
        self._begin = int(np.datetime64(datetime.combine(rule.first_day, time()), "us").astype(np.int64))
        a_day = max(1.0, population.expected_events() / rule.days)
        self._days = max(1, round(batch_events / a_day))
        codes = list(plan.events)
        by_feature = [
            [codes.index(name) for name, event in plan.events.items() if event.feature == feature]
            for feature in population.features
        ]
        self._events_of = np.array([len(names) for names in by_feature])
        self._first_of = np.cumsum(self._events_of) - self._events_of
        self._ordered = np.array([code for names in by_feature for code in names])
        self._outcomes = _Outcomes(plan)
        self._releases = rule.days // RELEASE_DAYS + 2
        chance = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([rule.seed, 1])))
        instances = len(population.instance_names)
        # Instances are upgraded on different days.
        self._lag = chance.integers(0, RELEASE_DAYS, instances)
        self._epochs = chance.integers(1, 2**62, instances * self._releases)
        self._given = np.zeros(instances * self._releases, np.int64)
        liked = np.cumsum(population.weights * (self._events_of > 0), axis=1)
        self._liked = (liked / liked[:, -1:]).astype(np.float32)
        self._delivery_second = chance.integers(0, 60, instances)

    def batches(self) -> Iterator[pa.RecordBatch]:
        rule = self._population.rule
        for first in range(0, rule.days, self._days):
            source = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([rule.seed, 2, first])))
            use = self._use(first, min(self._days, rule.days - first), source)
            if len(use.time):
                yield self._batch(use, source)

    def _use(self, first: int, days: int, source: np.random.Generator) -> _Use:
        population = self._population
        chances = population.chances(first, days)
        day, person = np.nonzero(source.random(chances.shape) < chances)
        visits = 1 + source.poisson(population.sessions[person] - 1)
        day, person = np.repeat(day + first, visits), np.repeat(person, visits)
        shallow = population.has_incident(Incident.DEPTH, population.account[person], day)
        mean = population.events[person] * np.where(shallow, _SHALLOW, 1.0)
        # Rounded down, an exponential number loses half a unit.
        length = 1 + source.exponential(np.maximum(mean - 0.5, 0.1)).astype(np.int64)
        begin = self._begin + day * _DAY + (source.triangular(7, 11, 20, len(day)) * 60 * _MINUTE).astype(np.int64)
        session = np.repeat(np.arange(len(day)), length)
        pause = source.exponential(_PAUSE, len(session)).astype(np.int64)
        starts = np.cumsum(length) - length
        pause[starts] = 0
        passed = np.cumsum(pause)
        moment = begin[session] + passed - passed[starts][session]
        order = np.argsort(moment)
        session = session[order]
        return _Use(moment[order], day[session], person[session], session, len(day))

    def _batch(self, use: _Use, source: np.random.Generator) -> pa.RecordBatch:
        population, count = self._population, len(use.time)
        instance = population.instance[use.person]
        code = self._codes(use, source)
        release = (use.day + self._lag[instance]) // RELEASE_DAYS
        epoch = instance * self._releases + release
        versions = pa.array([f"6.{number}.0" for number in range(1, self._releases + 1)])
        sources = source.choice(len(self._plan.sources), use.sessions, p=_falling(len(self._plan.sources), power=2))
        # A quiet agent delivers once a minute, each at its own second of it.
        second = self._delivery_second[instance] * _SECOND
        received = ((use.time - second) // _MINUTE + 1) * _MINUTE + second
        columns = {
            "instance": _words(population.instance_names, instance),
            "account": _words(population.account_names, population.instance_account[instance]),
            "epoch": pa.array(self._epochs[epoch]),
            "sequence": pa.array(self._number(epoch)),
            "name": _words(list(self._plan.events), code),
            "time": pa.array(use.time).view(pa.timestamp("us")),
            "user_id": take_ids(population.user_ids, use.person),
            "outcome": self._outcomes.draw(code, self._failing(use), source),
            "version": versions.take(pa.array(release)),
            "source": _words(self._plan.sources, sources[use.session]),
            "agreement": pa.repeat("agreement-1", count),
            "plan": pa.repeat(self._plan.label, count),
            "received": pa.array(received).view(pa.timestamp("us")),
            **_properties(self._plan, code, source),
        }
        filled = (columns.get(field.name) for field in self._schema)
        return pa.RecordBatch.from_arrays(
            [
                pa.nulls(count, field.type) if column is None else column
                for field, column in zip(self._schema, filled, strict=True)
            ],
            schema=self._schema,
        )

    def _codes(self, use: _Use, source: np.random.Generator) -> Integers:
        """Draw the position of each event's name in the plan: first a feature, then one of its events."""
        population = self._population
        account = population.account[use.person]
        wish = source.random(len(use.person), np.float32)
        shallow = population.has_incident(Incident.DEPTH, account, use.day)
        wish[shallow] = 0
        feature = np.zeros(len(wish), np.int64)
        for bound in self._liked.T[:-1]:
            feature += wish >= bound[use.person]
        # Those who know a new feature do a third with it, from its day on.
        taken = (use.day >= population.adopts[use.person]) & (source.random(len(wish), np.float32) < 1 / 3) & ~shallow
        feature = np.where(taken, population.adopted[use.person], feature)
        among = (source.random(len(wish), np.float32) * self._events_of[feature]).astype(np.int64)
        codes: Integers = self._ordered[self._first_of[feature] + np.minimum(among, self._events_of[feature] - 1)]
        return codes

    def _failing(self, use: _Use) -> Floats:
        population = self._population
        account = population.account[use.person]
        return np.where(population.has_incident(Incident.FAILURES, account, use.day), _FAILING_MUCH, _FAILING)

    def _number(self, epoch: Integers) -> Integers:
        order = np.argsort(epoch, kind="stable")
        counts = np.bincount(epoch, minlength=len(self._given))
        starts = np.cumsum(counts) - counts
        numbers = np.empty(len(epoch), np.int64)
        sorted_epochs = epoch[order]
        numbers[order] = np.arange(len(epoch)) - starts[sorted_epochs] + self._given[sorted_epochs] + 1
        self._given += counts
        return numbers


class _Outcomes:
    """Draws how events ended: the plan names the good outcome first."""

    def __init__(self, plan: Plan) -> None:
        listed = [list(event.outcomes) for event in plan.events.values()]
        self._words = [word for outcomes in listed for word in outcomes]
        self._counts = np.array([len(outcomes) for outcomes in listed])
        self._first = np.cumsum(self._counts) - self._counts

    def draw(self, code: Integers, failing: Floats, source: np.random.Generator) -> pa.StringArray:
        count = self._counts[code]
        bad = (source.random(len(code)) < failing) & (count > 1)
        which = np.where(bad, 1 + (source.random(len(code)) * (count - 1)).astype(np.int64), 0)
        return _words(self._words, self._first[code] + np.minimum(which, np.maximum(count - 1, 0)), count == 0)


def _properties(plan: Plan, code: Integers, source: np.random.Generator) -> dict[str, pa.Array]:
    order = np.argsort(code.astype(np.int16), kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(plan.events) + 1))
    drawn: dict[str, list[tuple[Integers, pa.Array]]] = {}
    for definition, (first, last) in zip(plan.events.values(), pairwise(bounds), strict=True):
        for name, kind in definition.properties.items() if last > first else ():
            drawn.setdefault(name, []).append((order[first:last], _values(kind, last - first, source)))
    return {name: _column(parts, len(code)) for name, parts in drawn.items()}


def _column(parts: list[tuple[Integers, pa.Array]], count: int) -> pa.Array:
    """Put together what several events say of one property."""
    if len(parts) == 1:
        [(rows, values)] = parts
        return spread(values, rows, count)
    rows = np.concatenate([rows for rows, _ in parts])
    rising = np.argsort(rows)
    values = pa.concat_arrays([values for _, values in parts]).take(pa.array(rising))
    return spread(values, rows[rising], count)


def _values(kind: Property, count: int, source: np.random.Generator) -> pa.Array:
    """Draw values as they leave the instance: rounded as the plan asks."""
    chance = source.random(count)
    if isinstance(kind, MemberProperty):
        return _words(kind.members, _pick(len(kind.members), chance))
    if isinstance(kind, BooleanProperty):
        return pa.array(chance < 0.3)  # noqa: PLR2004 - the share of simulation.py
    if isinstance(kind, CountProperty):
        return pa.array(np.array(kind.buckets, np.int64)[_pick(len(kind.buckets), chance)])
    low = least(kind)
    # Most values are small, as durations are.
    value = low + (kind.maximum - low) * chance**6 / 10
    if isinstance(kind, NumberProperty):
        steps = 0 if kind.precision is None else steps_in_one(kind.precision)
        return pa.array(np.rint(value * steps) / steps if steps else value)
    return pa.array(np.rint(value.astype(np.int64) / kind.precision).astype(np.int64) * kind.precision)


def _pick(count: int, chance: Floats) -> Integers:
    return np.searchsorted(np.cumsum(_falling(count)), chance, side="right").clip(0, count - 1)


def _falling(count: int, *, power: int = 1) -> Floats:
    """Return the chances of `count` choices, the first ones likelier."""
    weights: Floats = 1.0 / np.arange(1, count + 1) ** power
    return weights / float(weights.sum())


def _words(words: list[str] | tuple[str, ...], which: Integers, missing: Flags | None = None) -> pa.StringArray:
    return pa.array(words, pa.string()).take(pa.array(which, mask=missing))
