"""By which proxy the gateway is reached, if by any. TLS stays end to end: a proxy sees the gateway's name, no more."""

from __future__ import annotations

from typing import Final

import httpx

NO_PROXY: Final = "none"
_SCHEMES: Final = frozenset({"http", "https"})


class ProxySettingError(ValueError):
    """The proxy cannot be used as it is set; the message says why, and repeats no credentials."""


def proxy_of(setting: str) -> httpx.Proxy | None:
    """Return the proxy that `agent.proxy` names; None where it names none.

    Raises:
        ProxySettingError: It is no address of a proxy.
    """
    if setting in {"", NO_PROXY}:
        return None
    try:
        url = httpx.URL(setting)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in _SCHEMES or not url.host or url.path not in {"", "/"} or url.query or url.fragment:
        raise ProxySettingError(
            "agent.proxy is no address of a proxy: give http://HOST:PORT, with USER:PASSWORD@ before the host if it "
            "asks for them, or none"
        )
    return httpx.Proxy(url)


def uses_environment(setting: str) -> bool:
    """Tell whether the environment (HTTPS_PROXY, NO_PROXY) decides."""
    return not setting
