"""The connection to the gateway: HTTPS with verified certificates, and through a proxy where one is set."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

from heliograph.instance.proxy import ProxySettingError, proxy_of, uses_environment

if TYPE_CHECKING:
    from heliograph.settings import AgentSettings


def tls_context(certificate_authority: str) -> ssl.SSLContext:
    """Return what TLS must be: version 1.2 or newer, and a certificate that the authority signed for the host.

    Args:
        certificate_authority: A file with the certificates to trust (PEM); empty for the system's.
    """
    context = ssl.create_default_context(cafile=certificate_authority or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def http_client(settings: AgentSettings, transport: httpx.BaseTransport | None) -> httpx.Client:
    """Return a client of one gateway; it follows no redirect.

    Args:
        settings: The gateway's address, the certificates to trust, the proxy, and how long to wait.
        transport: Replaces the network, in tests.

    Raises:
        ProxySettingError: The proxy cannot be used as it is set.
    """
    proxy = proxy_of(settings.proxy)
    try:
        return httpx.Client(
            base_url=settings.gateway,
            verify=tls_context(settings.certificate_authority),
            timeout=settings.timeout_seconds,
            headers={"accept-encoding": "identity"},
            proxy=proxy,
            trust_env=uses_environment(settings.proxy),
            follow_redirects=False,
            transport=transport,
        )
    except (httpx.InvalidURL, ImportError, ValueError):
        # Whatever it says of the address may repeat credentials.
        raise ProxySettingError(
            "the environment names a proxy that cannot be used (HTTPS_PROXY, ALL_PROXY): give http://HOST:PORT, or "
            "set agent.proxy"
        ) from None
