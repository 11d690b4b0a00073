"""What recorders are told of the plan: a small file beside the outbox, which the agent writes and products read.

It spares a product the recording of what may not leave; that nothing leaves which the plan does not declare, is up to
the agent and the gateway. Here and not with the plan, as a product reads names alone, once a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from heliograph.frames import file_identity, make_folder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

DECLARED_FILE: Final = "declared.json"


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan in force declares, by name."""

    plan: str
    """Its label."""
    events: dict[str, list[str]]
    """The names of each event's properties."""
    renamed: dict[str, str] = {}
    """Present names of events by earlier ones."""
    withdrawn: list[str] = []
    """Events that may not be recorded: declared once, and no more, or never to be by the admin's word."""


class UndeclaredError(Exception):
    """An event that may not be recorded."""


class Admitted(NamedTuple):
    """What is recorded of an event."""

    name: str
    """The event's present name."""
    properties: dict[str, Any]
    """Those that the plan declares; of an event that it does not know yet, all."""
    left_out: int
    """How many it does not declare."""
    held: bool
    """Whether the event is to be set aside, as no plan has declared it yet."""


class Declared:
    """A declaration, ready to be asked for every event."""

    def __init__(self, declaration: Declaration) -> None:
        events = {name: (name, frozenset(properties)) for name, properties in declaration.events.items()}
        renamed = {old: events[new] for old, new in declaration.renamed.items() if new in events and old not in events}
        self._events = events | renamed
        self._plain = {name: properties for name, (_, properties) in events.items()}
        self._withdrawn = frozenset(declaration.withdrawn)

    def passes(self, name: str, properties: dict[str, Any]) -> bool:
        """Tell whether an event is recorded as it is, as nearly always: this is asked for every event."""
        known = self._plain.get(name)
        return known is not None and properties.keys() <= known

    def admit(self, name: str, properties: dict[str, Any]) -> Admitted:
        """Return what is recorded of an event.

        Raises:
            UndeclaredError: Nothing is.
        """
        known = self._events.get(name)
        if known is None:
            if name in self._withdrawn:
                raise UndeclaredError
            return Admitted(name, properties, 0, held=True)
        present, declared = known
        if properties.keys() <= declared:
            return Admitted(present, properties, 0, held=False)
        kept = {key: value for key, value in properties.items() if key in declared}
        left_out = sum(value is not None for key, value in properties.items() if key not in declared)
        return Admitted(present, kept, left_out, held=False)

    def holds(self, name: str) -> bool:
        """Tell whether events of this name are set aside."""
        return name not in self._events and name not in self._withdrawn


def read_declared(outbox: Path) -> Declared | None:
    """Return what is declared beside an outbox; None where nothing can be read: then everything is recorded."""
    try:
        return Declared(msgspec.json.decode((outbox / DECLARED_FILE).read_bytes(), type=Declaration))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class DeclaredWriter:
    """Keeps the file true: writes it when the plan changes, or when it is gone."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox
        self._told: Declaration | None = None
        self._file: tuple[int, int] | None = None

    def tell(self, declaration: Declaration) -> None:
        """Let the recorders know.

        Raises:
            OSError: It cannot be written; what was told before stays.
        """
        if declaration is self._told and self._file == file_identity(self._outbox / DECLARED_FILE):
            return
        make_folder(self._outbox)
        write_atomically(self._outbox / DECLARED_FILE, msgspec.json.encode(declaration))
        self._told, self._file = declaration, file_identity(self._outbox / DECLARED_FILE)
