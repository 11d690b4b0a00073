"""The trial server as a process: TLS, and everything put together from the settings."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from heliograph.https_server import Bounds, https_server, server_tls
from heliograph.registry.errors import RegistryError
from heliograph.registry.store import Registry
from heliograph.registry.terms import publish, read_terms
from heliograph.registry.trial_pages.app import TrialServer
from heliograph.registry.trials import address_problems
from heliograph.registry.webhook import read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import uvicorn
    from standardwebhooks import Webhook

    from heliograph.registry.terms import Terms
    from heliograph.settings import Settings, TrialsSettings

_MOST_CONNECTIONS: Final = 500
_KEEP_ALIVE_SECONDS: Final = 15


@contextmanager
def trial_server(
    settings: Settings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[uvicorn.Server]:
    """Put a trial server together, and publish its Terms; inside the block, its ``run`` serves until told to stop.

    Raises:
        RegistryError: The registry, the Terms, the webhook's secrets or the public address cannot be used.
        OSError: The certificate or its key cannot be read.
    """
    trials = settings.trials
    terms, secrets = _checked(trials)
    tls = server_tls(trials.certificate, trials.private_key)
    with Registry.open(settings.registry, now=now) as registry:
        publish(registry, terms)
        app = TrialServer(registry, trials, terms, secrets, now=now).application()
        yield https_server(
            app,
            tls,
            host=trials.host,
            port=trials.port,
            bounds=Bounds(connections=_MOST_CONNECTIONS, keep_alive_seconds=_KEEP_ALIVE_SECONDS),
        )


def _checked(settings: TrialsSettings) -> tuple[Terms, list[Webhook]]:
    """Return the Terms and the webhook's secrets; raise a `RegistryError` of all that is wrong with the settings."""
    problems = address_problems(settings)
    terms = None
    secrets: list[Webhook] = []
    try:
        terms = read_terms(settings)
    except RegistryError as error:
        problems += error.problems
    try:
        secrets = read_secrets(settings)
    except RegistryError as error:
        problems += error.problems
    if problems or terms is None:
        raise RegistryError(problems)
    return terms, secrets
