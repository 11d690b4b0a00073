"""What a long-running verb says of an error that nobody expected: its type and place, and no value.

A traceback ends with the error's message, and a library's message may repeat what it could not read: Arrow, msgspec and
PostgreSQL quote values. What other libraries log may hold such a message as well.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from types import TracebackType

_log = structlog.get_logger()


def silence_values() -> None:
    """Let whatever nobody catches end in one line of the log, in place of a traceback; and other libraries' logs too.

    A hook or a handler that somebody has set already stays.
    """
    sys.excepthook = _tell_end
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _tell_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _tell_unraisable
    handler = _ToLog()
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def place(error: BaseException) -> str:
    """Return the module and line that raised an error, and none of the values at hand."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"


class _ToLog(logging.Handler):
    """Writes what a library logs as its words alone: without arguments, and without an error's message."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        told: dict[str, Any] = {"logger": record.name}
        if error is not None:
            told |= {"error": type(error).__name__, "at": place(error)}
        # What asyncio says is put together before it is logged, with an error's message in it.
        words = "failed" if error is not None or record.name == "asyncio" else str(record.msg)
        _log.log(record.levelno, words, **told)


def _tell_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("ended by an error", error=kind.__name__, at=place(error))


def _tell_thread(caught: threading.ExceptHookArgs) -> None:
    if caught.exc_value is not None:
        _log.critical("a thread ended by an error", error=caught.exc_type.__name__, at=place(caught.exc_value))


def _tell_unraisable(caught: sys.UnraisableHookArgs) -> None:
    if caught.exc_value is not None:
        _log.error("an error that nobody can catch", error=caught.exc_type.__name__, at=place(caught.exc_value))
