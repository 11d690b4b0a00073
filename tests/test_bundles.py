"""Bundles: the same deliveries as one file, once with those that went over the network, in whatever order they come."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyrage
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway_process import gateway_process
from harness import INSTANCE, SMALL_PLAN, Vendor
from heliograph.bundle import BundleError, Receipts, check_signer, seal, unpack, unseal
from heliograph.cli import app
from heliograph.consent.level import Level
from heliograph.consent.trust import read_pins
from heliograph.event import Verdict
from heliograph.gateway.bundles import import_bundle, load_or_create_identity, policy_file
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent
from heliograph.instance.bundle import Allowed, BundleWriter, read_policy_file
from heliograph.instance.bundle_receipts import settle
from heliograph.instance.choice import chosen, settings_word
from heliograph.instance.exporter import Exporter
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.state import State
from heliograph.instance.transport import UnreachableError
from heliograph.keys import fingerprint, public_key_text
from heliograph.ledger.verify import verify
from heliograph.registry.snapshot import Permission
from heliograph.settings import AgentSettings, GatewaySettings, RecorderSettings, Settings
from test_once import KEY, MEMORY, NOW, DirectGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = Ed25519PrivateKey.generate()
"""The instance's key."""
VENDORS = {fingerprint(KEY): KEY.public_key()}
IDENTITY = pyrage.x25519.Identity.generate()
SNAPSHOT: Any = SimpleNamespace(
    instances={
        INSTANCE: SimpleNamespace(name=INSTANCE, active=True, fingerprint="is one", public_key=public_key_text(OWN))
    }
)
ALLOWS = chosen([settings_word("events")])


def allowed(level: Level = Level.EVENTS, *, days: int = 30, issued: datetime = NOW) -> Allowed:
    from heliograph.consent.policy import Policy  # noqa: PLC0415 - only here

    policy = Policy(
        level=level,
        agreement="agreement-1",
        reasons=("as the test says",),
        plan=SMALL_PLAN.label,
        plan_digest=SMALL_PLAN.digest(),
        issued=int(issued.timestamp()),
        valid_seconds=days * 86_400,
        received=issued,
    )
    return Allowed(policy, SMALL_PLAN, str(IDENTITY.to_public()))


class World:
    """An instance and a gateway, between which files are carried, and sometimes requests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.gateway = DirectGateway(self.folder / "log")
        self.settings = Settings(
            agent=AgentSettings(batch_events=3, instance=INSTANCE, state=str(self.folder / "agent")),
            recorder=RecorderSettings(outbox=str(self.folder / "outbox")),
        )
        self.outbox = Path(self.settings.recorder.outbox)
        self.writers = [EpochWriter(self.outbox, "recorder", maximum_bytes=1 << 30) for _ in range(2)]
        self.state = State(self.folder / "agent", now=lambda: NOW)
        self.recorded = 0
        self.bundles: list[bytes] = []
        self.answers: list[Receipts] = []
        self.open()

    def open(self) -> None:
        self.exporter = Exporter(
            agent=self.settings.agent,
            recorder=self.settings.recorder,
            plan=SMALL_PLAN,
            state=self.state,
            client=self.gateway,  # type: ignore[arg-type] # stands for it
            now=lambda: NOW,
        )

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self.state.close()
        self.gateway.log.close()
        shutil.rmtree(self.folder)

    def record(self, writer: int, count: int) -> None:
        lines = []
        for _ in range(count):
            fields: dict[str, Any] = {
                "name": "SearchSubmitted",
                "time": "2026-10-31T12:00:00.000000Z",
                "user": f"u{self.recorded % 3}",
                "duration_ms": self.recorded,
            }
            if self.recorded % 7 == 6:
                fields["pattern_type"] = "no such"  # stays on the instance
            lines.append(fields)
            self.recorded += 1
        self.writers[writer].append(lines)

    def write(self) -> None:
        bundle = BundleWriter(self.settings, self.state, allowed(), now=NOW).write(ALLOWS, OWN)
        self.bundles.append(seal(bundle.clear, [str(IDENTITY.to_public())]))

    def carry(self, number: int) -> None:
        if self.bundles:
            content = self.bundles[number % len(self.bundles)]
            self.answers.append(
                asyncio.run(
                    import_bundle(
                        content,
                        identity=str(IDENTITY),
                        snapshot=SNAPSHOT,
                        intake=self.gateway.intake,
                        endorsements=[],
                    )
                )
            )

    def carry_back(self, number: int) -> None:
        if self.answers:
            answers = self.answers[number % len(self.answers)]
            settle(answers, VENDORS, self.settings, self.state, SMALL_PLAN)

    def send(self, lose: str | None = None) -> None:
        self.open()
        self.gateway.lose = lose
        with contextlib.suppress(UnreachableError):
            self.exporter.deliver_round()

    def stored(self) -> Counter[int]:
        folder = self.gateway.folder
        found = (item for generation in segments(folder) for item in read_segment(folder, generation))
        bodies = [body for _, header, body in found if isinstance(header, Entry) and body]
        batches = [pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)).read_all() for body in bodies]
        full = [batch for batch in batches if len(batch)]
        return Counter(value for batch in full for value in batch.column("duration_ms").to_pylist())


STEPS = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 1), st.integers(1, 5)),
    st.just(("write",)),
    st.tuples(st.sampled_from(["carry", "carry_back"]), st.integers(0, 9)),
    st.tuples(st.just("send"), st.sampled_from([None, "request", "answer"])),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=14))
def test_by_file_and_by_network_in_any_order_each_event_arrives_once(steps: list[Any]) -> None:
    world = World()
    try:
        world.record(0, 4)
        for name, *arguments in steps:
            getattr(world, name)(*arguments)
        # In the end every file arrives, some of them twice, and the rest goes over the network.
        world.write()
        for number in range(len(world.bundles)):
            world.carry(number)
        world.carry(0)
        for number in range(len(world.answers)):
            world.carry_back(number)
        for _ in range(30):
            world.send()
        expected = {value for value in range(world.recorded) if value % 7 != 6}
        assert world.stored() == Counter(expected)
        account = read_account(world.state, world.outbox, SMALL_PLAN)
        assert account.closes()
        assert account.pending == {}
        problems = verify(list(world.state.ledger.links()), VENDORS).problems
        assert [each for each in problems if "leaves a gap" not in each.why] == []
    finally:
        world.close()


def test_the_network_gets_the_very_ranges_that_a_bundle_has() -> None:
    world = World()
    world.record(0, 2)
    world.write()
    world.record(0, 3)
    world.send()
    world.carry(0)
    [part] = world.answers[0].parts
    assert part.duplicate
    assert part.signature is not None  # exactly what the gateway holds: 1-2, though a batch had room for more
    world.close()


def test_what_went_by_file_is_settled_by_its_receipts_and_leaves_the_outbox() -> None:
    world = World()
    world.record(0, 8)
    world.record(1, 2)
    world.write()
    world.carry(0)
    world.carry_back(0)
    account = read_account(world.state, world.outbox, SMALL_PLAN)
    assert (account.pending, account.undecided, account.closes()) == ({}, 0, True)
    assert account.dropped == {"SearchSubmitted": {Verdict.INVALID_PROPERTY: 1}}
    assert verify(list(world.state.ledger.links()), VENDORS).problems == []
    world.carry(0)
    assert [part.duplicate for part in world.answers[1].parts] == [True] * 4
    assert settle(world.answers[0], VENDORS, world.settings, world.state, SMALL_PLAN).settled == 0
    world.close()


def test_neither_the_admins_off_nor_a_policy_that_ended_lets_a_bundle_be_written() -> None:
    world = World()
    world.record(0, 3)
    for admin in ("off", "critical"):
        with pytest.raises(BundleError, match="no event may leave"):
            BundleWriter(world.settings, world.state, allowed(), now=NOW).write(chosen([settings_word(admin)]), OWN)
    for refusing in (allowed(Level.CRITICAL), allowed(days=3, issued=NOW - timedelta(days=3))):
        with pytest.raises(BundleError, match="no event may leave"):
            BundleWriter(world.settings, world.state, refusing, now=NOW).write(ALLOWS, OWN)
    assert world.state.ledger.head().length == 1
    world.close()


@pytest.fixture(scope="module")
def clear() -> Iterator[bytes]:
    world = World()
    world.record(0, 8)
    yield BundleWriter(world.settings, world.state, allowed(), now=NOW).write(ALLOWS, OWN).clear
    world.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damaged_bundle_is_taken_and_each_is_refused_with_words(clear: bytes, data: st.DataObject) -> None:
    how = data.draw(st.sampled_from(["flip", "cut", "append", "garbage", "flip sealed"]))
    place = data.draw(st.integers(0, len(clear) - 1))
    content = clear
    if how == "flip":
        content = clear[:place] + bytes([clear[place] ^ data.draw(st.integers(1, 255))]) + clear[place + 1 :]
    elif how == "cut":
        content = clear[:place]
    elif how == "append":
        content = clear + data.draw(st.binary(min_size=1, max_size=40))
    elif how == "garbage":
        content = data.draw(st.binary(max_size=200))
    else:
        sealed = seal(clear, [str(IDENTITY.to_public())])
        content = sealed[: place % len(sealed)] + b"#" + sealed[place % len(sealed) + 1 :]
        if content == sealed:
            return
    with pytest.raises(BundleError) as raised:
        check_signer(unpack(unseal(content, str(IDENTITY))), OWN.public_key())
    assert str(raised.value)


def test_a_bundle_of_another_key_an_unknown_instance_or_for_another_vendor_is_refused(clear: bytes) -> None:
    with pytest.raises(BundleError, match="registered key"):
        check_signer(unpack(clear), Ed25519PrivateKey.generate().public_key())
    sealed = seal(clear, [str(IDENTITY.to_public())])
    with pytest.raises(BundleError, match="another key"):
        unseal(sealed, str(pyrage.x25519.Identity.generate()))
    with pytest.raises(BundleError, match="no active instance"):
        asyncio.run(
            import_bundle(
                sealed,
                identity=str(IDENTITY),
                snapshot=SimpleNamespace(instances={}),  # type: ignore[arg-type] # stands for it
                intake=None,  # type: ignore[arg-type] # nothing comes so far
                endorsements=[],
            )
        )


def test_a_policy_file_is_the_vendors_word_to_this_instance_or_nothing(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    gateway = GatewaySettings(signing_key=str(vendor.signing_key), bundle_key=str(tmp_path / "bundle.key"))
    with vendor.registry() as registry:
        permission = Permission("acme", registry.snapshot().permission(INSTANCE, datetime.now(UTC)).decision)
    now = datetime.now(UTC)
    file = policy_file(gateway, SMALL_PLAN, instance=INSTANCE, permission=permission, days=30, now=now)
    pins = read_pins(str(vendor.vendor_keys))

    def read(content: Any = file, instance: str = INSTANCE, held: int = 0, days: int = 0) -> Allowed:
        return read_policy_file(
            msgspec.json.encode(content),
            pins,
            instance=instance,
            held=held,
            now=now + timedelta(days=days),
            limit=None,
        )

    found = read(days=29)
    assert found.policy.word(now + timedelta(days=29)).level is Level.EVENTS
    assert read(days=31).policy.word(now + timedelta(days=31)).level is Level.OFF
    identity = load_or_create_identity(tmp_path / "bundle.key")
    assert found.recipient == str(pyrage.x25519.Identity.from_str(identity).to_public())
    other = policy_file(
        GatewaySettings(signing_key=str(tmp_path / "other.pem"), bundle_key=str(tmp_path / "other.key")),
        SMALL_PLAN,
        instance=INSTANCE,
        permission=permission,
        days=30,
        now=now,
    )
    for fields in ({"policy": other.policy}, {"bundle_key": other.bundle_key}, {"plan": "{}"}):
        with pytest.raises(BundleError):
            read(msgspec.structs.replace(file, **fields))
    with pytest.raises(BundleError, match="another instance"):
        read(instance="acme-2")
    with pytest.raises(BundleError, match="older"):
        read(held=int(now.timestamp()) + 1)
    with pytest.raises(BundleError, match="no policy file"):
        read({"format": "something else"})


def instance_settings(folder: Path, vendor: Vendor) -> Path:
    """The settings file of an instance with four events in its outbox."""
    plan = folder / "plan.yaml"
    plan.write_bytes(msgspec.yaml.encode(msgspec.json.decode(SMALL_PLAN.canonical())))
    file = folder / "instance.toml"
    file.write_text(
        f'plan.file = "{plan}"\nagent.instance = "{INSTANCE}"\nagent.key = "{vendor.folder}/instance.pem"\n'
        f'agent.vendor_keys = "{vendor.vendor_keys}"\nagent.state = "{folder}/agent"\n'
        f'recorder.outbox = "{folder}/outbox"\n'
    )
    record(folder, 4)
    return file


def record(folder: Path, count: int) -> None:
    with closing(EpochWriter(folder / "outbox", "recorder", maximum_bytes=1 << 30)) as writer:
        writer.append(
            [{"name": "PageViewed", "time": "2026-10-01T12:00:00Z", "user": "somebody"} for _ in range(count)]
        )


def run(file: Path, *words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["--config", str(file), *words])
    assert done.exit_code == status, done.output
    return done.stdout


def test_the_verbs_carry_a_bundle_there_and_its_receipts_back(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    vendor = Vendor(tmp_path / "vendor")
    ours, theirs = instance_settings(tmp_path, vendor), tmp_path / "vendor.toml"
    theirs.write_text(
        f'plan.file = "{tmp_path}/plan.yaml"\ngateway.log = "{vendor.settings.gateway.log}"\n'
        f'gateway.signing_key = "{vendor.signing_key}"\ngateway.bundle_key = "{tmp_path}/bundle.key"\n'
        f'registry.url = "{vendor.settings.registry.url}"\n'
        f'lake.warehouse = "{vendor.settings.lake.warehouse}"\nlake.catalog = "{vendor.settings.lake.catalog}"\n'
    )

    assert run(theirs, "gateway", "bundle-key").startswith("age1")
    (tmp_path / "policy").write_text(run(theirs, "gateway", "policy", INSTANCE, "--days", "7"))
    given = ("--policy", str(tmp_path / "policy"))
    bundle, review = str(tmp_path / "bundle"), str(tmp_path / "review")
    run(ours, "bundle", "write", bundle, *given, "--plain", review)
    assert "PageViewed 4" in run(ours, "bundle", "show", review)
    assert len(run(ours, "bundle", "show", review, "--events").splitlines()) == 4
    run(ours, "bundle", "show", bundle, status=2)
    assert "somebody" not in (tmp_path / "review").read_bytes().decode("latin-1")
    run(theirs, "gateway", "import", bundle)
    run(theirs, "gateway", "import", bundle)
    run(theirs, "gateway", "import", review)
    assert "1 deliveries settled" in run(ours, "bundle", "receipts", f"{bundle}.receipts")
    run(ours, "ledger", "verify")
    run(ours, "agent", "status")
    run(ours, "ledger", "export", str(tmp_path / "ledger"))
    run(theirs, "ledger", "reconcile", str(tmp_path / "ledger"))
    run(ours, "bundle", "write", bundle, *given, status=2)


def test_a_bundle_is_imported_beside_a_running_gateway_once_with_what_comes_by_network(tmp_path: Path) -> None:
    (tmp_path / "vendor").mkdir()
    with gateway_process(tmp_path / "vendor", 1) as gateway:
        ours, theirs = instance_settings(tmp_path, gateway.vendor), gateway.settings_file
        run(theirs, "gateway", "bundle-key")
        (tmp_path / "policy").write_text(run(theirs, "gateway", "policy", INSTANCE))
        bundle = str(tmp_path / "bundle")
        run(ours, "bundle", "write", bundle, "--policy", str(tmp_path / "policy"))
        assert "1 of 1" in run(theirs, "gateway", "import", bundle)
        assert "1 of 1" in run(theirs, "gateway", "import", bundle)
        assert "1 deliveries settled" in run(ours, "bundle", "receipts", f"{bundle}.receipts")
        record(tmp_path, 3)
        run(ours, "bundle", "write", bundle, "--policy", str(tmp_path / "policy"))
        agent = gateway.vendor.agent_settings(tmp_path)
        with closing(Agent(agent, SMALL_PLAN)) as online:  # the same numbers go by network before the file arrives
            online.run(threading.Event(), until_drained=True)
        assert "1 of 1" in run(theirs, "gateway", "import", bundle)
        with gateway.vendor.http() as http:
            assert http.get("/v1/account").json()["accepted"] == {"PageViewed": 7}
        run(ours, "agent", "status")
        ranges = [(entry.receipt.first, entry.receipt.last) for entry, _ in gateway.vendor.entries()]
        assert ranges == [(1, 4), (1, 3)]
