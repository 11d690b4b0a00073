"""The loops over columns of a body as machine code, for a gateway that has much to check."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from heliograph.gateway import layout_loops, loops
from heliograph.gateway.layout_loops import Form, Layout
from heliograph.gateway.loops import Allowed, Looks, Loops, Room, Vocabulary
from heliograph.machine_code import PAYS_AFTER, MachineCode, array, compiled, let_be_called, memory, record

if TYPE_CHECKING:
    GatewayCode: TypeAlias = MachineCode[Loops]

_log: Final = structlog.get_logger("heliograph.gateway")


@cache
def compiled_loops() -> Loops:
    """Return the loops compiled, in one process once."""
    from numba import types  # noqa: PLC0415 - it takes a quarter of a second

    read, whole = memory(), types.int64
    bytes_, lines, integers, table = array(types.uint8), array(types.uint32), array(whole), array(whole, 2)
    flags = array(types.boolean, 2)
    form = record(Form, bytes_, bytes_, table, integers)
    layout = record(Layout, table, table, table)
    looks = record(Looks, table, integers)
    words = record(Vocabulary, integers, table, bytes_)
    allowed = record(Allowed, array(whole, 3), table, array(types.float64, 3), flags, flags)
    room = record(Room, array(types.uint16), lines, lines, integers, integers, integers)
    let_be_called(layout_loops)
    let_be_called(loops)
    return Loops(
        find=compiled(loops.PLAIN.find, whole(read, form, whole, layout)),
        judge=compiled(loops.PLAIN.judge, whole(read, whole, whole, layout, looks, words, allowed, room)),
    )


def gateway_code(pays_after: int = PAYS_AFTER) -> GatewayCode:
    """Return what has the loops once so many events were checked without them."""
    return MachineCode(lambda: compiled_loops(), hindered=_warn, pays_after=pays_after)  # noqa: PLW0108 - tests fail it


def _warn() -> None:
    _log.warning("Arrow bodies are checked without compiled loops", exc_info=True)
