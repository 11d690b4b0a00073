"""Loops as machine code: compiled by Numba, where that is installed, once so much comes at a time that it pays.

Numba takes a quarter of a second of processor time and some ninety megabytes to import, and to compile some seconds
more where it has not kept what it compiled before. So it is done on a thread beside the first work, which is done as
ever; whether and when it is done changes no result. It is in the extra `fast`, which nobody needs: whoever uses this
module has another way to the same results.

What is compiled is plain loops over arrays, without objects, which Python runs as well, a hundred times slower. It
looks at no bound by itself. Arguments have the types that a signature names: an array of more or other dimensions, of
another kind, or with steps between its items is refused by a `TypeError`.
"""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Self

Loops = TypeVar("Loops")
PAYS_AFTER: Final = 100_000
"""Events: to import Numba takes as long as to check some hundred thousand."""
_SECONDS: Final = 60.0
"""In which so many have to come: whoever has less to do at a time needs the memory more than the time."""


def types() -> Any:
    """Return Numba's module of types, for those who name none of the vendor's dependencies."""
    from numba import types as found  # noqa: PLC0415 - see above

    return found


def array(kind: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    """Return the type of arrays, in a row, of a kind that `numba.types` has."""
    from numba import types  # noqa: PLC0415 - see above

    return types.Array(kind, dimensions, "C", readonly=readonly)


def memory() -> Any:
    """Return the type of bytes that are only read, as `numpy.frombuffer` gives them of an object of bytes."""
    from numba import types  # noqa: PLC0415 - see above

    return array(types.uint8, readonly=True)


def record(kind: type[tuple[Any, ...]], *items: Any) -> Any:
    """Return the type of named tuples of one class, whose items have these types."""
    from numba import types  # noqa: PLC0415 - see above

    return types.BaseTuple.from_types(items, kind)  # type: ignore[no-untyped-call]


def let_be_called(module: ModuleType, *, as_parts: bool = False, makes_arrays: bool = True) -> None:
    """Let loops that are compiled call those of their module, which Python calls as ever.

    What is kept for the next process is thrown away when the module of a loop has changed, and those alone that
    `compiled` is told of besides: what it calls, and the numbers that it knows by name, are in one of them.

    Args:
        module: The module.
        as_parts: Whether what is called becomes part of the loop in each place. It takes longer to compile; to hand
            arrays on takes longer than most of what is called for each event.
        makes_arrays: Whether what is called makes arrays. If not, none is counted as in use while it is called, which
            takes far longer than all else where named tuples of many arrays are handed on.
    """
    from numba.extending import register_jitable  # noqa: PLC0415 - see above

    for _, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__:
            register_jitable(forceinline=as_parts, _nrt=makes_arrays, no_cpython_wrapper=True, no_cfunc_wrapper=True)(
                function
            )


def compiled(
    function: Callable[..., Any], signature: Any, *, makes_arrays: bool = True, parts: Iterable[ModuleType] = ()
) -> Any:
    """Return a loop compiled for arguments of some types, and keep it for the next process where that can be done.

    It is kept beside its module, or in a folder of the user's own, or in ``NUMBA_CACHE_DIR``; where none of them can
    be written to, each process compiles anew. It runs without Python's lock, beside other threads.

    Args:
        function: The loop.
        signature: The types of its arguments, and of what it returns.
        makes_arrays: Whether it makes arrays; as for `let_be_called`.
        parts: Other modules of which it calls or knows something: what was kept before one of them changed is not used.
    """
    import numba  # noqa: PLC0415 - see above

    options: dict[str, Any] = {"nogil": True, "_nrt": makes_arrays}
    try:
        loop = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # it finds no folder to keep it in
        loop = numba.njit(**options)(function)
    _forget(loop, before=max((Path(inspect.getfile(part)).stat().st_mtime for part in parts), default=0.0))
    try:
        loop.compile(signature)
    except (ImportError, AttributeError):  # what was kept names types of another version, which are not there
        _forget(loop, before=inf)
        loop.compile(signature)
    loop.disable_compile()
    return loop


def _forget(loop: Any, *, before: float) -> None:
    """Throw away what was kept beside a loop, and itself, before a time in seconds since 1970."""
    folder = loop.stats.cache_path  # None where nothing can be kept
    for kept in Path(folder).glob("*.nbi") if folder else ():
        with suppress(FileNotFoundError):  # another process has done so
            if kept.stat().st_mtime < before:
                kept.unlink()


class MachineCode(Generic[Loops]):
    """Compiled loops for whoever has much to do.

    Args:
        compile_: Compiles the loops; raises whatever hinders it, which is final.
        hindered: Is called when they cannot be compiled, while that exception is handled.
        pays_after: How many events have to come within a minute.
        ticks: Seconds by a clock that nobody sets.
    """

    def __init__(
        self,
        compile_: Callable[[], Loops],
        *,
        hindered: Callable[[], None],
        pays_after: int = PAYS_AFTER,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compile_loops, self._hindered = compile_, hindered
        self._pays_after = pays_after
        self._ticks = ticks
        self._begun, self._worked = -_SECONDS, 0
        self._loops: Loops | None = None
        self._is_asked_for = False
        self._lock = Lock()

    def ready(self) -> Self:
        """Compile the loops, if that was not begun, and return itself: whoever calls waits for them."""
        with self._lock:
            asked, self._is_asked_for = self._is_asked_for, True
        if not asked:
            self._compile()
        return self

    def loops(self) -> Loops | None:
        """Return the loops, None as long as there are none."""
        return self._loops

    def worked(self, rows: int) -> None:
        """Count so many events as worked on without them, and begin to compile if there were enough in a minute."""
        with self._lock:
            now = self._ticks()
            if now - self._begun >= _SECONDS:
                self._begun, self._worked = now, 0
            self._worked += rows
            if self._worked <= self._pays_after or self._is_asked_for:
                return
            self._is_asked_for = True
        Thread(target=self._compile, name="heliograph-machine-code", daemon=True).start()

    def _compile(self) -> None:
        try:
            self._loops = self._compile_loops()
        except Exception:  # noqa: BLE001 - whatever hinders it, the work is done as before
            self._hindered()
