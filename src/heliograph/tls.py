"""TLS as every server of ours speaks it."""

from __future__ import annotations

import ssl


def server_tls(certificate: str, private_key: str) -> ssl.SSLContext:
    """Return what TLS must be: version 1.2 or newer, with the server's certificate chain and key (PEM files).

    Raises:
        OSError: A file cannot be read, or is none of the kind; `ssl.SSLError` is one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, private_key)
    return context
