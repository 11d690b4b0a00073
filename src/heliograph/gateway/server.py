"""The gateway as a process: TLS, one event loop, and everything put together from the settings."""

from __future__ import annotations

import ssl
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from heliograph.gateway.app import Gateway
from heliograph.gateway.authentication import Authenticator
from heliograph.gateway.intake import Intake, Permission
from heliograph.gateway.log import Log
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.keys import load_or_create_key
from heliograph.registry.errors import RegistryUnavailableError
from heliograph.registry.store import Registry
from heliograph.registry.watch import RegistryWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Plan
    from heliograph.registry.snapshot import Snapshot
    from heliograph.settings import Settings

_MOST_CONNECTIONS: Final = 2_000
_KEEP_ALIVE_SECONDS: Final = 75
_GRACE_SECONDS: Final = 10
_REFRESH_SECONDS: Final = 0.5
_log: Final = structlog.get_logger("heliograph.gateway")


def server_tls(certificate: str, private_key: str) -> ssl.SSLContext:
    """Return what TLS must be: version 1.2 or newer, with the server's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, private_key)
    return context


class RegistryPermissions:
    """Answers what an instance may send, from a view of the registry that a thread keeps fresh."""

    def __init__(self, registry: Registry, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._watch = RegistryWatch(registry)
        self._now = now
        self._stop = threading.Event()
        self._watch.refresh()
        self._thread = threading.Thread(target=self._keep_fresh, name="registry", daemon=True)
        self._thread.start()

    def _keep_fresh(self) -> None:
        while not self._stop.wait(_REFRESH_SECONDS):
            try:
                self._watch.refresh()
            except RegistryUnavailableError as error:
                _log.error("registry unavailable", why=str(error))

    def snapshot(self) -> Snapshot:
        """Return the registry's latest snapshot.

        Raises:
            RefusalError: It is too old to rely on.
        """
        try:
            return self._watch.snapshot()
        except RegistryUnavailableError as error:
            raise RefusalError(Refusal.UNAVAILABLE, "the registry does not answer") from error

    def __call__(self, instance: str) -> Permission:
        """Return what an instance may send at this moment."""
        snapshot = self.snapshot()
        record = snapshot.instances.get(instance)
        return Permission("" if record is None else record.account, snapshot.level(instance, self._now()))

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()


def run_gateway(settings: Settings, plan: Plan) -> None:
    """Serve until the process is told to stop (SIGINT, SIGTERM); then answer what has arrived, and end.

    Raises:
        BlockingIOError: Another gateway writes the same log.
        LogFullError: There is no room for the log.
        KeyFileError: The signing key cannot be used.
        RegistryUnavailableError: The registry's database does not answer.
        OSError: A file or the port cannot be opened.
    """
    gateway = settings.gateway
    tls = server_tls(gateway.certificate, gateway.private_key)
    key = load_or_create_key(Path(gateway.signing_key))
    with ExitStack() as stack:
        registry = stack.enter_context(Registry.open(settings.registry))
        permissions = RegistryPermissions(registry)
        stack.callback(permissions.close)
        log = Log(Path(gateway.log), segment_bytes=gateway.segment_bytes, maximum_bytes=gateway.maximum_log_bytes)
        stack.callback(log.close)
        app = Gateway(
            intake=Intake(plan=plan, log=log, permissions=permissions, signer=ReceiptSigner(key), settings=gateway),
            authenticator=Authenticator(permissions.snapshot, key, gateway),
            permissions=permissions,
            log=log,
            plan=plan,
            settings=gateway,
        )
        uvicorn.Server(_config(app, gateway.host, gateway.port, lambda: tls)).run()


def _config(app: Gateway, host: str, port: int, tls: Callable[[], ssl.SSLContext]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
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
        ssl_context_factory=lambda config, default: tls(),
    )
