"""The door: a socket in the log's folder by which a program on the machine appends to the log of a running gateway.

A log has one writer. Whoever else has something for it, as an import of a bundle does, asks that one by the protocol of
`heliograph.gateway.link`, and is a worker like others: what it brings is stored where it belongs, or not at all. The
folder is its owner's alone, and so is the door.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from heliograph.gateway.link import RemoteWriter, WriterService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from heliograph.gateway.writer import Writer

NAME: Final = "writer.socket"


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """Give the door a path that is short enough for a socket's, however long the folder's is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


@asynccontextmanager
async def open_door(writer: Writer, folder: Path) -> AsyncIterator[None]:
    """Answer whoever comes to the log's folder; only the process that has the log may do so.

    Args:
        writer: Who answers.
        folder: The log's.

    Raises:
        OSError: No socket can be made there.
    """
    service = WriterService(writer, lambda _: None)
    tasks: set[asyncio.Task[None]] = set()

    def come(reader: asyncio.StreamReader, sender: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(service.answer(reader, sender))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    (folder / NAME).unlink(missing_ok=True)  # of a gateway that was killed
    with _short_path(folder) as path:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            os.chmod(path, 0o600)  # noqa: PTH101 - a path that pathlib would not keep
        except OSError:
            listener.close()
            raise
    server = await asyncio.start_unix_server(come, sock=listener)
    try:
        yield
    finally:
        server.close()
        with suppress(FileNotFoundError):
            (folder / NAME).unlink()
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def knock(folder: Path) -> AsyncIterator[RemoteWriter]:
    """Give the writer of the gateway that has the log in a folder.

    Raises:
        OSError: None answers there.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(folder) as path:
            link.connect(path)
        link.setblocking(False)  # noqa: FBT003 - the standard library's way to say it
        writer = await RemoteWriter.connect(link)
    except OSError:
        link.close()
        raise
    try:
        yield writer
    finally:
        writer.close()
