"""Both halves of the ledger, made by real exporters, gateways and loaders, and compared."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner

from harness import INSTANCE, SMALL_PLAN, Vendor, random_id
from heliograph.cli import app
from heliograph.consent.trust import read_pins
from heliograph.event import Verdict
from heliograph.instance.exporter import Exporter
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient, UnreachableError
from heliograph.keys import load_or_create_key
from heliograph.lake.deliveries import read_delivered
from heliograph.lake.loader import Loader
from heliograph.ledger.entries import Begun, CarriedOver, Refused, Sent, Settled
from heliograph.ledger.reconcile import Account, Kind, Reconciled, reconcile, reconcile_with_account
from heliograph.ledger.verify import read_entries, verify
from heliograph.wire import Receipt
from ledgers import Book

if TYPE_CHECKING:
    from collections.abc import Iterator

runner = CliRunner()


class Killed(BaseException):
    """The agent is gone."""


class Instance:
    """An instance's end, which may lose answers and die."""

    def __init__(self, vendor: Vendor, folder: Path, **agent: Any) -> None:
        self.vendor = vendor
        self.settings = vendor.agent_settings(folder, batch_events=3, **agent)
        self.recorder = Recorder(self.settings.recorder, environment={}, look_seconds=1e9)
        self.client = GatewayClient(self.settings.agent, load_or_create_key(Path(self.settings.agent.key)))
        self.value = 0
        self.open()

    def open(self) -> None:
        self.state = State(Path(self.settings.agent.state))
        self.exporter = Exporter(
            agent=self.settings.agent,
            recorder=self.settings.recorder,
            plan=SMALL_PLAN,
            state=self.state,
            client=self.client,
        )

    def reopen(self) -> None:
        self.state.close()
        self.open()

    def record(self, count: int = 1, name: str = "SearchSubmitted", **what: Any) -> None:
        for _ in range(count):
            self.value += 1
            assert self.recorder.record(name, user=str(self.value), **what)
        self.recorder.flush()

    def drain(self) -> None:
        while self.exporter.deliver_round():
            pass

    def entries(self) -> list[Any]:
        return [entry for _, entry in read_entries(self.state.ledger.links())]

    def problems(self) -> list[str]:
        found = verify(list(self.state.ledger.links()), read_pins(str(self.vendor.vendor_keys)))
        return [str(problem) for problem in found.problems]

    def reconcile(self) -> Reconciled:
        links = list(self.state.ledger.links())
        delivered = read_delivered(self.vendor.settings, INSTANCE)
        heads = {link.digest: link.number for link in links}
        return reconcile(read_entries(links), [each.receipt for each in delivered], heads)

    def ask(self) -> Reconciled:
        links = list(self.state.ledger.links())
        told = msgspec.convert(msgspec.to_builtins(self.client.account(), str_keys=True), Account, strict=False)
        return reconcile_with_account(read_entries(links), told, {link.digest: link.number for link in links})

    def close(self) -> None:
        self.recorder.close()
        self.client.close()
        self.state.close()


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    with Vendor(folder).running() as vendor:
        yield vendor


@pytest.fixture
def instance(vendor: Vendor, tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(vendor, tmp_path / "instance")
    yield instance
    instance.close()


def load(vendor: Vendor) -> None:
    loader = Loader(vendor.settings.gateway, vendor.settings.lake, vendor.plan)
    while loader.load_round():
        pass
    loader.close()


def kinds(result: Reconciled) -> dict[str, int]:
    return {kind.value: count for kind, count in result.count().items() if count}


def lose_answers(instance: Instance, monkeypatch: pytest.MonkeyPatch, *, requests: bool = False) -> None:
    real = instance.client.deliver

    def deliver(**fields: Any) -> Any:
        if not requests:
            real(**fields)
        raise UnreachableError("lost")

    monkeypatch.setattr(instance.client, "deliver", deliver)


def test_what_left_is_told_before_it_leaves_and_settled_with_its_receipt(instance: Instance) -> None:
    instance.record(2)
    instance.record(1, "PageViewed")
    instance.record(1, pattern_type="no such")
    instance.drain()
    begun, sent, settled, *rest = instance.entries()
    assert isinstance(begun, Begun)
    assert isinstance(sent, Sent)
    assert isinstance(settled, Settled)
    assert sent.events == {"SearchSubmitted": 2, "PageViewed": 1}
    assert [type(each) for each in rest] == [Sent, Settled]
    assert rest[0].absent == {"SearchSubmitted": {Verdict.INVALID_PROPERTY: 1}}
    assert instance.problems() == []
    body = instance.state.kept.find(sent.digest)
    assert body is not None
    assert len(body) == sent.size


def test_both_halves_match_in_the_log_and_in_the_lake(instance: Instance, vendor: Vendor) -> None:
    instance.record(15)  # deliveries of a backlog grow: 3 events, then 12
    instance.record(3, pattern_type="no such")
    instance.drain()
    for when in ("in the log", "in the lake"):
        result = instance.reconcile()
        assert result.is_well, when
        assert kinds(result) == {"matched": 2, "excluded": 1}
        assert result.anchors == 3
        assert result.ours == result.theirs
        assert result.ours["SearchSubmitted"].excluded == {"invalid_property": 3}
        load(vendor)
    assert instance.ask().is_well


def test_an_answer_that_was_lost_is_told_until_the_range_is_sent_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.record(3)
    with monkeypatch.context() as patch:
        lose_answers(instance, patch)
        with suppress(UnreachableError):
            instance.drain()
    assert kinds(instance.reconcile()) == {"no_receipt": 1}
    assert not instance.reconcile().is_well
    assert kinds(instance.ask()) == {"no_receipt": 1}
    instance.reopen()
    instance.drain()
    assert kinds(instance.reconcile()) == {"matched": 1}
    assert [type(each) for each in instance.entries()] == [Begun, Sent, Settled]  # the same bytes add nothing
    assert instance.problems() == []


def test_what_neither_end_knows_of_is_undecided_and_needs_nobody(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.record(3)
    with monkeypatch.context() as patch:
        lose_answers(instance, patch, requests=True)
        with suppress(UnreachableError):
            instance.drain()
    result = instance.reconcile()
    assert kinds(result) == {"undecided": 1}
    assert result.is_well


def test_a_refused_batch_is_told_and_its_parts_match(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    instance.record(3)
    real = instance.client.deliver

    def deliver(**fields: Any) -> Any:
        if fields["last"] > fields["first"]:
            fields["body"] = b"damaged on the way"
        return real(**fields)

    monkeypatch.setattr(instance.client, "deliver", deliver)  # as if the gateway took single events only
    instance.drain()
    assert any(isinstance(each, Refused) and each.outcome == "split" for each in instance.entries())
    assert kinds(instance.reconcile()) == {"matched": 3, "not_taken": 1}
    assert instance.reconcile().is_well
    assert instance.problems() == []


def test_what_the_vendor_lost_is_a_receipt_without_record(instance: Instance) -> None:
    instance.record(6)
    instance.drain()
    links = list(instance.state.ledger.links())
    heads = {link.digest: link.number for link in links}
    [first, _] = [each.receipt for each in read_delivered(instance.vendor.settings, INSTANCE)]
    result = reconcile(read_entries(links), [first], heads)
    assert kinds(result) == {"matched": 1, "receipt_without_record": 1}
    assert not result.is_well


def test_counts_or_a_digest_that_differ_are_named() -> None:
    book = Book()
    receipt = book.deliver(1, 3)
    other = book.hold(book.send(1, 2), digest="0" * 64)
    held = [msgspec.structs.replace(receipt, accepted={"goToDefinition": 2}), other]
    heads = {link.digest: link.number for link in book.ledger.links()}
    result = reconcile(read_entries(book.ledger.links()), held, heads)
    assert [(each.kind, each.entry) for each in result.deliveries] == [(Kind.DIFFERING, 3), (Kind.DIFFERING, 4)]
    assert "accepted" in result.deliveries[0].why


@pytest.mark.parametrize("held", [0, 1, 2])
def test_any_attempt_may_be_the_one_that_the_vendor_holds(held: int) -> None:
    book = Book()
    attempts = [book.send(1, 3, salt=salt) for salt in ("first", "second", "third")]
    receipt = book.hold(attempts[held])
    entries, heads = read_entries(book.ledger.links()), {link.digest: link.number for link in book.ledger.links()}
    [delivery] = reconcile(entries, [receipt], heads).deliveries
    assert (delivery.kind, delivery.entry) == (Kind.NO_RECEIPT, 4)
    [delivery] = reconcile(entries, [msgspec.structs.replace(receipt, digest="0" * 64)], heads).deliveries
    assert delivery.kind is Kind.DIFFERING


def test_a_ledger_whose_end_was_cut_off_is_found_by_the_vendors_half(instance: Instance) -> None:
    instance.record(27)
    instance.drain()
    links = list(instance.state.ledger.links())[:4]
    delivered = [each.receipt for each in read_delivered(instance.vendor.settings, INSTANCE)]
    result = reconcile(read_entries(links), delivered, {link.digest: link.number for link in links})
    assert "was cut off" in result.problems[0]
    assert not result.is_well


@pytest.mark.parametrize("when", ["before begin", "after begin", "before finish", "after finish"])
def test_an_agent_killed_at_either_transaction_leaves_a_ledger_that_verifies(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    instance.record(6)
    side, name = when.split()
    real = getattr(State, name)

    def killed(state: State, *given: Any, **fields: Any) -> Any:
        if side == "after":
            real(state, *given, **fields)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, name, killed)
        with suppress(Killed):
            instance.drain()
    instance.reopen()
    assert instance.problems() == []
    instance.drain()
    assert instance.problems() == []
    assert kinds(instance.reconcile()) == {"matched": 2}


def test_an_entry_is_in_the_transaction_of_what_it_tells_of(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.record(3)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, "_put", killed)
        with suppress(Killed):
            instance.drain()
    instance.reopen()
    instance.drain()
    assert [type(each) for each in instance.entries()] == [Begun, Sent, Settled]


def test_receipts_of_a_release_without_a_ledger_are_carried_over(instance: Instance) -> None:
    instance.record(6)
    instance.drain()
    receipts = list(instance.state.receipts())
    settled = [each for each in instance.entries() if isinstance(each, Settled)]
    connection = instance.state.connection
    connection.executescript(
        "drop table ledger; create table delivery (epoch integer not null, first integer not null, "
        "last integer not null, receipt blob not null, signature text not null, primary key (epoch, first))"
    )
    for receipt, entry in zip(receipts, settled, strict=True):
        row = (receipt.epoch, receipt.first, receipt.last, msgspec.json.encode(receipt), entry.signature)
        connection.execute("insert into delivery values (?, ?, ?, ?, ?)", row)
    instance.reopen()
    assert [type(each) for each in instance.entries()] == [Begun, CarriedOver, CarriedOver]
    assert list(instance.state.receipts()) == receipts
    instance.record(2)
    instance.drain()
    assert instance.problems() == []
    assert kinds(instance.reconcile()) == {"matched": 3}
    connection = instance.state.connection
    assert connection.execute("select count(*) from sqlite_master where name = 'delivery'").fetchall() == [(0,)]


def test_a_receipt_without_the_new_field_is_read_all_the_same() -> None:
    receipt = Book().deliver(1, 2)
    fields = msgspec.to_builtins(receipt)
    del fields["ledger"]
    assert msgspec.convert(fields, Receipt).ledger is None


def settings_file(folder: Path, vendor: Vendor, instance: Instance) -> Path:
    file = folder / "heliograph.toml"
    agent = {key: value for key, value in msgspec.to_builtins(instance.settings.agent).items() if value}
    parts = {
        "agent": agent,
        "recorder": {"outbox": instance.settings.recorder.outbox},
        "gateway": {"log": vendor.settings.gateway.log},
        "registry": {"url": vendor.settings.registry.url},
        "lake": {"warehouse": vendor.settings.lake.warehouse, "catalog": vendor.settings.lake.catalog},
    }
    lines = [f"{part}.{key} = {_toml(value)}" for part, fields in parts.items() for key, value in fields.items()]
    file.write_text("\n".join(lines))
    return file


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # what stands here is the same in both


def test_the_verbs_show_verify_export_and_reconcile(instance: Instance, vendor: Vendor, tmp_path: Path) -> None:
    instance.record(4, duration_ms=7)
    instance.drain()
    config = ["--config", str(settings_file(tmp_path, vendor, instance)), "ledger"]

    def run(*words: str) -> Any:
        return runner.invoke(app, [*config, *words])

    shown = run("show", "--event", "SearchSubmitted", "--json")
    assert [each["entry"]["kind"] for each in msgspec.json.decode(shown.stdout)] == ["sent", "settled"] * 2
    assert "signed" in run("show").stdout
    events = [msgspec.json.decode(line) for line in run("show", "--bytes", "2").stdout.splitlines()]
    assert [event["duration_ms"] for event in events] == [7, 7, 7]
    assert {event["name"] for event in events} == {"SearchSubmitted"}
    assert run("show", "--bytes", "3").exit_code == 2
    assert run("verify").exit_code == 0
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    assert run("export", ours).exit_code == 0
    assert run("export", theirs, "--instance", INSTANCE).exit_code == 0
    verified = run("verify", ours, "--vendor-key", str(vendor.vendor_keys), "--json")
    assert msgspec.json.decode(verified.stdout)["signatures"] == 2
    for words in ((ours,), (ours, theirs)):
        done = run("reconcile", *words, "--json")
        assert done.exit_code == 0, done.output
        assert msgspec.json.decode(done.stdout)["kinds"]["matched"] == 2
    assert run("verify", theirs).exit_code == 2
    lines = Path(ours).read_bytes().splitlines()
    Path(ours).write_bytes(b"\n".join([*lines[:3], *lines[4:], b""]))
    done = run("verify", ours)
    assert (done.exit_code, "entry 3 is missing" in done.stderr) == (1, True)
    assert run("reconcile", ours).exit_code == 1


def test_reconciling_on_the_instance_asks_nobody_at_level_off(
    instance: Instance, vendor: Vendor, tmp_path: Path
) -> None:
    done = runner.invoke(app, ["--config", str(settings_file(tmp_path, vendor, instance)), "ledger", "reconcile"])
    assert done.exit_code == 2
    assert "nobody is asked" in done.stderr


def test_bytes_go_after_their_days_and_past_their_bound(tmp_path: Path) -> None:
    state = State(tmp_path / "agent")
    kept = state.kept
    kept.bound(days=2, maximum_bytes=64_000)
    day = datetime(2026, 10, 1, tzinfo=UTC).date()
    digests = [random_id(number) * 2 for number in range(80)]
    kept.keep(digests[0], b"a" * 1_000, day)
    kept.keep(digests[1], b"b" * 1_000, day + timedelta(days=2))
    assert kept.find(digests[0]) is not None
    kept.keep(digests[2], b"c" * 1_000, day + timedelta(days=3))
    assert kept.find(digests[0]) is None
    assert kept.find(digests[1]) == b"b" * 1_000
    for digest in digests[3:]:
        kept.keep(digest, b"d" * 3_000, day + timedelta(days=3))
        assert kept.size() <= 64_000
    assert kept.find(digests[-1]) is not None
    assert kept.find(digests[3]) is None
    state.close()
