"""Salesforce over real TLS: pages, batches, an expired session, and every failure told once with what to do."""

from __future__ import annotations

import traceback
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from heliograph.registry.crm import Change, CrmAccount, CrmError, Outcome
from heliograph.registry.salesforce import SalesforceCrm
from heliograph.settings import CrmSettings
from salesforce_server import ACCOUNT, DATE, DROP, HANG, KEY, SECRET, VALUE, FakeSalesforce, Reply, error, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = date(2026, 10, 1)
LOGIN, QUERY, WRITE = "/oauth2/token", "/query", "/composite/sobjects"

Opened = tuple[SalesforceCrm, list[float]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSalesforce]:
    with FakeSalesforce(tmp_path_factory.mktemp("salesforce")) as server:
        yield server


@pytest.fixture
def salesforce(server: FakeSalesforce) -> FakeSalesforce:
    server.reset()
    return server


@pytest.fixture
def opened(salesforce: FakeSalesforce) -> Iterator[Callable[..., Opened]]:
    """Return a maker of clients, each with the pauses that it made."""
    made = []

    def make(**changes: Any) -> Opened:
        slept: list[float] = []
        crm = SalesforceCrm(salesforce.settings(**changes), pauses=(1, 4), sleep=slept.append)
        made.append(crm)
        return crm, slept

    yield make
    for crm in made:
        crm.close()


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(CrmError) as caught:
        act()
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert "00D!session" not in told
    assert caught.value.__context__ is None or SECRET not in repr(caught.value.__context__)
    [problem] = caught.value.problems
    assert problem.isprintable()
    return problem


def change(reference: str, *, allowed: bool = True) -> Change:
    return Change(reference=reference, account="acme", allowed=allowed, since=DAY)


def accounts(crm: SalesforceCrm) -> list[str | None]:
    return [record.account for record in crm.read()]


def test_all_pages_are_read_in_one_session(salesforce: FakeSalesforce, opened: Callable[..., Opened]) -> None:
    salesforce.page = 2
    names = [f"account-{number}" for number in range(5)]
    for name in names:
        salesforce.add(name, "No")
    crm, _ = opened()
    assert accounts(crm) == names
    assert (salesforce.count(LOGIN), salesforce.count(QUERY)) == (1, 3)
    assert accounts(crm) == names
    assert salesforce.count(LOGIN) == 1


def test_an_account_is_ours_by_its_field_or_by_its_yes(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    salesforce.add(None, "No")
    salesforce.add(None, None)
    yes = salesforce.add(None, "Yes", "2026-10-01")
    acme = salesforce.add(" acme ", "Perhaps", "soon")
    assert opened()[0].read() == [
        CrmAccount(reference=yes, account=None, allowed=True, since=DAY),
        CrmAccount(reference=acme, account="acme", allowed=None, since=None),
    ]


def test_records_are_written_in_batches_as_the_field_wants_them(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    references = [salesforce.add(f"account-{number}", "No") for number in range(5)]
    crm, _ = opened(batch_records=2)
    outcomes = crm.write([change(reference) for reference in references])
    assert all(outcome.problem is None for outcome in outcomes)
    assert salesforce.count(WRITE) == 3
    assert {(record[VALUE], record[DATE]) for record in salesforce.records.values()} == {("Yes", "2026-10-01")}
    salesforce.checkbox = True
    checkbox, _ = opened(value_kind="checkbox")
    checkbox.write([change(references[0]), change(references[1], allowed=False)])
    assert [salesforce.records[reference][VALUE] for reference in references[:2]] == [True, False]
    assert [record.allowed for record in checkbox.read()[:2]] == [True, False]


def test_one_refused_record_stops_no_other(salesforce: FakeSalesforce, opened: Callable[..., Opened]) -> None:
    references = [salesforce.add(f"account-{number}", "No") for number in range(3)]
    salesforce.refused[references[1]] = [refusal("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Needs\x1b[31m an owner")]
    first, second, third = opened()[0].write([change(reference) for reference in references])
    assert (first.problem, third.problem) == (None, None)
    assert second.problem == (
        "FIELD_CUSTOM_VALIDATION_EXCEPTION: Needs [31m an owner; "
        "a rule of your organisation refuses it: mend the account, or the rule"
    )


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("INVALID_FIELD_FOR_INSERT_UPDATE", "field-level security"),
        ("INSUFFICIENT_ACCESS_OR_READONLY", "let the app's user edit accounts"),
        ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "look at crm.yes and crm.no"),
        ("ENTITY_IS_DELETED", "run it again"),
        ("SOMETHING_NEW", "mend the account in the CRM"),
    ],
)
def test_a_refused_record_is_told_with_its_remedy(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], code: str, remedy: str
) -> None:
    reference = salesforce.add("acme", "No")
    salesforce.refused[reference] = [refusal(code)]
    [outcome] = opened()[0].write([change(reference)])
    assert str(outcome.problem).startswith(f"{code}: as told; ")
    assert remedy in str(outcome.problem)


def test_a_locked_record_alone_is_written_again_after_a_pause(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    references = [salesforce.add(f"account-{number}", "No") for number in range(3)]
    salesforce.refused[references[2]] = [refusal("UNABLE_TO_LOCK_ROW")] * 2
    crm, slept = opened()
    assert [outcome.problem for outcome in crm.write([change(each) for each in references])] == [None] * 3
    assert slept == [1, 4]
    assert [asked.body.count("attributes") for asked in salesforce.asked if WRITE in asked.path] == [3, 1, 1]


def test_a_record_that_stays_locked_is_told(salesforce: FakeSalesforce, opened: Callable[..., Opened]) -> None:
    reference = salesforce.add("acme", "No")
    salesforce.refused[reference] = [refusal("UNABLE_TO_LOCK_ROW")] * 9
    crm, slept = opened()
    [outcome] = crm.write([change(reference)])
    assert outcome.problem == ("UNABLE_TO_LOCK_ROW: as told; somebody else is changing this account: run it again")
    assert slept == [1, 4]


def test_an_expired_session_is_renewed_once_wherever_it_ends(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    salesforce.page = 1
    references = [salesforce.add(f"account-{number}", "No") for number in range(3)]
    crm, slept = opened()
    crm.read()
    salesforce.sessions.clear()
    salesforce.fail("query/01g1-2", error("INVALID_SESSION_ID", "Session expired or invalid", 401))
    assert len(crm.read()) == 3
    salesforce.sessions.clear()
    assert [outcome.problem for outcome in crm.write([change(references[0])])] == [None]
    assert (salesforce.count(LOGIN), slept) == (4, [])


def test_a_session_that_is_refused_right_after_login_ends_with_the_remedy(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    crm, slept = opened()
    salesforce.fail(QUERY, *[error("INVALID_SESSION_ID", "Session expired or invalid", 401)] * 3)
    assert "look at the policies of the connected app" in failure(crm.read)
    assert (salesforce.count(LOGIN), salesforce.count(QUERY), slept) == (2, 2, [])


PASSING = [
    Reply(503, [{"message": "Server unavailable", "errorCode": "SERVER_UNAVAILABLE"}]),
    Reply(500, "<html>oops</html>"),
    Reply(502, ""),
    Reply(429, ""),
    DROP,
]


@pytest.mark.parametrize("part", [LOGIN, QUERY, WRITE])
@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: str(reply.status))
def test_what_passes_is_asked_again_and_no_longer_than_the_pauses_go(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], part: str, reply: Reply
) -> None:
    reference = salesforce.add("acme", "No")

    def act() -> object:
        return (crm.read(), crm.write([change(reference)]))

    salesforce.fail(part, reply, reply)
    crm, slept = opened()
    act()
    assert slept == [1, 4]
    assert salesforce.records[reference][VALUE] == "Yes"
    salesforce.sessions.clear()
    salesforce.fail(part, reply, reply, reply)
    assert "again later" in (told := failure(act)) or "look at crm.url and at the network" in told


def test_an_answer_that_does_not_come_in_time_is_told(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    salesforce.fail(QUERY, HANG, HANG, HANG)
    crm, slept = opened(timeout_seconds=0.2)
    assert "did not answer in time; try again later, or raise crm.timeout_seconds" in failure(crm.read)
    assert slept == [1, 4]


@pytest.mark.parametrize(
    ("part", "reply", "said"),
    [
        (LOGIN, Reply(400, {"error": "invalid_client", "error_description": "no"}), "400 invalid_client: no; look at"),
        (LOGIN, Reply(400, {"error": "invalid_grant", "error_description": "x"}), "give the connected app a user"),
        (LOGIN, Reply(400, {"error": "unsupported_grant_type"}), "switch on the client credentials flow"),
        (LOGIN, Reply(200, "<html>"), "is not one of its API"),
        (LOGIN, Reply(200, []), "is not one of its API"),
        (LOGIN, Reply(200, {"access_token": "x"}), "is not one of its API"),
        (LOGIN, Reply(200, {"instance_url": "https://localhost"}), "is not one of its API"),
        (LOGIN, Reply(200, {"access_token": "x\r\ny", "instance_url": "https://localhost"}), "is not one of its API"),
        (LOGIN, Reply(200, {"access_token": "x", "instance_url": "https://a@b/c"}), "is not one of its API"),
        (LOGIN, Reply(302, ""), "answered 302; look at crm.url"),
        (QUERY, error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403), "try again in some hours"),
        (QUERY, error("INVALID_FIELD", "No such column"), "field-level security of the app's user"),
        (QUERY, error("INVALID_TYPE", "sObject type 'Account' is not supported."), "let the app's user read accounts"),
        (QUERY, error("API_DISABLED_FOR_ORG", "x", 403), "let the app's user use the API"),
        (QUERY, error("NOT_FOUND", "x", 404), "look at crm.url and crm.api_version"),
        (QUERY, Reply(404, "<html>"), "answered 404; look at crm.url"),
        (QUERY, Reply(401, "nothing"), "answered 401"),
        (QUERY, Reply(401, {}), "answered 401"),
        (QUERY, Reply(400, []), "answered 400"),
        (QUERY, Reply(302, ""), "answered 302; look at crm.url"),
        (QUERY, Reply(200, "{"), "is not one of its API"),
        (QUERY, Reply(200, "null"), "is not one of its API"),
        (QUERY, Reply(200, {"done": True}), "is not one of its API"),
        (QUERY, Reply(200, {"done": True, "records": [{}]}), "is not one of its API"),
        (QUERY, Reply(200, {"done": False, "records": []}), "is not one of its API"),
        (QUERY, Reply(200, {"done": False, "records": [], "nextRecordsUrl": "@evil"}), "is not one of its API"),
        (WRITE, Reply(200, "7"), "is not one of its API"),
        (WRITE, Reply(200, []), "is not one of its API"),
        (WRITE, Reply(200, [{"success": True}] * 2), "is not one of its API"),
        (WRITE, Reply(200, [{"success": "yes"}]), "is not one of its API"),
        (WRITE, error("INVALID_FIELD", "No such column"), "field-level security of the app's user"),
    ],
)
def test_what_does_not_pass_is_told_at_once_with_its_remedy(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], part: str, reply: Reply, said: str
) -> None:
    reference = salesforce.add("acme", "No")
    salesforce.fail(part, reply)
    crm, slept = opened()
    assert said in failure(lambda: (crm.read(), crm.write([change(reference)])))
    assert slept == []


def test_pages_that_lead_in_a_circle_end(salesforce: FakeSalesforce, opened: Callable[..., Opened]) -> None:
    circle = Reply(200, {"done": False, "records": [], "nextRecordsUrl": "/services/data/v62.0/query/01g1-0"})
    salesforce.fail(QUERY, circle, circle, circle)
    assert "is not one of its API" in failure(opened()[0].read)
    assert salesforce.count(QUERY) == 2


def test_when_a_later_batch_cannot_be_sent_what_was_written_is_told_apart(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    references = [salesforce.add(f"account-{number}", "No") for number in range(5)]
    crm, _ = opened(batch_records=2)
    crm.read()
    fine: list[dict[str, Any]] = [{"success": True, "errors": []}] * 2
    salesforce.fail(WRITE, Reply(200, fine), error("REQUEST_LIMIT_EXCEEDED", "Limit exceeded", 403))
    outcomes: list[Outcome] = crm.write([change(reference) for reference in references])
    assert [outcome.problem is None for outcome in outcomes] == [True, True, False, False, False]
    assert all("try again in some hours; run it again" in str(outcome.problem) for outcome in outcomes[2:])
    assert salesforce.count(WRITE) == 2


def test_a_missing_field_is_named(salesforce: FakeSalesforce, opened: Callable[..., Opened]) -> None:
    salesforce.fields.remove(DATE)
    told = failure(opened()[0].read)
    assert f"No such column '{DATE}'" in told
    assert "crm.date_field" in told


def test_values_in_a_query_are_escaped(salesforce: FakeSalesforce, opened: Callable[..., Opened]) -> None:
    salesforce.add(None, "No")
    word = "Y' OR Id != null OR Name = '\\"
    odd = salesforce.add(None, word)
    assert [record.reference for record in opened(yes=word)[0].read()] == [odd]


def test_fields_are_found_whatever_the_case_of_their_names(
    salesforce: FakeSalesforce, opened: Callable[..., Opened]
) -> None:
    rows = [{"Id": "001", ACCOUNT: "acme", VALUE: "Yes", DATE: None}]
    salesforce.fail(QUERY, Reply(200, {"done": True, "records": rows}))
    assert accounts(opened(account_field=ACCOUNT.lower())[0]) == ["acme"]


def test_a_server_with_another_certificate_is_not_talked_to(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the environment trusts is not what the settings name.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(salesforce.authority))
    with FakeSalesforce(tmp_path) as other:
        crm, slept = opened(certificate_authority=str(other.authority))
        assert "certificate cannot be verified; look at crm.url" in failure(crm.read)
    assert (salesforce.asked, slept) == ([], [])


def test_a_login_of_the_system_for_this_host_is_not_used(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login x password y\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert accounts(opened()[0]) == []


def test_a_host_that_does_not_answer_is_told(opened: Callable[..., Opened]) -> None:
    crm, slept = opened(url="https://localhost:1")
    assert "https://localhost:1: Salesforce cannot be reached; look at crm.url" in failure(crm.read)
    assert slept == [1, 4]


@pytest.mark.parametrize("part", [LOGIN, QUERY, WRITE])
def test_a_server_that_repeats_secrets_does_not_make_us_tell_them(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], part: str
) -> None:
    reference = salesforce.add("acme", "No")
    crm, _ = opened()
    crm.read()
    session = next(iter(salesforce.sessions))
    escaped = "".join(f"\\u{ord(character):04x}" for character in SECRET)
    text = f'[{{"errorCode": "ODD {session}", "message": "{"x" * 280} {SECRET} {escaped}"}}]'
    salesforce.fail(part, Reply(400, text))
    if part == LOGIN:
        salesforce.sessions.clear()
    told = failure(lambda: (crm.read(), crm.write([change(reference)])))
    assert "canary" not in told
    crm.read()
    session = salesforce.asked[-1].authorization.removeprefix("Bearer ")
    salesforce.refused[reference] = [refusal(f"ODD {session}", f"{SECRET} {session}")]
    [outcome] = crm.write([change(reference)])
    assert outcome.problem is not None
    assert SECRET not in outcome.problem
    assert "00D!" not in outcome.problem


def problems_of(**changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "url": "https://x.my.salesforce.com",
        "consumer_key": KEY,
        "consumer_secret": SECRET,
    }
    try:
        SalesforceCrm(CrmSettings(**(given | changes))).close()
    except CrmError as error:
        return error.problems
    return []


def test_all_that_the_settings_lack_is_told_at_once(tmp_path: Path) -> None:
    changes = {
        "url": "http://x.my.salesforce.com",
        "api_version": "v62",
        "certificate_authority": str(tmp_path / "none.pem"),
        "consumer_key": "",
        "consumer_secret": "",
        "account_field": "Name, (SELECT Id FROM Contacts)",
        "value_field": "Same__c",
        "date_field": "same__c",
        "no": "yes",
    }
    problems = problems_of(**changes)
    assert [problem.partition(":")[0] for problem in problems] == [
        "crm.url",
        "crm.api_version",
        "crm.consumer_key",
        "crm.certificate_authority",
        "crm.account_field",
        "crm.account_field, crm.value_field, crm.date_field",
        "crm.yes, crm.no",
        "crm.consumer_secret",
    ]
    assert "HELIOGRAPH_CRM_CONSUMER_SECRET" in problems[-1]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "https://",
        "https://u:p@x.org",
        "https://x.org/path",
        "https://x.org?q",
        "https://x:y",
        "https://[",
        "x:",
    ],
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    [problem] = problems_of(url=url)
    assert problem.startswith("crm.url: is no https address")


def test_a_good_address_may_have_a_port_and_capitals() -> None:
    assert problems_of(url="https://X.my.salesforce.com:8443/") == []


def test_the_secret_is_taken_from_a_file_that_only_its_owner_may_read(
    salesforce: FakeSalesforce, opened: Callable[..., Opened], tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    file.chmod(0o600)
    assert accounts(opened(consumer_secret="", consumer_secret_file=str(file))[0]) == []
    file.chmod(0o640)
    [problem] = problems_of(consumer_secret="", consumer_secret_file=str(file))
    assert f"chmod 600 {file}" in problem
    assert SECRET not in problem
    file.chmod(0o600)
    for content in (b"", b"\xff" * 2_000, b"two\nlines"):
        file.write_bytes(content)
        [problem] = problems_of(consumer_secret="", consumer_secret_file=str(file))
        assert "does not hold one secret" in problem
    [problem] = problems_of(consumer_secret="", consumer_secret_file=str(tmp_path / "none"))
    assert "cannot be read" in problem


def test_a_client_shows_no_secret(opened: Callable[..., Opened]) -> None:
    crm, _ = opened()
    assert SECRET not in repr(crm) + repr(crm._connection) + str(crm._connection)
