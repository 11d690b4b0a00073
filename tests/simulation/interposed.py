"""What stands below the functions of `os`: at each operation of a simulated process something may befall it.

See `simulation.disk` for what a machine's disk keeps of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from simulation.disk import SECTOR, File, Folder
from simulation.processes import CrashError, Fault, connecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulation.disk import Disk
    from simulation.processes import Process, Stage

_really: Final = {
    name: getattr(os, name)
    for name in (
        "open", "close", "dup", "pwrite", "write", "fsync", "fdatasync", "ftruncate", "posix_fallocate",
        "mkdir", "rmdir", "unlink", "remove", "rename", "replace",
    )
}  # fmt: skip


class _Open:
    """An open file of a simulated machine."""

    def __init__(self, process: Process, disk: Disk, path: str, node: File | Folder | None, *, appends: bool) -> None:
        self.process = process
        self.disk = disk
        self.path = path
        self.node = node
        self.appends = appends

    @property
    def name(self) -> str:
        return self.path[len(self.disk.root) + 1 :]


class _Interposed:
    """The functions of `os`, for the simulated machines."""

    def __init__(self, stage: Stage, disks: Sequence[Disk]) -> None:
        self._stage = stage
        self._disks = disks
        self.opened: dict[int, _Open] = {}

    def _at(self, path: Any, dir_fd: int | None = None) -> tuple[Process, Disk, str] | None:
        process = self._stage.acting
        if process is None or isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if dir_fd is not None and not text.startswith("/"):
            above = self.opened.get(dir_fd)
            if above is None:
                return None
            text = f"{above.path}/{text}"
        for disk in self._disks:
            if text.startswith(disk.root):
                return process, disk, text
        return None

    def _fault(self, process: Process, disk: Disk, what: str, *, needs_room: bool = False) -> Fault | None:
        """Count an operation; die, or refuse it, if that is what befalls it."""
        fault = process.next_fault(what)
        if fault is Fault.BEFORE:
            raise process.crash()
        if needs_room and (disk.is_full or fault is Fault.FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if fault is Fault.BROKEN:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return fault

    @staticmethod
    def _end(process: Process, fault: Fault | None) -> None:
        if fault in {Fault.AFTER, Fault.TORN}:
            raise process.crash()

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        at = self._at(path, dir_fd)
        if at is None:
            return int(_really["open"](path, flags, mode, dir_fd=dir_fd))
        process, disk, text = at
        node = disk.find(text)
        fault = None
        if node is None and flags & os.O_CREAT:
            fault = self._fault(process, disk, f"create {text[len(disk.root) + 1 :]}", needs_room=True)
        descriptor: int = _really["open"](path, flags, mode, dir_fd=dir_fd)
        if node is None and flags & os.O_CREAT:
            folder, name = disk.folder_of(text)
            node = File()
            folder.change("", name, node)
        elif isinstance(node, File) and flags & os.O_TRUNC:
            node.pending.append(0)
        self._hold(descriptor, _Open(process, disk, text, node, appends=bool(flags & os.O_APPEND)))
        self._end(process, fault)
        return descriptor

    def _hold(self, descriptor: int, opened: _Open) -> None:
        self.opened[descriptor] = opened
        opened.process.descriptors.add(descriptor)

    def dup(self, descriptor: int) -> int:
        copy: int = _really["dup"](descriptor)
        if (opened := self.opened.get(descriptor)) is not None:
            self._hold(copy, opened)
        return copy

    def close(self, descriptor: int) -> None:
        if (opened := self.opened.pop(descriptor, None)) is not None:
            opened.process.descriptors.discard(descriptor)
        elif (process := self._stage.acting) is not None and not process.is_alive:
            return  # with the process, all of its files were closed
        _really["close"](descriptor)

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        opened = self.opened.get(descriptor)
        if opened is None:
            return int(_really["pwrite"](descriptor, data, offset))
        return self._write(descriptor, opened, bytes(data), offset)

    def write(self, descriptor: int, data: Any) -> int:
        opened = self.opened.get(descriptor)
        if opened is None:
            return int(_really["write"](descriptor, data))
        end = os.fstat(descriptor).st_size if opened.appends else os.lseek(descriptor, 0, os.SEEK_CUR)
        written = self._write(descriptor, opened, bytes(data), end)
        os.lseek(descriptor, end + written, os.SEEK_SET)
        return written

    def _write(self, descriptor: int, opened: _Open, data: bytes, offset: int) -> int:
        process, disk = opened.process, opened.disk
        fault = process.next_fault(f"write {len(data)} bytes at {offset} of {opened.name}")
        if fault is Fault.BEFORE:
            raise process.crash()
        full = disk.is_full or fault is Fault.FULL
        if full or fault in {Fault.BROKEN, Fault.TORN}:
            data = data[: disk._chance.choice((0, len(data) // 2, len(data) // SECTOR * SECTOR))]
        if data:
            if opened.appends:
                _really["write"](descriptor, data)
            else:
                _really["pwrite"](descriptor, data, offset)
            if isinstance(opened.node, File):
                opened.node.pending.append((offset, data))
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if fault is Fault.BROKEN:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._end(process, fault)
        return len(data)

    def ftruncate(self, descriptor: int, size: int) -> None:
        opened = self.opened.get(descriptor)
        fault = None
        if opened is not None:
            fault = self._fault(opened.process, opened.disk, f"truncate {opened.name} to {size}")
        _really["ftruncate"](descriptor, size)
        if opened is not None:
            if isinstance(opened.node, File):
                opened.node.pending.append(size)
            self._end(opened.process, fault)

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        opened = self.opened.get(descriptor)
        size = os.fstat(descriptor).st_size
        fault = None
        if opened is not None:
            fault = self._fault(opened.process, opened.disk, f"preallocate {opened.name}", needs_room=True)
        _really["posix_fallocate"](descriptor, offset, length)
        if opened is not None:
            if isinstance(opened.node, File) and offset + length > size:
                opened.node.pending.append(offset + length)
            self._end(opened.process, fault)

    def fsync(self, descriptor: int) -> None:
        opened = self.opened.get(descriptor)
        if opened is None:
            _really["fsync"](descriptor)
            return
        process, disk, node = opened.process, opened.disk, opened.node
        fault = process.next_fault(f"sync {opened.name or 'the top folder'}")
        if fault is Fault.BEFORE:
            raise process.crash()
        if fault in {Fault.BROKEN, Fault.FULL}:
            if isinstance(node, File) and node.pending:
                node.is_doubtful = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if disk.is_lying:
            disk.has_lied = True
        elif node is not None and fault is not Fault.TORN:
            node.sync()
        self._end(process, fault)

    fdatasync = fsync

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        at = self._at(path, dir_fd)
        if at is None:
            _really["mkdir"](path, mode, dir_fd=dir_fd)
            return
        process, disk, text = at
        fault = None
        if not os.path.exists(text):
            fault = self._fault(process, disk, f"make {text[len(disk.root) + 1 :]}", needs_room=True)
        _really["mkdir"](path, mode, dir_fd=dir_fd)
        folder, name = disk.folder_of(text)
        folder.change("", name, Folder())
        self._end(process, fault)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._remove("unlink", path, dir_fd)

    remove = unlink

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._remove("rmdir", path, dir_fd)

    def _remove(self, how: str, path: Any, dir_fd: int | None) -> None:
        at = self._at(path, dir_fd)
        if at is None or at[1].find(at[2]) is None:
            _really[how](path, dir_fd=dir_fd)
            return
        process, disk, text = at
        fault = self._fault(process, disk, f"delete {text[len(disk.root) + 1 :]}")
        _really[how](path, dir_fd=dir_fd)
        folder, name = disk.folder_of(text)
        folder.change(name)
        self._end(process, fault)

    def rename(self, source: Any, target: Any, **fields: Any) -> None:
        at, to = self._at(source), self._at(target)
        if at is None or to is None or fields:
            _really["rename"](source, target, **fields)
            return
        process, disk, text = at
        node = disk.find(text)
        fault = self._fault(process, disk, f"rename {text[len(disk.root) + 1 :]} to {to[2][len(disk.root) + 1 :]}")
        _really["rename"](source, target)
        folder, name = disk.folder_of(text)
        above, new = disk.folder_of(to[2])
        assert above is folder, "a rename from one folder to another is not simulated"
        folder.change(name, new, node)
        for opened in self.opened.values():
            if opened.path == text or opened.path.startswith(text + "/"):
                opened.path = to[2] + opened.path[len(text) :]
        self._end(process, fault)

    replace = rename

    def kill(self, process: Process) -> None:
        """End a process: the system closes its files, and with them goes each lock, and rolls back its databases."""
        process.is_alive = False
        process.died()
        for descriptor in sorted(process.descriptors):
            self.opened.pop(descriptor, None)
            _really["close"](descriptor)
        process.descriptors.clear()
        for connection in process.connections:
            connection.close()
        process.connections.clear()


@contextlib.contextmanager
def interposed(stage: Stage, disks: Sequence[Disk]) -> Iterator[Callable[[Process], None]]:
    """Let what the simulated processes do to files go by `disks`; gives the function that kills one."""
    functions = _Interposed(stage, disks)
    before = threading.excepthook

    def hook(arguments: Any) -> None:
        if not issubclass(arguments.exc_type, CrashError):
            before(arguments)

    with contextlib.ExitStack() as stack:
        for name in _really:
            stack.enter_context(mock.patch.object(os, name, getattr(functions, name)))
        stack.enter_context(mock.patch.object(sqlite3, "connect", connecting(stage)))
        stack.enter_context(mock.patch.object(threading, "excepthook", hook))
        yield functions.kill
