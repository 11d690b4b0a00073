"""Over generated histories: in whatever order rows are loaded, rewritten, expired and erased, each counts once.

Deliveries, loads, erasures, every verb of maintenance, and questions that go on reading; pieces of maintenance into
which the loader commits, and that die before or after any of their steps.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from erasing import OTHER, OTHERS_ACCOUNT, Lake, read_rows
from harness import ACCOUNT, INSTANCE, as_lines, event, random_id
from heliograph.consent.erasure import user_digest
from heliograph.gateway import log as log_module
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.log_reading import read_accounts
from heliograph.lake.maintenance import compaction, expiry, retention, upkeep
from heliograph.lake.maintenance.retention import count_retired
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.report import count_erased, count_events, count_repeated
from heliograph.lake.storage import connect
from heliograph.lake.tables import event_files
from heliograph.lake.writers import embedded
from heliograph.registry.erasures import read_erasures
from heliograph.wire import NDJSON, Receipt

MEMORY = Path("/dev/shm")
ACCOUNTS = {INSTANCE: ACCOUNT, OTHER: OTHERS_ACCOUNT}
USERS = [random_id(1), random_id(2)]
OLD = "2019-05-05T05:05:05Z"
VERBS = ["compact", "compact_all", "expire", "clean", "retain", "upkeep"]
STEPS = [
    (embedded, "write_file"),
    (compaction, "replace_files"),
    (expiry, "commit"),
    (expiry, "sync_files"),
    (retention, "write_file"),
    (retention, "replace_files"),
    (retention, "commit"),
    (upkeep, "settle"),
    (upkeep, "clean"),
]
GRACE = 6_000.0
"""Seconds; great beside what a history takes, as snapshots have the time of the machine."""


class KilledError(BaseException):
    """Stands for the end of the process."""


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(log_module, "_SCRUB_SECONDS", 0.003)
        self.lake = Lake(self.folder, segment_bytes=4_096)
        fields: dict[str, Any] = {
            "compact_files": 2,
            "file_rows": 12,
            "keep_snapshots_seconds": GRACE,
            "orphan_seconds": 2 * GRACE,
            "retain_events_days": 1_000,
        }
        section = msgspec.structs.replace(self.lake.settings.lake, **fields)
        self.lake.settings = msgspec.structs.replace(self.lake.settings, lake=section)
        self.gateway: Log | None = None
        self.later = timedelta()
        self.last = dict.fromkeys(ACCOUNTS, 0)
        self.kept: dict[tuple[str, int], tuple[str, bool]] = {}
        """Of each event that was not erased: whose it is, and whether it is too old to be kept."""
        self.proved: set[str] = set()
        self.reading: tuple[list[str], Any, timedelta] | None = None

    def teardown(self) -> None:
        self._erase()
        self._keeper().upkeep()
        self.wait(int(3 * GRACE))
        self._keeper().upkeep()
        self._check()
        data = {str(path) for path in self.folder.rglob("events/**/*.parquet")}
        assert data == set(event_files(self.lake.settings.lake)), "everything that is there is of use"
        assert not any(old for key, (_, old) in self.kept.items() if key in self._in_lake())
        self._close_gateway()
        self.lake.registry.close()
        self.patch.undo()
        shutil.rmtree(self.folder)

    # What the gateway does.

    def _open_gateway(self) -> Log:
        if self.gateway is None:
            section = self.lake.settings.gateway
            self.gateway = Log(
                self.lake.log,
                segment_bytes=section.segment_bytes,
                maximum_bytes=section.maximum_log_bytes,
                now=lambda: self.lake.clock().timestamp(),
            )
        return self.gateway

    def _close_gateway(self) -> None:
        if self.gateway is not None:
            self.gateway.close()
            self.gateway = None

    @rule(
        instance=st.sampled_from(list(ACCOUNTS)),
        count=st.integers(1, 6),
        user=st.sampled_from(USERS),
        old=st.sampled_from([False, False, True]),
    )
    def deliver(self, instance: str, count: int, user: str, old: bool) -> None:
        first = self.last[instance] + 1
        self.last[instance] += count
        receipt = Receipt(
            instance=instance,
            epoch=1,
            first=first,
            last=self.last[instance],
            accepted={"SearchSubmitted": count},
            rejected={},
            absent={},
            digest="",
            agreement="agreement-1",
            received=int(self.lake.clock().timestamp() * 1_000_000),
        )
        entry = Entry(
            receipt=receipt, account=ACCOUNTS[instance], plan="small@1", content_type=NDJSON, content_encoding=""
        )
        numbers = range(first, self.last[instance] + 1)
        when = {"time": OLD} if old else {}
        body = as_lines([event(number, user_id=user, **when) for number in numbers])
        asyncio.run(self._open_gateway().append(entry, body))
        self.kept |= {(instance, number): (user, old) for number in numbers}
        self.lake.load()

    @rule(seconds=st.sampled_from([600, 2_000, 9_000, 20_000]))
    def wait(self, seconds: int) -> None:
        self.lake.clock.advance(seconds=seconds)
        self.later += timedelta(seconds=seconds)

    # What maintenance does.

    def _keeper(self) -> Keeper:
        return Keeper(self.lake.settings.lake, now=lambda: datetime.now(UTC) + self.later, wait=lambda _: None)

    @rule(verb=st.sampled_from(VERBS))
    def keep(self, verb: str) -> None:
        if verb == "compact_all":
            self._keeper().compact(everything=True)
        else:
            getattr(self._keeper(), verb)()
        self._check()

    @rule(verb=st.sampled_from(VERBS), step=st.sampled_from(STEPS), after=st.booleans())
    def keep_and_die(self, verb: str, step: tuple[Any, str], after: bool) -> None:
        owner, name = step
        really = getattr(owner, name)

        def die(*arguments: Any, **named: Any) -> None:
            if after:
                really(*arguments, **named)
            raise KilledError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, die)
            try:
                self.keep(verb)
            except KilledError:
                self._check()

    @rule(verb=st.sampled_from(["compact", "compact_all", "retain"]), count=st.integers(1, 3))
    def keep_while_the_loader_commits(self, verb: str, count: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for owner in (embedded, retention):
                really = getattr(owner, "write_file")  # noqa: B009 - it is not of that module's public names

                def write_file(*arguments: Any, really: Any = really) -> Any:
                    new = really(*arguments)
                    self.deliver(INSTANCE, count, USERS[0], old=False)
                    return new

                patch.setattr(owner, "write_file", write_file)
            self.keep(verb)

    # What questions do.

    @rule()
    def begin_to_read(self) -> None:
        self.reading = (event_files(self.lake.settings.lake), self._in_lake(), self.later)

    @rule()
    @precondition(lambda self: self.reading is not None)
    def go_on_reading(self) -> None:
        assert self.reading is not None
        files, rows, began = self.reading
        if self.later - began < timedelta(seconds=GRACE - 1_000):
            assert self._read(files) == rows

    # What an erasure does.

    @rule(account=st.sampled_from(list(ACCOUNTS.values())))
    def order_an_account(self, account: str) -> None:
        self.lake.order(account=account)

    @rule(instance=st.sampled_from(list(ACCOUNTS)), user=st.sampled_from(USERS))
    def order_a_user(self, instance: str, user: str) -> None:
        self.lake.order(account=ACCOUNTS[instance], instance=instance, user_id=user)

    @rule()
    @precondition(lambda self: self.lake.pending())
    def erase(self) -> None:
        self._erase()
        self._check()

    def _erase(self) -> None:
        self.later += timedelta(minutes=1)
        assert self.lake.carry_out() == []
        self.reading = None  # whoever reads what is erased has seconds
        for each in read_erasures(self.lake.registry):
            order = each.order
            if each.proof is None or order.id in self.proved:
                continue
            self.proved.add(order.id)
            for (instance, number), (user, _) in list(self.kept.items()):
                if ACCOUNTS[instance] != order.account or order.instance not in {None, instance}:
                    continue
                if order.instance is None or user_digest(user) == order.user_digest:
                    del self.kept[instance, number]

    # What must hold.

    def _in_lake(self) -> list[tuple[str, int]]:
        return sorted((row["instance"], row["sequence"]) for row in read_rows(self.lake))

    def _read(self, files: list[str]) -> list[tuple[str, int]]:
        if not files:
            return []
        with connect(self.lake.settings.lake) as connection:
            query = "select instance, sequence from read_parquet($files, union_by_name = true) order by all"
            return connection.execute(query, {"files": files}).fetchall()

    def _check(self) -> None:
        self.lake.load()
        rows = self._in_lake()
        assert len(set(rows)) == len(rows)
        assert set(rows) <= set(self.kept), "what was erased has come back"
        assert {key for key, (_, old) in self.kept.items() if not old} <= set(rows), "something is lost"
        lake = self.lake.settings.lake
        assert count_repeated(lake) == 0
        if not any(self.last.values()):
            return
        told: dict[str, Counter[str]] = {}
        for counts in (count_events(lake), count_erased(self.lake.settings), count_retired(lake)):
            for instance, names in counts.items():
                told.setdefault(instance, Counter()).update(names)
        assert told == {name: Counter(each.accepted) for name, each in read_accounts(self.lake.log).items()}


Histories.TestCase.settings = settings(max_examples=3, stateful_step_count=10, deadline=None)
TestHistories = Histories.TestCase
