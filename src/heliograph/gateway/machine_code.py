"""The loops over columns as machine code: compiled by Numba once a gateway has taken so much that it pays.

Numba takes a quarter of a second of processor time and some ninety megabytes to import, and to compile some seconds
more where it has not kept what it compiled before. So it is done on a thread beside the first bodies, which are held
to the plan as ever; whether and when it is done changes no verdict.
"""

from __future__ import annotations

from functools import cache
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from collections.abc import Callable

_PAYS_AFTER: Final = 100_000
"""Events: to import Numba takes as long as to check some hundred thousand."""
_log: Final = structlog.get_logger("heliograph.gateway")


@cache
def compiled_loops() -> Loops:
    """Return the loops compiled, in one process once.

    What was compiled is kept beside this module, or in a folder of the user's own, or in ``NUMBA_CACHE_DIR``; where
    none of them can be written to, each process compiles anew.
    """
    from numba import types  # noqa: PLC0415 - see above

    def array(kind: Any, dimensions: int = 1) -> Any:
        return types.Array(kind, dimensions, "C")

    memory, whole = types.Array(types.uint8, 1, "C", readonly=True), types.int64
    lines, bytes_, integers, table = array(types.uint32), array(types.uint8), array(whole), array(whole, 2)
    flags = array(types.boolean, 2)
    cells = lines, integers, array(types.uint16)
    signatures = {
        follow_form: types.boolean(memory, bytes_, bytes_, table, table),
        find_dictionaries: types.boolean(memory, table, table, whole, table),
        find_columns: whole(memory, table, table, integers, whole, table),
        find_words: types.boolean(memory, table, table),
        find_cells: types.boolean(memory, table, whole, lines, integers),
        whole_numbers_pass: types.boolean(memory, integers, *cells, lines, array(whole, 3), table),
        numbers_pass: types.boolean(memory, integers, *cells, lines, array(types.float64, 3)),
        flags_pass: types.boolean(memory, table, *cells, lines, flags),
        words_pass: types.boolean(memory, integers, *cells, integers, lines, flags),
        ids_pass: types.boolean(memory, integers, whole, lines, integers, table),
    }

    return Loops(*(compiled(loop, signatures[loop]) for loop in PLAIN))


def compiled(function: Callable[..., Any], signature: Any) -> Any:
    """Return a loop compiled for arguments of some types, and keep it for the next process where that can be done."""
    import numba  # noqa: PLC0415 - see above

    try:
        return numba.njit(signature, cache=True, nogil=True)(function)
    except RuntimeError:  # it finds no folder to keep it in
        return numba.njit(signature, nogil=True)(function)


class MachineCode:
    """The loops for whoever has much to check.

    Args:
        pays_after: How many events are checked without them.
    """

    def __init__(self, pays_after: int = _PAYS_AFTER) -> None:
        self._left = pays_after
        self._loops: Loops | None = None
        self._is_asked_for = False

    @classmethod
    def ready(cls) -> MachineCode:
        """Return one that has the loops: whoever calls waits for them."""
        code = cls()
        code._compile()
        return code

    def loops(self) -> Loops | None:
        """Return the loops, None as long as there are none."""
        return self._loops

    def worked(self, rows: int) -> None:
        """Count so many events as checked without them."""
        self._left -= rows
        if self._left < 0 and not self._is_asked_for:
            self._is_asked_for = True
            Thread(target=self._compile, name="heliograph-machine-code", daemon=True).start()

    def _compile(self) -> None:
        try:
            self._loops = compiled_loops()
        except Exception:  # noqa: BLE001 - whatever hinders it, bodies are checked as before
            _log.warning("Arrow bodies are checked without compiled loops", exc_info=True)
