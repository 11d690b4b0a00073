"""Erasure in the marts: rows that were made of what was erased go, and are made anew from what is left of the events.

Where one user's events were erased, this user's rows go. Where what arrived in some time was erased, the rows of the
account or instance go from the first day on which some of it happened, and those days are made anew in the same commit.
`instance_days` follows from `user_days`. Each commit leaves the same rows if it is made again: an erasure may be killed
anywhere, and is finished by being carried out again.

What an order erases is counted in the events, of which these rows were made, and not here.

The marts may reach back further than the events do (`heliograph.lake.marts.tables.RAW_FROM`). What cannot be made anew
there, as it is not known what arrived when, goes as a whole (`first_day`).
"""

from __future__ import annotations

from datetime import UTC, date
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from heliograph.lake.commits import replace_files
from heliograph.lake.marts.changing import (
    data_files,
    event_files_of,
    paths_of,
    read_files,
    replace_rows,
)
from heliograph.lake.marts.folding import count_differing
from heliograph.lake.marts.tables import (
    INSTANCE_DAYS,
    USER_DAYS,
    read_raw_from,
    read_retired_until,
    read_state,
)
from heliograph.lake.matching import sql_case
from heliograph.lake.places import all_places, place_property, read_place, standing_at
from heliograph.lake.rewriting import ErasureError, find_matches, read_erased, without_rows
from heliograph.lake.writers.writer import Days

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.lake.marts.keeping import Marts
    from heliograph.lake.marts.tables import Mart
    from heliograph.lake.matching import Scope
    from heliograph.registry.erasures import Pending

_ATTEMPTS: Final = 10
_BEGINNING: Final = date(2, 1, 1)
"""Before all days; what is before the first of all days that there are, Iceberg cannot look for."""


def first_day(events: Table, order: Pending) -> date | None:
    """Return the first day of which the marts may tell of something that the order has erased from the events.

    That is the first one on which an erased event happened; or the first of all, when events that are past their
    retention had arrived in the order's time: only the marts have something of them, and nobody knows of which days.
    """
    since, retired = order.order.since, read_retired_until(events)
    if since is not None and retired is not None and since.astimezone(UTC) <= retired:
        return _BEGINNING
    return read_erased(events, order.order.id).first_day


def erase_from_marts(marts: Marts, events: Table, scopes: Sequence[Scope]) -> None:
    """Take what the orders cover out of the marts, after it was taken out of the events.

    Args:
        marts: As the loader keeps them.
        events: The table of events as it is now.
        scopes: The orders, with the first day that they cover.

    Raises:
        ErasureError: A mart stands further in the log than the events do: what is left of these is not yet known.
    """
    marts.recall(events)
    for mart, table in marts.tables.items():
        if read_place(table) > read_place(events):
            raise ErasureError(
                f"{mart.name} holds what is not in the table of events yet: the log has to be loaded first"
            )
        if mart is INSTANCE_DAYS:
            continue
        _erase(marts, mart, table, events, scopes)
    if INSTANCE_DAYS in marts.tables:
        _follow(marts, scopes)


def _erase(marts: Marts, mart: Mart, table: Table, events: Table, scopes: Sequence[Scope]) -> None:
    of_times = [scope for scope in scopes if scope.pending.order.user_digest is None]
    place = read_place(table)
    for _ in range(_ATTEMPTS):
        table.refresh()
        old = find_matches(table, scopes, marts.writer).files
        if not old:
            return
        new = without_rows(table, old, scopes, marts.writer)
        if of_times:
            days = Days(read_raw_from(events), read_state(table).until)
            files = event_files_of(events, days.first, days.until)
            new += marts.writer.make({mart: table}, marts.plan, files, days, of_times)[mart]
        relying_on = standing_at(place, table)
        at = place_property(place, table)
        if replace_files(table, old, new, properties=at, of_snapshot=all_places(place, table), relying_on=relying_on):
            return
    raise ErasureError(f"{mart.table}: others write to it at each attempt. Only the loader may write to the lake")


def made_anew(marts: Marts, mart: Mart, events: Table, scopes: Sequence[Scope]) -> pa.Table:
    """Return what the definition says of the events that are left in what the orders cover."""
    first, until = read_raw_from(events), read_state(marts.tables[mart]).until
    case = sql_case(scopes, mart.schema.names, day="time::date")
    if case is None:
        return mart.schema.empty_table()
    sql, parameters = case
    made = marts.definitions.from_files(
        [mart],
        event_files_of(events, first, until),
        first=first,
        until=until,
        condition=(f"({sql}) is not null", parameters),
    )
    return made[mart]


def _follow(marts: Marts, scopes: Sequence[Scope]) -> None:
    """Make the rows of all accounts concerned anew in `instance_days`, from `user_days`."""
    table, days = marts.tables[INSTANCE_DAYS], marts.tables[USER_DAYS]
    accounts = pa.array(sorted({scope.account for scope in scopes}), pa.string())
    made = marts.definitions.from_days([INSTANCE_DAYS], paths_of(data_files(days)))[INSTANCE_DAYS]
    made = made.filter(pc.field("account").isin(accounts))
    if (until := read_state(table).until) is not None:
        made = made.filter(pc.field("day") < until)

    def new() -> tuple[Sequence[DataFile], pa.Table]:
        old = data_files(table)
        others = read_files(table, INSTANCE_DAYS, paths_of(old)).filter(~pc.field("account").isin(accounts))
        return old, pa.concat_tables([others, made])

    replace_rows(table, INSTANCE_DAYS, new)


def find_remains(marts: Marts, events: Table, scopes: Sequence[Scope]) -> list[tuple[str, str]]:
    """Return the orders, each with a mart's name, of which a mart tells something else than what is left of the events.

    Of those that are for one user nothing is looked at here: the user's rows are searched for in every file.
    """
    marts.recall(events)
    found = []
    for scope in scopes:
        if scope.pending.order.user_digest is not None:
            continue
        for mart, table in marts.tables.items():
            case = sql_case([scope], mart.schema.names)
            if case is None:
                continue
            files = paths_of(data_files(table))
            rows = marts.definitions.stored_where(mart, files, f"({case[0]}) is not null", case[1])
            made = made_anew(marts, mart, events, [scope])
            if count_differing(marts.definitions.connection, mart, rows, made):
                found.append((scope.id, mart.table))
    return found
