"""Who has signed in: what the product says of its visitors, in a file beside the outbox, until the agent has taken it.

A line (`heliograph.instance.checked_lines`) says that a visitor turned out to be a user. The file begins with a random
name of its own, so that the agent knows what it has taken already, whatever crashed; taken to its end it is deleted.
A damaged line is left out: its visitor stays a visitor until the product says it again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.frames import make_folder, sync_folder
from heliograph.instance.checked_lines import append_line, decode_line, encode_line, locked
from heliograph.instance.opt_outs import checked_user

if TYPE_CHECKING:
    from pathlib import Path

SIGN_INS_FILE: Final = "sign-ins"
MAXIMUM_BYTES: Final = 16 << 20
"""Some hundred thousand sign-ins: a file of this size, which no agent takes, does not grow any more."""
VISITOR: Final = "a:"
"""With this begin the keys of visitors who are not signed in."""
_LOCK: Final = "sign-ins.lock"
_LOCK_SECONDS: Final = 0.05
_MOST_REMEMBERED: Final = 10_000


class SignIn(msgspec.Struct, frozen=True):
    """A visitor turned out to be a user."""

    visitor: str
    """The visitor's key, as events are recorded with it: `VISITOR` and the product's own id."""
    user: str
    """The product's own id of the user."""


class _Begin(msgspec.Struct, frozen=True):
    file: str


class Place(NamedTuple):
    """How far a file was taken."""

    file: str
    """Its random name."""
    end: int
    """Bytes."""


class Found(NamedTuple):
    """What a file says from a place on."""

    sign_ins: list[SignIn]
    begin: Place
    end: Place
    damaged: int
    """Lines that cannot be read."""


def visitor_key(anonymous: str | int) -> str:
    """Return the key under which events of a visitor are recorded.

    Raises:
        ValueError: This can be no id: empty, too long, or no text.
    """
    if anonymous == "":
        raise ValueError("a visitor's id is empty")
    return checked_user(f"{VISITOR}{anonymous}")


class SignInsFile:
    """The file of one outbox, as one process sees it."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox
        self._lock = outbox / _LOCK
        self.path: Final = outbox / SIGN_INS_FILE
        self._said: dict[SignIn, None] = {}
        self._dirty = False

    def append(self, anonymous: str | int, user: str | int) -> bool:
        """Write down that a visitor is a user, unless this process has said so before; tell whether it is written.

        It survives the end of this process; `sync` makes it survive the end of the machine. Others who write are
        waited for at most 50 milliseconds.

        Raises:
            OSError: It could not be written, or others were writing for longer.
            ValueError: One of the two can be no id, or the user is a visitor.
        """
        sign_in = SignIn(visitor_key(anonymous), checked_user(str(user)))
        if sign_in in self._said:
            return True
        if sign_in.user.startswith(VISITOR):
            raise ValueError("a visitor is no user")
        make_folder(self._outbox)
        with locked(self._lock, fcntl.LOCK_EX, seconds=_LOCK_SECONDS):
            if self._size() >= MAXIMUM_BYTES:
                return False
            begin = encode_line(_Begin(secrets.token_hex(8)))
            append_line(self.path, encode_line(sign_in), first=begin, sync=False)
            self._dirty = True
        if len(self._said) >= _MOST_REMEMBERED:
            self._said = {}
        self._said[sign_in] = None
        return True

    def sync(self) -> None:
        """Force to disk what was written.

        Raises:
            OSError: It cannot be.
        """
        if not self._dirty:
            return
        self._dirty = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:  # taken by the agent
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self._outbox)

    def read(self, taken: Place | None) -> Found | None:
        """Return what was said since; None when nothing was. What is returned is on disk.

        Args:
            taken: Up to where it was taken before.

        Raises:
            OSError: It cannot be read.
        """
        if not self._size():
            return None
        with locked(self._lock, fcntl.LOCK_SH):
            try:
                content = self._read_synced()
            except FileNotFoundError:  # by another process of the agent's
                return None
        first, _, _ = content.partition(b"\n")
        begin = decode_line(first, _Begin)
        # A file whose beginning is damaged is read as a whole: to take something twice does little.
        name, start = (begin.file, len(first) + 1) if begin is not None else ("", 0)
        if taken is not None and name and taken.file == name and start <= taken.end <= len(content):
            start = taken.end
        lines = [line for line in content[start:].split(b"\n") if line]
        entries = [decode_line(line, SignIn) for line in lines]
        sign_ins = [entry for entry in entries if entry is not None]
        return Found(sign_ins, Place(name, start), Place(name, len(content)), len(entries) - len(sign_ins))

    def remove(self, place: Place) -> None:
        """Delete the file, if nothing was said beyond `place`, up to which it was taken."""
        with locked(self._lock, fcntl.LOCK_EX):
            if self._size() == place.end:
                self.path.unlink(missing_ok=True)

    def _read_synced(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            return self.path.read_bytes()
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0
