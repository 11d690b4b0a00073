"""The application that answers at present: another may take its place while requests are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.gateway.app import Gateway
    from heliograph.gateway.writer import Writer


class _Held:
    """An application, and how many requests it has."""

    def __init__(self, gateway: Gateway, end: Callable[[], None]) -> None:
        self.gateway: Final = gateway
        self.end: Final = end
        self.requests = 0


class Present:
    """Answers each request by the application that was there when it came (ASGI 3).

    Args:
        gateway: The first.
        writer: Who has the log, for all of them.
    """

    def __init__(self, gateway: Gateway, writer: Writer) -> None:
        self._held = _Held(gateway, lambda: None)
        self.writer: Final = writer

    @property
    def gateway(self) -> Gateway:
        """The one that answers now."""
        return self._held.gateway

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        held = self._held
        held.requests += 1
        try:
            await held.gateway(scope, receive, send)
        finally:
            held.requests -= 1
            if held is not self._held and not held.requests:
                held.end()

    def replace(self, gateway: Gateway, end: Callable[[], None]) -> None:
        """Let another application answer from now on.

        Args:
            gateway: It.
            end: Called once yet another has its place, and its last request has been answered.
        """
        before, self._held = self._held, _Held(gateway, end)
        if not before.requests:
            before.end()

    def close(self) -> None:
        """End the one that is there; nothing is asked any more."""
        self._held.end()
