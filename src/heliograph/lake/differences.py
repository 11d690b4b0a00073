"""What the loaders have found to differ, and what somebody has said of it: properties of `events`.

What a loader finds goes into the commit of the rows in which it found it, so that a crash leaves both or neither. A
word covers what differs of one instance until then; what is found later is a difference again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.words import Words
from heliograph.difference import MOST_KEPT, Counts, Difference
from heliograph.lake.commits import commit
from heliograph.lake.places import log_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyiceberg.table import Table, Transaction

_FOUND: Final = "heliograph.differences."
"""The property with what was found, with the log's name behind: JSON, ``{instance: Found}``."""
_EXPLAINED: Final = "heliograph.explained"
"""The property with the words, one a line."""
_CHAIN: Final = "heliograph lake explained"


class Found(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was found to differ of one instance, in one log."""

    count: int = 0
    """How many ranges."""
    ranges: list[Difference] = []
    """The first of them."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of what differs of one instance in the lake: it covers what did until then."""

    time: int
    """Microseconds since 1970."""
    by: str
    """The role that says so."""
    reason: str
    instance: str
    found: dict[str, int]
    """How many ranges had been found to differ until then, by log."""
    ranges: list[Difference]
    """Those that were known one by one, and not explained before."""
    names: Counts
    """By how many events of each name the lake had come to differ from what was accepted: above zero are missing."""


class LakeDifferences:
    """What differs in the lake, and what of it is explained.

    Args:
        table: The events; None before there are any.
    """

    def __init__(self, table: Table | None) -> None:
        properties: Mapping[str, str] = {} if table is None else table.properties
        self._found = {
            name.removeprefix(_FOUND): msgspec.json.decode(text, type=dict[str, Found])
            for name, text in properties.items()
            if name.startswith(_FOUND)
        }
        self._words = Words(_CHAIN, Explanation, properties.get(_EXPLAINED, "").encode())

    @property
    def words(self) -> list[Explanation]:
        """All that was said, the earliest first."""
        return self._words.found

    @property
    def problem(self) -> str:
        """What is wrong with what was said, if anything is."""
        return self._words.problem and f"the lake's property {_EXPLAINED}: {self._words.problem}"

    @property
    def instances(self) -> list[str]:
        """Of whom something was found to differ."""
        return sorted({instance for found in self._found.values() for instance in found})

    def open_of(self, log: str) -> int:
        """Return how many ranges of a log differ that nobody has explained."""
        return sum(self.open_count(instance, log) for instance in self.instances)

    def open_ranges(self, instance: str) -> list[Difference]:
        """Return the ranges that nobody has explained, as far as they are known one by one."""
        found = [each for log in self._found.values() for each in log.get(instance, Found()).ranges]
        return self._words.open_ranges(instance, found)

    def open_count(self, instance: str, log: str | None = None) -> int:
        """Return how many ranges differ that nobody has explained: of one log, or of all."""
        logs = self._found if log is None else {log} & self._found.keys()
        words = self._words.of(instance)
        known = words[-1].found if words else {}
        return sum(max(self._found[each].get(instance, Found()).count - known.get(each, 0), 0) for each in logs)

    def known_names(self, instance: str) -> Counts:
        """Return by how many events of each name the lake is known to differ."""
        words = self._words.of(instance)
        return words[-1].names if words else {}

    def open_names(self, instance: str, names: Counts) -> Counts:
        """Return those names by which the lake differs otherwise than is known."""
        known = self.known_names(instance)
        return {name: count for name, count in names.items() if count != known.get(name, 0)}

    def said(self, instance: str, names: Counts, *, time: int, by: str, reason: str) -> Explanation | None:
        """Take a word on all that differs of an instance so far; None where nothing does that is not explained."""
        if not self.open_count(instance) and not self.open_names(instance, names):
            return None
        word = Explanation(
            time=time,
            by=by,
            reason=reason,
            instance=instance,
            found={log: found[instance].count for log, found in self._found.items() if instance in found},
            ranges=self.open_ranges(instance),
            names=names,
        )
        self._words.append(word)
        return word

    def property(self) -> dict[str, str]:
        """Return the property with all that was said."""
        return {_EXPLAINED: self._words.lines().decode()}


def found_property(table: Table, fresh: Iterable[tuple[str, Difference]]) -> dict[str, str]:
    """Return the property with what this process's loader has found besides, for the commit in which it did."""
    name = _FOUND + log_name(table)
    found = msgspec.json.decode(table.properties.get(name, "{}"), type=dict[str, Found])
    before = json.dumps(msgspec.to_builtins(found))
    for instance, difference in fresh:
        each = found.setdefault(instance, Found())
        each.count += 1
        if len(each.ranges) < MOST_KEPT:
            each.ranges = [*each.ranges, difference]
    after = json.dumps(msgspec.to_builtins(found))
    return {} if after == before else {name: after}


def explain(table: Table, instance: str, names: Counts, *, time: int, by: str, reason: str) -> Explanation | None:
    """Record that all that differs of an instance in the lake so far is known; None where nothing does.

    Args:
        table: The events; a loader may be at work.
        instance: Whose events.
        names: By how many events of each name the lake differs now.
        time: Microseconds since 1970.
        by: Who says so.
        reason: How it came to be.

    Raises:
        ValueError: What was said before was changed; nothing is added to that.
        CommitConflictError: Others committed first too often.
    """
    words: list[Explanation | None] = []

    def change(transaction: Transaction) -> None:
        differences = LakeDifferences(table)
        if differences.problem:
            raise ValueError(differences.problem)
        words.append(differences.said(instance, names, time=time, by=by, reason=reason))
        if words[-1] is not None:
            transaction.set_properties(differences.property())

    commit(table, change)
    return words[-1]
