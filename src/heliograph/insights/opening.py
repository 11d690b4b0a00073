"""Opens a lake for questions: its tables of one moment, in the engine that the settings name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import ibis
import msgspec

from heliograph.engines import Stored, open_engine
from heliograph.insights.tables import Tables, kept_tables
from heliograph.lake.marts.reading import read_lake, read_raw_from
from heliograph.lake.storage import open_storage
from heliograph.lake.tables import PING_SCHEMA, ping_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Plan
    from heliograph.settings import Settings


class OpenLake(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to ask, all of it in one connection."""

    tables: Tables
    pings: ibis.Table


@contextmanager
def open_lake(settings: Settings, plan: Plan) -> Iterator[OpenLake]:
    """Open the lake for the length of the block. Each lake that is opened sees what was committed until then.

    Args:
        settings: Where it is, and which engine runs the questions.
        plan: Says the columns, and what each event means.

    Raises:
        EngineError: The engine cannot be had, or cannot be reached; the message says what to do.
    """
    pings = Stored(tuple(ping_files(settings.lake)), PING_SCHEMA)
    with open_engine(settings.engine, open_storage(settings.lake)) as engine:
        stored = read_lake(settings.lake, plan)
        opened = engine.open({**stored, "pings": pings})
        tables = msgspec.structs.replace(
            kept_tables(opened, plan),
            pings=opened["pings"],
            raw_from=read_raw_from(settings.lake),
            stored_events=stored["events"].rows,
        )
        yield OpenLake(tables=tables, pings=opened["pings"])
