"""What the product says of its instance as a whole: a small file in the outbox's folder, merged fact by fact.

The recorder writes it, in any of the product's processes; the agent reads it when it makes a ping, and holds it to the
plan. It is replaced as a whole, so that a reader finds the old facts or the new ones, and not forced to disk: a product
says its facts again at its next start.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time as clock
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.ping import FactValue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FACTS_FILE: Final = "facts.json"
MOST_SAID: Final = 200
"""Facts kept in the file; a plan declares fewer."""
MOST_BYTES: Final = 16_384
"""Of one fact, as JSON."""
_LOCK: Final = "facts.lock"
_LOCK_SECONDS: Final = 0.05
_TRY_SECONDS: Final = 0.002
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")


class SaidFact(msgspec.Struct, frozen=True):
    """A fact as the product said it."""

    value: FactValue
    time: datetime
    """When it was said last."""


class FactsBusyError(Exception):
    """Another thread or process was writing facts for too long."""


def merge_facts(outbox: Path, facts: Mapping[str, object], *, now: datetime) -> bool:
    """Write down what the product says, beside what it said before; tell whether all of it could be.

    None takes a fact back. What can be no fact is left out, and the rest is kept.

    Raises:
        FactsBusyError: Others were writing for 50 milliseconds.
        OSError: The operating system refused.
    """
    named = {name: value for name, value in facts.items() if _NAME.fullmatch(name)}
    new = {name: fact for name, value in named.items() if (fact := _as_said(value, now)) is not None}
    outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(outbox / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(lock)
        said = read_facts(outbox)
        said = {name: fact for name, fact in said.items() if named.get(name, fact) is not None} | new
        _replace(outbox / FACTS_FILE, msgspec.json.encode(dict(islice(said.items(), MOST_SAID))))
    finally:
        os.close(lock)
    return len(said) <= MOST_SAID and facts.keys() == new.keys() | {name for name in named if named[name] is None}


def read_facts(outbox: Path) -> dict[str, SaidFact]:
    """Return what the product said, by name; nothing if it never did, or if the file cannot be understood."""
    try:
        return msgspec.json.decode((outbox / FACTS_FILE).read_bytes(), type=dict[str, SaidFact])
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _as_said(value: object, now: datetime) -> SaidFact | None:
    """Return a value as it is written down; None if it can be no fact."""
    try:
        fact = SaidFact(msgspec.convert(value, FactValue), now)
        size = len(msgspec.json.encode(fact))
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return fact if size <= MOST_BYTES else None


def _take(lock: int) -> None:
    end = clock.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= end:
                raise FactsBusyError from None
            clock.sleep(_TRY_SECONDS)
        else:
            return


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_bytes(content)
    temporary.replace(file)
