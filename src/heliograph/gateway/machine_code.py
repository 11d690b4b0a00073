"""The loops over columns of a body as machine code, for a gateway that has much to check."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from heliograph.gateway.loops import (
    PLAIN,
    Loops,
    find_cells,
    find_columns,
    find_dictionaries,
    find_words,
    flags_pass,
    follow_form,
    ids_pass,
    numbers_pass,
    whole_numbers_pass,
    words_pass,
)
from heliograph.machine_code import PAYS_AFTER, MachineCode, array, compiled, memory

if TYPE_CHECKING:
    GatewayCode: TypeAlias = MachineCode[Loops]

_log: Final = structlog.get_logger("heliograph.gateway")


@cache
def compiled_loops() -> Loops:
    """Return the loops compiled, in one process once."""
    from numba import types  # noqa: PLC0415 - it takes a quarter of a second

    read, whole = memory(), types.int64
    lines, bytes_, integers, table = array(types.uint32), array(types.uint8), array(whole), array(whole, 2)
    flags = array(types.boolean, 2)
    cells = lines, integers, array(types.uint16)
    signatures = {
        follow_form: types.boolean(read, bytes_, bytes_, table, table),
        find_dictionaries: types.boolean(read, table, table, whole, table),
        find_columns: whole(read, table, table, integers, whole, table),
        find_words: types.boolean(read, table, table),
        find_cells: types.boolean(read, table, whole, lines, integers),
        whole_numbers_pass: types.boolean(read, integers, *cells, lines, array(whole, 3), table),
        numbers_pass: types.boolean(read, integers, *cells, lines, array(types.float64, 3)),
        flags_pass: types.boolean(read, table, *cells, lines, flags),
        words_pass: types.boolean(read, integers, *cells, integers, lines, flags),
        ids_pass: types.boolean(read, integers, whole, lines, integers, table),
    }

    return Loops(*(compiled(loop, signatures[loop]) for loop in PLAIN))


def gateway_code(pays_after: int = PAYS_AFTER) -> GatewayCode:
    """Return what has the loops once so many events were checked without them."""
    return MachineCode(lambda: compiled_loops(), hindered=_warn, pays_after=pays_after)  # noqa: PLW0108 - tests fail it


def _warn() -> None:
    _log.warning("Arrow bodies are checked without compiled loops", exc_info=True)
