"""A trial server for tests: real TLS on a real port, in front of a vendor's registry."""

from __future__ import annotations

import hashlib
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import trustme

from heliograph.instance.https import tls_context
from heliograph.registry.store import Registry
from heliograph.registry.trial_pages.server import trial_server
from heliograph.registry.trials import PATH, TrialLinks
from heliograph.settings import RegistrySettings, Settings, TrialsSettings
from serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TERMS = """\
# Terms for trials

These Terms hold between the vendor and the customer
for the time of a trial.

## 1. What is collected

While the trial lasts, the vendor receives:

- that a declared event happened, with its time and its outcome;
- a random id in place of the user's, whose meaning is known on the
  customer's own instance alone;
- numbers, and choices from lists that the plan declares.

## 2. What is not

1. No code, no text of searches, no names, no addresses.
2. Nothing that <the plan> & its lists do not declare.

## 3. The end

The trial ends by itself. The customer can end it before, at any time, and
narrow what leaves its instance without asking anybody.
"""
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@dataclass
class TrialSite:
    """Settings, files and addresses of a trial server in a folder."""

    folder: Path
    url: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    more: dict[str, Any] = field(default_factory=dict)
    port: int = 0

    def __post_init__(self) -> None:
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.folder / "trial-authority.pem"))
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(self.folder / "trials.key"))
        (self.folder / "trials.crt").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
        self.terms_file.write_text(TERMS, encoding="utf-8")

    @property
    def terms_file(self) -> Path:
        return self.folder / "terms.md"

    @property
    def terms_digest(self) -> str:
        return hashlib.sha256(self.terms_file.read_bytes()).hexdigest()

    @staticmethod
    def free_port() -> int:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            return int(listening.getsockname()[1])

    @property
    def settings(self) -> Settings:
        given: dict[str, Any] = {
            "port": 0,
            "certificate": str(self.folder / "trials.crt"),
            "private_key": str(self.folder / "trials.key"),
            "vendor": "Lighthouse Software",
            "contact": "trials@vendor.example",
            "terms": str(self.terms_file),
            "terms_version": "2026-10",
        }
        return Settings(registry=RegistrySettings(url=self.url), trials=TrialsSettings(**(given | self.more)))

    def registry(self) -> Registry:
        return Registry.open(self.settings.registry, now=self.now)

    def change_terms(self, version: str, text: str) -> None:
        """Put other Terms in force, from the next start on."""
        self.terms_file.write_text(text, encoding="utf-8")
        self.more["terms_version"] = version

    def create(self, account: str = "acme", **fields: Any) -> str:
        """Make a link; return the path of its page."""
        given: dict[str, Any] = {
            "days": 30,
            "created_by": "customer-engineering",
            "expires": self.now() + timedelta(days=14),
        }
        with self.registry() as registry:
            _, token = TrialLinks(registry).create(account, **(given | fields))
        return PATH + token

    @contextmanager
    def running(self) -> Iterator[TrialSite]:
        with trial_server(self.settings, now=self.now) as server, serving(server) as self.port:
            yield self

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.address, verify=tls_context(str(self.folder / "trial-authority.pem")), timeout=30
        )

    def agreements(self) -> list[dict[str, Any]]:
        """Everything that was agreed, as JSON has it."""
        with self.registry() as registry:
            return [msgspec.to_builtins(each) for each in registry.snapshot().agreements().values()]
