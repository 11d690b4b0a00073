"""A vendor whose gateway and loader are real processes with the loudest logs, and clients that may send it anything."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import resource
import socket
import time
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import msgspec
import zstandard

from heliograph.demo.home import Home
from heliograph.demo.processes import Processes, wait_until
from heliograph.instance.https import tls_context
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key
from heliograph.lake.report import count_events
from heliograph.plan.load import load_plan
from heliograph.settings import commented_file
from heliograph.wire import Answer, Receipt, total_counts
from leaks.canaries import Nest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from heliograph.demo.postgres import PostgresCluster
    from heliograph.demo.processes import Process
    from heliograph.settings import Settings
    from heliograph.wire import VerdictCounts

HERE: Final = Path(__file__).parent
PLAN: Final = HERE / "plan.yaml"
SECONDS: Final = 60
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
ENCODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda content: zstandard.ZstdCompressor(level=1).compress(content),
    "gzip": lambda content: gzip.compress(content, 1),
    "": bytes,
}
"""By content encoding."""


class World:
    """Both ends, and what was sent so far."""

    def __init__(self, folder: Path, cluster: PostgresCluster, seed: int) -> None:
        self.nest = Nest(seed)
        self.cluster = cluster
        self.plan = load_plan(PLAN)
        self.home = Home(folder / "home", PLAN)
        self.settings = _small_segments(self.home)
        self.attacker, self.product = self.home.add_customers([("acme-1", "acme"), ("acme-2", "acme")])
        self.vendor_folder = self.home.vendor_folder
        (self.vendor_folder / "tmp").mkdir()
        self.environment = ENVIRONMENT | {
            "PYTHONPATH": str(HERE / "verbose"),
            "PYTHONASYNCIODEBUG": "1",
            "TMPDIR": str(self.vendor_folder / "tmp"),
        }
        self.processes = Processes(self.vendor_folder / "output", self.environment)
        self.agents = Processes(self.home.folder / "agents", self.environment)
        self.said: list[bytes] = []
        """Every answer to anybody, and what the verbs of both ends print."""
        self.accepted: Counter[str] = Counter()
        """Events by the receipts that clients got, by instance."""
        self.rejected: Counter[str] = Counter()
        self.pings = 0
        self._epochs = itertools.count(1)
        self._encodings = itertools.cycle(ENCODERS)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.processes)
            stack.enter_context(self.agents)
            self.gateway = self._start("gateway", "gateway", "run")
            self.loader = self._start("loader", "lake", "load", "--follow")
            self.wait_for_gateway()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        if "http" in self.__dict__:
            self.http.close()
        self._stack.close()

    def _start(self, name: str, *words: str) -> Process:
        return self.processes.start(name, "heliograph.cli", "--config", str(self.home.vendor_file), *words)

    def wait_for_gateway(self) -> None:
        """Wait until the gateway answers."""

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", self.settings.gateway.port)):
                return True
            return False

        wait_until(answers, seconds=SECONDS, what="the gateway", check=[self.gateway])

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return tls_context(self.attacker.settings.agent.certificate_authority)

    @cached_property
    def token(self) -> str:
        """An access token of the instance that sends whatever it likes."""
        settings = self.attacker.settings.agent
        client = GatewayClient(settings, load_or_create_key(Path(settings.key)))
        client.policy()
        token = client._token
        client.close()
        return token

    @cached_property
    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.home.gateway_address,
            verify=self.tls,
            headers={"authorization": f"Bearer {self.token}"},
            timeout=30,
        )

    def epoch(self) -> int:
        """Return an epoch that nobody has used."""
        return next(self._epochs)

    def next_encoding(self) -> str:
        """Return each content encoding in turn."""
        return next(self._encodings)

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request, and keep the answer to be searched."""
        response = self.http.request(method, path, **request)
        self.hear(response.content, *(f"{name}: {value}".encode() for name, value in response.headers.items()))
        return response

    def hear(self, *parts: bytes) -> None:
        """Keep what somebody was told, to be searched."""
        self.said += parts

    def deliver(
        self,
        body: bytes,
        content_type: str,
        *,
        events: int,
        encoding: str = "",
        epoch: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a body as it is, as the first range of an epoch."""
        response = self.ask(
            "POST",
            "/v1/events",
            content=body,
            headers={
                "content-type": content_type,
                "content-encoding": encoding,
                "heliograph-epoch": str(epoch or self.epoch()),
                "heliograph-range": f"1-{events}",
                **(headers or {}),
            },
        )
        if response.status_code == 200:
            self.take_answer(response.content)
        return response

    def take_answer(self, content: bytes) -> Receipt | None:
        """Count what the gateway says that it has stored."""
        receipt = msgspec.json.decode(content, type=Answer).receipt
        if receipt is not None:
            self.accepted[receipt.instance] += sum(receipt.accepted.values())
            self.rejected[receipt.instance] += total_counts(receipt.rejected)
        return receipt

    def stores(self, content: bytes, content_type: str, *, events: int) -> Receipt:
        """Send a whole body in the encoding whose turn it is, and return the receipt."""
        encoding = self.next_encoding()
        response = self.deliver(ENCODERS[encoding](content), content_type, events=events, encoding=encoding)
        assert response.status_code == 200, response.json()["type"]
        receipt = msgspec.json.decode(response.content, type=Answer).receipt
        assert receipt is not None
        return receipt

    def refuses(self, status: Iterable[int], response: httpx.Response) -> None:
        """See that an answer is a problem."""
        assert response.status_code in {*status}, response.status_code
        assert response.headers["content-type"] == "application/problem+json"

    def raw(self, content: bytes, *, server_name: str = "localhost") -> bytes:
        """Send bytes over TLS, whatever they are, and return the whole answer."""
        answer = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("localhost", self.settings.gateway.port), timeout=2) as plain,
            self._any_name(server_name).wrap_socket(plain, server_hostname=server_name) as secured,
        ):
            secured.sendall(content)
            while part := secured.recv(1 << 16):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
        self.hear(answer)
        return answer

    def _any_name(self, name: str) -> ssl.SSLContext:
        if name == "localhost":
            return self.tls
        context = tls_context(self.attacker.settings.agent.certificate_authority)
        context.check_hostname = False
        return context

    def bare(self, content: bytes) -> None:
        """Send bytes where TLS is expected."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("localhost", self.settings.gateway.port), timeout=10) as plain,
        ):
            plain.sendall(content)
            self.hear(plain.recv(1 << 12))

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let every write of the gateway to its log fail."""
        before = resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE, before)

    def stop_in_the_middle(self, head: bytes) -> None:
        """Let the gateway be told to end while it waits for the rest of a request, and start it again."""
        with (
            socket.create_connection(("localhost", self.settings.gateway.port), timeout=10) as plain,
            self.tls.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(head)
            time.sleep(0.2)
            os.kill(self.gateway.pid, 15)
            time.sleep(0.2)
        self.gateway.stop()
        self.gateway.start()
        self.wait_for_gateway()

    def process_memory(self) -> None:
        """Keep what anybody on the machine can see of the processes: their command lines and environments."""
        for process in (self.gateway, self.loader):
            for name in ("cmdline", "environ", "comm"):
                self.hear(Path(f"/proc/{process.pid}/{name}").read_bytes())

    def loaded(self) -> dict[str, int]:
        """Return how many events of each instance are in the lake."""
        return {instance: sum(names.values()) for instance, names in count_events(self.settings.lake).items()}

    def wait_for_lake(self) -> None:
        """Wait until everything that was accepted is loaded."""
        wait_until(
            lambda: self.loaded() == {name: count for name, count in self.accepted.items() if count},
            seconds=SECONDS,
            what="the lake",
            check=[self.gateway, self.loader],
        )


def _small_segments(home: Home) -> Settings:
    """Let the log's files be small, so that they are quickly searched."""
    gateway = msgspec.structs.replace(home.vendor.gateway, segment_bytes=1 << 20)
    settings = msgspec.structs.replace(home.vendor, gateway=gateway)
    home.vendor_file.write_text(commented_file(settings))
    return settings


def verdicts(counts: VerdictCounts) -> dict[str, int]:
    """Return how many events got each verdict."""
    total: Counter[str] = Counter()
    for each in counts.values():
        total.update({str(verdict): count for verdict, count in each.items()})
    return dict(total)
