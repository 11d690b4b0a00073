"""Histories: operations drawn from a seed, and how a failing history is made small."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from simulation.operations.operation import Operation
from simulation.player import Player
from simulation.world import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST: Final = 30
_WEIGHTS: Final[dict[str, int]] = {
    "record": 30,
    "flush": 6,
    "look": 2,
    "start_recorder": 3,
    "close_recorder": 2,
    "kill_recorder": 2,
    "opt_out": 1,
    "round": 26,
    "start_agent": 1,
    "kill_agent": 2,
    "stop_agent": 1,
    "second_agent": 1,
    "audit": 2,
    "save_state": 2,
    "restore_state": 1,
    "fate": 10,
    "partition": 2,
    "arrive_late": 3,
    "arrive_again": 3,
    "start_gateway": 8,
    "kill_gateway": 3,
    "stop_gateway": 1,
    "load": 12,
    "kill_loader": 2,
    "forget": 2,
    "erase_account": 1,
    "erase": 4,
    "rotate_key": 1,
    "new_instance_key": 1,
    "register_instance_key": 2,
    "level": 4,
    "new_plan": 1,
    "crash": 10,
    "error": 4,
    "cut_instance": 3,
    "cut_vendor": 3,
    "disk_full": 2,
    "disk_lies": 1,
    "wait": 2,
    "set_instance_clock": 1,
    "set_vendor_clock": 1,
}
_ALWAYS: Final = frozenset({"record", "round", "start_gateway", "load", "flush", "start_recorder"})
_THEMES: Final = (
    ("cut_vendor", "kill_gateway"),
    ("cut_vendor", "crash", "kill_loader"),
    ("cut_instance", "flush"),
    ("crash",),
    ("crash", "error", "disk_full"),
    ("disk_lies", "cut_vendor", "cut_instance"),
    ("fate", "arrive_late", "arrive_again", "partition"),
    ("level", "opt_out", "fate", "kill_agent"),
    ("forget", "erase", "fate", "arrive_again"),
    ("forget", "erase_account", "erase", "crash", "kill_gateway", "kill_loader"),
    ("rotate_key", "kill_gateway", "fate", "audit", "crash"),
    ("save_state", "restore_state", "fate"),
    (),
)
"""What goes wrong more often than anything else in a history: nobody finds much where everything is equally rare."""
_MORE: Final = 4
_OF_WORKERS: Final[dict[str, int]] = {
    "crash_worker": 6,
    "kill_worker": 2,
    "crash_writer": 6,
    "cut_link": 2,
    "slow_link": 4,
    "at_once": 3,
    "fate": 6,
    "cut_vendor": 1,
}
"""What comes on top where the gateway has workers, with something to deliver behind each."""
_MOST_ON_TOP: Final = 6


def has_workers(seed: int) -> bool:
    """Tell whether the gateway has two workers in a seed's history: it has them in every third."""
    return seed % 3 == 2


def draw(seed: int) -> list[Operation]:
    """Draw a history: which kinds of operations it has at all, and then each of them."""
    chance = random.Random(seed)
    theme = chance.choice(_THEMES)
    names = [name for name in _WEIGHTS if name in _ALWAYS or name in theme or chance.random() < 0.3]
    weights = [_WEIGHTS[name] * (_MORE if name in theme else 1) for name in names]
    length = chance.randint(6, LONGEST)
    operations = [Operation("start_gateway", 0, 0, chance.getrandbits(32))]
    operations += [
        Operation(name, chance.getrandbits(16), chance.getrandbits(16), chance.getrandbits(32))
        for name in chance.choices(names, weights, k=length)
    ]
    return _with_workers(operations[: 1 + length // 2], chance) if has_workers(seed) else operations


def _with_workers(operations: list[Operation], chance: random.Random) -> list[Operation]:
    for name in chance.choices(list(_OF_WORKERS), list(_OF_WORKERS.values()), k=chance.randint(1, _MOST_ON_TOP)):
        place = chance.randint(1, len(operations))
        operations[place:place] = [
            Operation(each, chance.getrandbits(16), chance.getrandbits(16), chance.getrandbits(32))
            for each in (name, "record", "round", "start_gateway")
        ]
    return [Operation("two_workers", 0, 0, 0), *operations]


class Failure(NamedTuple):
    """What went wrong in a history."""

    operations: list[Operation]
    error: BaseException


def play(
    operations: Sequence[Operation], trace: list[str] | None = None, *, real_lake: bool = False
) -> BaseException | None:
    """Play a history from the beginning, and return what went wrong; None: nothing."""
    with opened(real_lake=real_lake) as world:
        world.stage.trace = trace
        try:
            Player(world).play(operations)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return error
    return None


def minimise(operations: Sequence[Operation], fails: Callable[[Sequence[Operation]], object]) -> list[Operation]:
    """Leave operations out, as many as go, while the history still fails."""
    kept = list(operations)
    size = max(len(kept) // 2, 1)
    while size:
        start = 0
        while start < len(kept):
            without = kept[:start] + kept[start + size :]
            if fails(without):
                kept = without
            else:
                start += size
        size //= 2
    return kept


def find_failure(seed: int) -> Failure | None:
    """Play the history of a seed; if it fails, return it made small."""
    operations = draw(seed)
    error = play(operations)
    if error is None:
        return None

    def fails(without: Sequence[Operation]) -> bool:
        return type(play(without)) is type(error)

    small = minimise(operations, fails)
    return Failure(small, play(small) or error)
