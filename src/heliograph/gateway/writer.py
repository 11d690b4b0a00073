"""The writer: the one place where a gateway decides the order of deliveries, and appends them to its log.

Any number of workers check deliveries at once, in this process or in others. Whoever has checked one hands it to the
writer, which appends it only where it belongs: the range begins at the next number of its epoch, or the day is later
than the last. Otherwise nothing is stored, and the worker answers by where the epoch stands now.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog

from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry, PingEntry
from heliograph.wire import Receipt

if TYPE_CHECKING:
    from heliograph.gateway.account import Account
    from heliograph.gateway.log_entries import Stored
    from heliograph.wire import PingReceipt

_LOCKS: Final = 1024
_log: Final = structlog.get_logger("heliograph.gateway")


class OutOfOrderError(Exception):
    """It does not begin where its epoch, or the days of its instance, stand: nothing was stored."""


class SupersededError(Exception):
    """Another process sends for this instance by now: nothing was stored."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where an epoch of an instance stands."""

    latest: Receipt | None
    """The receipt of its latest delivery; None for an epoch that is not known."""
    epochs: int
    """How many epochs of the instance are known."""

    @property
    def expected(self) -> int:
        """The first sequence number that was not delivered."""
        return 1 if self.latest is None else self.latest.last + 1


class Writer(Protocol):
    """What deliveries and pings need of the log, wherever it is."""

    async def standing(self, instance: str, epoch: int, exporter: str = "") -> Standing:
        """Return where an epoch stands, once what is being appended to it is on disk.

        Args:
            instance: Whose epoch.
            epoch: Which.
            exporter: The id of the process that sends; empty if it does not say.

        Raises:
            SupersededError: Another process sends for the instance by now.
            OSError: The writer does not answer.
        """

    async def latest_ping(self, instance: str) -> PingReceipt | None:
        """Return the receipt of an instance's latest ping.

        Raises:
            OSError: The writer does not answer.
        """

    async def append(self, entry: Stored, body: bytes) -> None:
        """Store one delivery or ping where it belongs; returns once it is on disk.

        Raises:
            OutOfOrderError: It does not belong there any more.
            SupersededError: Another process sends for the instance by now.
            LogFullError: There is no room; nothing was stored.
            OSError: Whether it was stored is unknown, so it must be delivered again.
        """

    async def account(self, instance: str) -> Account:
        """Return an instance's account; an empty one when it never delivered.

        Raises:
            OSError: The writer does not answer.
        """


class LocalWriter:
    """The writer beside its log, in one event loop."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # What is of one epoch goes one after the other; a few epochs may share a lock, which only costs a wait.
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]

    async def standing(self, instance: str, epoch: int, exporter: str = "") -> Standing:
        """See `Writer.standing`."""
        self._refuse_superseded(instance, exporter)
        async with self._lock(instance, epoch):
            account = self._log.account(instance)
            return Standing(latest=account.latest.get(epoch), epochs=len(account.latest))

    async def latest_ping(self, instance: str) -> PingReceipt | None:
        """See `Writer.latest_ping`."""
        async with self._lock(instance, 0):
            return self._log.account(instance).ping

    async def append(self, entry: Stored, body: bytes) -> None:
        """See `Writer.append`."""
        # Shielded: whoever waits may go away, and the next must still not pass one that is being stored.
        await asyncio.shield(self._append_in_order(entry, body))

    async def account(self, instance: str) -> Account:
        """See `Writer.account`."""
        return self._log.account(instance)

    async def _append_in_order(self, entry: Stored, body: bytes) -> None:
        receipt = entry.receipt
        async with self._lock(receipt.instance, receipt.epoch if isinstance(receipt, Receipt) else 0):
            account = self._log.account(receipt.instance)
            before = ""
            if isinstance(entry, PingEntry):
                in_order = account.ping is None or entry.receipt.day > account.ping.day
            else:
                before = self._refuse_superseded(receipt.instance, entry.exporter)
                in_order = entry.receipt.first == account.expected(entry.receipt.epoch)
            if not in_order:
                raise OutOfOrderError
            await self._log.append(entry, body)  # with which whoever sent it has taken over
        if isinstance(entry, Entry) and entry.exporter and before not in ("", entry.exporter):
            _log.info("another exporter sends", instance=receipt.instance, before=before[:8], now=entry.exporter[:8])

    def _refuse_superseded(self, instance: str, exporter: str) -> str:
        """Return who sends for an instance, unless `exporter` has sent for it before that one."""
        exporters = self._log.exporters.get(instance)
        if exporters is None:
            return ""
        if exporter in exporters.superseded:
            _log.warning("two exporters send for one instance", instance=instance, refused=exporter[:8])
            raise SupersededError
        return exporters.current

    def _lock(self, instance: str, epoch: int) -> asyncio.Lock:
        return self._locks[hash((instance, epoch)) % _LOCKS]


def writer_of(log: Log | Writer) -> Writer:
    """Return the writer of a log; a writer as it is."""
    return LocalWriter(log) if isinstance(log, Log) else log
