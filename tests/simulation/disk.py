"""A simulated disk of one machine: real files, and a journal of what of them would survive a power cut.

What is written lies in real files in memory, so that all reading, mapping and locking is real. Beside it, each file
and each folder remembers what was forced to disk, and in order what was not: a power cut keeps any part of the latter.
`simulation.interposed` puts this below the functions of `os` for all paths of the simulated machines. SQLite is taken
at its word: what it has committed is on disk; and so is what PyIceberg has written.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

SECTOR: Final = 512


class File:
    """One file: what is on disk for sure, and what was written since."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes] | int] = []
        """Writes as offset and bytes; sizes as a number, from which the file is zeros or cut off."""
        self.is_doubtful = False
        """An error at a forced write makes the system forget that pages are dirty: the next one succeeds in vain."""

    def sync(self) -> None:
        """Force everything to disk."""
        if self.is_doubtful:
            return
        for change in self.pending:
            apply(self.durable, change)
        self.pending.clear()

    def cut(self, chance: random.Random) -> None:
        """Keep of what was not forced to disk whatever chance says."""
        how = chance.choice(("none", "all", "prefix", "some"))
        kept = self.pending if how in {"all", "some"} else self.pending[: chance.randint(0, len(self.pending))]
        if how == "none":
            kept = []
        for change in kept:
            if how == "some" and isinstance(change, tuple):
                for part in _sectors(*change):
                    if chance.random() < 0.5:
                        apply(self.durable, part)
            elif how != "some" or chance.random() < 0.5:
                apply(self.durable, change)
        self.pending, self.is_doubtful = [], False


class Folder:
    """One folder: its entries now, those that are on disk for sure, and what changed since."""

    def __init__(self) -> None:
        self.entries: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}
        self.pending: list[tuple[str, str, File | Folder | None]] = []
        """Each the name that goes, the name that comes, and what it names; either name may be empty."""

    def change(self, gone: str, new: str = "", node: File | Folder | None = None) -> None:
        """Let a name go, and another come, in one step."""
        _rename(self.entries, gone, new, node)
        self.pending.append((gone, new, node))

    def sync(self) -> None:
        """Force all entries to disk."""
        self.durable = dict(self.entries)
        self.pending.clear()

    def cut(self, chance: random.Random) -> None:
        """Keep of what was not forced to disk whatever chance says, below it too."""
        how = chance.choice(("none", "all", "prefix", "some"))
        most = {"none": 0, "prefix": chance.randint(0, len(self.pending))}.get(how, len(self.pending))
        for change in self.pending[:most]:
            if how != "some" or chance.random() < 0.5:
                _rename(self.durable, *change)
        self.pending, self.entries = [], dict(self.durable)
        for node in self.entries.values():
            node.cut(chance)


def apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    """Do to a file's content what was done to the file."""
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(change - len(content)))
        return
    offset, data = change
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    end = offset + len(data)
    while offset < end:
        following = min((offset // SECTOR + 1) * SECTOR, end)
        yield offset, data[len(data) - (end - offset) : len(data) - (end - following)]
        offset = following


def _rename(entries: dict[str, Any], gone: str, new: str, node: File | Folder | None) -> None:
    entries.pop(gone, None)
    if new:
        entries[new] = node


class Disk:
    """The disk of one machine.

    Args:
        root: An empty folder.
        chance: Decides what a power cut leaves.
    """

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root: Final = str(root)
        self.is_lying = False
        """Whether it says of every forced write that it is done, and does nothing."""
        self.has_lied = False
        self.is_full = False
        self._chance = chance
        self._top = Folder()

    def find(self, path: str) -> File | Folder | None:
        """Return what is at a path; None if nothing is, or a database."""
        node: File | Folder | None = self._top
        for part in self._parts(path):
            node = node.entries.get(part) if isinstance(node, Folder) else None
        return node

    def folder_of(self, path: str) -> tuple[Folder, str]:
        """Return the folder that a path is in, and its name there."""
        *above, name = self._parts(path)
        folder: File | Folder | None = self._top
        for part in above:
            folder = folder.entries.get(part) if isinstance(folder, Folder) else None
        assert isinstance(folder, Folder), path
        return folder, name

    def _parts(self, path: str) -> list[str]:
        return [part for part in path[len(self.root) :].split("/") if part]

    def adopt(self, path: Path) -> None:
        """Take a folder that was put there from outside for one that is on disk."""
        folder, name = self.folder_of(str(path))
        folder.entries[name] = folder.durable[name] = Folder()

    def cut_power(self) -> None:
        """Lose what was not forced to disk; no process of the machine may be left."""
        _clear(self._top, self.root)
        self._top.cut(self._chance)
        _write_out(self._top, self.root)


def _clear(folder: Folder, path: str) -> None:
    """Delete all that is simulated; what others have written, such as databases, stays."""
    for name, node in folder.entries.items():
        if isinstance(node, Folder):
            _clear(node, f"{path}/{name}")
            with contextlib.suppress(OSError):
                os.rmdir(f"{path}/{name}")
        else:
            os.unlink(f"{path}/{name}")


def _write_out(folder: Folder, path: str) -> None:
    os.makedirs(path, mode=0o700, exist_ok=True)
    for name, node in folder.entries.items():
        if isinstance(node, Folder):
            _write_out(node, f"{path}/{name}")
        else:
            with open(f"{path}/{name}", "wb") as file:
                file.write(node.durable)
