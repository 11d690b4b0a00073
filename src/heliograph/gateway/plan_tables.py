"""What a plan allows, and nothing else, as tables for `heliograph.gateway.quick_look`.

Whatever the second wall would have to look at more closely is not in them, and so is left to the plan itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from heliograph.event import VERSION_PATTERN
from heliograph.gateway.loops import BUCKETS, HIGHEST, LOWEST, STEP, Vocabulary, hash_of, line_of
from heliograph.plan.coarsen import steps_in_one
from heliograph.plan.columns import word_lists
from heliograph.plan.model import MemberProperty, NumberProperty
from heliograph.plan.sensitive.numbers import LONGEST_AMOUNT, is_no_version
from heliograph.plan.value_tables import buckets_of, members_of, precision_of, range_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heliograph.plan.model import Plan, Property
    from heliograph.plan.sensitive.wall import Looks

_LARGEST_AMOUNT: Final = 10**LONGEST_AMOUNT - 1
_EVERY_EVENT: Final = 0
"""The line of the words that any event may have."""
_VERSIONS, _NAMES = 0, 1
"""Two fields' numbers."""
MOST_VERSIONS: Final = 1_000
"""So many are known at once: a vendor's instances run some dozens."""
_LONGEST_VERSION: Final = 23


class Limits:
    """What each event's properties may be, by the property's line and the event's index."""

    def __init__(self, plan: Plan, lines: Mapping[str, int], looks: Mapping[str, Looks]) -> None:
        shape = (len(lines), len(plan.events))
        self.declared: Final = np.zeros(shape, np.bool_)
        self.whole_numbers: Final = np.zeros((*shape, 4), np.int64)
        self.numbers: Final = np.zeros((*shape, 3), np.float64)
        # What an event does not have is one at the least and zero at the most.
        self.whole_numbers[..., LOWEST] = self.numbers[..., LOWEST] = 1
        self._bucket_lines: dict[tuple[int, ...], int] = {}
        for index, (name, event) in enumerate(plan.events.items()):
            for key, kind in event.properties.items():
                if key not in looks[name].keys:
                    self._take(lines[key], index, kind, may_be_large=key not in looks[name].numbers)
        most = max(map(len, self._bucket_lines), default=1)
        padded = [[*bounds, *bounds[-1:] * (most - len(bounds))] for bounds in self._bucket_lines]
        self.buckets: Final = np.array(padded, np.int64).reshape(-1, most)

    def _take(self, line: int, index: int, kind: Property, *, may_be_large: bool) -> None:
        self.declared[line, index] = True
        lowest, highest = range_of(kind)
        if not may_be_large:  # then a larger one may be a run of digits
            lowest, highest = max(lowest, -_LARGEST_AMOUNT), min(highest, _LARGEST_AMOUNT)
        if isinstance(kind, NumberProperty):
            limit: Any = self.numbers[line, index]
            limit[STEP] = 0 if kind.precision is None else steps_in_one(kind.precision)
        else:
            limit = self.whole_numbers[line, index]
            limit[STEP] = precision_of(kind)
            bounds = buckets_of(kind)
            limit[BUCKETS] = self._bucket_lines.setdefault(bounds, len(self._bucket_lines)) if bounds else -1
        limit[LOWEST], limit[HIGHEST] = lowest, highest


class Words:
    """Which words may stand where. One that is sensitive in any event is not known.

    Versions, of which a plan has no list, are known once they were seen.
    """

    def __init__(self, plan: Plan, looks: Mapping[str, Looks]) -> None:
        every_event = (True,) * len(plan.events)
        lines = {every_event: _EVERY_EVENT}
        lists = _lists(plan, looks)
        self.fields: Final = {field: number for number, field in enumerate(("version", "name", *lists))}
        """By name: the field's number in the vocabulary."""
        names = {name: index for index, name in enumerate(plan.events) if not looks[name].is_hidden}
        self._listed = [(_NAMES, name.encode(), index) for name, index in names.items()]
        for field, by_event in lists.items():
            for word in frozenset[str]().union(*by_event):
                line = lines.setdefault((*(word in each for each in by_event),), len(lines))
                self._listed.append((self.fields[field], word.encode(), line))
        self.allowed: Final = np.array([*lines], np.bool_)
        """By line and event."""
        most = len(self._listed) + MOST_VERSIONS
        letters = sum(len(word) for _, word, _ in self._listed) + MOST_VERSIONS * _LONGEST_VERSION
        self.vocabulary: Final = Vocabulary(
            np.zeros(1 << (2 * most).bit_length(), np.int64), np.zeros((most, 4), np.int64), np.zeros(letters, np.uint8)
        )
        self._forget_versions()

    def learn_versions(self, words: Iterable[bytes]) -> bool:
        """Tell whether all words are versions as they may stand there, which are known from then on."""
        all_words = {*words}
        new = {word for word in all_words if line_of(word, _VERSIONS, self.vocabulary) < 0}  # type: ignore[arg-type]
        if not all(map(is_version, new)) or len(all_words) > MOST_VERSIONS:
            return False
        if self._count + len(new) > len(self.vocabulary.words):
            self._forget_versions()
            new = all_words
        for word in new:
            self._put(_VERSIONS, word, _EVERY_EVENT)
        return True

    def _forget_versions(self) -> None:
        self._count = self._letters = 0
        self.vocabulary.slots.fill(-1)
        for listed in self._listed:
            self._put(*listed)

    def _put(self, field: int, word: bytes, line: int) -> None:
        slots, words, letters = self.vocabulary
        letters[self._letters : self._letters + len(word)] = [*word]
        words[self._count] = self._letters, len(word), field, line
        slot = hash_of(word, field) & (len(slots) - 1)  # type: ignore[arg-type] # bytes have letters, too
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = self._count
        self._count += 1
        self._letters += len(word)


def _lists(plan: Plan, looks: Mapping[str, Looks]) -> dict[str, list[frozenset[str]]]:
    """Return the words of each field that has a list, for each event of the plan."""
    lists = word_lists(plan)
    for key, kind in plan.property_kinds().items():
        if kind is MemberProperty:
            lists[key] = [
                frozenset() if key in looks[name].keys else members_of(event.properties.get(key))
                for name, event in plan.events.items()
            ]
    none = frozenset[str]()
    sensitive = {field: none.union(*(each.words.get(field, none) for each in looks.values())) for field in lists}
    return {field: [words - sensitive[field] for words in by_event] for field, by_event in lists.items()}


def is_version(word: bytes) -> bool:
    """Tell whether a word is a version as it may stand there."""
    text = word.decode("ascii", "replace")
    return VERSION_PATTERN.fullmatch(text) is not None and not is_no_version(text)
