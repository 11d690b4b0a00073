"""The chains of records in the database: how a record is added, and how a whole chain is read and verified."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, insert, select, text, update

from heliograph.consent.agreement import Recorded
from heliograph.consent.chain import Fault, Head, Link, empty, find_faults, next_link
from heliograph.consent.records import VENDOR, Record, Stored, Unreadable, decode, encode
from heliograph.registry.errors import RegistryError
from heliograph.registry.tables import chains, records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection


class Entry(NamedTuple):
    """A record as it is read from its chain."""

    record: Record
    link: Link | None
    """None where there should be a record and is none."""

    @property
    def digest(self) -> str:
        """The record's digest; empty where there is no record."""
        return "" if self.link is None else self.link.digest

    def was_recorded_by(self, moment: datetime) -> bool:
        """Tell whether it was there at `moment`; what cannot be read may have been."""
        return not isinstance(self.record, Recorded) or self.record.recorded <= moment


class Chain(NamedTuple):
    """All records of one account, or of the vendor, with everything that is wrong with them."""

    name: str
    links: tuple[Link, ...]
    """What is stored, as it is."""
    entries: tuple[Entry, ...]
    """What can be relied on, with a doubt in the place of all else."""
    faults: tuple[Fault, ...]
    head: Head

    @property
    def records(self) -> tuple[Record, ...]:
        """The records in their order, with an `Unreadable` for each fault."""
        return tuple(entry.record for entry in self.entries)


def chain_words(chain: str) -> str:
    """Return the chain's name as part of a sentence."""
    return "the vendor's own chain" if chain == VENDOR else f"account {chain}"


def begin(connection: Connection, chain: str) -> None:
    """Make a chain without records."""
    connection.execute(insert(chains).values(name=chain, **empty(chain)._asdict()))


def append(connection: Connection, chain: str, record: Stored) -> Link:
    """Add `record` to the end of the chain of this name, in a writer's transaction.

    Raises:
        RegistryError: There is no such chain, or it does not end where it should.
    """
    return append_body(connection, chain, encode(record))


def append_body(connection: Connection, chain: str, body: bytes) -> Link:
    """Add a record that is encoded already; see `append`."""
    row = connection.execute(select(chains.c.length, chains.c.digest).where(chains.c.name == chain)).one_or_none()
    if row is None or not _is_at_end(connection, chain, Head(row.length, row.digest)):
        problem = "its records do not end where the chain's head says, so nothing is added to them"
        remedy = "see `heliograph registry verify`, and restore the registry from a backup"
        raise RegistryError([f"{chain_words(chain)}: {problem}; {remedy}"])
    link = next_link(chain, Head(row.length, row.digest), body)
    connection.execute(insert(records).values(chain=chain, **link._asdict()))
    moved = update(chains).where(chains.c.name == chain)
    connection.execute(moved.values(length=link.number, digest=link.digest))
    return link


def _is_at_end(connection: Connection, chain: str, head: Head) -> bool:
    of_chain = records.c.chain == chain
    last = connection.scalar(select(func.max(records.c.number)).where(of_chain))
    if last is None:
        return head == empty(chain)
    digest = connection.scalar(select(records.c.digest).where(of_chain, records.c.number == last))
    return (last, digest) == head


def read_chains(connection: Connection, only: str | None = None) -> dict[str, Chain]:
    """Return all chains by name, verified; or only the one of this name, if there is anything of it.

    Every byte is hashed each time it is read, which takes some microseconds a record.
    """
    heads = {row.name: Head(row.length, row.digest) for row in connection.execute(_HEADS, _only(only))}
    links: dict[str, list[Link]] = {name: [] for name in heads}
    for chain, number, body, previous, digest in connection.execute(_RECORDS, _only(only)):
        links.setdefault(chain, []).append(Link(_number(number), previous, digest, _body(body)))
    return {name: read_chain(name, links[name], heads.get(name)) for name in links}


# Without the columns' types: what somebody changed need not be of its type, and must not keep others from being read.
_HEADS = text("SELECT name, length, digest FROM chains WHERE name = :only OR :every = 1")
_RECORDS = text(
    "SELECT chain, number, body, previous, digest FROM records WHERE chain = :only OR :every = 1 ORDER BY chain, number"
)


def _only(chain: str | None) -> Mapping[str, Any]:
    return {"only": chain or "", "every": int(chain is None)}


def _number(stored: Any) -> int:
    return stored if isinstance(stored, int) else 0


def _body(stored: Any) -> bytes:
    return stored.encode("utf-8", "surrogateescape") if isinstance(stored, str) else bytes(stored or b"")


def read_chain(name: str, links: list[Link], head: Head | None) -> Chain:
    """Return a chain, verified: whatever is wrong stands in it as an `Unreadable`."""
    faults = find_faults(name, links, head)
    at_fault = {fault.number for fault in faults}
    entries = [Entry(_doubt(name, fault), None) for fault in faults]
    numbers = [fault.number for fault in faults]
    for link in links:
        if link.number not in at_fault:
            entries.append(Entry(_decoded(name, link.number, link.body), link))
            numbers.append(link.number)
    order = sorted(range(len(entries)), key=numbers.__getitem__)
    end = Head(links[-1].number, links[-1].digest) if links else empty(name)
    return Chain(name, tuple(links), tuple(entries[place] for place in order), tuple(faults), head or end)


def _doubt(chain: str, fault: Fault) -> Unreadable:
    return Unreadable(account=chain, place=f"record {fault.number} of {chain_words(chain)}", why=fault.why)


@functools.lru_cache(maxsize=1 << 16)
def _decoded(chain: str, number: int, body: bytes) -> Record:
    try:
        return decode(chain, body)
    except (ValueError, RecursionError):  # also what is not JSON, and what is not UTF-8
        return Unreadable(account=chain, place=f"record {number} of {chain_words(chain)}")
