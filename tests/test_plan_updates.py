"""A plan that changes while both ends run: what is newly declared arrives, and what is withdrawn stops."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from harness import CANARY, SMALL_PLAN, Vendor, as_lines, definition, deliver, event, zstd
from heliograph.consent.level import Level
from heliograph.consent.policy import Doubt
from heliograph.event import UNDECLARED
from heliograph.gateway.plans import PlanInForce
from heliograph.instance.state import State
from heliograph.instance.transport import GatewayRefusalError
from heliograph.lake.loader import Loader
from heliograph.plan.model import BooleanProperty, IntegerProperty, Retirement
from heliograph.wire import NDJSON, PLAN_PATH, POLICY_PATH
from updating import CELL_RUN, Site, changed, followed, write_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heliograph.plan.model import Plan

WITH_CELLS = changed(CellRun=CELL_RUN)


@contextmanager
def sites(tmp_path: Path, local: Plan | None = SMALL_PLAN, **agent: Any) -> Iterator[Site]:
    (tmp_path / "vendor").mkdir(exist_ok=True)
    file = tmp_path / "plan.yaml"
    if not file.exists():
        write_plan(file, SMALL_PLAN)
    with Vendor(tmp_path / "vendor").running(plan=PlanInForce(followed(file))) as vendor:
        site = Site(vendor, tmp_path / "instance", file, **agent)
        site.open(local)
        with closing(site):
            yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with sites(tmp_path) as site:
        site.round()
        yield site


@pytest.fixture
def loader(site: Site) -> Iterator[Loader]:
    vendor = site.vendor.settings
    with closing(Loader(vendor.gateway, vendor.lake, followed(site.plan_file))) as loader:
        yield loader


def test_an_event_recorded_before_it_is_declared_is_back_filled(site: Site, loader: Loader) -> None:
    assert site.record("CellRun", kind="code", cells=3, secret=CANARY)
    assert site.record("Unheard")
    assert site.record("PageViewed")
    site.round()
    account = site.account()
    assert account.delivered == {"PageViewed": 1}
    assert (account.pending, account.held) == ({UNDECLARED: 2}, {"CellRun": 1, "Unheard": 1})
    assert [row["name"] for row in site.lake(loader)] == ["PageViewed"]
    site.update(WITH_CELLS)
    site.round()
    assert site.record("CellRun", kind="text", cells=4)
    site.round()
    account = site.account()
    assert account.delivered == {"PageViewed": 1, "CellRun": 2}
    assert (account.pending, account.held) == ({UNDECLARED: 1}, {"Unheard": 1})
    assert account.left_out == {"CellRun": 1}
    found = [row for row in site.lake(loader) if row["name"] == "CellRun"]
    assert sorted((row["kind"], row["cells"], row["plan"]) for row in found) == [
        ("code", 3, "small@2"),
        ("text", 4, "small@2"),
    ]
    assert CANARY.encode() not in site.vendor.stored_bytes()


def test_a_back_filled_value_is_held_to_the_plan_like_any_other(site: Site) -> None:
    assert site.record("CellRun", kind="other")
    assert site.record("CellRun", cells=1_000)
    site.update(WITH_CELLS)
    site.round()
    assert site.account().dropped == {"CellRun": {"invalid_property": 2}}


def test_a_withdrawn_event_stops_at_once(site: Site, loader: Loader) -> None:
    assert site.record("PageViewed")
    assert site.record("goToDefinition")
    site.flush()
    site.update(changed(without=("PageViewed",)))
    site.round()
    account = site.account()
    assert account.delivered == {"goToDefinition": 1}
    assert account.dropped == {UNDECLARED: {"undeclared_event": 1}}
    assert not site.record("PageViewed")
    site.round()
    assert site.account().dropped["PageViewed"] == {"undeclared_event": 1}
    with site.vendor.http() as http:
        body = zstd(as_lines([event(1, "PageViewed")]))
        answer = deliver(http, body, epoch=7, numbers=(1, 1), content_type=NDJSON).json()
    assert answer["rejections"] == [{"verdict": "undeclared_event", "name": UNDECLARED, "sequence": 1}]
    assert [row["name"] for row in site.lake(loader)] == ["goToDefinition"]


def test_a_retired_event_is_not_set_aside(site: Site) -> None:
    assert site.record("CellRun")
    gone = Retirement(
        description="Cells.", feature="pages", until=datetime(2026, 1, 1, tzinfo=UTC).date(), reason="Old."
    )
    site.update(replace(changed(), retired={"CellRun": gone}))
    site.round()
    assert not site.record("CellRun")
    site.round()
    account = site.account()
    assert account.held == {}
    assert account.dropped == {UNDECLARED: {"undeclared_event": 1}, "CellRun": {"undeclared_event": 1}}


def test_between_two_words_of_the_vendor_a_batch_by_the_old_plan_is_built_anew(site: Site, loader: Loader) -> None:
    assert site.record("goToDefinition")
    assert site.record("CellRun", kind="code")
    site.flush()
    site.update(changed(without=("goToDefinition",), CellRun=CELL_RUN))
    with pytest.raises(GatewayRefusalError, match="another plan"):
        site.agent.round()  # the word of a moment ago is good enough to send by
    site.agent.round()
    assert site.account().delivered == {"CellRun": 1}
    assert [row["name"] for row in site.lake(loader)] == ["CellRun"]


def test_properties_come_and_go_and_their_columns_stay(site: Site, loader: Loader) -> None:
    def viewed(**properties: Any) -> Plan:
        return changed(PageViewed=definition("pages", properties=properties))

    lines, pinned = IntegerProperty(description="L.", maximum=9), BooleanProperty(description="P.")
    site.update(viewed(lines=lines))
    site.round()
    assert site.record("PageViewed", lines=1, pinned=True)
    site.round()
    assert site.record("PageViewed", lines=2, pinned=True)
    site.flush()
    site.update(replace(viewed(pinned=pinned), version=3))
    site.round()
    assert site.record("PageViewed", lines=3, pinned=True)
    site.round()
    assert [(row["plan"], row["lines"], row["pinned"]) for row in site.lake(loader)] == [
        ("small@2", 1, None),
        ("small@3", None, None),
        ("small@3", None, True),
    ]
    # The recorder left out `pinned` twice and `lines` once; the exporter `lines` once, which was queued.
    assert site.account().left_out == {"PageViewed": 4}


def test_a_renamed_event_leaves_under_its_present_name(site: Site, loader: Loader) -> None:
    assert site.record("PageViewed")
    site.flush()
    renamed = definition("pages", renamed_from=("PageViewed",))
    site.update(changed(without=("PageViewed",), PageOpened=renamed))
    site.round()
    assert site.record("PageViewed")
    assert site.record("PageOpened")
    site.round()
    assert site.account().delivered == {"PageOpened": 3}
    assert [row["name"] for row in site.lake(loader)] == ["PageOpened"] * 3
    today = datetime.now(UTC).date()
    with closing(State(Path(site.settings.agent.state), exclusive=False)) as state:
        used = {use.event for use in state.usage.read(today, days=2, sendable_only=True)}
    assert used == {"PageOpened"}


def test_by_a_limit_only_what_both_declare_leaves(tmp_path: Path) -> None:
    limit = replace(changed(without=("goToDefinition",)), version=1)
    with sites(tmp_path, limit, plan_updates="pinned") as site:
        site.round()
        site.update(WITH_CELLS)
        site.round()
        assert site.record("PageViewed")
        assert not site.record("goToDefinition"), "the admin has not let it pass"
        assert not site.record("CellRun")
        assert site.record("Unheard"), "nobody has said anything of it"
        site.round()
        assert site.account().delivered == {"PageViewed": 1}
        history = site.agent._state.plans.history()
        assert [update.label for update in history] == ["small@1", "small@2"]
        assert history[-1].changes.told() == {}


def test_a_limit_that_is_widened_holds_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    own = tmp_path / "instance" / "own.yaml"
    write_plan(own, SMALL_PLAN)
    with sites(tmp_path, None, plan_updates="pinned") as site:
        site.agent.close()
        site.open(followed(own))
        site.update(WITH_CELLS)
        site.round()
        assert not site.record("CellRun", kind="code")
        write_plan(own, WITH_CELLS)
        site.round()
        assert site.record("CellRun", kind="code")
        site.round()
        assert site.account().delivered == {"CellRun": 1}


def test_without_a_plan_of_its_own_an_instance_waits_for_the_vendors(tmp_path: Path) -> None:
    with sites(tmp_path, None) as site:
        assert site.record("PageViewed")
        assert site.plan().events == {}
        site.round()
        assert site.plan() == SMALL_PLAN
        assert site.account().delivered == {"PageViewed": 1}


@pytest.mark.parametrize(
    "content", [b"", b"{}", SMALL_PLAN.canonical(), WITH_CELLS.canonical()[:-1], b"\x00" * (2 << 20)]
)
def test_a_plan_that_cannot_be_read_is_a_doubt(site: Site, content: bytes) -> None:
    site.update(WITH_CELLS)
    site.wire.plan = content
    assert site.record("PageViewed")
    site.round()
    decision = site.agent.decide()
    assert decision.level is Level.OFF
    assert Doubt.UNREADABLE_PLAN.sentence in decision.reasons[0]
    assert site.account().pending == {"PageViewed": 1}, "nothing is purged for a doubt"
    site.wire.plan = None
    site.round()
    assert site.account().delivered == {"PageViewed": 1}
    assert site.plan() == WITH_CELLS


def test_the_plan_is_asked_for_once(site: Site) -> None:
    assert site.wire.paths.count(PLAN_PATH) == 0, "its own was the same"
    site.update(WITH_CELLS)
    for _ in range(3):
        site.round()
    assert site.wire.paths.count(PLAN_PATH) == 1
    assert site.wire.paths.count(POLICY_PATH) >= 4


def test_an_agent_that_dies_between_a_plan_and_its_policy_goes_on(
    site: Site, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.record("CellRun", kind="code")
    site.flush()
    site.update(WITH_CELLS)

    def die(*_: object) -> None:
        raise sqlite3.OperationalError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(site.agent._state, "keep_policy", die)
        with pytest.raises(sqlite3.OperationalError):
            site.round()
    site.agent.close()
    site.open(SMALL_PLAN)
    assert site.agent._plans.plan == WITH_CELLS
    site.round()
    assert site.account().delivered == {"CellRun": 1}
    assert [row["kind"] for row in site.lake(loader)] == ["code"]


def test_a_gateway_that_starts_again_with_another_plan_is_followed(tmp_path: Path) -> None:
    with sites(tmp_path) as site:
        site.round()
        assert site.record("CellRun", kind="code")
        site.round()
        vendor = site.vendor
    write_plan(tmp_path / "plan.yaml", WITH_CELLS)
    with vendor.running(plan=PlanInForce(followed(tmp_path / "plan.yaml"))):
        again = Site(vendor, tmp_path / "instance", tmp_path / "plan.yaml")
        again.open(SMALL_PLAN)
        with closing(again):
            again.round()
            assert again.account().delivered == {"CellRun": 1}


def test_what_no_plan_declares_in_time_is_given_up_and_accounted_for(site: Site, tmp_path: Path) -> None:
    assert site.record("CellRun")
    site.round()
    assert site.account().held == {"CellRun": 1}
    site.recorder.close()
    site.agent._exporter._set_aside._now = lambda: datetime.now(UTC) + timedelta(days=30)
    site.round()
    account = site.account()
    assert account.held == {}
    assert account.dropped == {UNDECLARED: {"undeclared_event": 1}}
    with closing(site.vendor.client()) as client:
        assert client.account().absent == {UNDECLARED: {"undeclared_event": 1}}


def test_what_is_set_aside_is_purged_when_somebody_says_no(site: Site) -> None:
    assert site.record("CellRun")
    site.round()
    site.agent._exporter.purge()
    account = site.account()
    assert (account.held, account.pending) == ({}, {})
    assert account.dropped == {UNDECLARED: {"not_permitted": 1}}
    site.recorder.close()
    site.round()
    site.round()
    assert not list((site.outbox / "held").iterdir()), "what was owed is told, and the epoch is gone"


def test_the_admin_sees_which_plan_is_in_force_since_when_and_what_it_changed(site: Site) -> None:
    site.update(changed(without=("goToDefinition",), CellRun=CELL_RUN))
    site.round()
    first, second = site.agent._state.plans.history()
    assert (first.label, second.label) == ("small@1", "small@2")
    assert first.changes.declared == ("SearchSubmitted", "goToDefinition", "PageViewed")
    assert second.changes.told() == {"declared": ("CellRun",), "withdrawn": ("goToDefinition",)}
    assert second.digest == site.plan().digest()
