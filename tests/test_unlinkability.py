"""Whoever has all real ids, and everything that the vendor has, links no better than by guessing: docs/random-ids.md.

*Non-interference.* What the vendor receives, stores and logs is a function of behaviour and of the random bits drawn on
the instance, and not of what people are called: the same behaviour with the same bits under any other names gives the
same bytes. So each way of giving the names to the people is as likely after a look at them as it was before.

*An attacker* who derives ids from names as is often done finds none; where such a generator is planted, all of them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import random
import re
import secrets
import shutil
import sqlite3
import tempfile
import threading
import uuid
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import httpx
import msgspec
import pytest
import structlog
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import ACCOUNT, INSTANCE, SMALL_PLAN, Vendor
from heliograph.event import new_epoch
from heliograph.gateway.bodies import read_arrow
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_segment, segments
from heliograph.gateway.server import open_gateway
from heliograph.instance.actors import MARKS, MarkTable
from heliograph.instance.agent import Agent
from heliograph.instance.forgetting import forget
from heliograph.instance.outbox import EpochWriter
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key
from heliograph.lake.loader import Loader
from heliograph.lake.tables import EVENTS, PINGS, open_catalog
from heliograph.registry.view import RegistryView
from heliograph.settings import Settings
from heliograph.wire import ERASURES_PATH
from test_once import MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BEGIN = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
"""After the agreement, which is of now, is in force."""
PEOPLE, VISITORS, SESSIONS = 6, 4, 4


class Names(NamedTuple):
    """What a product calls its people, its visitors and its sessions."""

    people: Sequence[str]
    visitors: Sequence[str]
    sessions: Sequence[str]


class Step(NamedTuple):
    """Something that happens; who it is about is a place in the lists of `Names`."""

    what: str
    person: int = 0
    visitor: int = 0
    session: int | None = None
    others: tuple[int, ...] = ()
    """Further people, where it is about several."""
    value: int = 0


class Received(NamedTuple):
    """All that the vendor has."""

    requests: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]]
    """Method, path, headers and body."""
    log: dict[str, bytes]
    """The files of the gateway's log."""
    registry: list[str]
    """The registry as SQL."""
    lines: list[Any]
    """What either end has logged."""
    bodies: list[bytes]
    """What the log holds of deliveries, in the clear."""
    lake: list[Any]
    """The rows of the lake, where it was loaded."""


class Wire(httpx.BaseTransport):
    """Calls the gateway in this process, and keeps every request."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self.requests: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        self.requests.append((request.method, request.url.path, headers, body))
        scope = {"type": "http", "method": request.method, "path": request.url.path, "headers": headers}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self._app(scope, receive, send))
        start, *parts = sent
        return httpx.Response(
            start["status"], headers=start["headers"], content=b"".join(part.get("body", b"") for part in parts)
        )


class Clock:
    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> datetime:
        return self.time

    def ticks(self) -> float:
        return self.time.timestamp()


@contextmanager
def fixed_randomness() -> Iterator[None]:
    """Draw the same random bits in the same order, and count epochs.

    In this thread alone: one that another test has left behind must take none of them.
    """
    source = random.Random(20_261_101)
    epochs = itertools.count(1)
    own, token_bytes = threading.get_ident(), secrets.token_bytes

    def draw(size: int = 32) -> bytes:
        return source.randbytes(size) if threading.get_ident() == own else token_bytes(size)

    fixed = {
        "secrets.token_hex": lambda size=32: draw(size).hex(),
        "secrets.token_bytes": draw,
        "heliograph.instance.outbox.new_epoch": lambda: new_epoch(milliseconds=next(epochs), randomness=0),
    }
    with ExitStack() as stack:
        for name, function in fixed.items():
            stack.enter_context(mock.patch(name, function))
        yield


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    """A vendor whose folder is copied for each run, so that all begin alike."""
    return Vendor(tmp_path_factory.mktemp("vendor"), segment_bytes=64 << 10)


class Run:
    """One run of both ends over some behaviour, under some names."""

    def __init__(self, vendor: Vendor, folder: Path, names: Names) -> None:
        self.vendor = folder / "vendor"
        shutil.copytree(vendor.folder, self.vendor)
        given = vendor.agent_settings(folder / "instance", batch_events=3, operators=names.people[-1:])
        written = msgspec.json.encode(
            msgspec.structs.replace(given, **{part: getattr(vendor.settings, part) for part in ("gateway", "registry")})
        )
        moved = written.replace(str(vendor.folder).encode(), str(self.vendor).encode())
        self.settings = msgspec.convert(msgspec.json.decode(moved), Settings)
        self.names = names
        self.clock = Clock()
        self.outbox = Path(self.settings.recorder.outbox)

    def over(self, behaviour: Sequence[Step], *, lake: bool = False) -> Received:
        agent = self.settings.agent
        with ExitStack() as stack:
            stack.enter_context(fixed_randomness())
            lines = stack.enter_context(structlog.testing.capture_logs())
            now = self.clock.now
            view = stack.enter_context(RegistryView(self.settings.registry, now=now))
            wire = Wire(stack.enter_context(open_gateway(self.settings.gateway, SMALL_PLAN, view, now=now)))
            key = load_or_create_key(Path(agent.key))
            client = GatewayClient(agent, key, now=now, ticks=self.clock.ticks, transport=wire)
            self.agent = stack.enter_context(
                closing(
                    Agent(
                        self.settings,
                        SMALL_PLAN,
                        now=now,
                        jitter=lambda: 1.0,
                        client=client,
                        ticks=self.clock.ticks,
                        environment={},
                    )
                )
            )
            self.recorder = stack.enter_context(
                closing(Recorder(self.settings.recorder, environment={}, look_seconds=1e9, now=now))
            )
            self.table = stack.enter_context(closing(EpochWriter(self.outbox, maximum_bytes=1 << 30)))
            for step in (*behaviour, *[Step("day")] * 2):
                self.clock.time += timedelta(seconds=1)
                getattr(self, step.what)(step)
        log = Path(self.settings.gateway.log)
        frames = [frame for each in segments(log) for frame in read_segment(log, each)]
        with closing(sqlite3.connect(self.vendor / "registry.db")) as registry:
            dump = list(registry.iterdump())
        return Received(
            requests=wire.requests,
            log={path.name: path.read_bytes() for path in sorted(log.iterdir())},
            registry=dump,
            lines=lines,
            bodies=[zstandard.decompress(body) for _, head, body in frames if isinstance(head, Entry) and body],
            lake=self._lake() if lake else [],
        )

    def _lake(self) -> list[Any]:
        place = self.vendor / "lake"
        lake = msgspec.structs.replace(
            self.settings.lake, warehouse=str(place), catalog=f"sqlite:///{place / 'catalog.db'}"
        )
        with closing(Loader(self.settings.gateway, lake, SMALL_PLAN)) as loader:
            while loader.load_round():
                pass
        tables = [open_catalog(lake).load_table(name) for name in (EVENTS, PINGS)]
        return [table.scan().to_arrow().to_pylist() for table in tables]

    def event(self, step: Step, **who: Any) -> None:
        session = None if step.session is None else self.names.sessions[step.session]
        self.recorder.record("SearchSubmitted", session=session, duration_ms=step.value, **who)

    def use(self, step: Step) -> None:
        self.event(step, user=self.names.people[step.person])

    def visit(self, step: Step) -> None:
        self.event(step, anonymous=self.names.visitors[step.visitor])

    def nobody(self, step: Step) -> None:
        self.event(step)

    def both(self, step: Step) -> None:
        self.event(step, user=self.names.people[step.person], anonymous=self.names.visitors[step.visitor])

    def row(self, step: Step) -> None:
        """The user does something that the table `event_logs` tells."""
        user = f"u:{self.names.people[step.person]}"
        self.table.append([{"name": "PageViewed", "time": self.clock.now(), "user": user}])

    def identify(self, step: Step) -> None:
        self.recorder.identify(self.names.people[step.person], anonymous=self.names.visitors[step.visitor])

    def opt_out(self, step: Step) -> None:
        self.recorder.opt_out(self.names.people[step.person])

    def opt_in(self, step: Step) -> None:
        self.recorder.opt_in(self.names.people[step.person])

    def mark(self, step: Step) -> None:
        with closing(State(Path(self.settings.agent.state), exclusive=False)) as beside:
            MarkTable(beside.connection).put(self.names.people[step.person], MARKS[step.value % len(MARKS)])

    def forget(self, step: Step) -> None:
        """The admin forgets some people, from a list that is sorted by their names."""
        with closing(State(Path(self.settings.agent.state), exclusive=False)) as beside:
            for name in sorted({self.names.people[place] for place in (step.person, *step.others)}):
                forget(beside, name, outbox=self.outbox, now=self.clock.now())

    def round(self, _: Step) -> None:
        self.agent.round()

    def day(self, step: Step) -> None:
        self.clock.time += timedelta(days=1)
        for _ in range(12):
            self.clock.time += timedelta(seconds=1)
            self.round(step)


def received(vendor: Vendor, behaviour: Sequence[Step], names: Names, *, lake: bool = False) -> Received:
    folder = (
        MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
    ) / f"unlinkability-{uuid.getnode()}-{id(vendor)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        return Run(vendor, folder, names).over(behaviour, lake=lake)
    finally:
        shutil.rmtree(folder)


# What begins so is a key of a source, or a visitor's, and no name.
plain_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("u:", "a:"))
)
any_name = st.one_of(
    st.integers(1, 10**9).map(str),
    st.integers(1, 99).map(lambda number: f"person.{number}@customer.example"),
    plain_names,
    plain_names.map(lambda name: name * 80),
    st.text('"\\\r\x7f\u2028 ', min_size=1, max_size=6),  # which JSON writes in other ways
)


def some(count: int) -> st.SearchStrategy[list[str]]:
    return st.lists(any_name, min_size=count, max_size=count, unique=True)


any_names = st.builds(Names, people=some(PEOPLE), visitors=some(VISITORS), sessions=some(SESSIONS))
KINDS = ["use", "visit", "nobody", "both", "row", "identify", "opt_out", "opt_in", "mark", "forget", "round", "day"]
any_step = st.builds(
    Step,
    what=st.sampled_from([*KINDS, "use", "visit", "both", "identify", "round", "round"]),
    person=st.integers(0, PEOPLE - 1),
    visitor=st.integers(0, VISITORS - 1),
    session=st.none() | st.integers(0, SESSIONS - 1),
    others=st.lists(st.integers(0, PEOPLE - 1), max_size=4).map(tuple),
    value=st.integers(0, 600_001),
)
NUMBERS = Names(*([str(number) for number in range(start, start + 6)] for start in (100, 200, 300)))
WORDS = Names(
    ["zoe@customer.example", "v", "mallory " * 100, "bob", 'the "boss"', "alice"],
    ["7f31", "z", "visitor\n" * 90, "b"],
    ["s9", "s8", "t" * 1_000, "\\0"],
)
A_BIT_OF_ALL = [
    *(Step("use", person, session=person % SESSIONS, value=person) for person in range(PEOPLE)),
    *(Step("row", person) for person in range(PEOPLE)),
    *(Step("visit", visitor=visitor, session=visitor) for visitor in range(VISITORS)),
    Step("round"),
    Step("both", 0, 0, 0),
    Step("identify", 4, 2),
    Step("identify", 3, 2),
    Step("nobody", session=1),
    Step("opt_out", 3),
    Step("mark", 2),
    Step("use", 3, session=2),
    Step("visit", visitor=2),
    Step("day"),
    Step("forget", 0, others=(1, 2, 4)),
    Step("use", 0, session=0),
]


@settings(max_examples=12, deadline=None)
@given(behaviour=st.lists(any_step, max_size=30), names=any_names, others=any_names)
@example(behaviour=A_BIT_OF_ALL, names=NUMBERS, others=WORDS)
def test_the_same_behaviour_under_any_other_names_gives_the_vendor_the_same_bytes(
    vendor: Vendor, behaviour: list[Step], names: Names, others: Names
) -> None:
    one, other = received(vendor, behaviour, names), received(vendor, behaviour, others)
    assert one.requests == other.requests
    assert one.log == other.log
    assert one.registry == other.registry
    assert one.lines == other.lines


def test_the_rows_of_the_lake_are_the_same_under_other_names_and_are_many(vendor: Vendor) -> None:
    one, other = (received(vendor, A_BIT_OF_ALL, names, lake=True) for names in (NUMBERS, WORDS))
    assert one.lake == other.lake
    events, pings = one.lake
    assert len(events) > 15
    assert len(pings) > 3
    assert len(ids_in(one)) > 10
    paths = [path for _, path, _, _ in one.requests]
    assert {path.rsplit("/", 1)[-1] for path in paths} >= {"events", "pings", "policy", "erasures", "token"}


def ids_in(all_of_it: Received) -> set[str]:
    """Every random id that the vendor has."""
    columns = [
        batch.column(name).dictionary.to_pylist()
        for batch in map(read_arrow, all_of_it.bodies)
        for name in ("user_id", "session_id")
        if name in batch.schema.names
    ]
    texts = [body for _, path, _, body in all_of_it.requests if path == ERASURES_PATH]
    texts += map(str.encode, all_of_it.registry)
    written = [found.decode() for text in texts for found in re.findall(rb"\b[0-9a-f]{32}\b", text)]
    return {*itertools.chain.from_iterable(columns), *written}


def attack(names: Names, known: Sequence[str]) -> Iterator[str]:
    """Derive ids from names as is often done, salted with what the vendor knows."""
    for name in (*names.people, *names.visitors, *names.sessions):
        for key in (name, f"u:{name}", f"a:{name}", f"user {name}", f"user:{name}"):
            for forms in (key, key[::-1], key.lower(), key.upper(), repr(key), f'"{key}"', f"{key}\n"):
                yield from as_ids(forms.encode())
            for salt, between in itertools.product(known, ("", ":", "-", "/", ".", "|", " ", "_")):
                yield from as_ids(f"{salt}{between}{key}".encode())
                yield from as_ids(f"{key}{between}{salt}".encode())
            for salt in known:
                for kind in ("md5", "sha1", "sha256", "sha512"):
                    yield hmac.new(salt.encode(), key.encode(), kind).hexdigest()
                yield hashlib.blake2b(key.encode(), key=salt.encode()[:64], digest_size=16).hexdigest()
                yield hashlib.blake2b(key.encode(), salt=salt.encode()[:16], digest_size=16).hexdigest()
                yield uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_DNS, salt), key).hex


NAMESPACES = (uuid.NAMESPACE_DNS, uuid.NAMESPACE_URL, uuid.NAMESPACE_OID, uuid.NAMESPACE_X500)


def as_ids(text: bytes) -> Iterator[str]:
    for kind in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"):
        yield hashlib.new(kind, text).hexdigest()
    yield hashlib.blake2b(text, digest_size=16).hexdigest()
    yield hashlib.blake2s(text, digest_size=16).hexdigest()
    yield hashlib.md5(hashlib.sha256(text).digest()).hexdigest()
    for space in NAMESPACES:
        yield uuid.uuid3(space, text.decode()).hex
        yield uuid.uuid5(space, text.decode()).hex
    yield text.hex()
    yield base64.b64encode(text).hex()
    yield base64.b32encode(text).hex()
    if text.isdigit():
        yield f"{int(text):032x}"
        yield f"{int(text):032d}"


def found_by(derived: Iterator[str], ids: set[str]) -> set[str]:
    """Return the ids that an attacker hits: as derived, from either end, filled up, or turned round."""
    hits: set[str] = set()
    for digits in derived:
        for window in (digits[:32], digits[-32:], digits[:32].ljust(32, "0"), digits[:32].rjust(32, "0")):
            hits |= {window, window[::-1]} & ids
    return hits


KNOWN = [INSTANCE, ACCOUNT, f"{ACCOUNT}/{INSTANCE}", "heliograph", "small@1", "1", "2", "3", str(1 << 21), str(2 << 21)]


def test_an_attacker_who_has_all_names_derives_none_of_the_ids(vendor: Vendor) -> None:
    all_of_it = received(vendor, A_BIT_OF_ALL, WORDS)
    assert found_by(attack(WORDS, KNOWN), ids_in(all_of_it)) == set()


PLANTED: dict[str, Callable[[str], str]] = {
    "a digest": lambda key: hashlib.md5(key.encode()).hexdigest(),
    "salted": lambda key: hashlib.sha256(f"{INSTANCE}:{key}".encode()).hexdigest()[:32],
    "keyed": lambda key: hmac.new(ACCOUNT.encode(), key.encode(), "sha512").hexdigest()[-32:],
    "a uuid": lambda key: uuid.uuid5(uuid.NAMESPACE_URL, key).hex,
    "turned round": lambda key: hashlib.blake2b(key.encode(), key=INSTANCE.encode(), digest_size=16).hexdigest()[::-1],
}


def test_the_same_attacker_finds_ids_that_are_derived(vendor: Vendor) -> None:
    planted: dict[str, set[str]] = {}
    for what, derive in PLANTED.items():

        def ids(self: Pseudonyms, kind: str, keys: list[str], derive: Callable[[str], str] = derive) -> list[str]:
            self._fresh.update({(kind, key): derive(key) for key in keys if not self._state.pseudonyms(kind, [key])})
            return [derive(key) for key in keys]

        with mock.patch.object(Pseudonyms, "ids", ids):
            planted[what] = ids_in(received(vendor, [Step("use", person) for person in range(PEOPLE)], NUMBERS))
    hits = found_by(attack(Names(NUMBERS.people, (), ()), KNOWN), set[str]().union(*planted.values()))
    assert {what: len(ids) for what, ids in planted.items()} == dict.fromkeys(PLANTED, PEOPLE)
    assert not [what for what, ids in planted.items() if ids - hits]


def test_ids_that_are_only_encoded_names_do_not_even_leave(vendor: Vendor) -> None:
    def ids(self: Pseudonyms, kind: str, keys: list[str]) -> list[str]:
        self._fresh.update({(kind, key): key.encode().hex().ljust(32, "0")[:32] for key in keys})
        return [self._fresh[kind, key] for key in keys]

    with mock.patch.object(Pseudonyms, "ids", ids):
        assert ids_in(received(vendor, [Step("use", person) for person in range(PEOPLE)], NUMBERS)) == set()


def test_a_generator_that_looks_at_names_shows_in_the_bytes(vendor: Vendor) -> None:
    ids = Pseudonyms.ids

    def in_order_of_names(self: Pseudonyms, kind: str, keys: list[str]) -> list[str]:
        ids(self, kind, sorted(keys))
        return ids(self, kind, keys)

    with mock.patch.object(Pseudonyms, "ids", in_order_of_names):
        one, other = (received(vendor, A_BIT_OF_ALL, names) for names in (NUMBERS, WORDS))
    assert one.log != other.log
