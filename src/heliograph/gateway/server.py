"""The gateway as a process: TLS, one event loop, and everything put together from the settings."""

from __future__ import annotations

from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from heliograph.gateway.app import Gateway
from heliograph.gateway.authentication import Authenticator
from heliograph.gateway.erasures import ErasureDesk
from heliograph.gateway.intake import Intake
from heliograph.gateway.log import Log
from heliograph.gateway.metrics import METERS, GatewayMetric, serving_metrics
from heliograph.gateway.pings import PingIntake
from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.policies import PolicySigner
from heliograph.gateway.present import Present
from heliograph.gateway.readiness import answers
from heliograph.gateway.receipts import ReceiptSigner
from heliograph.gateway.rotation import read_endorsements
from heliograph.gateway.writer import LocalWriter
from heliograph.https_server import Bounds, HttpsServer, https_server, server_tls
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.registry.errors import RegistryUnavailableError
from heliograph.registry.view import RegistryView
from heliograph.wire import KeysAnswer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from heliograph.gateway.writer import Writer
    from heliograph.plan.model import Plan
    from heliograph.settings import GatewaySettings, Settings

_MOST_CONNECTIONS: Final = 2_000
_KEEP_ALIVE_SECONDS: Final = 75


def gateway_https(app: Gateway | Present, tls: ssl.SSLContext, settings: GatewaySettings) -> HttpsServer:
    """Return the server of one process, with what its clients may take of it."""
    bounds = Bounds(_MOST_CONNECTIONS, _KEEP_ALIVE_SECONDS, head_seconds=settings.head_seconds)
    return https_server(app, tls, host=settings.host, port=settings.port, bounds=bounds)


class GatewayServer(NamedTuple):
    """A gateway that is put together."""

    https: HttpsServer
    """Its ``run`` serves until told to stop."""
    present: Present


@contextmanager
def gateway_server(
    settings: Settings, plan: Plan | PlanInForce, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[GatewayServer]:
    """Put a gateway together, which can serve inside the block.

    Raises:
        BlockingIOError: Another gateway writes the same log.
        LogFullError: There is no room for the log.
        KeyFileError: The signing key cannot be used.
        RegistryError: The registry cannot be opened.
        OSError: A file cannot be opened.
    """
    tls = server_tls(settings.gateway.certificate, settings.gateway.private_key)
    with RegistryView(settings.registry, now=now) as view, open_gateway(settings.gateway, plan, view, now=now) as app:
        yield GatewayServer(gateway_https(app, tls, settings.gateway), app)


@contextmanager
def open_gateway(
    settings: GatewaySettings, plan: Plan | PlanInForce, view: RegistryView, *, now: Callable[[], datetime]
) -> Iterator[Present]:
    """Put the application together, without a server; inside the block it has the log for itself.

    Args:
        settings: Where its log and its key are, and its bounds.
        plan: What may be stored; a plan by itself stays in force.
        view: Who may send what.
        now: The clock.

    Raises:
        BlockingIOError, LogFullError, KeyFileError, OSError: See `gateway_server`.
    """
    with closing(open_log(settings, now=now)) as log:
        writer = LocalWriter(log)
        with (
            closing(Present(build_gateway(settings, plan, view, writer, now=now), writer)) as present,
            serving_metrics(log, settings, lambda: present.gateway.readiness(writer=log.is_writing)),
        ):
            yield present


def open_log(settings: GatewaySettings, *, now: Callable[[], datetime]) -> Log:
    """Open the gateway's log, which one process has for itself.

    Raises:
        BlockingIOError, LogFullError, OSError: See `gateway_server`.
    """
    return Log(
        Path(settings.log),
        segment_bytes=settings.segment_bytes,
        maximum_bytes=settings.maximum_log_bytes,
        now=lambda: now().timestamp(),
        committed=lambda seconds: METERS.observe(GatewayMetric.COMMIT_SECONDS, seconds),
    )


def build_gateway(
    settings: GatewaySettings,
    plan: Plan | PlanInForce,
    view: RegistryView,
    writer: Writer,
    *,
    now: Callable[[], datetime],
) -> Gateway:
    """Put the application together, as every process that answers requests does.

    Raises:
        KeyFileError: The signing key cannot be used.
    """
    signing_key = Path(settings.signing_key)
    key = load_or_create_key(signing_key)
    public = public_key_text(key)
    signer = ReceiptSigner(key)
    plans = PlanInForce.of(plan)
    return Gateway(
        intake=Intake(plan=plans, log=writer, permissions=view.permission, signer=signer, settings=settings, now=now),
        pings=PingIntake(plan=plans, log=writer, permissions=view.permission, signer=signer, now=now),
        authenticator=Authenticator(view.snapshot, key, settings, now=lambda: now().timestamp()),
        permissions=view.permission,
        log=writer,
        policies=PolicySigner(key, plans, valid_seconds=settings.policy_seconds, now=now),
        # Read each time: an agent that meets the new key at another gateway process may ask here.
        keys=lambda: KeysAnswer(key=public, endorsements=read_endorsements(signing_key)),
        settings=settings,
        erasures=ErasureDesk(view.registry, view.snapshot, now=now),
        plans=plans,
        registry_answers=lambda: answers(view.snapshot, RegistryUnavailableError),
    )
