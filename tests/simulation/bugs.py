"""Planted bugs: each takes one precaution away, in another place, and the simulation has to find it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import types
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

import msgspec

from heliograph.gateway import log as log_module
from heliograph.gateway import rotation as rotation_module
from heliograph.gateway.intake import Intake
from heliograph.gateway.link import RemoteWriter, WriterService, _AskAppend, _TellDone
from heliograph.gateway.writer import LocalWriter
from heliograph.instance import forgetting as forgetting_module
from heliograph.instance import outbox as outbox_module
from heliograph.instance.kept_bytes import KeptBytes
from heliograph.instance.outbox_reading import EpochReader
from heliograph.instance.state import State
from heliograph.lake import rewriting as rewriting_module
from heliograph.lake.erasure import Eraser
from heliograph.lake.loader import Loader
from heliograph.lake.places import place_property

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


class Bug(NamedTuple):
    """A mistake that somebody could make."""

    plant: Callable[[], contextlib.AbstractContextManager[Any]]
    within: int
    """How many histories, from seed 0 on, find it at the latest."""
    of_workers: bool = False
    """Whether it takes a gateway with workers: the other histories are passed over."""


@contextlib.contextmanager
def acknowledged_before_it_is_on_disk() -> Iterator[None]:
    """The gateway's log writes, and does not wait for the disk."""
    hasty = types.SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})
    # Looked up when it is called, as the simulation stands in the place of the others.
    for name in ("open", "close", "fsync", "posix_fallocate"):
        setattr(hasty, name, lambda *arguments, _name=name, **fields: getattr(os, _name)(*arguments, **fields))
    hasty.fdatasync = _nothing
    with mock.patch.object(log_module, "os", hasty):
        yield


@contextlib.contextmanager
def sent_without_writing_it_down() -> Iterator[None]:
    """The exporter forgets to write down what it is about to send: the range, and who is behind its random ids."""
    with mock.patch.object(State, "begin", _nothing):
        yield


@contextlib.contextmanager
def repeats_are_not_recognised() -> Iterator[None]:
    """The gateway does not compare a range with the watermark of its epoch."""

    async def pass_over(*_: Any) -> None:
        """Ask nobody."""

    async def append(writer: Any, entry: Any, body: bytes) -> None:
        await writer._log.append(entry, body)

    with (
        mock.patch.object(Intake, "recognise_repeat", pass_over),
        mock.patch.object(LocalWriter, "_append_in_order", append),
    ):
        yield


@contextlib.contextmanager
def place_before_rows() -> Iterator[None]:
    """The loader commits how far it has come, and then the rows."""

    def commit(loader: Any, rows: Any, place: Any) -> None:
        loader._table.transaction().set_properties(place_property(place, loader._table)).commit_transaction()
        if rows is not None:
            with loader._table.transaction() as transaction:
                transaction.append(rows)
        loader._table.refresh()

    with mock.patch.object(Loader, "_commit", commit):
        yield


@contextlib.contextmanager
def released_before_the_commit() -> Iterator[None]:
    """The loader releases segments of the log, and then commits what it has read of them."""
    really = Loader._commit_all

    def commit_all(loader: Any, batches: Any, rows: Any, place: Any) -> int:
        before, loader._place = loader._place, place
        loader.release()
        loader._place = before
        return really(loader, batches, rows, place)

    with mock.patch.object(Loader, "_commit_all", commit_all):
        yield


@contextlib.contextmanager
def new_segment_is_not_in_its_folder() -> Iterator[None]:
    """The recorder does not force a new segment's entry in its folder to disk."""
    with mock.patch.object(outbox_module, "sync_folder", _nothing):
        yield


@contextlib.contextmanager
def epoch_goes_before_its_receipt() -> Iterator[None]:
    """The outbox is emptied as soon as a chunk was read."""
    really = EpochReader.read

    def read(reader: EpochReader, *arguments: Any, **fields: Any) -> Any:
        chunk = really(reader, *arguments, **fields)
        if chunk.lines and reader.is_closed():
            reader.clear()
        return chunk

    with mock.patch.object(EpochReader, "read", read):
        yield


@contextlib.contextmanager
def receipt_after_its_progress() -> Iterator[None]:
    """The ledger gets a receipt in a transaction of its own, once the epoch has moved on."""
    really = State.finish

    def finish(state: State, *arguments: Any, **fields: Any) -> None:
        late: list[tuple[Any, ...]] = []
        with mock.patch.object(State, "_append_settled", lambda _, *receipt: late.append(receipt)):
            really(state, *arguments, **fields)
        with state.connection:
            state.connection.execute("begin immediate")
            for receipt in late:
                state._append_settled(*receipt)

    with mock.patch.object(State, "finish", finish):
        yield


@contextlib.contextmanager
def sent_before_the_ledger_tells() -> Iterator[None]:
    """The ledger tells of a delivery once it has its receipt, and not before it leaves."""
    begin, finish = State.begin, State.finish
    late: list[Any] = []

    def begin_silently(state: State, epoch: int, *arguments: Any, leaving: Any = None, **fields: Any) -> str:
        late[:] = [(epoch, leaving)]
        return begin(state, epoch, *arguments, **fields)

    def finish_and_tell(state: State, *arguments: Any, **fields: Any) -> None:
        with state.connection:
            state.connection.execute("begin immediate")
            for epoch, leaving in late:
                if leaving is not None:
                    state._leave(epoch, leaving)
        late.clear()
        finish(state, *arguments, **fields)

    with mock.patch.object(State, "begin", begin_silently), mock.patch.object(State, "finish", finish_and_tell):
        yield


@contextlib.contextmanager
def erased_beside_a_log_that_was_not_emptied() -> Iterator[None]:
    """An erasure takes the rows out of the lake, and leaves in the log what the loader has yet to read."""
    with mock.patch.object(Eraser, "empty_log", return_value=[]):
        yield


@contextlib.contextmanager
def erased_and_not_counted() -> Iterator[None]:
    """What an erasure has taken out is not written down in the same commit, and is missing from its proof."""
    really = rewriting_module._properties

    def properties(table: Any, _: Any, epochs: Any) -> dict[str, str]:
        return really(table, {}, epochs)

    with mock.patch.object(rewriting_module, "_properties", properties):
        yield


@contextlib.contextmanager
def forgotten_in_the_tables_alone() -> Iterator[None]:
    """Forgetting a user orders the erasure, and writes nowhere that what is queued must stay."""
    with mock.patch.object(forgetting_module, "_write_forgotten", _nothing):
        yield


@contextlib.contextmanager
def forgotten_and_kept() -> Iterator[None]:
    """Forgetting a user leaves the bytes that were sent as they are."""
    with mock.patch.object(KeptBytes, "forget", _nothing):
        yield


@contextlib.contextmanager
def new_key_without_the_word_of_the_old_one() -> Iterator[None]:
    """A rotation forgets to have the old key endorse the new one."""
    with mock.patch.object(rotation_module, "write_atomically", _nothing):
        yield


@contextlib.contextmanager
def only_workers_recognise_repeats() -> Iterator[None]:
    """A worker compares a range with the watermark before it hands it over, and the writer does not once it has it."""

    async def append(writer: Any, entry: Any, body: bytes) -> None:
        async with writer._lock(entry.receipt.instance, getattr(entry.receipt, "epoch", 0)):
            await writer._log.append(entry, body)

    with mock.patch.object(LocalWriter, "_append_in_order", append):
        yield


@contextlib.contextmanager
def workers_are_answered_before_it_is_on_disk() -> Iterator[None]:
    """The writer tells a worker that it has stored a delivery as soon as it has it."""
    really = WriterService._answer
    tasks: set[asyncio.Task[Any]] = set()

    async def answer(service: Any, question: Any, body: bytes) -> Any:
        if not isinstance(question, _AskAppend):
            return await really(service, question, body)
        tasks.add(asyncio.ensure_future(service._writer.append(question.entry, body)))
        return _TellDone()

    with mock.patch.object(WriterService, "_answer", answer):
        yield


@contextlib.contextmanager
def workers_remember_where_an_epoch_stood() -> Iterator[None]:
    """A worker asks the writer once where an epoch stands, and then adds what it has stored itself."""
    really, store = RemoteWriter.standing, RemoteWriter.append

    async def standing(writer: Any, instance: str, epoch: int, exporter: str = "") -> Any:
        known = vars(writer).setdefault("known", {})
        if epoch not in known:
            known[epoch] = await really(writer, instance, epoch, exporter)
        return known[epoch]

    async def append(writer: Any, entry: Any, body: bytes) -> None:
        await store(writer, entry, body)
        if (epoch := getattr(entry.receipt, "epoch", None)) is not None:
            writer.known[epoch] = msgspec.structs.replace(writer.known[epoch], latest=entry.receipt)

    with mock.patch.object(RemoteWriter, "standing", standing), mock.patch.object(RemoteWriter, "append", append):
        yield


@contextlib.contextmanager
def what_a_writer_had_when_it_died_counts_as_stored() -> Iterator[None]:
    """A worker takes the end of its writer for the answer that it waits for."""
    really = RemoteWriter.append

    async def append(writer: Any, entry: Any, body: bytes) -> None:
        try:
            await really(writer, entry, body)
        except OSError:
            if not writer.ended.done():
                raise

    with mock.patch.object(RemoteWriter, "append", append):
        yield


BUGS: Final[dict[str, Bug]] = {
    "gateway.log: acknowledged before it is on disk": Bug(acknowledged_before_it_is_on_disk, 150),
    "instance.exporter: sent without writing it down": Bug(sent_without_writing_it_down, 100),
    "gateway.intake: repeats are not recognised": Bug(repeats_are_not_recognised, 100),
    "gateway.writer: only workers recognise repeats": Bug(only_workers_recognise_repeats, 100, of_workers=True),
    "gateway.link: answered before it is on disk": Bug(workers_are_answered_before_it_is_on_disk, 100, of_workers=True),
    "gateway.link: a worker remembers where an epoch stood": Bug(
        workers_remember_where_an_epoch_stood, 100, of_workers=True
    ),
    "gateway.link: the end of the writer counts as its answer": Bug(
        what_a_writer_had_when_it_died_counts_as_stored, 100, of_workers=True
    ),
    "gateway.rotation: nobody vouches for the new key": Bug(new_key_without_the_word_of_the_old_one, 150),
    "instance.ledger: a delivery is told of after it has left": Bug(sent_before_the_ledger_tells, 50),
    "instance.forgetting: what is queued is not kept back": Bug(forgotten_in_the_tables_alone, 150),
    "instance.forgetting: the bytes that were sent stay": Bug(forgotten_and_kept, 150),
    "lake.erasure: the log is not emptied": Bug(erased_beside_a_log_that_was_not_emptied, 150),
    "lake.erasure: what is erased is not counted": Bug(erased_and_not_counted, 150),
    "instance.outbox: a new segment is not forced into its folder": Bug(new_segment_is_not_in_its_folder, 100),
    "instance.outbox: an epoch goes before its receipt": Bug(epoch_goes_before_its_receipt, 50),
}
