"""The gateway's log: what was accepted, in the order of its arrival, on disk before it is acknowledged.

A segment is a preallocated file named by its generation. Its first frame is a checkpoint, which holds everything that
the frames before it said, so that a start reads the newest segment only, and older ones can be recycled once the
loader has taken them. Every other frame is one delivery, whose header is its `Entry` and whose body the delivered
bytes, or one ping, whose header is its `PingEntry` and whose body the ping's JSON.

Frames queued by many requests are written together and forced to disk once; only then are the requests answered.
Every start and every failed write begins a new segment, so that bytes whose fate is unknown are never written over.
When something is to be erased, the loader asks for a *scrub* up to a generation: a new segment is begun in a fresh
file, and every segment up to that generation is deleted, once it is released, instead of being used again.
The generation that a start begins with is at least the time in seconds: a log that takes the place of a lost one, or
that is put back from an old copy, thus goes on after all that the loader has ever seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from isal import isal_zlib

from heliograph import spans
from heliograph.frames import encode_frame, make_folder, sync_folder, write_fully
from heliograph.gateway.account import Account
from heliograph.gateway.log_entries import encode_header
from heliograph.gateway.log_reading import RELEASED, SCRUB, read_generation, read_state, segment_path, segments, take

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.gateway.log_entries import Stored

_LOCK: Final = "gateway.lock"
_NEARLY_FULL: Final = 0.8
"""Of the log's bound: from here on it is said that it fills up."""
_SEGMENTS_LEFT: Final = 4
"""Room on the disk for fewer is said likewise."""
_SCRUB_SECONDS: Final = 0.5
"""How often the log looks whether a scrub is asked for."""
_log: Final = structlog.get_logger("heliograph.gateway")


class LogFullError(Exception):
    """The disk, or the log's bound, leaves no room: nothing was stored."""


class _Queued(NamedTuple):
    entry: Stored
    body: bytes
    done: asyncio.Future[None]
    trace: str
    """See `heliograph.spans.traceparent`."""


class Log:
    """The log that one gateway process writes.

    Args:
        folder: Where it is; made when it is missing.
        segment_bytes: Size of a segment.
        maximum_bytes: Bound of all segments together.
        now: Gives seconds since 1970.
        committed: Told how many seconds each forced write took.

    Raises:
        BlockingIOError: Another gateway writes this log.
        LogFullError: There is no room for a first segment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int,
        maximum_bytes: int,
        now: Callable[[], float] = time.time,
        committed: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.folder: Final = folder
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._maximum_bytes = maximum_bytes
        self._committed = committed
        make_folder(folder)
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise
        self._descriptor = -1
        self._offset = 0
        self._size = 0
        self._fill = ""
        """What was said last of how full it is."""
        self._state = read_state(folder)
        self.accounts: Final = self._state.accounts
        """By instance; changed only once a delivery is on disk."""
        self.exporters: Final = self._state.exporters
        """By instance: who has sent for it."""
        self._generation = max([*segments(folder), int(now()) - 1])
        self._begin_segment(0)
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        """None at the end."""
        self._gate = threading.Lock()
        """Nothing is queued behind the end."""
        self._closing = False
        self._next_look = 0.0
        self._thread = threading.Thread(target=self._commit_forever, name="log-commit", daemon=True)
        self._thread.start()

    def account(self, instance: str) -> Account:
        """Return an instance's account; an empty one when it never delivered."""
        return self.accounts.get(instance) or Account()

    @property
    def waiting(self) -> int:
        """How many deliveries and pings wait to be written."""
        return self._queue.qsize()

    @property
    def is_writing(self) -> bool:
        """Whether what is queued will be written: its thread lives."""
        return self._thread.is_alive()

    async def append(self, entry: Stored, body: bytes) -> None:
        """Store one delivery or ping; returns once it is on disk and in the account.

        Raises:
            LogFullError: There is no room; nothing was stored.
            OSError: The disk failed; whether it was stored is unknown, so it must be delivered again.
        """
        queued = _Queued(entry, body, asyncio.get_running_loop().create_future(), spans.traceparent())
        with self._gate:
            if self._closing:
                raise OSError("the log is closed")
            self._queue.put(queued)
        await queued.done

    def close(self) -> None:
        """Store what is queued, and let go of the log."""
        with self._gate:
            self._closing = True
            self._queue.put(None)
        self._thread.join()
        self._end_segment()
        os.close(self._lock)

    def _commit_forever(self) -> None:
        is_open = True
        while is_open:
            found = self._next()
            batch = [each for each in found if each is not None]
            is_open = len(batch) == len(found)
            try:
                self._commit(batch)
                if time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + _SCRUB_SECONDS
                    self._scrub()
            except Exception as error:  # noqa: BLE001 - without this thread every request would wait for ever
                _log.critical("the log could not be written", error=type(error).__name__)
                self._end_segment()
                _settle(batch, OSError("the log could not be written"))

    def _next(self) -> list[_Queued | None]:
        """Return what is queued, once there is something; nothing after a while."""
        found: list[_Queued | None] = []
        with contextlib.suppress(Empty):
            found.append(self._queue.get(timeout=_SCRUB_SECONDS))
            while True:
                found.append(self._queue.get_nowait())
        return found

    def _commit(self, batch: list[_Queued]) -> None:
        """Write a batch of frames, one segment's share at a time, and settle their requests."""
        frames: list[bytes] = []
        waiting: list[_Queued] = []
        size = 0
        for queued in batch:
            frame = self._frame(queued)
            if self._descriptor < 0 or self._offset + size + len(frame) > self._size:
                self._store(frames, waiting)
                frames, waiting, size = [], [], 0
                try:
                    self._begin_segment(len(frame))
                except (LogFullError, OSError) as error:
                    _settle([queued], error)
                    continue
                frame = self._frame(queued)
            frames.append(frame)
            waiting.append(queued)
            size += len(frame)
        self._store(frames, waiting)

    def _frame(self, queued: _Queued) -> bytes:
        header = encode_header(queued.entry)
        return encode_frame(header, queued.body, generation=self._generation, crc32=isal_zlib.crc32)

    def _store(self, frames: list[bytes], waiting: list[_Queued]) -> None:
        if not frames:
            return
        data = b"".join(frames)
        began, moment = time.perf_counter(), time.time_ns()
        try:
            write_fully(self._descriptor, data, self._offset)
            os.fdatasync(self._descriptor)
        except OSError as error:
            # What may be there all the same was never acknowledged: its numbers come again, perhaps with other events.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._offset)
            self._end_segment()
            _settle(waiting, error)
            return
        self._committed(time.perf_counter() - began)
        self._offset += len(data)
        for queued in waiting:
            spans.tell_past("commit", queued.trace, moment, together=len(waiting))
            take(self._state, queued.entry)
        _settle(waiting, None)

    def _scrub(self) -> None:
        """Do what a scrub asks for; everything that was queued before is written."""
        scrub = self._scrub_generation()
        if not any(generation <= scrub for generation in segments(self._folder)):
            return
        try:
            if self._generation <= scrub:
                self._begin_segment(0)
            for generation in self._released():
                if generation <= scrub:
                    segment_path(self._folder, generation).unlink()
            sync_folder(self._folder)
        except (LogFullError, OSError) as error:
            _log.error("the log could not be scrubbed", error=type(error).__name__)

    def _scrub_generation(self) -> int:
        scrub = read_generation(self._folder / SCRUB)
        # A loader's word on another log does not count.
        return -1 if scrub is None or scrub > self._generation else scrub

    def _begin_segment(self, need: int) -> None:
        """Begin a segment with room for `need` bytes after its checkpoint.

        It is made in a released file if there is one that may be used again.
        """
        generation = self._generation + 1
        checkpoint = encode_frame(encode_header(self._state), b"", generation=generation)
        size = max(self._segment_bytes, len(checkpoint) + need)
        path = segment_path(self._folder, generation)
        scrub = self._scrub_generation()
        released = self._released()
        usable = [old for old in released if old > scrub]
        total = sum(segment_path(self._folder, old).stat().st_size for old in segments(self._folder))
        if not released and total + size > self._maximum_bytes:
            self._tell_fill("full", total)
            raise LogFullError
        self._end_segment()
        if usable:
            segment_path(self._folder, usable[0]).rename(path)
        for old in released:
            if old not in usable[:1]:
                segment_path(self._folder, old).unlink()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            write_fully(descriptor, checkpoint, 0)
            os.fsync(descriptor)
            sync_folder(self._folder)
        except OSError as error:
            os.close(descriptor)
            path.unlink()
            self._tell_fill("full", total)
            raise LogFullError from error
        self._generation, self._descriptor, self._offset, self._size = generation, descriptor, len(checkpoint), size

        free = os.statvfs(self._folder)
        used = sum(segment_path(self._folder, each).stat().st_size for each in segments(self._folder))
        short = free.f_bavail * free.f_frsize < _SEGMENTS_LEFT * self._segment_bytes
        self._tell_fill("filling" if short or used >= _NEARLY_FULL * self._maximum_bytes else "", used)

    def _tell_fill(self, fill: str, used: int) -> None:
        """Say how full the log is, once it has changed."""
        if fill == self._fill:
            return
        self._fill = fill
        percent = 100 * used // self._maximum_bytes
        if fill == "full":
            _log.error("the log is full", percent=percent)
        elif fill:
            _log.warning("the log fills up", percent=percent)
        else:
            _log.info("the log has room again", percent=percent)

    def _released(self) -> list[int]:
        before = read_generation(self._folder / RELEASED)
        # A loader's word on another log does not count. The next generation is of this one: it may have been begun,
        # seen by the loader, and given up. The newest stays in any case, as it holds the accounts.
        if before is None or before > self._generation + 1:
            return []
        return [generation for generation in segments(self._folder) if generation < min(before, self._generation)]

    def _end_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _settle(waiting: list[_Queued], error: Exception | None) -> None:
    def settle() -> None:
        for queued in waiting:
            if queued.done.done():  # the client has gone
                continue
            if error is None:
                queued.done.set_result(None)
            else:
                queued.done.set_exception(error)

    if waiting:
        with contextlib.suppress(RuntimeError):  # the server has ended, and nobody waits any more
            waiting[0].done.get_loop().call_soon_threadsafe(settle)
