"""The loops over columns and over lines of a body as machine code, for a gateway that has much to check."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from heliograph.gateway import layout_loops, line_loops, loops
from heliograph.gateway.layout_loops import Form, Layout
from heliograph.gateway.line_loops import Tables
from heliograph.gateway.loops import Allowed, Looks, Loops, Room, Vocabulary
from heliograph.machine_code import PAYS_AFTER, MachineCode, array, compiled, let_be_called, memory, record

if TYPE_CHECKING:
    from heliograph.gateway.line_looks import LineLoop

    GatewayCode: TypeAlias = MachineCode[Loops]
    LineCode: TypeAlias = MachineCode[LineLoop]

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
        judge=compiled(
            loops.PLAIN.judge,
            whole(read, whole, whole, layout, looks, words, allowed, room),
            parts=(layout_loops,),
        ),
    )


@cache
def compiled_line_loop() -> LineLoop:
    """Return `read_lines` compiled, in one process once."""
    from numba import types  # noqa: PLC0415 - it takes a quarter of a second

    whole = types.int64
    integers, table = array(whole), array(whole, 2)
    # Its words overlap, so that a step from one to the next is a byte.
    words = types.Array(types.uint64, 1, "A", readonly=True, aligned=False)
    tables = record(
        Tables,
        array(types.uint64),
        integers,
        table,
        integers,
        table,
        integers,
        array(types.float64, 2),
        table,
    )
    signature = types.boolean(memory(), words, whole, tables, whole, whole, integers, integers, integers, table)
    let_be_called(line_loops, as_parts=True)
    loop: LineLoop = compiled(line_loops.read_lines, signature)
    return loop


def gateway_code(pays_after: int = PAYS_AFTER) -> GatewayCode:
    """Return what has the loops over columns once so many events were checked without them."""
    return MachineCode(lambda: compiled_loops(), hindered=_warn, pays_after=pays_after)  # noqa: PLW0108 - tests fail it


def line_code(pays_after: int = PAYS_AFTER) -> LineCode:
    """Return what has the loop over lines once so many events were checked without it."""
    return MachineCode(lambda: compiled_line_loop(), hindered=_warn_of_lines, pays_after=pays_after)  # noqa: PLW0108 - likewise


def _warn() -> None:
    _log.warning("Arrow bodies are checked without compiled loops", exc_info=True)


def _warn_of_lines() -> None:
    _log.warning("lines are checked without a compiled loop", exc_info=True)
