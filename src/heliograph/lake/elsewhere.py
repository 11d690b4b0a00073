"""What a log held that the lake had from another log already: where an epoch went to several gateways, numbers repeat.

All logs together have accepted what the lake took, and this besides.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.difference import add
from heliograph.lake.places import log_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.table import Table

    from heliograph.wire import Counts

_PROPERTY: Final = "heliograph.elsewhere."
"""The property of `events`, with the log's name behind: JSON, ``{instance: {name: events}}``."""


def read_elsewhere(table: Table) -> dict[str, dict[str, Counts]]:
    """Return the events that were left out as the lake had them, or had had them and they were erased, by log."""
    return {
        name.removeprefix(_PROPERTY): msgspec.json.decode(text, type=dict[str, dict[str, int]])
        for name, text in table.properties.items()
        if name.startswith(_PROPERTY)
    }


def elsewhere_property(table: Table, more: Mapping[str, Counts]) -> dict[str, str]:
    """Return the property of this process's log with so many more, for the commit in which they are left out."""
    if not more:
        return {}
    log = log_name(table)
    counts = read_elsewhere(table).get(log, {})
    for instance, names in more.items():
        counts[instance] = add(counts.get(instance, {}), names)
    return {_PROPERTY + log: json.dumps(counts, sort_keys=True)}
