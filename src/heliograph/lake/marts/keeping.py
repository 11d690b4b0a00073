"""Keeps the marts: each commit of events is preceded by what the definitions say of its rows.

Each mart has its place in the log, in the commit of its rows, and is committed before the events. So it stands where
the events stand, or further on, when a loader was killed in between: the loader reads the log again from where the
events stand, and a mart leaves out what lies before its own place. Which rows are new is decided by the events alone
(`heliograph.lake.loader`), so that the second reading finds the same ones, and nothing is lost or doubled, wherever it
was killed. `instance_days` is made anew from `user_days` for the days that are touched, which may be done twice.

A mart whose definition has changed (`heliograph.lake.marts.tables.State`) is emptied, and made anew from the events,
some days at a time, oldest first. Its `until` says up to which day it is made; new events of later days are left to it.
That needs no snapshot to stay, and may be interrupted anywhere, as days are whole when they are taken: it is only done
while the mart stands no further in the log than the events do.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from heliograph.lake.marts.changing import (
    add_files,
    add_rows,
    data_files,
    event_files_of,
    paths_of,
    read_files,
    replace_rows,
)
from heliograph.lake.marts.engine import Definitions
from heliograph.lake.marts.tables import (
    INSTANCE_DAYS,
    MADE_OF,
    MARTS,
    PROPERTIES,
    USER_DAYS,
    State,
    find_mart,
    make_mart,
    read_raw_from,
    read_state,
    state_property,
)
from heliograph.lake.places import read_place
from heliograph.lake.storage import connect
from heliograph.lake.tables import open_catalog
from heliograph.lake.writers.embedded import EmbeddedWriter
from heliograph.lake.writers.writer import Days, slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from heliograph.gateway.log_reading import Place
    from heliograph.lake.marts.tables import Mart
    from heliograph.lake.writers import Writer
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings

Portion = tuple["Place", int]
"""How many rows a delivery has that are new, and the place behind it in the log."""
_KEY: Final = ["account", "instance", "day"]
_AHEAD: Final = (32, 128)
"""Days that are looked at before all are."""
_log: Final = structlog.get_logger("heliograph.loader")


class Marts:
    """The marts of one lake, as the loader keeps them.

    Args:
        settings: Where the lake is.
        plan: What the definitions depend on.
        writer: Makes marts of events that are stored; None: this process does.
    """

    def __init__(self, settings: LakeSettings, plan: Plan, writer: Writer | None = None) -> None:
        self._settings = settings
        self.plan = plan
        """What the definitions depend on now."""
        self.writer: Final[Writer] = EmbeddedWriter(settings) if writer is None else writer
        """Who makes marts of events that are stored."""
        self._catalog = open_catalog(settings, make=True)
        self.definitions = Definitions(plan, connect(settings))
        self.tables: dict[Mart, Table] = {}

    def use(self, plan: Plan) -> None:
        """Go on with another plan: marts that depend on what has changed will be made anew."""
        self.plan = plan
        self.definitions = Definitions(plan, connect(self._settings))

    def recall(self, events: Table) -> None:
        """Read from the lake what there is; begin what has to be made anew."""
        for mart in MARTS:
            table = find_mart(self._catalog, mart)
            if table is None and events.current_snapshot() is not None:
                table = make_mart(self._catalog, mart, self._new_state(read_raw_from(events)))
            if table is not None:
                self.tables[mart] = table
        if any(read_state(table).digest != self.definitions.digest for table in self.tables.values()):
            # All of them, as one is made of another; who is killed in between begins again.
            for mart, table in self.tables.items():
                self._begin_anew(mart, table, read_raw_from(events))

    def _new_state(self, until: date | None) -> State:
        return State(digest=self.definitions.digest, until=until)

    def _begin_anew(self, mart: Mart, table: Table, first: date) -> None:
        """Empty a mart, but for the days before the first one of which all events are still there."""
        _log.info("a mart is made anew", mart=mart.name)
        properties = PROPERTIES | state_property(self._new_state(first))
        replace_rows(table, mart, lambda: (data_files(table), self._kept(mart, first)), properties=properties)

    def _kept(self, mart: Mart, first: date) -> pa.Table:
        """Return what a mart has of the days before `first`, under the present plan."""
        if first == date.min:
            return mart.schema.empty_table()
        of = MADE_OF.get(mart, mart)
        files = paths_of(data_files(self.tables[of], last=first))
        rows = self.definitions.present(read_files(self.tables[of], of, files).filter(pc.field("day") < first))
        return rows if of is mart else self.definitions.of_mart([mart], of, rows)[mart]

    def commit(self, events: pa.Table, portions: Sequence[Portion], place: Place) -> None:
        """Add what the definitions say of new events, whose own commit follows.

        Args:
            events: All of them, in the order of the log.
            portions: Which of them came with which delivery.
            place: Up to where the log was read.
        """
        derived: dict[tuple[int, date | None], dict[Mart, pa.Table]] = {}
        for mart in MARTS:
            table = self.tables.get(mart)
            if table is None:
                table = self.tables[mart] = make_mart(self._catalog, mart, self._new_state(None))
            at, until = read_place(table), read_state(table).until
            new = sum(rows for behind, rows in portions if behind > at)
            if not new:
                continue
            key = new, until  # they are in the order of the log: so many are the last ones
            if key not in derived:
                derived[key] = self.definitions.from_batch(events.slice(len(events) - new), until)
            rows = derived[key][USER_DAYS if mart is INSTANCE_DAYS else mart]
            if not len(rows):
                continue
            if mart is INSTANCE_DAYS:
                self._renew_instance_days(rows.group_by(_KEY).aggregate([]), place)
            else:
                add_rows(table, mart, rows, place)

    def _renew_instance_days(self, touched: pa.Table, place: Place | None = None) -> None:
        """Make the rows of some (account, instance, day) anew from `user_days`."""
        table, days = self.tables[INSTANCE_DAYS], self.tables[USER_DAYS]
        first, last = pc.min(touched["day"]).as_py(), pc.max(touched["day"]).as_py()
        files = paths_of(data_files(days, first=first, last=last))
        rows = self.definitions.from_days([INSTANCE_DAYS], files, touched)[INSTANCE_DAYS]

        def new() -> tuple[list[DataFile], pa.Table]:
            old = data_files(table, first=first, last=last)
            others = read_files(table, INSTANCE_DAYS, paths_of(old)).join(touched, _KEY, join_type="left anti")
            return old, pa.concat_tables([others.cast(INSTANCE_DAYS.schema), rows])

        replace_rows(table, INSTANCE_DAYS, new, place=place)

    def make_on(self, events: Table) -> bool:
        """Make a few days more of those marts that are being made; return whether there were any.

        Raises:
            EngineError: The writer's engine could not.
        """
        place = read_place(events)
        unfinished = {
            mart: until
            for mart, table in self.tables.items()
            if (until := self._made_until(table)) is not None and read_place(table) <= place
        }
        if not unfinished:
            self.writer.rest()
            return False
        first = min(unfinished.values())
        wanted = [mart for mart, until in unfinished.items() if until == first]
        until = self._slice_end(events, first)
        days = Days(first, until)
        tables = {mart: self.tables[mart] for mart in wanted}
        made = self.writer.make(tables, self.plan, event_files_of(events, first, until), days)
        properties = state_property(self._new_state(until))
        for mart in wanted:
            add_files(self.tables[mart], made[mart], read_place(self.tables[mart]), properties)
        _log.info("marts are made", up_to=None if until is None else str(until), marts=[mart.name for mart in wanted])
        return True

    def _made_until(self, table: Table) -> date | None:
        """Return up to which day a mart is made that is being made; None: it is whole, or has to be emptied first."""
        state = read_state(table)
        return state.until if state.digest == self.definitions.digest else None

    def _slice_end(self, events: Table, first: date) -> date | None:
        """Return the first day that is not made next; None: all that are left are.

        Events are counted for a month first, and further on only if that is too few.
        """
        files = event_files_of(events, first, None)
        for days in _AHEAD:
            until = first + timedelta(days=days)
            near = event_files_of(events, first, until)
            if len(near) == len(files):
                break
            found = self._slices(near, first, until) if near else []
            if len(found) > 1:
                return found[0].until
        return next((each.until for each in self._slices(files, first, date.max)), None)

    def _slices(self, files: Sequence[str], first: date, until: date) -> list[Days]:
        counts = self.writer.count_days(self.plan, files, Days(first))
        return list(slices([(day, count) for day, count in counts if day < until], self.writer.slice_rows))
