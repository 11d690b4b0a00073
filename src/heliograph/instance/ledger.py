"""The ledger in the agent's database: every delivery that left, and every receipt, in a chain that is only added to.

Each entry is written in the transaction of what it tells of, so that it costs no further one:
`heliograph.instance.state` says which these are. Triggers keep an entry from being changed or deleted; the chain shows
it if that happens all the same.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from heliograph.consent.chain import Head, Link, empty, next_link
from heliograph.ledger.entries import (
    CHAIN,
    Acknowledged,
    Begun,
    CarriedOver,
    EndsExplained,
    EntryError,
    ErasureSent,
    Explained,
    Sent,
    Settled,
    decode_entry,
    encode_entry,
)
from heliograph.ledger.receipts import read_receipt
from heliograph.wire import Receipt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from heliograph.ledger.entries import Entry

SCHEMA: Final = """
create table if not exists ledger (
    number integer primary key, kind text not null, epoch integer, first integer,
    previous text not null, digest text not null unique, body blob not null
);
create index if not exists ledger_by_range on ledger (epoch, first, number) where epoch is not null;
create index if not exists ledger_words on ledger (kind, number)
    where kind in ('explained', 'ends_explained', 'acknowledged');
drop index if exists ledger_explained;
create trigger if not exists ledger_is_not_changed before update on ledger
begin select raise(abort, 'the ledger is only added to'); end;
create trigger if not exists ledger_is_not_deleted before delete on ledger
begin select raise(abort, 'the ledger is only added to'); end;
"""
_Word = TypeVar("_Word", Explained, EndsExplained, Acknowledged)
_RECEIPTS: Final = "('carried_over', 'settled')"


class Ledger:
    """The ledger of one instance.

    Args:
        connection: The agent's database, with this module's `SCHEMA`.
        now: Gives microseconds since 1970.
        new_id: Draws 128 random bits, in hexadecimal.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        now: Callable[[], int],
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._connection = connection
        self.now: Final = now
        if self.head().length == 0:
            with connection:
                connection.execute("begin immediate")
                if self.head().length == 0:  # another process may have begun it in this very moment
                    self.append(Begun(time=now(), ledger=new_id()))
                    self._carry_over()

    def _carry_over(self) -> None:
        """Take the receipts of a release that had no ledger, in their order."""
        tables = "select name from sqlite_master where type = 'table' and name = 'delivery'"
        if not self._connection.execute(tables).fetchall():
            return
        rows = self._connection.execute("select receipt, signature from delivery").fetchall()
        kept = [(msgspec.json.decode(receipt, type=Receipt), signature or None) for receipt, signature in rows]
        for receipt, signature in sorted(kept, key=lambda each: (each[0].received, each[0].epoch, each[0].first)):
            self.append(
                CarriedOver(
                    time=self.now(),
                    epoch=receipt.epoch,
                    first=receipt.first,
                    last=receipt.last,
                    signature=signature,
                    receipt=None if signature else receipt,
                )
            )
        self._connection.execute("drop table delivery")

    def append(self, entry: Entry) -> Head:
        """Add an entry within the transaction that is open, and return where the ledger ends now."""
        link = next_link(CHAIN, self.head(), encode_entry(entry))
        self._connection.execute(
            "insert into ledger (number, kind, epoch, first, previous, digest, body) values (?, ?, ?, ?, ?, ?, ?)",
            (
                link.number,
                entry.__struct_config__.tag,
                getattr(entry, "epoch", None),
                getattr(entry, "first", None),
                link.previous,
                link.digest,
                link.body,
            ),
        )
        return Head(link.number, link.digest)

    def append_sent(self, sent: Sent) -> Head:
        """Add what is about to leave, unless it is what left last for this range; return where the ledger ends now."""
        query = "select kind, body from ledger where epoch = ? and first = ? order by number desc limit 1"
        for kind, body in self._connection.execute(query, (sent.epoch, sent.first)):
            before = decode_entry(body) if kind == "sent" else None
            # Two bodies without an event are the same bytes, and may leave out their numbers for other reasons.
            if isinstance(before, Sent) and _what_left(before) == _what_left(sent):
                return self.head()
        return self.append(sent)

    def append_erasure(self, digest: str) -> None:
        """Add an order to erase that is about to leave, in a transaction of its own, unless it is there already."""
        with self._connection:
            self._connection.execute("begin immediate")
            sent = self._connection.execute("select body from ledger where kind = 'erasure_sent'")
            if all(msgspec.json.decode(body, type=ErasureSent).digest != digest for (body,) in sent):
                self.append(ErasureSent(time=self.now(), digest=digest))

    def head(self) -> Head:
        """Return where the ledger ends."""
        query = "select number, digest from ledger order by number desc limit 1"
        for number, digest in self._connection.execute(query):
            return Head(number, digest)
        return empty(CHAIN)

    def links(self) -> Iterator[Link]:
        """Yield every entry as it is stored, from the first on."""
        return self._links(0, -1)

    def explained(self) -> list[Explained]:
        """Return what the admin has explained of the account, the earliest first."""
        return self._words(Explained)

    def ends_explained(self) -> list[EndsExplained]:
        """Return what the admin has explained of how the two ends differ, the earliest first."""
        return self._words(EndsExplained)

    def acknowledged(self) -> list[Acknowledged]:
        """Return which of the ledger's own faults the admin knows of, the earliest word first."""
        return self._words(Acknowledged)

    def _words(self, kind: type[_Word]) -> list[_Word]:
        """Return the admin's words of a kind; one that cannot be read any more says nothing, and is a fault."""
        query = "select body from ledger where kind = ? and kind in ('explained', 'ends_explained', 'acknowledged')"
        found = []
        for (body,) in self._connection.execute(f"{query} order by number", (kind.__struct_config__.tag,)):
            with contextlib.suppress(EntryError):
                entry = decode_entry(body)
                if isinstance(entry, kind):
                    found.append(entry)
        return found

    def portion(self, after: int, most: int) -> list[Link]:
        """Return the entries behind the number `after` as they are stored, at most so many."""
        return [*self._links(after, most)]

    def _links(self, after: int, most: int) -> Iterator[Link]:
        # A body that somebody has changed may be of any type.
        columns = "number, previous, digest, cast(body as blob)"
        query = f"select {columns} from ledger where number > ? order by number limit ?"  # noqa: S608 - ours
        for number, previous, digest, body in self._connection.execute(query, (after, most)):
            yield Link(number, previous, digest, body)

    def attempts(self, receipt: Receipt, before: int) -> list[tuple[int, Sent]]:
        """Return, of the entries before a number, which tell of sending the range of a receipt, in their order."""
        query = "select number, body from ledger where epoch = ? and first = ? and number < ? order by number"
        found = []
        for number, body in self._connection.execute(query, (receipt.epoch, receipt.first, before)):
            with contextlib.suppress(EntryError):
                entry = decode_entry(body)
                if isinstance(entry, Sent) and _range(entry) == _range(receipt):
                    found.append((number, entry))
        return found

    def sent_digests(self) -> set[str]:
        """Return the digests of all deliveries that it tells of; an entry that cannot be read tells of none."""
        found = set()
        for (body,) in self._connection.execute("select body from ledger where kind = 'sent'"):
            with contextlib.suppress(EntryError):
                entry = decode_entry(body)
                if isinstance(entry, Sent):
                    found.add(entry.digest)
        return found

    def number_of(self, digest: str) -> int:
        """Return the number of the entry with a digest; 0 if there is none."""
        for (number,) in self._connection.execute("select number from ledger where digest = ?", (digest,)):
            return int(number)
        return 0

    def receipts(self, epoch: int | None = None) -> Iterator[Receipt]:
        """Yield the last receipt for each range of events, or of those of one epoch, epoch by epoch, in order."""
        which, values = ("", ()) if epoch is None else ("and epoch = ? ", (epoch,))
        query = (
            f"select body, max(number) from ledger where kind in {_RECEIPTS} {which}"  # noqa: S608 - ours
            "group by epoch, first order by epoch, first"
        )
        for body, _ in self._connection.execute(query, values):
            entry = decode_entry(body)
            if isinstance(entry, (Settled, CarriedOver)):
                yield read_receipt(entry)


def _what_left(sent: Sent) -> tuple[object, ...]:
    return sent.last, sent.digest, sent.absent


def _range(said: Sent | Receipt) -> tuple[int, int, int]:
    return said.epoch, said.first, said.last
