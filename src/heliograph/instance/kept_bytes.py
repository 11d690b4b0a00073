"""The exact bytes of what was sent, kept for some days beside the ledger, which keeps their digests for ever.

They are frames (`heliograph.frames`) in files by day: the header is the digest, the body the bytes as they were sent.
Nothing here is forced to disk: after a power cut some may be missing, and a frame that is not whole ends its file, so
that every process begins a file of its own. All who write hold one lock, so that forgetting a user may rewrite a file
beside a running agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import structlog
import zstandard

from heliograph.frames import encode_frame, make_folder, read_frames, write_atomically, write_fully

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from heliograph.frames import Frame

_SUFFIX: Final = ".sent"
_LOCK: Final = "sent.lock"
_FILES: Final = 16
"""The bound on disk is kept by deleting whole files: each is at most this part of it."""
_ID_COLUMNS: Final = ("user_id", "session_id")
"""An agent of an earlier version sent ids of sessions, too."""
_log: Final = structlog.get_logger("heliograph.ledger")


class Kept(NamedTuple):
    """What was sent once."""

    digest: str
    """SHA-256 of the body, as it was when it was kept."""
    body: bytes


class KeptBytes:
    """The bytes in one folder.

    Args:
        folder: Where they are; made when the first are kept.
        days: For how long, in whole days of UTC before today; 0: none are kept.
        maximum_bytes: How much there may be on disk; the oldest go first.
    """

    def __init__(self, folder: Path, *, days: int = 30, maximum_bytes: int = 1 << 30) -> None:
        self._folder = folder
        self._file: Path | None = None
        self._tidied: date | None = None
        self._failing = False
        self.bound(days=days, maximum_bytes=maximum_bytes)

    def bound(self, *, days: int, maximum_bytes: int) -> None:
        """Keep for so long, and so much, from now on."""
        self._days = days
        self._maximum_bytes = maximum_bytes
        self._tidied = None

    def keep(self, digest: str, body: bytes, today: date) -> None:
        """Keep what is about to leave; where that fails, it is logged, and leaves all the same."""
        frame = encode_frame(bytes.fromhex(digest), body)
        try:
            if today != self._tidied:
                self._begin_day(today)
            if self._days == 0 or len(frame) > self._maximum_bytes:
                return
            with self._locked():
                self._append(frame, today)
        except OSError as error:
            self._file = None
            if not self._failing:
                _log.warning("sent bytes cannot be kept", why=error.strerror or type(error).__name__)
            self._failing = True
        else:
            self._failing = False

    def _begin_day(self, today: date) -> None:
        self._file = None
        if self._folder.is_dir():
            with self._locked():
                for path in self._files():
                    if self._days == 0 or _day(path) < today - timedelta(days=self._days):
                        path.unlink()
        elif self._days:
            make_folder(self._folder)
        self._tidied = today

    def _append(self, frame: bytes, today: date) -> None:
        if self._file is None or self._size(self._file) + len(frame) > self._maximum_bytes // _FILES:
            self._file = None
            self._make_room(max(len(frame), self._maximum_bytes // _FILES))
            self._file = self._new_file(today)
        # Opened each time, as forgetting a user replaces files.
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            try:
                write_fully(descriptor, frame, end)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def _make_room(self, need: int) -> None:
        sizes = {path: self._size(path) for path in self._files()}
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total + need <= self._maximum_bytes:
                return
            path.unlink()
            total -= size

    def _new_file(self, today: date) -> Path:
        newest = max((_number(path) for path in self._files()), default=0)
        return self._folder / f"{newest + 1:08d}-{today.isoformat()}{_SUFFIX}"

    def find(self, digest: str) -> bytes | None:
        """Return what was sent with this digest; None if it is not kept any more."""
        for kept in self.read(lambda found: found == digest):
            return kept.body
        return None

    def read(self, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Kept]:
        """Yield what is kept, the oldest first; of what is sent meanwhile, perhaps."""
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                for frame in read_frames(path.read_bytes()):
                    if wanted(frame.header.hex()):
                        yield Kept(frame.header.hex(), frame.body)

    def size(self) -> int:
        """Return how many bytes are on disk."""
        return sum(self._size(path) for path in self._files())

    def forget(self, ids: Collection[str], told: Collection[str] | None = None) -> int:
        """Delete all that holds one of these random ids, or of which that cannot be told; return how much that was.

        Args:
            ids: Of whom nothing is to be left.
            told: The digests of all that the ledger tells of. What an agent kept and died before it wrote that down
                holds random ids that nobody knows, and goes as well. None: that is not looked at.

        Raises:
            OSError: A file cannot be read or replaced: say it again.
        """
        if (not ids and told is None) or not self._folder.is_dir():
            return 0
        wanted = frozenset(ids)

        def goes(frame: Frame) -> bool:
            return (told is not None and frame.header.hex() not in told) or _may_hold(frame.body, wanted)

        with self._locked():
            return sum(_forget_in(path, goes) for path in self._files())

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    @staticmethod
    def _size(path: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size
        return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _forget_in(path: Path, goes: Callable[[Frame], bool]) -> int:
    content = path.read_bytes()
    frames = list(read_frames(content))
    left = [encode_frame(frame.header, frame.body) for frame in frames if not goes(frame)]
    whole = frames[-1].end if frames else 0
    if len(left) == len(frames) and whole == len(content):
        return 0
    # What follows a frame that is not whole cannot be looked into, and goes as well.
    if left:
        write_atomically(path, b"".join(left))
    else:
        path.unlink()
    return len(frames) - len(left)


def _may_hold(body: bytes, ids: frozenset[str]) -> bool:
    try:
        with pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)) as stream:
            held = {word for batch in stream for word in _words(batch)}
    except (zstandard.ZstdError, pa.ArrowException):
        return True
    return not ids.isdisjoint(held)


def _words(batch: pa.RecordBatch) -> Iterator[str]:
    for name in _ID_COLUMNS:
        if name in batch.schema.names:
            yield from batch.column(name).dictionary.to_pylist()


def _number(path: Path) -> int:
    number = path.name.partition("-")[0]
    return int(number) if number.isdigit() else 0


def _day(path: Path) -> date:
    """Return the day of a file; the latest there is for one whose name says none."""
    try:
        return date.fromisoformat(path.name.removesuffix(_SUFFIX).partition("-")[2])
    except ValueError:
        return date.max
