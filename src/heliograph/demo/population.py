"""Simulated people whose habits are known, so that what questions find can be held against the truth.

A population is drawn from a seed: accounts with instances, and people with habits. Some people leave, some take up a
feature, and some accounts have an incident from a certain day on. `heliograph.demo.bulk` makes their events, and
`Population.people` and `Population.accounts` are the truth. Habits are no copy of what a question defines: a power
user here is somebody who comes nearly daily and does much, in whatever numbers chance makes of it.
"""

from __future__ import annotations

import enum
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import Meta

from heliograph.demo.columns import hexadecimal

if TYPE_CHECKING:
    from heliograph.plan.model import Plan

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Chance: TypeAlias = np.random.Generator

NEVER: Final = np.iinfo(np.int32).max
"""A day that does not come."""
RELEASE_DAYS: Final = 28
"""An instance gets a new version of the product, and with it a new epoch, after so many days."""
_TRIES: Final = 8
_SATURDAY: Final = 5
_WEEKEND: Final = 0.12
"""How likely somebody comes on a day of the weekend, as a share of a working day."""


class Habit(enum.IntEnum):
    """How somebody uses the product."""

    POWER = 0
    REGULAR = 1
    CASUAL = 2


class Incident(enum.IntEnum):
    """What goes wrong at an account, from a certain day on."""

    FAILURES = 0
    """Three in ten actions fail; before, it is one in twenty."""
    LEAVING = 1
    """Each week three in ten of the people leave for good."""
    DEPTH = 2
    """Everybody still comes, does a third as much, and uses one feature."""
    SILENCE = 3
    """Nothing arrives any more. That is no use going down: there is no data."""


class _Manner(msgspec.Struct, frozen=True):
    """What a habit means in numbers."""

    share: float
    """Of the people."""
    attendance: tuple[float, float]
    """The beta distribution of the chance to come on a working day."""
    sessions: float
    """A day, on average."""
    events: float
    """A session, on average."""
    curiosity: float
    """How many features somebody knows, beside a regular user."""


MANNERS: Final = {
    Habit.POWER: _Manner(0.18, (17.0, 3.0), 2.4, 8.0, 2.2),
    Habit.REGULAR: _Manner(0.47, (4.0, 8.0), 1.7, 5.5, 1.0),
    Habit.CASUAL: _Manner(0.35, (1.5, 12.0), 1.2, 4.0, 0.6),
}
"""The habits in numbers: five or six events a session and one to three sessions a day on average, as in
`heliograph.demo.simulation`."""


class PopulationRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a population is drawn from: equal rules and plans give equal populations and events."""

    seed: int
    """Of all chance."""
    first_day: date
    """The first UTC day of use."""
    days: Annotated[int, Meta(ge=7)]
    """Days of use."""
    accounts: Annotated[int, Meta(ge=1)]
    people: Annotated[int, Meta(ge=1)] = 60
    """People of the median account; others have from a few to some hundreds."""
    incidents: Annotated[float, Meta(ge=0, le=1)] = 0.4
    """Share of the accounts with an incident."""
    incident_days: tuple[float, float] = (0.5, 0.9)
    """When incidents begin, as a share of all days: from, and to."""
    churn: Annotated[float, Meta(ge=0, le=1)] = 0.12
    """Share of the people who leave for good, of their own accord."""
    adopters: Annotated[float, Meta(ge=0, le=1)] = 0.15
    """Share of the people who take up a feature which they had not used before."""
    unrest: Annotated[float, Meta(ge=0)] = 0.08
    """How much an account's attendance varies from week to week beyond chance: a standard deviation, as a share."""


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """People and accounts with all that is particular to each; positions in arrays stand for them.

    Arrays of an account or instance: `account_names`, `instance_names`, `instance_account`, `incident` (-1: none),
    `incident_day`, `unrest` (by account and week). All others are of a person. Days count from `rule.first_day`.
    """

    rule: PopulationRule
    features: tuple[str, ...]
    account_names: list[str]
    instance_names: list[str]
    instance_account: Integers
    incident: Integers
    incident_day: Integers
    unrest: Floats
    user_ids: pa.StringArray
    instance: Integers
    habit: Integers
    attendance: Floats
    sessions: Floats
    events: Floats
    weights: Floats
    """How much each person likes each feature: 0 what they do not know. By person and feature."""
    arrives: Integers
    leaves: Integers
    """The first day without the person; `NEVER`."""
    adopted: Integers
    """The position of the feature that the person takes up; -1: none."""
    adopts: Integers
    """The day on which that begins; `NEVER`."""

    @property
    def account(self) -> Integers:
        """The account of each person."""
        return self.instance_account[self.instance]

    def chances(self, first: int, days: int) -> Floats:
        """Return how likely each person comes on each of some days: by day and person."""
        day = np.arange(first, first + days)[:, None]
        weekday = (self.rule.first_day.weekday() + day) % 7
        account = self.account
        chance = self.attendance[None, :] * np.where(weekday >= _SATURDAY, _WEEKEND, 1.0)
        chance = np.minimum(chance * self.unrest[account[None, :], day // 7], 1.0)
        silent = (self.incident == Incident.SILENCE)[account][None, :] & (day >= self.incident_day[account][None, :])
        here = (day >= self.arrives[None, :]) & (day < self.leaves[None, :]) & ~silent
        return np.where(here, chance, 0.0)

    def has_incident(self, kind: Incident, account: Integers, day: Integers) -> Flags:
        """Tell for pairs of an account and a day whether the account has that incident by then."""
        found: Flags = (self.incident[account] == kind) & (day >= self.incident_day[account])
        return found

    def expected_events(self) -> float:
        """Return how many events its people make in all days, on average."""
        weeks = range(0, self.rule.days, 7)
        a_day = self.sessions * self.events
        return sum(
            float((self.chances(first, min(7, self.rule.days - first)).sum(axis=0) * a_day).sum()) for first in weeks
        )

    def date_of(self, day: int) -> date | None:
        """Return the date of a day; None for `NEVER`."""
        return None if day == NEVER else self.rule.first_day + timedelta(days=int(day))

    @property
    def people(self) -> pa.Table:
        """The truth about people: account, instance, user_id, `habit`, `arrives`, `leaves`, `adopted`, `adopts`."""
        return pa.table(
            {
                "account": pa.array(self.account_names).take(pa.array(self.account)),
                "instance": pa.array(self.instance_names).take(pa.array(self.instance)),
                "user_id": self.user_ids,
                "habit": pa.array([Habit(habit).name.lower() for habit in self.habit], pa.string()),
                "arrives": pa.array([self.date_of(day) for day in self.arrives], pa.date32()),
                "leaves": pa.array([self.date_of(day) for day in self.leaves], pa.date32()),
                "adopted": pa.array([None if at < 0 else self.features[at] for at in self.adopted], pa.string()),
                "adopts": pa.array([self.date_of(day) for day in self.adopts], pa.date32()),
            }
        )

    @property
    def accounts(self) -> pa.Table:
        """The truth about accounts: account, `incident` (null: none), `since`."""
        return pa.table(
            {
                "account": self.account_names,
                "incident": pa.array(
                    [None if kind < 0 else Incident(kind).name.lower() for kind in self.incident], pa.string()
                ),
                "since": pa.array([self.date_of(day) for day in self.incident_day], pa.date32()),
            }
        )


def sized(events: int, rule: PopulationRule, plan: Plan) -> PopulationRule:
    """Return `rule` with the number of accounts whose events come nearest to `events`, of a few that are tried."""
    tried: dict[int, float] = {}
    accounts = rule.accounts
    while accounts not in tried and len(tried) < _TRIES:
        rule = msgspec.structs.replace(rule, accounts=accounts)
        tried[accounts] = draw_population(rule, plan).expected_events()
        accounts = max(1, round(accounts * events / tried[accounts]))
    return msgspec.structs.replace(rule, accounts=min(tried, key=lambda each: abs(tried[each] - events)))


def draw_population(rule: PopulationRule, plan: Plan) -> Population:
    """Draw accounts and people from the seed of `rule`.

    Args:
        rule: The seed, and all sizes.
        plan: Its features, the first of which are known to nearly all.
    """
    source = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([rule.seed, 0])))
    incident, incident_day = _incidents(rule, source)
    sizes = np.maximum(3, np.rint(rule.people * source.lognormal(0, 0.7, rule.accounts))).astype(np.int64)
    # One account in five has a second instance, with a third of its people.
    seconds = np.flatnonzero(source.random(rule.accounts) < 0.2)  # noqa: PLR2004 - the share
    instance_account = np.concatenate([np.arange(rule.accounts), seconds])
    account = np.repeat(np.arange(rule.accounts), sizes)
    second_of = np.full(rule.accounts, -1)
    second_of[seconds] = rule.accounts + np.arange(len(seconds))
    moved = (second_of[account] >= 0) & (source.random(len(account)) < 1 / 3)
    people = len(account)
    habit = source.choice(len(MANNERS), people, p=[manner.share for manner in MANNERS.values()])
    manners = [MANNERS[Habit(each)] for each in range(len(MANNERS))]
    attendance = np.choose(habit, [source.beta(*manner.attendance, people) for manner in manners])
    weights = _weights(plan, habit, source)
    arrives = np.where(source.random(people) < 0.25, source.integers(0, rule.days, people), 0)  # noqa: PLR2004 - the share
    adopted, adopts = _adoptions(rule, weights, arrives, source)
    unrest = np.exp(source.normal(0, rule.unrest, (rule.accounts, rule.days // 7 + 2)))
    return Population(
        rule=rule,
        features=tuple(plan.features),
        account_names=[f"customer-{number:04}" for number in range(1, rule.accounts + 1)],
        instance_names=[
            f"customer-{account + 1:04}-{'first' if at < rule.accounts else 'second'}"
            for at, account in enumerate(instance_account)
        ],
        instance_account=instance_account,
        incident=incident,
        incident_day=incident_day,
        unrest=unrest,
        user_ids=hexadecimal(source, people),
        instance=np.where(moved, second_of[account], account),
        habit=habit,
        attendance=attendance,
        sessions=np.choose(habit, [manner.sessions for manner in manners]),
        events=np.choose(habit, [manner.events for manner in manners]),
        weights=weights,
        arrives=arrives,
        leaves=_departures(rule, account, arrives, (incident, incident_day), source),
        adopted=adopted,
        adopts=adopts,
    )


def _incidents(rule: PopulationRule, source: Chance) -> tuple[Integers, Integers]:
    first, last = (round(share * rule.days) for share in rule.incident_days)
    struck = source.random(rule.accounts) < rule.incidents
    kind = np.where(struck, source.integers(0, len(Incident), rule.accounts), -1)
    day = source.integers(first, max(last, first + 1), rule.accounts)
    return kind, np.where(struck, day, NEVER)


def _weights(plan: Plan, habit: Integers, source: Chance) -> Floats:
    # Features differ in reach: the plan's first ones are known to nearly all, the last ones to few.
    ranks = np.arange(len(plan.features))
    curiosity = np.array([MANNERS[Habit(each)].curiosity for each in range(len(MANNERS))])[habit]
    chance = np.minimum(0.95, 0.95 / (1 + 0.45 * ranks)[None, :] * curiosity[:, None])
    known = source.random(chance.shape) < chance
    known[:, 0] = True
    # The most used first, as `heliograph.demo.simulation` has it.
    order = np.cumsum(known, axis=1)
    return np.where(known, 1.0 / order.clip(1), 0.0)


def _adoptions(rule: PopulationRule, weights: Floats, arrives: Integers, source: Chance) -> tuple[Integers, Integers]:
    people, features = weights.shape
    chosen = source.integers(0, features, people)
    day = source.integers(0, rule.days, people)
    adopts = (source.random(people) < rule.adopters) & (weights[np.arange(people), chosen] == 0) & (day > arrives)
    return np.where(adopts, chosen, -1), np.where(adopts, day, NEVER)


def _departures(
    rule: PopulationRule, account: Integers, arrives: Integers, incidents: tuple[Integers, Integers], source: Chance
) -> Integers:
    incident, incident_day = incidents
    people = len(account)
    # An account's whole history sees the share of `churn`; whoever arrives late has less time to leave.
    day = source.integers(0, rule.days, people)
    own = np.where((source.random(people) < rule.churn) & (day > arrives), day, NEVER)
    weeks = source.geometric(0.3, people) - 1
    driven = incident_day[account] + 7 * weeks + source.integers(0, 7, people)
    driven = np.where((incident[account] == Incident.LEAVING) & (driven >= arrives), driven, NEVER)
    leaves = np.minimum(own, driven)
    return np.where(leaves < rule.days, leaves, NEVER)
