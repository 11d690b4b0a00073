"""Heliograph: event-level product-usage data, inside the contract and in full view of the customer.

A product records in one line:

    from heliograph import record

    record("SearchSubmitted", user=42, session=request.session, pattern_type="regexp", duration_ms=41)

`record` uses one recorder for the process, made at first use from the settings file and the environment
(docs/recording.md); `configure` replaces it, as a product's start-up or its tests do. `identify` says with it that a
visitor has signed in, and `report_facts` what is so of the instance as a whole.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from heliograph.instance.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Recorder", "configure", "identify", "opt_in", "opt_out", "record", "report_facts"]


class Records(Protocol):
    """What `record` and `report_facts` need: `Recorder`, or `heliograph.testing.MemoryRecorder`."""

    @property
    def record(self) -> Callable[..., bool]:
        """See `Recorder.record`."""

    @property
    def identify(self) -> Callable[..., bool]:
        """See `Recorder.identify`."""

    @property
    def report_facts(self) -> Callable[..., bool]:
        """See `Recorder.report_facts`."""

    @property
    def opt_out(self) -> Callable[[str | int], bool]:
        """See `Recorder.opt_out`."""

    @property
    def opt_in(self) -> Callable[[str | int], bool]:
        """See `Recorder.opt_in`."""


_lock = threading.Lock()
_recorder: Records | None = None
_failed = False


def configure(recorder: Records | None) -> None:
    """Let `record` use this recorder; None: make one from the settings at the next call."""
    global _recorder, _failed
    with _lock:
        _recorder, _failed = recorder, False


def record(name: str, /, **what: Any) -> bool:
    """Record an event with the process's recorder; see `Recorder.record`. Never waits, never raises."""
    recorder = _recorder or _from_settings()
    return recorder is not None and recorder.record(name, **what)


def identify(user: str | int, *, anonymous: str | int) -> bool:
    """Say that a visitor has signed in as `user`; see `Recorder.identify`. Never raises."""
    recorder = _recorder or _from_settings()
    return recorder is not None and recorder.identify(user, anonymous=anonymous)


def report_facts(**facts: Any) -> bool:
    """Say what is so of the instance, with the process's recorder; see `Recorder.report_facts`. Never raises."""
    recorder = _recorder or _from_settings()
    return recorder is not None and recorder.report_facts(**facts)


def opt_out(user: str | int) -> bool:
    """Let nothing of `user` be recorded or sent from now on; see `Recorder.opt_out`. Never raises."""
    recorder = _recorder or _from_settings()
    return recorder is not None and recorder.opt_out(user)


def opt_in(user: str | int) -> bool:
    """Let `user` be recorded again; see `Recorder.opt_in`. Never raises."""
    recorder = _recorder or _from_settings()
    return recorder is not None and recorder.opt_in(user)


def _from_settings() -> Records | None:
    global _recorder, _failed  # noqa: PLW0603 - the one recorder of a process
    if _failed:
        return None
    with _lock:
        if _recorder is None and not _failed:
            try:
                from heliograph.settings import load_settings  # noqa: PLC0415 - only when nothing was configured

                _recorder = Recorder(load_settings().recorder)
            except Exception as error:  # noqa: BLE001 - nothing may be raised into the product
                _failed = True
                logging.getLogger("heliograph").warning("nothing is recorded: %s", error)
        return _recorder
