"""Both ends with a plan that changes: the vendor's plan file, an agent that follows it, and the lake behind."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
from msgspec.structs import replace

from harness import INSTANCE, SMALL_PLAN, Vendor, definition
from heliograph.event import UNDECLARED
from heliograph.gateway.log_reading import read_accounts
from heliograph.gateway.plans import PlanInForce
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent
from heliograph.instance.https import tls_context
from heliograph.instance.plan_updates import plan_in_force
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key
from heliograph.lake.tables import event_files
from heliograph.plan.follow import FollowedPlan
from heliograph.plan.model import BooleanProperty, IntegerProperty, MemberProperty, Plan

if TYPE_CHECKING:
    from datetime import datetime

    from heliograph.instance.account import InstanceAccount
    from heliograph.lake.loader import Loader
    from heliograph.settings import Settings

CELL_RUN = definition(
    "pages",
    properties={
        "kind": MemberProperty(description="Which.", members=("code", "text")),
        "cells": IntegerProperty(description="How many.", maximum=100),
    },
)


def changed(plan: Plan = SMALL_PLAN, *, without: tuple[str, ...] = (), **events: Any) -> Plan:
    """The next version of a plan: with other events, and without some."""
    kept = {name: event for name, event in plan.events.items() if name not in without}
    found = kept | events
    features = {key: text for key, text in SMALL_PLAN.features.items() if key in {e.feature for e in found.values()}}
    return replace(plan, heliograph_plan=2, version=plan.version + 1, events=found, features=features)


def write_plan(file: Path, plan: Plan) -> None:
    """Put a plan into the place of the one that was there, as a minute ago: JSON is YAML as well."""
    new = file.with_suffix(".new")
    new.write_bytes(plan.canonical())
    stamp = time.time() - 60
    os.utime(new, (stamp, stamp))
    new.replace(file)


def followed(file: Path) -> FollowedPlan:
    """The plan in a file, which is looked at whenever it is asked for."""
    return FollowedPlan(file, ticks=itertools.count(1.0).__next__)


class Tampering(httpx.BaseTransport):
    """The way to the gateway, on which somebody changes the plan."""

    def __init__(self, beneath: httpx.BaseTransport) -> None:
        self.beneath = beneath
        self.plan: bytes | None = None
        self.paths: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        answer = self.beneath.handle_request(request)
        if self.plan is None or request.url.path != "/v1/plan":
            return answer
        answer.read()
        return httpx.Response(200, content=self.plan)

    def close(self) -> None:
        self.beneath.close()


class Site:
    """A vendor whose plan is a file, and an instance whose agent is at hand."""

    def __init__(self, vendor: Vendor, folder: Path, plan_file: Path, **agent: Any) -> None:
        self.vendor = vendor
        self.plan_file = plan_file
        self.settings: Settings = vendor.agent_settings(folder, **agent)
        self.outbox = Path(self.settings.recorder.outbox)
        self.ahead = 0.0
        self.now: datetime | None = None
        self.wire = Tampering(httpx.HTTPTransport(verify=tls_context(str(vendor.authority_file))))
        self.recorder = Recorder(self.settings.recorder, look_seconds=3600.0)

    def open(self, plan: Plan | FollowedPlan | None = None) -> None:
        """Start the agent."""
        key = load_or_create_key(Path(self.settings.agent.key))
        client = GatewayClient(self.settings.agent, key, transport=self.wire)
        self.agent = Agent(
            self.settings, plan, client=client, ticks=lambda: time.monotonic() + self.ahead, environment={}
        )

    def record(self, name: str, **what: Any) -> bool:
        """Record with what is declared by now, as a second later."""
        self.recorder._watch.look()
        return self.recorder.record(name, **({"user": 1} | what))

    def flush(self) -> None:
        """Let the recorder do what it does once a second."""
        self.recorder._watch.look()
        self.recorder._measure()
        self.recorder.flush()

    def round(self) -> None:
        """Let the agent do a round, some time after the last one."""
        self.flush()
        self.ahead += 400  # it asks again, whether it has something to send or not
        self.agent.round()

    def update(self, plan: Plan) -> None:
        write_plan(self.plan_file, plan)

    def plan(self) -> Plan:
        with closing(State(Path(self.settings.agent.state), exclusive=False)) as state:
            return plan_in_force(state.plans, None, pinned=False)

    def account(self) -> InstanceAccount:
        """The instance's account, which closes, and agrees with the gateway's."""
        with closing(State(Path(self.settings.agent.state), exclusive=False)) as state:
            account = read_account(state, self.outbox, plan_in_force(state.plans, None, pinned=False))
        assert account.closes(), account
        theirs = read_accounts(Path(self.vendor.settings.gateway.log)).get(INSTANCE)
        if theirs is not None:
            assert theirs.accepted == account.delivered
        return account

    def lake(self, loader: Loader) -> list[dict[str, Any]]:
        """Everything in the lake, once all is loaded."""
        while loader.load_round():
            pass
        files = event_files(self.vendor.settings.lake)
        if not files:
            return []
        with duckdb.connect() as connection:
            reading = f"read_parquet({files!r}, union_by_name = true, hive_partitioning = false)"
            query = f"select * exclude (received, agreement) from {reading} order by epoch, sequence"
            found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
        return found

    def close(self) -> None:
        self.recorder.close()
        self.agent.close()


__all__ = ["CELL_RUN", "UNDECLARED", "BooleanProperty", "PlanInForce", "Site", "changed", "followed", "write_plan"]
