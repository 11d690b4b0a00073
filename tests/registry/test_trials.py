"""Trial links: an agreement exists if and only if somebody accepted, once, in time, the Terms that were shown."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from heliograph.consent.agreement import Agreement, Route
from heliograph.consent.deployment import Deployment
from heliograph.consent.level import Level
from heliograph.registry.errors import RegistryError
from heliograph.registry.store import Registry
from heliograph.registry.terms import Terms
from heliograph.registry.trials import (
    LinkState,
    LinkUnusableError,
    TermsChangedError,
    TrialLink,
    TrialLinks,
    address_problems,
)
from heliograph.settings import RegistrySettings, TrialsSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.conftest import Clock

TERMS = Terms(version="2026-10", digest="0a" * 32, content=b"Terms")
START = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def links(registry: Registry) -> TrialLinks:
    registry.add_account("acme")
    return TrialLinks(registry)


def create(links: TrialLinks, **fields: Any) -> tuple[TrialLink, str]:
    given: dict[str, Any] = {
        "days": 30,
        "created_by": "customer-engineering",
        "expires": START + timedelta(days=14),
    }
    return links.create("acme", **(given | fields))


def accept(links: TrialLinks, token: str, terms: Terms = TERMS) -> tuple[TrialLink, Agreement]:
    return links.accept(token, shown_digest=terms.digest, terms=terms)


def test_an_acceptance_is_an_agreement_with_its_evidence_and_enables_the_instance(
    links: TrialLinks, registry: Registry, new_key: Callable[[], str], clock: Clock
) -> None:
    registry.add_instance("acme-1", account="acme", deployment=Deployment.MANAGED, public_key=new_key())
    link, token = create(links)
    clock.pass_time(days=1)
    assert registry.level("acme-1", clock.now).level is Level.CRITICAL
    accepted, agreement = accept(links, token)
    assert agreement == Agreement(
        id="agreement-1",
        account="acme",
        route=Route.TRIAL_ENGINEER,
        document=f"acceptance page, {link.id}",
        terms_version="2026-10",
        terms_digest=TERMS.digest,
        recorded_by="customer-engineering",
        recorded=clock.now,
        effective_from=clock.now,
        effective_to=clock.now + timedelta(days=30),
    )
    assert registry.accounts()[0].records == (agreement,)
    assert (accepted.accepted, accepted.agreement) == (clock.now, agreement.id)
    assert links.find(token) == accepted
    assert registry.level("acme-1", clock.now).agreement == agreement.id
    assert registry.level("acme-1", clock.pass_time(days=30)).level is Level.CRITICAL


def test_a_token_is_random_and_only_its_digest_is_kept(links: TrialLinks, registry: Registry) -> None:
    drawn = iter([b"\x01" * 32, b"\x02" * 32])
    chosen = TrialLinks(registry, random_bytes=lambda count: next(drawn)[:count])
    assert [create(chosen)[1] for _ in range(2)] == ["AQEB" * 10 + "AQE", "AgIC" * 10 + "AgI"]
    tokens = {create(links)[1] for _ in range(20)}
    assert len(tokens) == 20
    assert {len(token) for token in tokens} == {43}
    with registry.read_transaction() as connection:
        held = str(connection.exec_driver_sql("SELECT * FROM trial_links").fetchall())
    assert not [token for token in tokens if token in held]


@pytest.mark.parametrize("token", ["", "A" * 43, "\x00", "é" * 5_000, "AQEB" * 10 + "AQF"])
def test_a_token_that_was_never_given_opens_nothing(token: str, links: TrialLinks, registry: Registry) -> None:
    create(TrialLinks(registry, random_bytes=lambda count: b"\x01" * count))
    assert links.find(token) is None
    with pytest.raises(LinkUnusableError) as caught:
        accept(links, token)
    assert (caught.value.link, caught.value.state) == (None, None)
    assert registry.snapshot().agreements() == {}


def test_all_that_is_wrong_with_a_link_is_told_at_once(links: TrialLinks) -> None:
    with pytest.raises(RegistryError) as caught:
        links.create("nobody", days=367, created_by=" ", expires=START)
    told = caught.value.problems
    assert len(told) == 4
    assert ["no account" in told[0], "created by" in told[1], "days is 367" in told[2], "has passed" in told[3]] == [
        True
    ] * 4
    with pytest.raises(RegistryError, match="no time zone"):
        create(links, expires=datetime(2026, 12, 1))  # noqa: DTZ001 - that is the mistake
    assert links.all() == []


def test_a_link_is_taken_back_with_a_reason_until_it_is_accepted(links: TrialLinks, clock: Clock) -> None:
    (first, token), (second, other), (third, late) = (
        create(links, expires=START + timedelta(days=n)) for n in (9, 9, 1)
    )
    links.revoke(first.id, reason="sent to the wrong customer")
    with pytest.raises(LinkUnusableError, match="revoked"):
        accept(links, token)
    accept(links, other)
    clock.pass_time(days=1)
    with pytest.raises(LinkUnusableError, match="expired"):
        accept(links, late)
    for name, said in (
        (first.id, "revoked already"),
        (second.id, "heliograph registry end agreement-1"),
        (third.id, "expired already"),
        ("trial-4", "no link 'trial-4'"),
        ("agreement-1", "no link"),
        ("trial-99999999999999999999", "no link"),
    ):
        with pytest.raises(RegistryError, match=said):
            links.revoke(name, reason="again")
    with pytest.raises(RegistryError, match="reason is empty"):
        links.revoke(third.id, reason="")
    found = links.all()
    assert [each.state(clock.now) for each in found] == [LinkState.REVOKED, LinkState.ACCEPTED, LinkState.EXPIRED]
    assert found[0].revoked_because == "sent to the wrong customer"


def test_of_many_who_accept_at_once_one_does(links: TrialLinks, registry: Registry) -> None:
    _, token = create(links)

    def press() -> bool:
        try:
            accept(links, token)
        except LinkUnusableError as error:
            assert error.state is LinkState.ACCEPTED  # noqa: PT017 - either end is right, a third is not
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        pressed = [pool.submit(press) for _ in range(8)]
    assert sum(each.result() for each in pressed) == 1
    assert len(registry.snapshot().agreements()) == 1


def test_what_fails_within_a_transaction_leaves_neither_agreement_nor_acceptance(
    links: TrialLinks, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = create(links)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("heliograph.registry.trials._change", fail)
        with pytest.raises(RuntimeError):
            accept(links, token)
    assert registry.snapshot().agreements() == {}
    accept(links, token)
    assert len(registry.snapshot().agreements()) == 1


@pytest.mark.parametrize(
    "address", ["http://host", "https://", "https://host/path", "https://host/", "https://a@host", "host", ""]
)
def test_an_address_that_no_link_can_begin_with_is_told(address: str) -> None:
    assert address_problems(TrialsSettings(public_address=address))


@pytest.mark.parametrize("address", ["https://trials.example", "https://localhost:8444", "https://[::1]:8444"])
def test_an_address_that_links_can_begin_with_is_taken(address: str) -> None:
    assert address_problems(TrialsSettings(public_address=address)) == []


@dataclass
class Expected:
    """What a link must be."""

    name: str
    token: str
    days: int
    expires: datetime
    revoked: bool = False
    accepted: bool = False

    def state(self, now: datetime) -> LinkState:
        if self.accepted:
            return LinkState.ACCEPTED
        if self.revoked:
            return LinkState.REVOKED
        return LinkState.OPEN if now < self.expires else LinkState.EXPIRED


class TrialHistories(RuleBasedStateMachine):
    """Whatever happens in whatever order, agreements are those of the acceptances that had to succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = START
        url = f"sqlite:///{Path(self.folder.name) / 'registry.db'}"
        self.registry = Registry.open(RegistrySettings(url=url), now=lambda: self.now)
        self.registry.add_account("acme")
        self.links = TrialLinks(self.registry)
        self.terms = [TERMS]
        self.expected: list[Expected] = []
        self.agreed: list[tuple[str, str, datetime, datetime]] = []

    def teardown(self) -> None:
        self.registry.close()
        self.folder.cleanup()

    @rule(days=st.integers(1, 366), hours=st.integers(1, 72))
    def create(self, days: int, hours: int) -> None:
        expires = self.now + timedelta(hours=hours)
        link, token = create(self.links, days=days, expires=expires)
        self.expected.append(Expected(link.id, token, days, expires))

    @rule(hours=st.integers(0, 48))
    def pass_time(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def publish_other_terms(self) -> None:
        number = len(self.terms)
        self.terms.append(Terms(version=f"2026-10.{number}", digest=f"{number:064x}", content=b"Other"))

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.expected))
        found = self.links.find(each.token)
        assert found is not None
        assert (found.id, found.state(self.now)) == (each.name, each.state(self.now))

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), people=st.integers(1, 3))
    def accept(self, data: st.DataObject, people: int) -> None:
        """One or several accept the same link at once, each on Terms that were shown at some time."""
        each = data.draw(st.sampled_from(self.expected))
        shown = data.draw(st.lists(st.sampled_from(self.terms), min_size=people, max_size=people))
        with ThreadPoolExecutor(people) as pool:
            outcomes = list(pool.map(lambda terms: self.try_to_accept(each.token, terms.digest), shown))
        if each.state(self.now) is not LinkState.OPEN:
            assert outcomes == [each.state(self.now)] * people
            return
        on_time = sum(terms is self.terms[-1] for terms in shown)
        assert outcomes.count("agreed") == min(on_time, 1)
        assert {"agreed", "terms changed", LinkState.ACCEPTED}.issuperset(outcomes)
        if on_time:
            each.accepted = True
            end = self.now + timedelta(days=each.days)
            self.agreed.append((f"acceptance page, {each.name}", self.terms[-1].digest, self.now, end))

    def try_to_accept(self, token: str, shown: str) -> str | LinkState | None:
        try:
            self.links.accept(token, shown_digest=shown, terms=self.terms[-1])
        except LinkUnusableError as error:
            return error.state
        except TermsChangedError:
            return "terms changed"
        return "agreed"

    @rule(token=st.text(max_size=50))
    def accept_with_a_token_of_nobody(self, token: str) -> None:
        assert self.try_to_accept(token, self.terms[-1].digest) is None

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.expected))
        if each.state(self.now) is LinkState.OPEN:
            self.links.revoke(each.name, reason="taken back")
            each.revoked = True
        else:
            with pytest.raises(RegistryError):
                self.links.revoke(each.name, reason="taken back")

    @invariant()
    def agreements_are_those_of_the_acceptances(self) -> None:
        agreements = self.registry.snapshot().agreements()
        found = [
            (each.document, each.terms_digest, each.effective_from, each.effective_to) for each in agreements.values()
        ]
        assert found == self.agreed
        links = self.links.all()
        assert [(link.id, link.state(self.now)) for link in links] == [
            (each.name, each.state(self.now)) for each in self.expected
        ]
        assert sorted(link.agreement for link in links if link.agreement) == sorted(agreements)


TestTrialHistories = TrialHistories.TestCase
TestTrialHistories.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
