"""What a ping must keep beside its form: both ends look, and neither trusts the other."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from heliograph.ping import SMALLEST_GROUP, ActiveUsers, small_groups
from heliograph.plan.facts import fact_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.ping import FeatureUse, Ping
    from heliograph.plan.model import Plan


def ping_problems(ping: Ping, plan: Plan) -> list[str]:
    """Return what is wrong with a ping by the plan and in itself; empty if nothing is. No value is repeated."""
    declared = {feature: use for feature, use in ping.features.items() if feature in plan.features}
    undeclared = len(ping.features) - len(declared)
    return [
        *fact_problems(ping.facts, plan),
        *([f"features that the plan does not declare: {undeclared}"] if undeclared else []),
        *_small_groups(msgspec.structs.replace(ping, features=declared)),
        *_active_users(ping.active_users),
        *(problem for feature, use in declared.items() for problem in _feature(feature, use)),
    ]


def _small_groups(ping: Ping) -> Iterator[str]:
    for path in small_groups(ping):
        yield f"{path} is about fewer than {SMALLEST_GROUP} users: null must stand in its place"


def _active_users(active: ActiveUsers) -> Iterator[str]:
    """Those of a day are among those of its week, and those among the month's; null is one to four."""
    numbers = [(name, getattr(active, name)) for name in ActiveUsers.__struct_fields__]
    for (shorter, few), (longer, many) in pairwise(numbers):
        if (1 if few is None else few) > (SMALLEST_GROUP - 1 if many is None else many):
            yield f"active_users.{shorter} is above active_users.{longer}, which holds it"


def _feature(feature: str, use: FeatureUse) -> Iterator[str]:
    if (use.users is None) is not (use.events is None):
        yield f"features.{feature}: users and events must both be null, or neither"
    elif use.users is not None and use.events is not None and use.users > use.events:
        yield f"features.{feature}: there are fewer events than users"
