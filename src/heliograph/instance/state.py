"""The agent's own memory: how far each epoch was delivered, every receipt, and who stands behind each random id.

One SQLite file on the instance. A delivery is two transactions: `begin` before anything is sent, so that a crash
repeats the very same range, and `finish` once the receipt is here. What either tells the ledger is part of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.event import from_microseconds, microseconds
from heliograph.frames import make_folder
from heliograph.instance.bundled import SCHEMA as BUNDLED_SCHEMA
from heliograph.instance.bundled import BundledTable
from heliograph.instance.counted import Counted, opening, settle_undecided
from heliograph.instance.id_table import SCHEMA as ID_SCHEMA
from heliograph.instance.id_table import IdTable
from heliograph.instance.kept_bytes import KeptBytes
from heliograph.instance.ledger import SCHEMA as LEDGER_SCHEMA
from heliograph.instance.ledger import Ledger
from heliograph.instance.ping_table import SCHEMA as PING_SCHEMA
from heliograph.instance.ping_table import PingTable
from heliograph.instance.plan_table import SCHEMA as PLAN_SCHEMA
from heliograph.instance.plan_table import PlanTable
from heliograph.instance.progress import Leaving, Progress
from heliograph.instance.sender_table import SCHEMA as SENDER_SCHEMA
from heliograph.instance.sender_table import SenderTable
from heliograph.instance.stitched_table import SCHEMA as STITCHED_SCHEMA
from heliograph.instance.stitched_table import StitchedTable
from heliograph.instance.usage import SCHEMA as USAGE_SCHEMA
from heliograph.instance.usage import UsageTable
from heliograph.ledger.entries import Sent, Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from heliograph.instance.usage import Tallied
    from heliograph.ledger.entries import Moved, Refused
    from heliograph.wire import Receipt

_SCHEMA: Final = """
create table if not exists forgotten (
    digest blob primary key, until integer not null, generation integer not null
) without rowid;
create table if not exists progress (epoch integer primary key, state blob not null);
create table if not exists policy (
    one integer primary key check (one = 1),
    policy text not null, endorsements text not null, received integer not null, issued integer not null
);
create table if not exists choice (
    number integer primary key, time integer not null, level text not null, by text not null, reason text not null
);
create trigger if not exists choice_is_not_changed before update on choice
begin select raise(abort, 'choices are only added'); end;
create trigger if not exists choice_is_not_deleted before delete on choice
begin select raise(abort, 'choices are only added'); end;
"""


class HeldPolicy(NamedTuple):
    """What the vendor said last, in its own bytes, so that it can be verified again."""

    policy: str
    """A compact JWS; empty when nothing was verified yet."""
    endorsements: list[str]
    """How its key follows from a pinned one."""
    received: datetime
    """By the instance's clock."""
    issued: int
    """When the latest verified policy was issued: an older one is not believed any more."""


class Choice(NamedTuple):
    """A choice of the admin's, as recorded."""

    time: datetime
    level: str
    """A `heliograph.consent.level.Level`, unless a later version wrote it."""
    by: str
    reason: str


class StaleError(Exception):
    """Who stands behind a random id changed while a batch was built: it has to be built again."""


class StateError(Exception):
    """The agent's state cannot be used; the message says why and what to do."""


class State:
    """The state of one agent, which holds it alone.

    Args:
        folder: Where it is; made when missing.
        exclusive: Whether to be the agent; False to look only, beside a running one.
        now: The clock.

    Raises:
        StateError: Another agent holds it.
    """

    def __init__(
        self, folder: Path, *, exclusive: bool = True, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        make_folder(folder)
        self._lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if exclusive:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise StateError(
                    f"{folder}: another agent is running with this state. Stop it first, or give this one its own."
                ) from None
        self._connection = sqlite3.connect(folder / "agent.db", isolation_level=None)
        self.ids: Final = IdTable(self._connection)
        """Who stands behind which random id."""
        self.usage: Final = UsageTable(self._connection)
        """What was used on which day by whom."""
        self.stitched: Final = StitchedTable(self._connection)
        """Which visitors turned out to be which users."""
        self.plans: Final = PlanTable(self._connection)
        """By which plans."""
        self.bundled: Final = BundledTable(self._connection)
        """Which ranges were written into bundles."""
        self.senders: Final = SenderTable(self._connection)
        """Which processes have sent."""
        self.kept: Final = KeptBytes(folder / "sent")
        """The exact bytes of what was sent."""
        self._now = now
        try:
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = full")
            self._connection.execute("pragma secure_delete = on")  # what is forgotten is gone from the disk, too
            schemas = (
                _SCHEMA,
                ID_SCHEMA,
                STITCHED_SCHEMA,
                USAGE_SCHEMA,
                PING_SCHEMA,
                PLAN_SCHEMA,
                LEDGER_SCHEMA,
                BUNDLED_SCHEMA,
                SENDER_SCHEMA,
            )
            self._connection.executescript("".join(schemas))
            self.ledger: Final = Ledger(self._connection, now=self.moment)
            """All that left, and its receipts."""
            self.pings: Final = PingTable(self._connection, self.ledger)
            """What was told of the use."""
        except sqlite3.Error as error:
            self.close()
            raise StateError(
                f"{folder / 'agent.db'}: {error}. Is the disk full, or may this user not write there? If the file is "
                "damaged, put back a copy: without it all users get new random ids."
            ) from error

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, for those parts of the agent that keep tables of their own in it."""
        return self._connection

    def moment(self) -> int:
        """Return the clock's time in microseconds since 1970."""
        return microseconds(self._now())

    def close(self) -> None:
        """Let go of the state."""
        self._connection.close()
        os.close(self._lock)

    def progress(self, epoch: int) -> Progress | None:
        """Return how far an epoch has come; None when it was not looked at yet."""
        row = self._connection.execute("select state from progress where epoch = ?", (epoch,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Progress)

    def all_progress(self) -> dict[int, Progress]:
        """Return how far every epoch has come."""
        rows = self._connection.execute("select epoch, state from progress order by epoch")
        return {epoch: msgspec.json.decode(state, type=Progress) for epoch, state in rows}

    def counted(self, epoch: int, progress: Progress | None) -> Counted:
        """Return an epoch's account by name; of one that an earlier release began, as its receipts tell."""
        if progress is None:
            return Counted(epoch=epoch)
        if progress.counted is not None:
            return progress.counted
        owed = [each.counts for each in progress.owed]
        numbers, undecided = progress.position.sequence, progress.undecided
        return opening(epoch, self.receipts(epoch), owed, numbers=numbers, undecided=undecided)

    def begin(
        self,
        epoch: int,
        progress: Progress,
        pseudonyms: Iterable[tuple[str, str, str]] = (),
        sessions: Iterable[tuple[str, str]] = (),
        *,
        generation: int | None = None,
        leaving: Leaving | None = None,
    ) -> str:
        """Write down what is about to be sent, and what is new in it; return the digest of the ledger's last entry.

        Args:
            epoch: Whose events.
            progress: How far it has come.
            pseudonyms: Kind, key and id of the new random ids.
            sessions: Sessions, and whose they are.
            generation: The generation that the batch was built with.
            leaving: The delivery itself, for the ledger.

        Raises:
            StaleError: Somebody was forgotten, or has signed in, since; nothing was written.
        """
        with self._connection:
            self._connection.execute("begin immediate")
            if generation is not None and generation != self.generation():
                raise StaleError
            self.ids.add(pseudonyms, sessions)
            self.senders.write()
            self._put(epoch, progress)
            return self.ledger.head().digest if leaving is None else self._leave(epoch, leaving)

    def _leave(self, epoch: int, leaving: Leaving) -> str:
        digest = hashlib.sha256(leaving.body).hexdigest()
        sent = Sent(
            time=self.moment(),
            epoch=epoch,
            first=leaving.first,
            last=leaving.last,
            events=leaving.events,
            absent=leaving.absent,
            digest=digest,
            size=len(leaving.body),
            plan=leaving.plan,
        )
        before, head = self.ledger.head(), self.ledger.append_sent(sent)
        if head != before:
            # Within the transaction, so that whoever forgets a user finds these bytes, or keeps them from being sent.
            self.kept.keep(digest, leaving.body, self._now().astimezone(UTC).date())
        return head.digest

    def save(
        self,
        epoch: int,
        progress: Progress,
        tallied: Sequence[Tallied] = (),
        *,
        sendable: bool = False,
        entry: Refused | Moved | None = None,
    ) -> None:
        """Write down how far an epoch has come, and what it passed; `sendable` if that may go into a ping.

        With an `entry`, the ledger tells why.
        """
        with self._connection:
            self._connection.execute("begin immediate")
            if entry is not None:
                self.ledger.append(entry)
            self.usage.add(tallied, sendable=sendable)
            self._put(epoch, progress)

    def finish(
        self,
        epoch: int,
        progress: Progress,
        receipt: Receipt,
        signature: str,
        tallied: Sequence[Tallied] = (),
        *,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        """Write down a receipt, how far the epoch has come by it, what it passed, and what was left out of it."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._append_settled(receipt, signature)
            self.bundled.forget(epoch, receipt.last)
            self.usage.add(tallied, sendable=True)
            self.plans.add_left_out(left_out or {})
            self._put(epoch, progress)

    def settle_late(self, receipt: Receipt, signature: str) -> bool:
        """Take a receipt for numbers that were passed without one; tell whether there are such."""
        with self._connection:
            self._connection.execute("begin immediate")
            progress = self.progress(receipt.epoch)
            numbers = receipt.last - receipt.first + 1
            if progress is None or progress.undecided < numbers or receipt.last > progress.acknowledged:
                return False
            if any(each.first == receipt.first for each in self.receipts(receipt.epoch)):
                return False
            counted = settle_undecided(self.counted(receipt.epoch, progress), receipt)
            self._append_settled(receipt, signature)
            undecided = progress.undecided - numbers
            self._put(receipt.epoch, msgspec.structs.replace(progress, undecided=undecided, counted=counted))
        return True

    def _append_settled(self, receipt: Receipt, signature: str) -> None:
        self.ledger.append(
            Settled(
                time=self.moment(),
                epoch=receipt.epoch,
                first=receipt.first,
                last=receipt.last,
                signature=signature or None,
                receipt=None if signature else receipt,
            )
        )

    def _put(self, epoch: int, progress: Progress) -> None:
        self._connection.execute(
            "insert or replace into progress (epoch, state) values (?, ?)",
            (epoch, msgspec.json.encode(progress)),
        )

    def generation(self) -> int:
        """Return a number that grows whenever somebody is forgotten, or a visitor has signed in."""
        return read_generation(self._connection)

    def users_of(self, sessions: Iterable[str]) -> dict[str, set[str]]:
        """Return whose `sessions` are, where that is known."""
        return self.ids.users_of(sessions)

    def receipts(self, epoch: int | None = None) -> Iterator[Receipt]:
        """Yield every receipt, or those of one epoch, epoch by epoch, in order."""
        return self.ledger.receipts(epoch)

    def pseudonyms(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """Return the random ids of those `keys` that have one."""
        return self.ids.ids(kind, keys)

    def policy(self) -> HeldPolicy | None:
        """Return what the vendor said last; None when nothing was heard yet."""
        query = "select policy, endorsements, received, issued from policy"
        for policy, endorsements, received, issued in self._connection.execute(query):
            return HeldPolicy(policy, endorsements.splitlines(), from_microseconds(received), issued)
        return None

    def keep_policy(self, held: HeldPolicy) -> None:
        """Keep what the vendor said last."""
        self._connection.execute(
            "insert or replace into policy (one, policy, endorsements, received, issued) values (1, ?, ?, ?, ?)",
            (held.policy, "\n".join(held.endorsements), microseconds(held.received), held.issued),
        )

    def choices(self) -> list[Choice]:
        """Return all that the admin chose, from the oldest on."""
        rows = self._connection.execute("select time, level, by, reason from choice order by number")
        return [Choice(from_microseconds(time), level, by, reason) for time, level, by, reason in rows]

    def last_choice(self) -> Choice | None:
        """Return what the admin chose last; None when nothing was ever chosen here."""
        query = "select time, level, by, reason from choice order by number desc limit 1"
        for time, level, by, reason in self._connection.execute(query):
            return Choice(from_microseconds(time), level, by, reason)
        return None

    def add_choice(self, choice: Choice) -> None:
        """Write down a choice of the admin's; a running agent takes notice at its next round."""
        self._connection.execute(
            "insert into choice (time, level, by, reason) values (?, ?, ?, ?)",
            (microseconds(choice.time), choice.level, choice.by, choice.reason),
        )


def read_generation(connection: sqlite3.Connection) -> int:
    """As `State.generation`."""
    query = (
        "select (select coalesce(max(generation), 0) from forgotten) "
        "+ (select coalesce(max(changes), 0) from sign_ins_taken)"
    )
    [(found,)] = connection.execute(query)
    return int(found)
