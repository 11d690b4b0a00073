"""A visitor who signs in: on the instance one person with one history, and nothing of it shows at the vendor.

The real recorder, outbox, exporter, intake and log. Each event has a value of its own, by which the rows of the log are
told apart; who is whom there is what their random ids say.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import SMALL_PLAN
from heliograph.event import Verdict
from heliograph.instance import stitching
from heliograph.instance.erasures import read_erasures
from heliograph.instance.event_rows import row_sign_in
from heliograph.instance.notice import NoticeWriter
from heliograph.instance.opt_outs import OptOutsFile
from heliograph.instance.recorder import Recorder
from heliograph.instance.sign_ins import MAXIMUM_BYTES, SIGN_INS_FILE, SignIn, SignInsFile
from heliograph.instance.state import State
from heliograph.instance.stitching import Stitching
from heliograph.settings import RecorderSettings
from heliograph.testing import MemoryRecorder
from quick_site import Site
from test_once import MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class KilledError(BaseException):
    """The agent was killed here."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


def test_a_user_without_a_random_id_takes_over_the_visitors(site: Site) -> None:
    before = site.record(anonymous="v", session="s")
    site.drain()
    assert site.recorder.identify(42, anonymous="v")
    after = [site.record(user=42, session="s"), site.record(anonymous="v", session="s")]
    site.drain()
    rows = site.rows()
    assert len({rows[value]["user_id"] for value in (before, *after)}) == 1
    assert site.used_by() == ["42", "42", "42"]


def test_a_user_with_a_random_id_keeps_it_and_nothing_connects_it_with_the_visitors(site: Site) -> None:
    known = site.record(user=42, session="old")
    before = site.record(anonymous="v", session="s")
    site.drain()
    unsent = site.record(anonymous="v", session="s")
    assert site.recorder.identify(42, anonymous="v")
    after = [unsent, site.record(user=42, session="s"), site.record(anonymous="v", session="s")]
    site.drain()
    rows = site.rows()
    assert {rows[value]["user_id"] for value in after} == {rows[known]["user_id"]}
    assert rows[before]["user_id"] != rows[known]["user_id"]
    assert site.used_by() == ["42"] * 5


def test_a_visitor_whom_two_users_claim_is_nobodys_from_then_on(site: Site) -> None:
    first = site.record(user=1, anonymous="shared")
    as_first = site.record(anonymous="shared")
    site.drain()
    second = site.record(user=2, anonymous="shared")
    nobodys = [site.record(anonymous="shared"), site.record(anonymous="shared")]
    again = site.record(user=1, anonymous="shared")
    still = site.record(anonymous="shared")
    site.drain()
    users = site.users()
    assert users[first] == users[as_first] == users[again]
    assert users[nobodys[0]] == users[nobodys[1]] == users[still]
    assert len({users[first], users[second], users[still]}) == 3
    assert site.used_by() == ["1", "1", "1", "2", "a:shared", "a:shared", "a:shared"]


def test_one_user_may_be_many_visitors_and_is_counted_once(site: Site) -> None:
    for visitor in ("v1", "v2", "v3"):
        site.record(anonymous=visitor)
    site.drain()
    assert set(site.used_by()) == {"a:v1", "a:v2", "a:v3"}
    for visitor in ("v1", "v2", "v3"):
        assert site.recorder.identify("me", anonymous=visitor)
    site.exporter._objections.look()
    assert site.used_by() == ["me", "me", "me"]


def test_two_keys_of_one_user_in_one_batch_leave_no_trace_of_being_two(site: Site) -> None:
    site.record(anonymous="v1", user="me")
    site.record(anonymous="v2", user="me")
    site.drain()
    site.record(anonymous="v1")
    site.record(anonymous="v2")
    site.record(user="me")
    site.drain()
    batch = pa.ipc.open_stream(site.bodies()[-1]).read_next_batch()
    assert len(batch.column("user_id").dictionary) == 1


def test_a_users_no_is_also_the_visitors(site: Site) -> None:
    site.record(anonymous="v")
    assert site.recorder.identify(42, anonymous="v")
    site.record(anonymous="v")
    OptOutsFile(site.outbox).append("42", out=True, now=site.now())
    site.record(anonymous="w")
    site.record(anonymous="v")
    site.drain()
    assert list(site.rows()) == [3]
    assert site.dropped() == {"SearchSubmitted": {Verdict.OPTED_OUT: 3}}
    assert site.used_by() == ["a:w"]


def test_a_visitors_no_holds_after_the_sign_in_for_what_the_visitor_did(site: Site) -> None:
    site.record(anonymous="v")
    OptOutsFile(site.outbox).append("a:v", out=True, now=site.now())
    site.record(user=42, anonymous="v")
    site.record(anonymous="v")
    site.drain()
    assert list(site.rows()) == [2]
    assert site.used_by() == ["42"]


def test_forgetting_a_user_forgets_the_visitors_and_asks_to_erase_every_id_that_stood_for_them(site: Site) -> None:
    values = [site.record(user=42), site.record(anonymous="v", session="sv"), site.record(anonymous="w")]
    site.drain()
    sent = site.users()
    assert site.recorder.identify(42, anonymous="v")
    site.drain()
    assert site.recorder.identify(42, anonymous="w")  # not taken up yet when the user is forgotten
    site.record(anonymous="v")
    site.record(session="sv")
    site.record(anonymous="w")
    erased = site.forget("42")
    assert sorted(erased) == sorted(sent[value] for value in values)
    assert sorted(each.user_id or "" for each in read_erasures(site.state.connection)) == sorted(erased)
    site.drain()
    assert list(site.rows()) == values
    assert site.dropped() == {"SearchSubmitted": {Verdict.OPTED_OUT: 3}}
    assert site.used_by() == []
    later = [site.record(anonymous="v"), site.record(user=42)]
    site.drain()
    users = site.users()
    assert users[later[0]] != users[later[1]]
    assert {users[value] for value in later}.isdisjoint(erased)


def test_nothing_of_a_forgotten_visitor_is_left_in_the_bytes_of_the_database(site: Site) -> None:
    canaries = ["visitor-canary-11d0", "user-canary-8a02", "session-canary-4f5c"]
    site.record(user=canaries[1])
    site.record(anonymous=canaries[0], session=canaries[2])
    site.drain()
    site.record(user=canaries[1], anonymous=canaries[0])
    site.drain()
    site.forget(canaries[1])
    kept = b"".join(path.read_bytes() for path in (site.folder / "agent").rglob("*") if path.is_file())
    assert [canary for canary in canaries if canary.encode() in kept] == []
    assert not (site.outbox / SIGN_INS_FILE).exists()


def test_a_sign_in_that_was_forgotten_does_not_come_back_after_a_crash(site: Site) -> None:
    site.record(anonymous="v")
    site.drain()
    site.recorder.identify(42, anonymous="v")
    with mock.patch.object(SignInsFile, "remove", side_effect=KilledError), pytest.raises(KilledError):
        site.exporter._objections.look()
    with mock.patch.object(SignInsFile, "remove"):
        site.forget("42")
    site.state.close()
    site.open()
    site.exporter._objections.look()
    assert site.state.stitched.all() == {}


def test_a_line_that_is_torn_is_left_out_and_those_after_it_count(site: Site) -> None:
    site.recorder.identify(1, anonymous="v1")
    file = site.outbox / SIGN_INS_FILE
    file.write_bytes(file.read_bytes() + b'0badcafe {"visitor":"a:v2","us')
    SignInsFile(site.outbox).append("v3", 3)
    site.exporter._objections.look()
    assert site.state.stitched.all() == {"a:v1": "1", "a:v3": "3"}
    assert not file.exists()


def test_a_file_without_its_beginning_is_read_all_the_same(site: Site) -> None:
    site.recorder.identify(1, anonymous="v1")
    file = site.outbox / SIGN_INS_FILE
    for _ in range(2):
        file.write_bytes(b"?" + file.read_bytes() if file.exists() else b"?\n")
        SignInsFile(site.outbox).append("v2", 2)
        site.exporter._objections.look()
        assert site.state.stitched.all() == {"a:v1": "1", "a:v2": "2"}


def test_the_file_is_bounded_where_no_agent_takes_it(site: Site) -> None:
    site.recorder.identify(1, anonymous="v1")
    with (site.outbox / SIGN_INS_FILE).open("r+b") as file:
        file.truncate(MAXIMUM_BYTES)
    assert not site.recorder.identify(2, anonymous="v2")
    assert site.recorder.identify(1, anonymous="v1")  # it is there already


@pytest.mark.parametrize(
    ("user", "anonymous"), [("", "v"), ("1", ""), ("x" * 1_025, "v"), ("1", "v" * 1_024), ("a:w", "v"), ("\ud800", "v")]
)
def test_what_can_be_no_id_signs_nobody_in(site: Site, user: str, anonymous: str) -> None:
    assert not site.recorder.identify(user, anonymous=anonymous)
    assert not (site.outbox / SIGN_INS_FILE).exists()


def test_a_visitor_whose_id_can_be_none_is_not_recorded(site: Site) -> None:
    for anonymous in ("", "v" * 1_024, "\ud800", NoText()):
        assert not site.recorder.record("SearchSubmitted", anonymous=anonymous)  # type: ignore[arg-type]
    assert site.recorder.dropped == {"SearchSubmitted": {Verdict.UNRECORDABLE: 4}}


class NoText:
    def __str__(self) -> str:
        raise ValueError


def test_at_off_nothing_is_written_down_of_a_sign_in(site: Site) -> None:
    NoticeWriter(site.outbox, keep_local=False).tell("off", until=site.time + timedelta(days=1), now=site.time)
    with closing(Recorder(RecorderSettings(outbox=str(site.outbox)), environment={}, now=site.now)) as recorder:
        assert not recorder.identify(42, anonymous="v")
        assert not recorder.record("SearchSubmitted", user=42, anonymous="v")
    assert not (site.outbox / SIGN_INS_FILE).exists()


def test_many_processes_say_who_has_signed_in_and_none_is_lost(site: Site) -> None:
    files = [SignInsFile(site.outbox) for _ in range(4)]
    for number in range(200):
        assert files[number % 4].append(f"v{number}", number)
        if number % 60 == 0:
            site.exporter._objections.look()
    site.exporter._objections.look()
    assert site.state.stitched.all() == {f"a:v{number}": str(number) for number in range(200)}


def test_a_visitor_of_the_table_becomes_the_tables_user(site: Site) -> None:
    site.recorder.record("SearchSubmitted", user="u:42", duration_ms=900)
    site.drain()
    assert site.recorder.identify(42, anonymous="v")
    after = site.record(anonymous="v")
    site.recorder.identify("u:42", anonymous="v")
    also = site.record(anonymous="v")
    site.drain()
    users = site.users()
    assert users[900] == users[after] == users[also]


def test_a_row_of_the_table_says_who_has_signed_in_only_with_both_ids() -> None:
    rest = ("PageViewed", "web", None, "5.3.1", "2026-10-01 12:00:00+00")
    assert row_sign_in((1, rest[0], 42, "v", *rest[1:])) == SignIn("a:v", "u:42")
    for user_id, anonymous in ((0, "v"), (None, "v"), (42, ""), (42, None)):
        assert row_sign_in((1, rest[0], user_id, anonymous, *rest[1:])) is None


def test_a_products_tests_see_visitors_sign_ins_and_actors() -> None:
    recorder = MemoryRecorder(plan=SMALL_PLAN)
    recorder.opt_out("a:w")
    assert recorder.record("PageViewed", anonymous="v", actor="service")
    assert recorder.record("PageViewed", user=42, anonymous="v")
    assert not recorder.record("PageViewed", anonymous="w")
    assert recorder.identify(43, anonymous="x")
    assert recorder.signed_in == {"v": "42", "x": "43"}
    assert [(event.anonymous, event.actor) for event in recorder.events] == [("v", "service"), ("v", None)]
    with pytest.raises(AssertionError, match="is no actor"):
        recorder.record("PageViewed", actor="root")


class Step(NamedTuple):
    """Something that happens; the numbers name a user and a visitor."""

    what: str
    user: int
    visitor: int
    killed: int
    """Before which of the agent's steps it is killed; none of them if it has fewer."""


steps = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["visit", "visit", "use", "both", "identify", "identify", "deliver", "deliver", "forget"]),
        user=st.integers(0, 2),
        visitor=st.integers(0, 2),
        killed=st.integers(0, 12),
    ),
    max_size=25,
)

KILLED_AT: list[tuple[Any, str]] = [
    (State, "begin"),
    (State, "finish"),
    (State, "_put"),
    (SignInsFile, "read"),
    (SignInsFile, "remove"),
    (Stitching, "take"),
    (stitching, "_stitch"),
    (stitching, "_join"),
    (stitching, "_note"),
]


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Kill the agent when it comes to the `number`-th of its steps."""
    left = number

    def maybe(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **fields: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KilledError
            return step(*arguments, **fields)

        return call

    with ExitStack() as stack:
        for where, name in KILLED_AT:
            stack.enter_context(mock.patch.object(where, name, maybe(getattr(where, name))))
        yield


class Model:
    """A second reading of what a sign-in means, without files, transactions and batches."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.waiting: list[tuple[int, str]] = []
        self.claimed: dict[str, str | None] = {}
        self.ids: dict[str, int] = {}
        self.sent: dict[int, int] = {}
        self.used: list[str] = []
        self.forgotten: dict[str, int] = {}
        """Who was forgotten, and up to which event."""

    def take_up(self) -> None:
        for visitor, user in self.said:
            first = self.claimed.setdefault(visitor, user)
            if first == user and visitor in self.ids:
                number = self.ids.pop(visitor)
                self.ids.setdefault(user, number)
            elif first not in {user, None}:
                self.used = [str(first) if key == visitor else key for key in self.used]
                self.claimed[visitor] = None
        self.said = []

    def deliver(self) -> None:
        self.take_up()
        for value, key in self.waiting:
            person = self.claimed.get(key) or key
            if value <= max(self.forgotten.get(key, 0), self.forgotten.get(person, 0)):
                continue  # also what a visitor did who only later turned out to be the user
            self.sent[value] = self.ids.setdefault(person, value)  # a number of its own
            self.used.append(key)
        self.waiting = []

    def forget(self, user: str, value: int) -> None:
        self.take_up()
        keys = {user, *(visitor for visitor, claimed in self.claimed.items() if claimed == user)}
        self.forgotten |= dict.fromkeys(keys, value)
        self.used = [key for key in self.used if key not in keys]
        for key in keys:
            self.ids.pop(key, None)
            self.claimed.pop(key, None)

    def used_by(self) -> list[str]:
        return sorted(self.claimed.get(key) or key for key in self.used)


def partition(ids: dict[int, Any]) -> set[frozenset[int]]:
    """Which events are of one person, whatever the ids."""
    groups: dict[Any, set[int]] = defaultdict(set)
    for value, random_id in ids.items():
        groups[random_id].add(value)
    return set(map(frozenset, groups.values()))


@settings(max_examples=50, deadline=None)
@given(history=steps)
def test_whatever_crashes_when_who_is_whom_is_what_a_second_reading_says(history: list[Step]) -> None:
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    model = Model()
    with closing(Site(folder)) as site:
        for step in (*history, Step("deliver", 0, 0, 0)):
            user, visitor = f"user-{step.user}", f"visitor-{step.visitor}"
            if step.what in {"visit", "use"}:
                who = {"anonymous": visitor} if step.what == "visit" else {"user": user}
                model.waiting.append((site.record(**who), f"a:{visitor}" if step.what == "visit" else user))
            if step.what == "identify":
                assert site.recorder.identify(user, anonymous=visitor)
            if step.what == "both":
                model.waiting.append((site.record(user=user, anonymous=visitor), user))
            if step.what in {"identify", "both"}:
                model.said.append((f"a:{visitor}", user))
            if step.what == "forget":
                site.recorder._sign_ins._said.clear()
                site.forget(user)
                model.forget(user, site.value)
            if step.what == "deliver":
                try:
                    with killed_at(step.killed):
                        site.drain()
                except KilledError:
                    site.state.close()
                    site.open()
                site.drain()
                site.exporter._objections.look()
                model.deliver()
        assert partition(site.users()) == partition(model.sent)
        assert site.state.stitched.all() == {key: user for key, user in model.claimed.items() if user is not None}
        assert site.used_by() == model.used_by()
        assert not (site.outbox / SIGN_INS_FILE).exists()
    shutil.rmtree(folder)
