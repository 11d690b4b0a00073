"""The demonstration's folder: certificates, keys, registry and settings files, as people would have them."""

from __future__ import annotations

import hashlib
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import trustme

from heliograph.consent.agreement import Route
from heliograph.consent.deployment import Deployment
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.registry.store import Registry
from heliograph.settings import (
    AgentSettings,
    GatewaySettings,
    LakeSettings,
    PlanSettings,
    RecorderSettings,
    RegistrySettings,
    Settings,
    commented_file,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK: Final = ".heliograph-demo"
TERMS: Final = "Cloud Terms of Service, demonstration text."


class Customer(NamedTuple):
    """One instance of the demonstration."""

    instance: str
    account: str
    folder: Path
    settings: Settings
    settings_file: Path


class Home:
    """Everything the demonstration keeps, made anew each time.

    Args:
        folder: Where; what an earlier demonstration left there is removed.
        plan: The tracking plan's file.
        registry: Where the registry is; None: in the folder.

    Raises:
        FileExistsError: The folder holds something that is not ours.
    """

    def __init__(self, folder: Path, plan: Path, *, registry: RegistrySettings | None = None) -> None:
        self.folder: Final = folder.absolute()
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / _MARK).exists():
            raise FileExistsError(f"{folder} is not empty, and no demonstration made it: name another with --home")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(mode=0o711, parents=True)
        (self.folder / _MARK).touch()
        self.logs: Final = self.folder / "logs"
        self._plan = plan.absolute()
        self._authority = trustme.CA()
        self._authority_file = self.folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self._authority_file))
        vendor = self.folder / "vendor"
        vendor.mkdir(mode=0o700)
        certificate = self._authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(vendor / "gateway.key"))
        (vendor / "gateway.key").chmod(0o600)
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        (vendor / "gateway.crt").write_bytes(chain)
        self.vendor: Final = Settings(
            plan=PlanSettings(file=str(self._plan)),
            gateway=GatewaySettings(
                port=free_port(),
                certificate=str(vendor / "gateway.crt"),
                private_key=str(vendor / "gateway.key"),
                signing_key=str(vendor / "signing.pem"),
                log=str(vendor / "log"),
            ),
            registry=registry or RegistrySettings(url=f"sqlite:///{vendor / 'registry.db'}"),
            lake=LakeSettings(warehouse=str(vendor / "lake"), catalog=f"sqlite:///{vendor / 'lake' / 'catalog.db'}"),
        )
        self.vendor_folder: Final = vendor
        # What `heliograph gateway key` prints, which each customer got with the contract.
        self._vendor_key = public_key_text(load_or_create_key(vendor / "signing.pem"))
        self.vendor_file: Final = self.folder / "vendor.toml"
        self.vendor_file.write_text(commented_file(self.vendor))

    @property
    def gateway_address(self) -> str:
        """The gateway's address."""
        return f"https://localhost:{self.vendor.gateway.port}"

    def add_customers(self, instances: Sequence[tuple[str, str]]) -> list[Customer]:
        """Register instances, each with its account, an agreement in force, and a key and settings of its own.

        Args:
            instances: Names of instances and of their accounts.
        """
        customers = [self._customer(instance, account) for instance, account in instances]
        with Registry.open(self.vendor.registry) as registry:
            for account in dict.fromkeys(customer.account for customer in customers):
                registry.add_account(account)
                registry.add_agreement(
                    account,
                    route=Route.ORDER_FORM,
                    document=f"demonstration order form of {account}",
                    terms_version="2026-10",
                    terms_digest=hashlib.sha256(TERMS.encode()).hexdigest(),
                    recorded_by="demonstration",
                )
            for customer in customers:
                key = load_or_create_key(Path(customer.settings.agent.key))
                registry.add_instance(
                    customer.instance,
                    account=customer.account,
                    deployment=Deployment.MANAGED,
                    public_key=public_key_text(key),
                )
        return customers

    def _customer(self, instance: str, account: str) -> Customer:
        folder = self.folder / "customers" / instance
        folder.mkdir(mode=0o700, parents=True)
        settings = Settings(
            plan=PlanSettings(file=str(self._plan)),
            recorder=RecorderSettings(outbox=str(folder / "outbox")),
            agent=AgentSettings(
                gateway=self.gateway_address,
                certificate_authority=str(self._authority_file),
                instance=instance,
                key=str(folder / "instance.pem"),
                vendor_keys=str(folder / "vendor.keys"),
                state=str(folder / "agent"),
                idle_seconds=0.2,
            ),
        )
        (folder / "vendor.keys").write_text(f"{self._vendor_key}\n")
        file = folder / "heliograph.toml"
        file.write_text(commented_file(settings))
        return Customer(instance, account, folder, settings, file)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
