"""No restriction ever widens, at no moment and for no instance, whatever was recorded before it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from consent.conftest import NOON, amendment, histories, moments
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.consent.records import Activation, DeploymentDecision, Override, Record, of_kind
from heliograph.registry.snapshot import AccountRecord, InstanceRecord, Snapshot, is_active

if TYPE_CHECKING:
    from datetime import datetime

LATER = NOON + timedelta(days=30)
TARGETS = st.sampled_from([None, "acme-1", "acme-2"])
LEVELS = st.sampled_from(Level)


def override(target: str | None, level: Level, recorded: datetime = NOON) -> Override:
    return Override(
        account="acme", instance=target, level=level, reason="asked for", recorded=recorded, recorded_by="support"
    )


def activation(instance: str | None, *, active: bool, recorded: datetime = NOON) -> Activation:
    return Activation(
        account="acme",
        instance=instance or "acme-1",
        active=active,
        reason="moved",
        recorded=recorded,
        recorded_by="support",
    )


def decision(level: Level, effective: datetime, recorded: datetime = NOON) -> DeploymentDecision:
    return DeploymentDecision(
        level=level, document="DEC-7", reason="agreed", effective=effective, recorded=recorded, recorded_by="product"
    )


def snapshot(records: list[Record], vendor: list[DeploymentDecision]) -> Snapshot:
    return Snapshot(
        version=1,
        accounts={"acme": AccountRecord(name="acme", added=NOON, records=tuple(records))},
        instances={
            name: InstanceRecord(
                name=name,
                account="acme",
                deployment=deployment,
                public_key="",
                fingerprint="",
                active=is_active(tuple(records), name),
                added=NOON,
            )
            for name, deployment in (("acme-1", Deployment.MANAGED), ("acme-2", Deployment.ON_PREMISES))
        },
        vendor=tuple(vendor),
    )


@st.composite
def whole_histories(draw: st.DrawFn) -> tuple[list[Record], list[DeploymentDecision]]:
    """Everything that can be recorded, in any order that keeps agreements before what is about them."""
    others = st.builds(override, TARGETS, LEVELS) | st.builds(activation, TARGETS, active=st.booleans())
    vendor = draw(st.lists(st.builds(decision, LEVELS, moments), max_size=3))
    return [*draw(histories()), *draw(st.lists(others, max_size=4))], vendor


@st.composite
def restrictions(draw: st.DrawFn, records: list[Record]) -> Record:
    """A record that takes something away from what `records` allow."""
    target = draw(TARGETS)
    standing = [each.level for each in of_kind(tuple(records), Override) if each.instance == target]
    narrower = min(draw(LEVELS), standing[-1] if standing else Level.EVENTS)
    since = draw(moments)
    redline = msgspec.structs.replace(amendment(99, redline="struck"), effective=since, recorded=LATER)
    kinds: list[Record] = [
        override(target, narrower, LATER),
        activation(target, active=False, recorded=LATER),
        decision(draw(st.sampled_from([Level.CRITICAL, Level.OFF])), since, LATER),
        msgspec.structs.replace(redline, agreement=getattr(records[0], "id", "")),
    ]
    return draw(st.sampled_from(kinds))


def all_levels(some: Snapshot, at: datetime) -> list[Level]:
    decisions = [some.level(name, at) for name in ("acme-1", "acme-2")]
    return [decision.level for decision in [*decisions, some.account_level("acme", at)]]


@given(whole_histories(), st.data(), moments)
def test_no_restriction_widens_at_any_moment(
    history: tuple[list[Record], list[DeploymentDecision]], data: st.DataObject, at: datetime
) -> None:
    records, vendor = history
    before = snapshot(records, vendor)
    restriction = data.draw(restrictions(records))
    if isinstance(restriction, DeploymentDecision):
        # The latest decision stands, so that one is a restriction only if it is no wider than those before it.
        level = min([restriction.level, *(each.level for each in vendor)])
        restriction = msgspec.structs.replace(restriction, level=level)
        after = snapshot(records, [*vendor, restriction])
    else:
        after = snapshot([*records, restriction], vendor)
    assert all(new <= old for old, new in zip(all_levels(before, at), all_levels(after, at), strict=True))
    # What was recorded later changes no answer about the time before.
    assert all_levels(after.as_of(NOON), at) == all_levels(before, at)


@given(whole_histories(), moments)
def test_an_instance_is_never_wider_than_its_account(
    history: tuple[list[Record], list[DeploymentDecision]], at: datetime
) -> None:
    first, second, account = all_levels(snapshot(*history), at)
    assert max(first, second) <= account
