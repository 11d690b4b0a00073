"""Both ends for tests: a small plan, and a real gateway with TLS, registry and log in a folder."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import msgspec
import pyarrow as pa
import trustme
import zstandard

from heliograph.consent.agreement import Route
from heliograph.consent.deployment import Deployment
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.gateway.server import gateway_server
from heliograph.instance.https import tls_context
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.plan.columns import plain_type, wire_schema
from heliograph.plan.model import (
    BooleanProperty,
    EventDefinition,
    IntegerProperty,
    MemberProperty,
    NumberProperty,
    Plan,
)
from heliograph.registry.store import Registry
from heliograph.settings import (
    AgentSettings,
    GatewaySettings,
    LakeSettings,
    RecorderSettings,
    RegistrySettings,
    Settings,
)
from heliograph.wire import PolicyAnswer, PolicyStatement
from serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.gateway.plans import PlanInForce

CANARY = "PRIVATE-CANARY-7d1f"
USER = "9f86d081e84c7d659a2feaa0c55ad015"
"""A random id, in which no other can be read."""
DIGEST = hashlib.sha256(b"terms").hexdigest()
ACCOUNT = "acme"
INSTANCE = "acme-1"


def definition(feature: str, **fields: Any) -> EventDefinition:
    given: dict[str, Any] = {
        "description": "What happened.",
        "feature": feature,
        "action": "use",
        "question": "Who uses it?",
        "owner": "team",
        "added": date(2026, 1, 1),
        "expires": "never",
    }
    return EventDefinition(**(given | fields))


SMALL_PLAN = Plan(
    heliograph_plan=1,
    name="small",
    version=1,
    description="Three events of every shape.",
    sources=("web", "api"),
    features={"search": "Finding.", "navigation": "Following.", "pages": "Looking."},
    events={
        "SearchSubmitted": definition(
            "search",
            core=True,
            outcomes={"ok": "Found.", "error": "Failed."},
            properties={
                "pattern_type": MemberProperty(description="How.", members=("literal", "regexp")),
                "duration_ms": IntegerProperty(description="How long.", maximum=600_000),
                "share": NumberProperty(description="How much.", maximum=1.0),
                "exact": BooleanProperty(description="Whether."),
            },
        ),
        "goToDefinition": definition(
            "navigation",
            properties={"duration_ms": IntegerProperty(description="How long.", maximum=1_000)},
        ),
        "PageViewed": definition("pages"),
    },
)


def random_id(number: int) -> str:
    """Return the same random id for the same number: 32 hexadecimal digits."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def event(sequence: int, name: str = "SearchSubmitted", **fields: Any) -> dict[str, Any]:
    """One event in wire form."""
    return {"name": name, "sequence": sequence, "time": "2026-10-01T12:00:00.000000Z", "user_id": USER, **fields}


def as_lines(events: Sequence[dict[str, Any]]) -> bytes:
    return b"\n".join(msgspec.json.encode(each) for each in events)


def as_arrow(events: Sequence[dict[str, Any]], plan: Plan = SMALL_PLAN) -> bytes:
    schema = wire_schema(plan)
    known = set(schema.names)
    columns, fields = [], []
    for field in schema:
        values = [each.get(field.name) for each in events]
        if field.name == "time":
            values = [None if value is None else datetime.fromisoformat(value) for value in values]
        if field.nullable and all(value is None for value in values):
            continue
        columns.append(pa.array(values, plain_type(field.type)).cast(field.type))
        fields.append(field)
    for name in sorted({key for each in events for key in each} - known):
        columns.append(pa.array([each.get(name) for each in events]))
        fields.append(pa.field(name, columns[-1].type))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema(fields)) as writer:
        writer.write_batch(pa.record_batch(columns, schema=pa.schema(fields)))
    return bytes(sink.getvalue())


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(content)


class Vendor:
    """A vendor's end in a folder, with one registered instance and an agreement in force."""

    def __init__(self, folder: Path, plan: Plan = SMALL_PLAN, **gateway: Any) -> None:
        self.folder = folder
        self.plan = plan
        self.authority = trustme.CA()
        self.authority_file = folder / "authority.pem"
        self.authority.cert_pem.write_to_path(str(self.authority_file))
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(folder / "gateway.key"))
        (folder / "gateway.crt").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
        self.settings = Settings(
            gateway=GatewaySettings(
                **{
                    "port": 0,
                    "certificate": str(folder / "gateway.crt"),
                    "private_key": str(folder / "gateway.key"),
                    "signing_key": str(folder / "signing.pem"),
                    "log": str(folder / "log"),
                    "segment_bytes": 1 << 20,
                    **gateway,
                }
            ),
            registry=RegistrySettings(url=f"sqlite:///{folder / 'registry.db'}"),
            lake=LakeSettings(warehouse=str(folder / "lake"), catalog=f"sqlite:///{folder / 'lake' / 'catalog.db'}"),
        )
        self.key = load_or_create_key(folder / "instance.pem")
        self.signing_key = Path(self.settings.gateway.signing_key)
        self.vendor_keys = folder / "vendor.keys"
        self.vendor_keys.write_text(public_key_text(load_or_create_key(self.signing_key)) + "\n")
        self.port = 0
        with Registry.open(self.settings.registry) as registry:
            registry.add_account(ACCOUNT)
            self.agreement = self.agree(registry).id
            registry.add_instance(
                INSTANCE, account=ACCOUNT, deployment=Deployment.MANAGED, public_key=public_key_text(self.key)
            )

    def agree(self, registry: Registry, **fields: Any) -> Any:
        given = {
            "route": Route.ORDER_FORM,
            "document": "order form 1",
            "terms_version": "2026-10",
            "terms_digest": DIGEST,
            "recorded_by": "legal",
        }
        return registry.add_agreement(ACCOUNT, **(given | fields))

    def registry(self) -> Registry:
        return Registry.open(self.settings.registry)

    @contextmanager
    def running(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), plan: PlanInForce | None = None
    ) -> Iterator[Vendor]:
        with gateway_server(self.settings, plan or self.plan, now=now) as server, serving(server.https) as self.port:
            yield self

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    def agent_settings(self, folder: Path, **fields: Any) -> Settings:
        """Settings of an instance whose agent speaks with this vendor."""
        return Settings(
            recorder=RecorderSettings(outbox=str(folder / "outbox")),
            agent=AgentSettings(
                **{
                    "gateway": self.address,
                    "certificate_authority": str(self.authority_file),
                    "instance": INSTANCE,
                    "key": str(self.folder / "instance.pem"),
                    "vendor_keys": str(self.vendor_keys),
                    "state": str(folder / "agent"),
                    "idle_seconds": 0.05,
                    **fields,
                }
            ),
        )

    def client(self, key: Ed25519PrivateKey | None = None, instance: str = INSTANCE, **fields: Any) -> GatewayClient:
        settings = AgentSettings(
            gateway=self.address, certificate_authority=str(self.authority_file), instance=instance
        )
        return GatewayClient(settings, key or self.key, **fields)

    def http(self) -> httpx.Client:
        """A client that trusts the gateway and is authenticated."""
        client = self.client()
        client.policy()
        token = client._token
        client.close()
        return httpx.Client(
            base_url=self.address,
            verify=tls_context(str(self.authority_file)),
            headers={"authorization": f"Bearer {token}"},
            timeout=30,
        )

    def entries(self) -> list[tuple[Entry, bytes]]:
        """Everything in the log, in order."""
        folder = Path(self.settings.gateway.log)
        found = (item for generation in segments(folder) for item in read_segment(folder, generation))
        return [(header, body) for _, header, body in found if isinstance(header, Entry)]

    def stored_bytes(self) -> bytes:
        """Every byte that the vendor's side wrote, with the zstd bodies of the log in the clear as well."""
        raw = b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())
        clear = [
            zstandard.ZstdDecompressor().decompress(body)
            for entry, body in self.entries()
            if entry.content_encoding == "zstd" and body
        ]
        return raw + b"".join(clear)


def told(answer: httpx.Response) -> PolicyStatement:
    """What a gateway's answer says of the policy; the signature is looked at elsewhere."""
    return said(msgspec.json.decode(answer.content, type=PolicyAnswer))


def said(answer: PolicyAnswer) -> PolicyStatement:
    """What an answer says, as `told`."""
    content = jwt.PyJWS().decode_complete(answer.policy, options={"verify_signature": False})["payload"]
    return msgspec.json.decode(content, type=PolicyStatement)


def deliver(
    http: httpx.Client,
    body: bytes,
    *,
    epoch: int = 1,
    numbers: tuple[int, int],
    content_type: str,
    encoding: str = "zstd",
    absent: dict[str, dict[str, int]] | None = None,
) -> httpx.Response:
    headers = {
        "content-type": content_type,
        "heliograph-epoch": str(epoch),
        "heliograph-range": f"{numbers[0]}-{numbers[1]}",
    }
    if encoding:
        headers["content-encoding"] = encoding
    if absent:
        headers["heliograph-absent"] = msgspec.json.encode(absent).decode()
    return http.post("/v1/events", headers=headers, content=body)
