"""What `as_of` says of a moment is what was said at that moment, whatever was recorded since."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from heliograph.consent.agreement import Route
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.keys import public_key_text
from heliograph.registry.errors import RegistryError
from heliograph.registry.store import Registry
from heliograph.settings import RegistrySettings
from registry.conftest import Clock

if TYPE_CHECKING:
    from heliograph.registry.snapshot import Snapshot

KEYS = {name: public_key_text(Ed25519PrivateKey.generate()) for name in ("acme-1", "acme-2")}
NAMES = st.sampled_from(["acme", "acme-1", "acme-2"])
HOURS = st.integers(-3, 6).map(lambda hours: timedelta(hours=hours))
EVIDENCE: dict[str, Any] = {
    "route": Route.ORDER_FORM,
    "document": "OF-2041",
    "terms_version": "2026-05",
    "terms_digest": "0a" * 32,
    "recorded_by": "legal",
}


class Histories(RuleBasedStateMachine):
    """A registry that is written step by step, an hour apart, and remembers what it said after each."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        file = Path(self.folder.name) / "registry.db"
        self.registry = Registry.open(RegistrySettings(url=f"sqlite:///{file}"), now=self.clock)
        self.said: list[tuple[datetime, Snapshot]] = []
        self.registry.add_account("acme")
        for name, deployment in (("acme-1", Deployment.MANAGED), ("acme-2", Deployment.ON_PREMISES)):
            self.registry.add_instance(name, account="acme", deployment=deployment, public_key=KEYS[name])
        self.registry.add_agreement("acme", **EVIDENCE)

    def teardown(self) -> None:
        self.registry.close()
        self.folder.cleanup()

    def agreements(self) -> list[str]:
        return list(self.registry.snapshot().agreements())

    @rule(start=HOURS, redline=st.none() | st.just("struck"))
    def agree(self, start: timedelta, redline: str | None) -> None:
        self.registry.add_agreement("acme", **EVIDENCE, effective_from=self.clock.now + start, redline=redline)

    @rule(data=st.data(), start=HOURS, change=st.sampled_from(["end", "redline", "lift", "terms"]), end=HOURS)
    def amend(self, data: st.DataObject, start: timedelta, change: str, end: timedelta) -> None:
        changes: dict[str, dict[str, Any]] = {
            "end": {"effective_to": self.clock.now + start + abs(end)},
            "redline": {"redline": "struck"},
            "lift": {"lifts_redline": True},
            "terms": {"terms_version": "2026-11", "terms_digest": "0b" * 32},
        }
        agreement = data.draw(st.sampled_from(self.agreements()))
        try:
            self.registry.amend_agreement(
                agreement,
                document="AM-1",
                recorded_by="legal",
                effective=self.clock.now + start,
                **changes[change],
            )
        except RegistryError as error:
            # What would make the records doubtful is refused.
            assert "agreement-" in str(error)  # noqa: PT017 - either outcome is right

    @rule(data=st.data(), effective=HOURS)
    def end(self, data: st.DataObject, effective: timedelta) -> None:
        agreement = data.draw(st.sampled_from(self.agreements()))
        self.registry.end_agreement(agreement, reason="over", effective=self.clock.now + effective)

    @rule(name=NAMES, level=st.sampled_from(Level))
    def override(self, name: str, level: Level) -> None:
        self.registry.set_override(name, level, reason="asked for")

    @rule(name=st.sampled_from(["acme-1", "acme-2"]), active=st.booleans())
    def activate(self, name: str, *, active: bool) -> None:
        self.registry.set_active(name, active=active)

    @rule(level=st.sampled_from([Level.EVENTS, Level.CRITICAL]), start=HOURS)
    def decide(self, level: Level, start: timedelta) -> None:
        effective = self.clock.now + start
        self.registry.decide_deployment(
            level, document="DEC-7", reason="agreed", recorded_by="product", effective=effective
        )

    @invariant()
    def the_past_is_told_as_it_was_told_then(self) -> None:
        latest = self.registry.snapshot()
        self.said.append((self.clock.now, latest))
        for moment, then in self.said:
            now = latest.as_of(moment)
            assert now.head("acme") == then.head("acme")
            for at in (moment - timedelta(hours=2), moment, moment + timedelta(hours=2)):
                for name in ("acme-1", "acme-2"):
                    assert now.permission(name, at) == then.permission(name, at)
                assert now.account_level("acme", at) == then.account_level("acme", at)
        assert self.registry.chain("acme").faults == ()
        assert not any("cannot" in reason for reason in latest.account_level("acme", self.clock.now).reasons)
        self.clock.pass_time(hours=1)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_an_account_is_told_by_its_own_word_and_override_whatever_its_instances(
    registry: Registry, clock: Clock
) -> None:
    registry.add_account("acme")
    registry.add_agreement("acme", **EVIDENCE)
    assert registry.snapshot().account_level("acme", clock.now).agreement == "agreement-1"
    registry.set_override("acme", Level.CRITICAL, reason="asked for")
    assert registry.snapshot().account_level("acme", clock.now).level is Level.CRITICAL
    assert registry.snapshot().account_level("nobody", clock.now).level is Level.OFF


def test_a_record_of_any_kind_is_added_to_its_own_chain_only(registry: Registry, clock: Clock) -> None:
    registry.add_account("acme")
    agreement = registry.add_agreement("acme", **EVIDENCE)
    registry.add_account("other")
    with pytest.raises(RegistryError, match="belongs to account acme, not to account other"):
        registry.append_record("other", agreement)
    with pytest.raises(RegistryError, match="no account 'nobody'"):
        registry.append_record("nobody", agreement)
    with pytest.raises(RegistryError, match="Two agreements have the id agreement-1"):
        registry.append_record("acme", agreement)
    assert registry.records("acme") == (agreement,)
    assert registry.snapshot().head("acme") == registry.chain("acme").head.digest
