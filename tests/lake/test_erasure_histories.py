"""Over generated histories: what was accepted is in the lake or erased, and of what was erased no row is left.

Deliveries, loads, orders, restarts, and erasures that die before or after any of their steps, in any order.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

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
from heliograph.lake import erasure as erasure_module
from heliograph.lake.proving import Scan
from heliograph.registry.erasures import read_erasures
from heliograph.wire import NDJSON, Receipt
from marting import assert_kept_is_defined

MEMORY = Path("/dev/shm")
ACCOUNTS = {INSTANCE: ACCOUNT, OTHER: OTHERS_ACCOUNT}
USERS = [random_id(1), random_id(2)]
STEPS = ["request_scrub", "erase_rows", "forget_past", "delete_files", "finish", "forget_counts", "keep_listing"]


class KilledError(BaseException):
    """Stands for the end of the process."""


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(log_module, "_SCRUB_SECONDS", 0.003)
        self.lake = Lake(self.folder, segment_bytes=4_096)
        self.gateway: Log | None = None
        self.last = dict.fromkeys(ACCOUNTS, 0)
        self.kept: dict[tuple[str, int], tuple[str, Any]] = {}
        self.proved: set[str] = set()

    def teardown(self) -> None:
        self._erase()
        self._check()
        assert self.lake.pending() == []
        if any(self.last.values()):
            assert_kept_is_defined(self.lake.settings.lake, self.lake.vendor.plan)
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

    @rule(instance=st.sampled_from(list(ACCOUNTS)), count=st.integers(1, 6), user=st.sampled_from(USERS))
    def deliver(self, instance: str, count: int, user: str) -> None:
        log = self._open_gateway()
        first = self.last[instance] + 1
        moment = self.lake.clock()
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
            received=int(moment.timestamp() * 1_000_000),
        )
        entry = Entry(
            receipt=receipt, account=ACCOUNTS[instance], plan="small@1", content_type=NDJSON, content_encoding=""
        )
        numbers = range(first, self.last[instance] + 1)
        asyncio.run(log.append(entry, as_lines([event(number, user_id=user) for number in numbers])))
        self.kept |= {(instance, number): (user, moment) for number in numbers}

    @rule()
    @precondition(lambda self: self.gateway is not None)
    def stop_the_gateway(self) -> None:
        self._close_gateway()

    @rule(seconds=st.sampled_from([1, 5, 20]))
    def wait(self, seconds: int) -> None:
        self.lake.clock.advance(seconds=seconds)

    # What the loader does.

    @rule()
    def load(self) -> None:
        self.lake.load()

    @rule(back=st.sampled_from([0, 3, 15, None]), account=st.sampled_from(list(ACCOUNTS.values())))
    def order_an_account(self, back: int | None, account: str) -> None:
        since = None if back is None else self.lake.clock() - timedelta(seconds=back)
        self.lake.order(account=account, since=since)

    @rule(instance=st.sampled_from(list(ACCOUNTS)), user=st.sampled_from(USERS))
    def order_a_user(self, instance: str, user: str) -> None:
        self.lake.order(account=ACCOUNTS[instance], instance=instance, user_id=user)

    @rule(step=st.sampled_from(STEPS), after=st.booleans())
    @precondition(lambda self: self.lake.pending())
    def erase_and_die(self, step: str, after: bool) -> None:
        owner: Any = Scan if step == "keep_listing" else erasure_module
        real = getattr(owner, step)

        def die(*arguments: Any, **named: Any) -> None:
            if after:
                real(*arguments, **named)
            raise KilledError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, step, die)
            try:
                self._erase()
            except KilledError:
                self._note_proofs()

    @rule()
    @precondition(lambda self: self.lake.pending())
    def erase(self) -> None:
        self._erase()
        self._check()

    def _erase(self) -> None:
        assert self.lake.carry_out() == []
        self._note_proofs()

    def _note_proofs(self) -> None:
        for each in read_erasures(self.lake.registry):
            if each.proof is None or each.order.id in self.proved:
                continue
            self.proved.add(each.order.id)
            order = each.order
            for (instance, number), (user, moment) in list(self.kept.items()):
                if ACCOUNTS[instance] != order.account or order.instance not in {None, instance}:
                    continue
                if order.instance is not None:
                    covered = user in self._users(order.user_digest)
                else:
                    covered = (order.since is None or moment >= order.since) and moment <= order.until
                if covered:
                    del self.kept[instance, number]

    @staticmethod
    def _users(digest: str | None) -> list[str]:
        return [user for user in USERS if user_digest(user) == digest]

    def _check(self) -> None:
        self.lake.load()
        assert [(row["instance"], row["sequence"]) for row in read_rows(self.lake)] == sorted(self.kept)
        if any(self.last.values()):
            self.lake.closes()


Histories.TestCase.settings = settings(max_examples=12, stateful_step_count=16, deadline=None)
TestHistories = Histories.TestCase
