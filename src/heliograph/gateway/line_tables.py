"""What a plan allows in lines, and nothing else, as tables for `heliograph.gateway.line_loops`.

Whatever the second wall would have to look at more closely is not in them, and so is left to the plan itself.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from heliograph.event import Actor
from heliograph.gateway.line_loops import (
    COUNT,
    DECIMAL,
    FIRST_YEAR,
    FLAG,
    LONGEST_WORD,
    MOST_DECIMAL_DIGITS,
    NAMES,
    RANDOM_ID,
    VERSION,
    WHOLE_NUMBER,
    WORD,
    Tables,
    slot_of,
)
from heliograph.plan.coarsen import steps_in_one
from heliograph.plan.model import BooleanProperty, CountProperty, MemberProperty, NumberProperty
from heliograph.plan.sensitive.numbers import LONGEST_AMOUNT
from heliograph.plan.value_tables import buckets_of, members_of, precision_of, range_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from heliograph.plan.model import EventDefinition, Plan, Property
    from heliograph.plan.sensitive.wall import Looks

_LARGEST_AMOUNT: Final = 10**LONGEST_AMOUNT - 1
_MONTHS: Final = [(year, month) for year in range(FIRST_YEAR, 2200) for month in range(1, 13)]
_DAYS: Final = np.array([((date(*each, 1) - date(FIRST_YEAR, 1, 1)).days, monthrange(*each)[1]) for each in _MONTHS])
_ROOM: Final = 4
"""Slots for each word, or half as many: the fewer are taken, the seldomer two words come to the same one."""


def tables_of(plan: Plan, looks: Mapping[str, Looks]) -> Tables:
    """Compile a plan.

    Args:
        plan: The plan.
        looks: What its second wall looks at in each event.
    """
    return _Compiler(plan, looks).tables()


class _Compiler:
    def __init__(self, plan: Plan, looks: Mapping[str, Looks]) -> None:
        self._texts: list[int] = []
        self._words: list[tuple[int, int, int, int]] = []
        self._letters: list[bytes] = []
        """Of each of the words."""
        self._lists: dict[tuple[str, ...], int] = {}
        self._buckets: list[int] = []
        self._bounds: list[tuple[float, float]] = []
        self._fields: list[tuple[int, ...]] = []
        self._events = [0]
        self._take_words(NAMES, {name: index for index, name in enumerate(plan.events) if not looks[name].is_hidden})
        for name, event in plan.events.items():
            self._fields += self._fields_of(event, plan.sources, looks[name])
            self._events.append(len(self._fields))

    def tables(self) -> Tables:
        return Tables(
            texts=np.array(self._texts, np.uint64),
            slots=self._slots(),
            words=np.array(self._words, np.int64).reshape(-1, 4),
            events=np.array(self._events, np.int64),
            fields=np.array(self._fields, np.int64).reshape(-1, 6),
            buckets=np.array(self._buckets, np.int64),
            bounds=np.array(self._bounds, np.float64).reshape(-1, 2),
            months=_DAYS,
        )

    def _fields_of(self, event: EventDefinition, sources: Iterable[str], looks: Looks) -> Iterator[tuple[int, ...]]:
        """Yield the fields of an event behind its time, in the order in which they are written."""
        yield (*self._key("user_id", '"'), RANDOM_ID, 0, 0, 0)
        yield (*self._key("session_id", '"'), RANDOM_ID, 0, 0, 0)
        yield self._word_field("outcome", event.outcomes, looks)
        yield (*self._key("version", '"'), VERSION, 0, 0, 0)
        yield self._word_field("source", sources, looks)
        yield self._word_field("actor", map(str, Actor), looks)
        for key, kind in event.properties.items():
            if key not in looks.keys:
                yield self._property(key, kind, looks)

    def _property(self, key: str, kind: Property, looks: Looks) -> tuple[int, ...]:
        if isinstance(kind, MemberProperty):
            return self._word_field(key, sorted(members_of(kind)), looks)
        if isinstance(kind, BooleanProperty):
            return (*self._key(key), FLAG, 0, 0, 0)
        lowest, highest = range_of(kind)
        if key in looks.numbers:  # a larger one may be a run of digits
            lowest, highest = max(lowest, -_LARGEST_AMOUNT), min(highest, _LARGEST_AMOUNT)
        if isinstance(kind, NumberProperty):
            self._bounds.append((lowest, highest))
            return (*self._key(key), DECIMAL, len(self._bounds) - 1, 0, _decimals(kind))
        if isinstance(kind, CountProperty):
            begin = len(self._buckets)
            self._buckets += [bucket for bucket in buckets_of(kind) if bucket <= highest]
            return (*self._key(key), COUNT, begin, len(self._buckets), 0)
        return (*self._key(key), WHOLE_NUMBER, int(lowest), int(highest), precision_of(kind))

    def _word_field(self, key: str, words: Iterable[str], looks: Looks) -> tuple[int, ...]:
        allowed = tuple(word for word in words if word not in looks.words.get(key, ()))
        listed = self._lists.get(allowed)
        if listed is None:
            listed = self._lists[allowed] = len(self._lists) + NAMES + 1
            self._take_words(listed, dict.fromkeys(allowed, 0))
        return (*self._key(key, '"'), WORD, listed, 0, 0)

    def _key(self, key: str, quote: str = "") -> tuple[int, int]:
        letters = f',"{key}":{quote}'.encode()
        return self._take_text(letters), len(letters)

    def _take_words(self, listed: int, words: Mapping[str, int]) -> None:
        for word, number in words.items():
            letters = word.encode()
            # What would be written with other letters, or is longer, is left to the plan.
            if msgspec.json.encode(word) == b'"%b"' % letters and len(letters) <= LONGEST_WORD:
                self._words.append((listed, self._take_text(letters), len(letters), number))
                self._letters.append(letters)

    def _take_text(self, letters: bytes) -> int:
        begin = len(self._texts)
        padded = letters + bytes(8 - len(letters) % 8)
        self._texts += np.frombuffer(padded, "<u8").tolist()
        return begin

    def _slots(self) -> Any:
        count = 1 << (_ROOM * len(self._words)).bit_length()
        slots = np.full(count, -1, np.int64)
        with np.errstate(over="ignore"):  # the hash is made of what is left
            for line, (letters, word) in enumerate(zip(self._letters, self._words, strict=True)):
                slot = slot_of(_piece(letters[:8]), _piece(letters[-8:]), word[0], count)
                while slots[slot] >= 0:
                    slot = (slot + 1) % count
                slots[slot] = line
        return slots


def _piece(letters: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(letters, "little"))


def _decimals(kind: NumberProperty) -> int:
    """Return how many decimals a number may have: a precision is a power of ten."""
    return MOST_DECIMAL_DIGITS if kind.precision is None else len(str(steps_in_one(kind.precision))) - 1
