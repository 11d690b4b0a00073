"""The contract of a CRM, on each kind of it; and after a synchronisation it says what the evidence does."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.consent.agreement import Agreement, Route
from heliograph.consent.level import Level
from heliograph.consent.records import Override, Unreadable
from heliograph.registry import mirror
from heliograph.registry.crm import Change, Crm, CrmAccount, CrmError, Finding, Standing, evidence
from heliograph.registry.snapshot import AccountRecord, Snapshot
from heliograph.settings import CrmSettings
from salesforce_server import DATE, VALUE, FakeSalesforce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Row = tuple[str, bool | None, date | None]
"""An account, what the CRM says of it, and since when."""

NOON = datetime(2026, 10, 20, 12, tzinfo=UTC)
DAY = date(2026, 10, 1)


class Place(Protocol):
    """A CRM with what somebody wrote into it."""

    def put(self, rows: list[Row]) -> None: ...

    def open(self) -> Any: ...


class FilePlace:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "crm.csv"

    def put(self, rows: list[Row]) -> None:
        lines = ["account,value,date", *(f"{name},{word(value)},{day or ''}" for name, value, day in rows)]
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def open(self) -> Any:
        return mirror.open_crm(CrmSettings(kind="csv", file=str(self.file)))


class SalesforcePlace:
    def __init__(self, server: FakeSalesforce, **changes: Any) -> None:
        self.server = server
        self.changes = changes

    def put(self, rows: list[Row]) -> None:
        self.server.reset()
        self.server.page = 2
        self.server.checkbox = "value_kind" in self.changes
        for name, value, day in rows:
            held = bool(value) if self.server.checkbox else word(value) or None
            self.server.add(name, held, day.isoformat() if day else None)

    @contextmanager
    def open(self) -> Iterator[Crm]:
        with mirror.open_crm(self.server.settings(batch_records=3, **self.changes)) as crm:
            yield crm


def word(value: bool | None) -> str:
    return "" if value is None else "Yes" if value else "No"


@pytest.fixture(scope="module")
def salesforce(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSalesforce]:
    with FakeSalesforce(tmp_path_factory.mktemp("salesforce")) as server:
        yield server


@pytest.fixture(scope="module", params=["csv", "picklist", "checkbox"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    if request.param == "csv":
        return FilePlace(tmp_path_factory.mktemp("crm"))
    server: FakeSalesforce = request.getfixturevalue("salesforce")
    return SalesforcePlace(server, **({"value_kind": "checkbox"} if request.param == "checkbox" else {}))


def said(records: list[CrmAccount]) -> set[Row]:
    return {(record.account or "", record.allowed, record.since) for record in records}


ROWS: list[Row] = [
    ("acme", True, DAY),
    ("globex", False, None),
    ("initech", False, date(2026, 9, 1)),
    ("umbrella", True, None),
    ("hooli", False, DAY),
]


def test_all_that_the_crm_says_is_read(place: Place) -> None:
    place.put(ROWS)
    with place.open() as crm:
        assert said(crm.read()) == set(ROWS)


def test_an_empty_crm_has_nothing_to_say(place: Place) -> None:
    place.put([])
    with place.open() as crm:
        assert crm.read() == []


def change_of(record: CrmAccount, *, allowed: bool, since: date) -> Change:
    return Change(reference=record.reference, account=record.account, allowed=allowed, since=since, before=record)


def test_what_is_written_is_read_and_nothing_else_changes(place: Place) -> None:
    place.put(ROWS)
    with place.open() as crm:
        changed = [record for record in crm.read() if record.account in {"acme", "globex"}]
        wanted = [change_of(record, allowed=not record.allowed, since=date(2026, 10, 9)) for record in changed]
        outcomes = crm.write(wanted)
        assert [(outcome.change, outcome.problem) for outcome in outcomes] == [(change, None) for change in wanted]
        rest = {row for row in ROWS if row[0] not in {"acme", "globex"}}
        new: set[Row] = {("acme", False, date(2026, 10, 9)), ("globex", True, date(2026, 10, 9))}
        assert said(crm.read()) == rest | new


def test_a_record_that_has_gone_keeps_no_other_from_being_written(place: Place) -> None:
    place.put(ROWS)
    with place.open() as crm:
        records = crm.read()
        gone = CrmAccount(reference="001gone", account="001gone", allowed=True, since=None)
        order = [*records[:2], gone, *records[2:]]
        outcomes = crm.write([change_of(record, allowed=False, since=DAY) for record in order])
        assert [outcome.change.reference for outcome in outcomes] == [record.reference for record in order]
        assert [outcome.problem is None for outcome in outcomes] == [record is not gone for record in order]
        assert "run it again" in str(outcomes[2].problem)
        assert said(crm.read()) == {(name, False, DAY) for name, _, _ in ROWS}


def test_a_new_record_is_added_where_that_is_possible_and_refused_elsewhere(place: Place) -> None:
    place.put(ROWS)
    with place.open() as crm:
        [outcome] = crm.write([Change(reference=None, account="cyberdyne", allowed=True, since=DAY)])
        assert (outcome.problem is None) == crm.can_add
        assert (("cyberdyne", True, DAY) in said(crm.read())) == crm.can_add


ACCOUNTS = ("acme", "globex", "initech", "umbrella")
DAYS = st.none() | st.dates(date(2026, 9, 1), date(2026, 10, 20))


def agreement(account: str, start: int, length: int | None, *, redline: bool) -> Agreement:
    begun = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=start)
    return Agreement(
        id=f"agreement-of-{account}",
        account=account,
        route=Route.NEW_CONTRACT,
        document="C-1",
        terms_version="2026-05",
        terms_digest="0a" * 32,
        recorded_by="legal",
        recorded=begun,
        effective_from=begun,
        effective_to=None if length is None else begun + timedelta(days=length),
        redline="struck" if redline else None,
    )


def account_records(name: str) -> st.SearchStrategy[AccountRecord]:
    agreements = st.builds(
        agreement, st.just(name), st.integers(0, 15), st.none() | st.integers(1, 15), redline=st.booleans()
    )
    overrides = st.builds(
        Override,
        account=st.just(name),
        level=st.sampled_from(Level),
        reason=st.just("asked for"),
        recorded_by=st.just("legal"),
        recorded=st.datetimes(datetime(2026, 10, 1), NOON.replace(tzinfo=None), timezones=st.just(UTC)),  # noqa: DTZ001
    )
    return st.builds(
        AccountRecord,
        name=st.just(name),
        added=st.just(datetime(2026, 9, 1, tzinfo=UTC)),
        records=st.tuples(
            st.lists(agreements, max_size=2, unique_by=lambda each: each.id),
            st.lists(overrides, max_size=1),
            st.lists(st.just(Unreadable(account=name, place="record 1")), max_size=1),
        ).map(lambda parts: tuple(record for part in parts for record in part)),
    )


SNAPSHOTS = st.sets(st.sampled_from(ACCOUNTS), min_size=1).flatmap(
    lambda names: st.builds(
        Snapshot,
        version=st.just(1),
        accounts=st.fixed_dictionaries({name: account_records(name) for name in sorted(names)}),
        instances=st.just({}),
    )
)
CRMS = st.dictionaries(
    st.sampled_from([*ACCOUNTS, "hooli", "wayne"]), st.tuples(st.sampled_from([True, False, None]), DAYS)
).map(lambda rows: [(name, value, day) for name, (value, day) in rows.items()])


def drift(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.standing not in {Standing.AGREES, Standing.UNKNOWN_IN_CRM}]


@settings(max_examples=30, deadline=None)
@given(snapshot=SNAPSHOTS, rows=CRMS)
def test_whatever_the_crm_said_after_a_synchronisation_nothing_differs_and_the_evidence_has_won(
    place: Place, snapshot: Snapshot, rows: list[Row]
) -> None:
    place.put(rows)
    known = evidence(snapshot, NOON)
    with place.open() as crm:
        done = mirror.sync(crm, snapshot, NOON)
        assert not [outcome for outcome in done.outcomes if outcome.problem is not None]
        findings = mirror.check(crm, snapshot, NOON)
        assert drift(findings) == []
        assert crm.can_add is False or not [each for each in findings if each.standing is Standing.UNKNOWN_IN_CRM]
        for record in crm.read():
            its = known.get(record.account or "")
            if its is None:
                assert not record.allowed
            else:
                assert (record.allowed, record.since) == (its.allowed, its.day)
        assert evidence(snapshot, NOON) == known
        assert mirror.sync(crm, snapshot, NOON).outcomes == []


def test_a_rehearsal_tells_the_same_and_writes_nothing(place: Place) -> None:
    place.put([("acme", True, DAY), ("hooli", True, None)])
    snapshot = snapshot_of("acme")
    with place.open() as crm:
        before = said(crm.read())
        rehearsed = mirror.sync(crm, snapshot, NOON, rehearse=True)
        assert said(crm.read()) == before
        assert mirror.sync(crm, snapshot, NOON).outcomes == rehearsed.outcomes
        assert len(rehearsed.outcomes) == 2
        assert said(crm.read()) == {("acme", False, date(2026, 9, 1)), ("hooli", False, NOON.date())}


def snapshot_of(*names: str) -> Snapshot:
    added = datetime(2026, 9, 1, tzinfo=UTC)
    accounts = {name: AccountRecord(name=name, added=added) for name in names}
    return Snapshot(version=1, accounts=accounts, instances={})


def test_an_empty_registry_does_not_wipe_the_crm(place: Place) -> None:
    place.put(ROWS)
    with place.open() as crm:
        with pytest.raises(CrmError, match=r"registry\.url: this registry has no account"):
            mirror.sync(crm, snapshot_of(), NOON)
        assert said(crm.read()) == set(ROWS)


def test_without_a_crm_there_is_a_remedy() -> None:
    with pytest.raises(CrmError, match=r"crm\.kind: no CRM is set"), mirror.open_crm(CrmSettings()):
        pass


def test_a_yes_of_a_record_that_names_no_account_becomes_no(salesforce: FakeSalesforce) -> None:
    salesforce.reset()
    reference = salesforce.add(None, "Yes")
    silent = salesforce.add(None, "No")
    with SalesforcePlace(salesforce).open() as crm:
        [record] = crm.read()
        assert (record.reference, record.account) == (reference, None)
        mirror.sync(crm, snapshot_of("acme"), NOON)
    assert (salesforce.records[reference][VALUE], salesforce.records[reference][DATE]) == ("No", "2026-10-20")
    assert salesforce.records[silent][DATE] is None
