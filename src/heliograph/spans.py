"""Traces of a delivery for whoever wants them: spans of OpenTelemetry with names and numbers, and no value of an event.

They are optional (``pip install heliograph[traces]``). Where the package is not installed, or no SDK is configured in
the process, a span is nothing, and costs as much. What an error says is never told, as it may repeat a value: its type
is. From one end to the other a trace goes by the W3C header ``traceparent`` alone: no state and no baggage.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

try:
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    is_installed = False
else:
    is_installed = True
    _propagator: Final = TraceContextTextMapPropagator()

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

HEADER: Final = "traceparent"
_SCOPE: Final = "heliograph"
_NOTHING: Final[AbstractContextManager[None]] = nullcontext()
_LONGEST: Final = 55
"""Characters of a ``traceparent``."""


def are_traced() -> bool:
    """Tell whether anybody wants spans: the package is there, and an SDK is configured."""
    return is_installed and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def span(
    name: str, parent: str = "", *, began: int | None = None, **attributes: str | int
) -> AbstractContextManager[None]:
    """Return a span around what is done inside the block, within the one that is open.

    Args:
        name: What is done.
        parent: The ``traceparent`` of whoever asked for it; empty, or anything that is none: nobody did.
        began: When it really began, in nanoseconds since 1970, if that was before.
        attributes: Names and numbers by which it is found; never a value of an event.
    """
    return _open(name, parent, began, attributes) if are_traced() else _NOTHING


def spanner() -> Callable[[str], AbstractContextManager[None]]:
    """Return what gives spans by their names: asked once for many, that nobody traces costs least."""
    return span if are_traced() else _no_span


def _no_span(_: str) -> AbstractContextManager[None]:
    return _NOTHING


@contextmanager
def _open(name: str, parent: str, began: int | None, attributes: dict[str, str | int]) -> Iterator[None]:
    with trace.get_tracer(_SCOPE).start_as_current_span(
        f"{_SCOPE}.{name}",
        _context_of(parent),
        attributes=_named(attributes),
        start_time=began,
        record_exception=False,  # its message may repeat a value
        set_status_on_exception=False,
    ) as opened:
        try:
            yield
        except BaseException as error:
            opened.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            raise


def tell_past(name: str, parent: str, began: int, **attributes: str | int) -> None:
    """Tell, as a part of somebody's trace, of something that is over now.

    Args:
        name: What was done.
        parent: See `traceparent`; empty: nothing is told.
        began: When it began, in nanoseconds since 1970.
        attributes: See `span`.
    """
    if parent and are_traced():
        with span(name, parent, began=began, **attributes):
            pass


def note(what: str, **attributes: str | int) -> None:
    """Tell, within the span that is open, of something that belongs to it."""
    if are_traced():
        trace.get_current_span().add_event(what, _named(attributes))


def _named(attributes: dict[str, str | int]) -> dict[str, str | int]:
    return {f"{_SCOPE}.{key}": value for key, value in attributes.items()}


def traceparent() -> str:
    """Return what another process needs to go on with the trace that is open; empty if there is none."""
    if not are_traced():
        return ""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(HEADER, "")


@contextmanager
def within(parent: str) -> Iterator[None]:
    """Let what is done inside the block be a part of somebody's trace: see `traceparent`."""
    if not parent or not are_traced():
        yield
        return
    token = context.attach(_context_of(parent) or context.Context())
    try:
        yield
    finally:
        context.detach(token)


def _context_of(parent: str) -> context.Context | None:
    return _propagator.extract({HEADER: parent}) if parent and len(parent) <= _LONGEST else None
