"""docs/ping.md, from the ping's definition and a plan: what each field is, and an example that passes."""

from __future__ import annotations

from datetime import date
from string import Template
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.ping import MONTH_DAYS, SMALLEST_GROUP, ActiveUsers, FactValue, FeatureUse, Ping, encode_ping, fields
from heliograph.plan.coarsen import nearest_multiple
from heliograph.plan.facts import expected
from heliograph.plan.model import BooleanProperty, CountsFact, IntegerProperty, MemberProperty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Fact, Plan

FACT: Final = "facts.NAME"
_PAGE: Final = """\
# The ping

Made from the ping's definition and the plan `$plan`; `heliograph agent ping --fields` prints the fields for
your plan.

The ping is critical telemetry: what leaves an instance at level `critical`, and at level `events` beside the events
([consent.md](consent.md)). It is added up on the instance, from the same events. Users are counted there, and none is
in it: no id, random or not, and no event. At level `off` there is none.

```console
$$ heliograph agent ping
$$ heliograph agent ping --json
$$ heliograph agent ping --sent
```

The first shows the next ping, and which numbers are suppressed in it; the second prints its exact bytes; the third
lists those that were sent, with their receipts. `heliograph agent usage` shows the instance's own use in full, which
stays there.

## Every field

$table

`FEATURE` stands for each feature that was used on the day:

| feature | |
| --- | --- |
$features

What the product says of itself, and how, is in [recording.md](recording.md#facts); what it may say, in
[plan.md](plan.md#facts). *Active* is a user with at least one event that the plan counts as active.

## Suppression

A number that is about fewer than $smallest users is null, and so is the number of events that they caused: which of
the numbers below $smallest it was is not in the ping. Zero stays, as it is about nobody. An event without a user is
nobody's, and does not count. The difference of two numbers is not suppressed by itself, such as of those who used the
product within the week and those who did on the day.

## Which days, and when

A ping tells about one UTC day. It is made an hour after the day is over, once the outbox is drained, and is on the
instance's disk before it is sent; then it is repeated byte for byte until the gateway has answered. Pings go in the
order of their days, at most $days days back, and begin with the day on which the level first allowed them. An event
that comes after its day's ping counts in the weeks and months that hold the day, and not in that ping.

When somebody says `off`, what was not told yet is dropped. A ping that the gateway refuses for good stays visible in
`heliograph agent ping --sent`, and keeps no later one back.

## An example

```json
$example
```
"""


class FieldRow(NamedTuple):
    """One field of a plan's pings, in words."""

    path: str
    meaning: str
    type: str
    unit: str
    source: str
    suppression: str


def field_rows(plan: Plan) -> Iterator[FieldRow]:
    """Yield each field of the pings of `plan`: its facts one by one, and its features as ``FEATURE``."""
    for about in fields():
        suppression = about.suppression or "never"
        row = FieldRow(about.path, about.description, about.type, about.unit, about.source, suppression)
        if about.path != FACT:
            yield row
            continue
        for name, fact in plan.facts.items():
            yield row._replace(path=f"facts.{name}", meaning=fact.description, type=expected(fact), unit=_unit(fact))


def example_ping(plan: Plan) -> Ping:
    """Return a ping of `plan` as a large instance may send it."""
    used = list(plan.features)[:2]
    uses = [FeatureUse(users=41, events=1_180), FeatureUse(users=None, events=None)]
    return Ping(
        day=date(2026, 10, 31),
        plan=plan.label,
        agent="0.1.0",
        facts={name: _example(fact) for name, fact in plan.facts.items()},
        active_users=ActiveUsers(day=44, week=97, month=130),
        features=dict(zip(used, uses, strict=False)),
    )


def ping_page(plan: Plan) -> str:
    """Return docs/ping.md for the pings of `plan`."""
    return Template(_PAGE).substitute(
        plan=plan.label,
        table="\n".join(_table(plan)),
        features="\n".join(f"| `{feature}` | {meaning} |" for feature, meaning in plan.features.items()),
        smallest=SMALLEST_GROUP,
        days=MONTH_DAYS,
        example=msgspec.json.format(encode_ping(example_ping(plan)), indent=2).decode(),
    )


def _table(plan: Plan) -> Iterator[str]:
    yield "| field | meaning | type | unit | source | suppression |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for path, *words in field_rows(plan):
        yield f"| `{path}` | {' | '.join(words)} |"


def _unit(fact: Fact) -> str:
    match fact:
        case IntegerProperty():
            return "number"
        case CountsFact():
            return "number of each kind"
        case _:
            return "word"


def _example(fact: Fact) -> FactValue:
    match fact:
        case IntegerProperty():
            return nearest_multiple(min(max(fact.minimum, 200), fact.maximum), fact.precision)
        case BooleanProperty():
            return True
        case MemberProperty():
            return fact.members[0]
        case CountsFact():
            return {member: min(2, fact.maximum) for member in fact.members[:2]}
        case _:
            return "5.3.1"
