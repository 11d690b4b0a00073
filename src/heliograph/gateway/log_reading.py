"""Reading the log's segments, whoever is writing: the loader, the gateway at its start, and whoever asks for accounts.

`heliograph.gateway.log` says what a segment is.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from heliograph.difference import in_words
from heliograph.frames import read_frames
from heliograph.gateway.account import Account
from heliograph.gateway.exporters import Exporters
from heliograph.gateway.log_entries import Checkpoint, PingEntry, decode_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heliograph.gateway.log_entries import Header, Stored

SUFFIX: Final = ".log"
RELEASED: Final = "released"
"""A file in the log's folder with a generation: the loader has taken all segments before it."""
SCRUB: Final = "scrub"
"""A file in the log's folder with a generation: no byte of the segments up to it may stay, once they are released."""
_log: Final = structlog.get_logger("heliograph.gateway")


class Place(NamedTuple):
    """A place in the log: what is before it has been read."""

    generation: int
    offset: int


def segment_path(folder: Path, generation: int) -> Path:
    """Return the file of a segment."""
    return folder / f"{generation:010d}{SUFFIX}"


def segments(folder: Path) -> list[int]:
    """Return the generations of the segments, ascending."""
    return sorted(int(path.stem) for path in folder.glob(f"*{SUFFIX}"))


def read_generation(path: Path) -> int | None:
    """Return the generation that a file of the loader's names; None when there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def read_segment(folder: Path, generation: int, offset: int = 0) -> Iterator[tuple[Place, Header, bytes]]:
    """Yield the headers and bodies of a segment from `offset` on, each with the place behind it.

    What was there to read is forced to disk first: the gateway may be about to do so, or may have died before.
    """
    descriptor = os.open(segment_path(folder, generation), os.O_RDONLY)
    try:
        if os.fstat(descriptor).st_size == 0:
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            os.fdatasync(descriptor)
            for frame in read_frames(data, offset, generation=generation):
                yield Place(generation, frame.end), decode_header(frame.header), frame.body
    finally:
        os.close(descriptor)


def accounts_at(folder: Path, place: Place) -> dict[str, Account] | None:
    """Return all instances' accounts as they were at a place; None when the log does not hold it any more."""
    state: Checkpoint | None = None
    with contextlib.suppress(FileNotFoundError):
        for found, header, _ in read_segment(folder, place.generation):
            if isinstance(header, Checkpoint):
                state = header
            elif found.offset > place.offset:
                break
            elif state is not None:
                take(state, header)
    return None if state is None else state.accounts


def read_accounts(folder: Path) -> dict[str, Account]:
    """Return all instances' accounts from the newest segment that has a checkpoint; a gateway may be writing."""
    return read_state(folder).accounts


def read_state(folder: Path) -> Checkpoint:
    """Return what all frames amount to, by the newest segment that has a checkpoint."""
    while True:
        try:
            return _read_newest(folder)
        except FileNotFoundError:  # the gateway uses that segment again: there are newer ones
            continue


def _read_newest(folder: Path) -> Checkpoint:
    for generation in reversed(segments(folder)):
        state: Checkpoint | None = None
        for _, header, _ in read_segment(folder, generation):
            if isinstance(header, Checkpoint):
                state = header
            elif state is not None:
                take(state, header)
        if state is not None:
            return state
    return Checkpoint(accounts={}, exporters={})


def take(state: Checkpoint, entry: Stored) -> None:
    """Let a state amount to one delivery or ping more."""
    account = state.accounts.setdefault(entry.receipt.instance, Account())
    if isinstance(entry, PingEntry):
        account.ping = entry.receipt
        return
    for each in account.add(entry.receipt):
        _log.error("the account differs", instance=entry.receipt.instance, where=in_words(each))
    if entry.exporter:
        state.exporters.setdefault(entry.receipt.instance, Exporters()).take_over(entry.exporter, entry.after)
