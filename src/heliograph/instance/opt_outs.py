"""Who has opted out, and who is in again: a file beside the outbox, to which every process of the instance may append.

A line (`heliograph.instance.checked_lines`) has the product's own id of a user, whether that user is out, and since
when. What a user said last counts. Where a line is damaged, nobody knows who had said no in it: readers say so, and
nothing is sent.
"""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.frames import make_folder, sync_folder, write_atomically
from heliograph.instance.checked_lines import append_line, decode_line, encode_line, locked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPT_OUTS_FILE: Final = "opt-outs"
LONGEST_KEY: Final = 1_024
"""Characters of a user's id that can be recorded, and so opt out."""
_LOCK: Final = "opt-outs.lock"
_OF_EVENT_LOGS: Final = "u:"
_PREFIXES: Final = (_OF_EVENT_LOGS, "a:")
_SPARE_LINES: Final = 100
"""A file with so many lines more than users is written anew."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    user: str
    out: bool
    at: datetime


class OptOuts(NamedTuple):
    """What the file says."""

    out: Mapping[str, datetime]
    """Who is out, and since when."""
    back: Mapping[str, datetime]
    """Who was out and is in again, and since when: what was recorded before then stays on the instance."""
    damaged: tuple[int, ...] = ()
    """The numbers of lines that cannot be read, from 1 on."""
    lines: int = 0

    def keys_out(self) -> frozenset[str]:
        """Return the keys under which events of those who are out may be recorded."""
        return frozenset(key for user in self.out for key in user_keys(user))

    def keys_back(self) -> dict[str, datetime]:
        """Return the keys of those who are in again, and since when."""
        moments: dict[str, datetime] = {}
        for user, moment in self.back.items():
            for key in user_keys(user):
                moments[key] = max(moment, moments.get(key, moment))
        return moments


NOBODY: Final = OptOuts({}, {})


def user_keys(user: str) -> tuple[str, ...]:
    """Return the keys under which a user's events may be recorded.

    A product's own id, ``42``, is also that of the table `event_logs`, where it is recorded as ``u:42``; a table's
    visitors without an account are ``a:…``, and are named just so.
    """
    return (user,) if user.startswith(_PREFIXES) else (user, f"{_OF_EVENT_LOGS}{user}")


def own_id(key: str) -> str:
    """Return the product's own id of the user of a key, the inverse of `user_keys`; a visitor's is the key itself."""
    return key.removeprefix(_OF_EVENT_LOGS)


class OptOutsFile:
    """The file of one outbox, as one process sees it.

    Args:
        outbox: The folder that it is in.
        wait: Whether reading waits while another process writes.
    """

    def __init__(self, outbox: Path, *, wait: bool = True) -> None:
        self._outbox = outbox
        self._lock = outbox / _LOCK
        self._seconds = None if wait else 0.0
        self.path: Final = outbox / OPT_OUTS_FILE
        self._stamp: tuple[int, int, int] | None = None
        self._known = NOBODY

    def read(self) -> OptOuts:
        """Return what the file says; it is read again only when it has changed.

        Raises:
            OSError: It cannot be read, or is just being written and this reader does not wait.
        """
        stamp = self._identity()
        if stamp != self._stamp:
            self._known = NOBODY
            if stamp is not None:
                with locked(self._lock, fcntl.LOCK_SH, seconds=self._seconds):
                    self._known = _fold(self.path.read_bytes())
            self._stamp = stamp
        return self._known

    def append(self, user: str, *, out: bool, now: datetime) -> None:
        """Write down that a user is out, or in again; on return it is on disk.

        Raises:
            OSError: It could not be written, and nothing is.
            ValueError: This is no user's id: empty, too long, or no text.
        """
        line = encode_line(_Entry(user=checked_user(user), out=out, at=now.astimezone(UTC)))
        make_folder(self._outbox)
        with locked(self._lock, fcntl.LOCK_EX):
            if append_line(self.path, line):
                sync_folder(self._outbox)

    def compact(self) -> bool:
        """Write the file anew with one line for each user, if it has many more; tell whether it was.

        A file with a damaged line is left as it is.

        Raises:
            OSError: It could not be written; it is as it was.
        """
        if self._known.lines <= len(self._known.out) + len(self._known.back) + _SPARE_LINES:
            return False
        with locked(self._lock, fcntl.LOCK_EX):
            found = _fold(self.path.read_bytes())
            if found.damaged:
                return False
            entries = [_Entry(user=user, out=True, at=at) for user, at in found.out.items()]
            entries += [_Entry(user=user, out=False, at=at) for user, at in found.back.items()]
            write_atomically(self.path, b"".join(map(encode_line, entries)))
        return True

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def checked_user(user: str) -> str:
    """Return `user` if it can be a user's id.

    Raises:
        ValueError: It is empty, too long, or no text.
    """
    if not user or len(user) > LONGEST_KEY:
        raise ValueError(f"a user's id has 1 to {LONGEST_KEY:,} characters")
    user.encode()
    return user


def _fold(content: bytes) -> OptOuts:
    out: dict[str, datetime] = {}
    back: dict[str, datetime] = {}
    damaged = []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        entry = _read_line(line)
        if entry is None or number == len(lines):  # what does not end with a newline was cut
            damaged.append(number)
        elif entry.out:
            # Moments only grow, whatever the clock did meanwhile.
            out.setdefault(entry.user, max(entry.at, back.pop(entry.user, entry.at)))
        else:
            back[entry.user] = max(entry.at, *(said.pop(entry.user, entry.at) for said in (out, back)))
    return OptOuts(out, back, tuple(damaged), len(lines))


def _read_line(line: bytes) -> _Entry | None:
    entry = decode_line(line, _Entry)
    return entry if entry is not None and entry.at.tzinfo else None
