"""The loops over an outbox as machine code, for an agent that has a long backlog.

Nobody needs them: without Numba (the extra `fast`), and of less than pays, the same is done by numpy and msgspec.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import structlog

from heliograph.instance import line_loops, text_loops, value_loops
from heliograph.instance.frame_loops import join_bodies
from heliograph.instance.line_loops import Columns, Declared, Line, read_lines
from heliograph.instance.text_loops import Texts
from heliograph.machine_code import PAYS_AFTER, MachineCode, array, compiled, let_be_called, memory, record, types

if TYPE_CHECKING:
    from collections.abc import Callable

    InstanceCode: TypeAlias = MachineCode["Loops"]

_NEVER: Final = 1 << 62
_log: Final = structlog.get_logger("heliograph.exporter")


class Loops(NamedTuple):
    """The loops, compiled."""

    join_bodies: Callable[..., None]
    read_lines: Callable[..., None]


@cache
def compiled_loops() -> Loops:
    """Return the loops compiled, in one process once."""
    kinds = types()  # it takes a quarter of a second

    def at_any_byte(*, readonly: bool) -> Any:
        return kinds.Array(kinds.uint64, 1, "A", readonly=readonly, aligned=False)

    read, whole = memory(), kinds.int64
    bytes_, bits, integers, table = array(kinds.uint8), array(kinds.uint8, 2), array(whole), array(whole, 2)
    small, places, words = array(kinds.int16), array(kinds.int32), array(kinds.uint64)
    for module in (text_loops, value_loops, line_loops):
        let_be_called(module, as_parts=True, makes_arrays=False)
    return Loops(
        compiled(
            join_bodies,
            kinds.void(
                read,
                at_any_byte(readonly=True),
                whole,
                whole,
                whole,
                array(kinds.uint64, 2),
                bytes_,
                at_any_byte(readonly=False),
                integers,
            ),
        ),
        compiled(
            read_lines,
            kinds.void(
                read,
                at_any_byte(readonly=True),
                whole,
                record(Declared, table, integers, bits, table),
                record(Texts, places, table, integers, integers),
                record(Line, integers, table, words, table, array(kinds.float64), words, integers),
                record(
                    Columns,
                    *(integers, small, integers, integers, array(kinds.int32, 2), places),
                    *(integers, bits, table, array(kinds.float64, 2), bits, array(kinds.int16, 2)),
                    *(table, table, integers),
                ),
            ),
            makes_arrays=False,
            parts=(text_loops, value_loops),
        ),
    )


def instance_code(pays_after: int = PAYS_AFTER) -> InstanceCode:
    """Return what has the loops once so many events were read without them, where Numba is installed."""
    if find_spec("numba") is None:
        pays_after = _NEVER
    return MachineCode(lambda: compiled_loops(), hindered=_warn, pays_after=pays_after)  # noqa: PLW0108 - tests fail it


def _warn() -> None:
    _log.warning("the outbox is read without compiled loops", exc_info=True)
