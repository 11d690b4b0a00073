"""How far each log is in the lake: what it holds, what of it is loaded, and how old the latest of that is.

A log that can be read here speaks for itself: its account is the gateway's own. For the others the table of deliveries
does, as far as their loaders have come.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heliograph.difference import add
from heliograph.gateway.log_reading import Place, accounts_at, read_accounts
from heliograph.lake.elsewhere import read_elsewhere
from heliograph.lake.places import BEGINNING, read_logs
from heliograph.lake.storage import connect
from heliograph.lake.tables import delivery_files, find_events
from heliograph.wire import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heliograph.gateway.account import Account
    from heliograph.settings import LakeSettings, Settings


class Standing(msgspec.Struct, kw_only=True):
    """How far one log is in the lake."""

    log: str
    """Its name; empty where it has none."""
    place: Place
    """Up to where it is loaded."""
    accepted: dict[str, Counts] | None
    """What was accepted up to there, by instance and name; None when nobody can tell, as the log was replaced."""
    elsewhere: dict[str, Counts]
    """What of it the lake had from another log."""
    waiting: int | None
    """Accepted events that the log holds behind; None when it cannot be read here."""
    latest: datetime | None
    """When the gateway stored the latest delivery of those that are loaded, in UTC."""

    def total(self) -> int | None:
        """Return how many events of it were accepted up to where it is loaded."""
        return None if self.accepted is None else total(self.accepted)


class _Accepted(msgspec.Struct):
    """The part of a receipt that is asked for."""

    accepted: dict[str, int]
    received: int


def read_standings(settings: Settings, folders: Mapping[str, Path] | None = None) -> list[Standing]:
    """Return how far each log is in the lake, by its name.

    Args:
        settings: Where the lake is, and this gateway's log.
        folders: The folders of other logs that can be read here, by their names.
    """
    folders = {**(folders or {}), settings.lake.log: Path(settings.gateway.log)}
    table = find_events(settings.lake)
    places = {} if table is None else read_logs(table.properties)
    elsewhere = {} if table is None else read_elsewhere(table)
    logs = sorted({*places, *folders})
    told = _read_told(settings.lake, places) if any(log not in folders for log in logs) else {}
    return [
        _standing(log, places.get(log, BEGINNING), folders.get(log), told.get(log), elsewhere.get(log, {}))
        for log in logs
    ]


def _standing(
    log: str, place: Place, folder: Path | None, told: Standing | None, elsewhere: dict[str, Counts]
) -> Standing:
    if folder is None:
        found = told or Standing(log=log, place=place, accepted={}, elsewhere={}, waiting=None, latest=None)
    else:
        accounts = {} if place == BEGINNING else accounts_at(folder, place)
        held = _accepted(read_accounts(folder)) if folder.is_dir() else {}
        found = Standing(
            log=log,
            place=place,
            accepted=None if accounts is None else _accepted(accounts),
            elsewhere={},
            waiting=None if accounts is None else total(held) - total(_accepted(accounts)),
            latest=None if accounts is None else _latest(accounts.values()),
        )
    return msgspec.structs.replace(found, elsewhere=elsewhere)


def _accepted(accounts: Mapping[str, Account]) -> dict[str, Counts]:
    return {instance: account.accepted for instance, account in accounts.items()}


def _latest(accounts: Iterable[Account]) -> datetime | None:
    received = [receipt.received for account in accounts for receipt in account.latest.values()]
    return _moment(max(received)) if received else None


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _read_told(settings: LakeSettings, places: Mapping[str, Place]) -> dict[str, Standing]:
    """Return what the table of deliveries tells of each log up to its place: it may be a commit ahead of the events."""
    found = {
        log: Standing(log=log, place=place, accepted={}, elsewhere={}, waiting=None, latest=None)
        for log, place in places.items()
    }
    files = delivery_files(settings)
    if not files:
        return found
    query = """
        select coalesce(log, ''), coalesce(generation, 0), coalesce("offset", 0), instance, receipt
        from read_parquet($files, union_by_name = true, hive_partitioning = false) where accepted > 0
    """
    with connect(settings) as connection:
        rows = connection.execute(query, {"files": files})
        while some := rows.fetchmany(10_000):
            for log, generation, offset, instance, receipt in some:
                if log in found and (generation, offset) <= places[log]:
                    _take(found[log], instance, msgspec.json.decode(receipt, type=_Accepted))
    return found


def _take(standing: Standing, instance: str, receipt: _Accepted) -> None:
    if standing.accepted is None:
        return
    standing.accepted[instance] = add(standing.accepted.get(instance, {}), receipt.accepted)
    moment = _moment(receipt.received)
    standing.latest = moment if standing.latest is None else max(standing.latest, moment)


def total(counts: Mapping[str, Counts]) -> int:
    """Return how many events these are."""
    return sum(sum(names.values()) for names in counts.values())
