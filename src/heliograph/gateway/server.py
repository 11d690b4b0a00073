"""The gateway as a process: TLS, one event loop, and everything put together from the settings."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from heliograph.gateway.app import Gateway
from heliograph.gateway.authentication import Authenticator
from heliograph.gateway.intake import Intake
from heliograph.gateway.log import Log
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.keys import load_or_create_key
from heliograph.registry.view import RegistryView
from heliograph.tls import server_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from heliograph.plan.model import Plan
    from heliograph.settings import GatewaySettings, Settings

_MOST_CONNECTIONS: Final = 2_000
_KEEP_ALIVE_SECONDS: Final = 75
_GRACE_SECONDS: Final = 5


@contextmanager
def gateway_server(
    settings: Settings, plan: Plan, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[uvicorn.Server]:
    """Put a gateway together; inside the block, its ``run`` serves until told to stop.

    Raises:
        BlockingIOError: Another gateway writes the same log.
        LogFullError: There is no room for the log.
        KeyFileError: The signing key cannot be used.
        RegistryError: The registry cannot be opened.
        OSError: A file cannot be opened.
    """
    gateway = settings.gateway
    tls = server_tls(gateway.certificate, gateway.private_key)
    key = load_or_create_key(Path(gateway.signing_key))
    with ExitStack() as stack:
        view = stack.enter_context(RegistryView(settings.registry, now=now))
        log = Log(
            Path(gateway.log),
            segment_bytes=gateway.segment_bytes,
            maximum_bytes=gateway.maximum_log_bytes,
            now=lambda: now().timestamp(),
        )
        stack.callback(log.close)
        app = Gateway(
            intake=Intake(
                plan=plan, log=log, permissions=view.permission, signer=ReceiptSigner(key), settings=gateway, now=now
            ),
            authenticator=Authenticator(view.snapshot, key, gateway, now=lambda: now().timestamp()),
            permissions=view.permission,
            log=log,
            plan=plan,
            settings=gateway,
        )
        yield uvicorn.Server(_config(app, gateway, tls))


def _config(app: Gateway, settings: GatewaySettings, tls: ssl.SSLContext) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_context_factory=lambda *_: tls,
    )
