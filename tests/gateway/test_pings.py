"""Pings over real TLS: within the form, the plan and the level, one a day, and nothing of theirs kept but numbers."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import hypothesis
import jwt
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import ACCOUNT, CANARY, INSTANCE, SMALL_PLAN, Vendor, as_lines, deliver, event, zstd
from heliograph.consent.level import Level
from heliograph.gateway.log_entries import PingEntry
from heliograph.gateway.log_reading import read_accounts, read_segment, segments
from heliograph.gateway.pings import FIRST_DAY, MOST_PING_BYTES
from heliograph.keys import load_or_create_key
from heliograph.ping import SMALLEST_GROUP
from heliograph.wire import NDJSON, RECEIPT_TYPE, PingAnswer, PingReceipt
from pinging import DAY, ping_fields, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    """One gateway for tests that each use days of their own."""
    with Vendor(tmp_path_factory.mktemp("vendor")).running() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def http(shared: Vendor) -> Iterator[httpx.Client]:
    with shared.http() as client:
        yield client


_days = (FIRST_DAY + timedelta(days=number) for number in itertools.count())


@pytest.fixture
def day() -> date:
    return next(_days)


def answer(response: httpx.Response) -> PingAnswer:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=PingAnswer)


def receipt(response: httpx.Response) -> PingReceipt:
    found = answer(response).receipt
    assert found is not None
    return found


def problem(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["remedy"]
    return str(body["type"])


def stored(vendor: Vendor, day: date | None = None) -> list[tuple[PingEntry, bytes]]:
    """The pings in the log; those of one day."""
    folder = vendor.folder / "log"
    found = (item for generation in segments(folder) for item in read_segment(folder, generation))
    pings = [(header, body) for _, header, body in found if isinstance(header, PingEntry)]
    return [(entry, body) for entry, body in pings if day in (None, entry.receipt.day)]


@pytest.mark.parametrize(
    ("encoding", "encode"), [("", bytes), ("gzip", gzip.compress), ("zstd", zstd)], ids=["plain", "gzip", "zstd"]
)
def test_a_ping_is_stored_and_answered_with_a_signed_receipt(
    shared: Vendor, http: httpx.Client, day: date, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    fields = ping_fields(day)
    body = encode(json.dumps(fields, indent=3).encode())
    found = answer(tell(http, body, encoding=encoding, content_type="Application/JSON; charset=utf-8"))
    assert found.receipt is not None
    assert (found.receipt.instance, found.receipt.day, found.duplicate) == (INSTANCE, day, False)
    assert found.receipt.digest == hashlib.sha256(body).hexdigest()
    assert found.receipt.agreement == shared.agreement
    [(entry, kept)] = stored(shared, day)
    assert (entry.receipt, entry.account) == (found.receipt, ACCOUNT)
    assert json.loads(kept) == fields
    assert not re.search(rb"\s", kept)
    public = load_or_create_key(shared.folder / "signing.pem").public_key()
    assert found.signature is not None
    signed = jwt.PyJWS(algorithms=["EdDSA"]).decode_complete(found.signature, public, algorithms=["EdDSA"])
    assert signed["header"]["typ"] == RECEIPT_TYPE
    assert msgspec.json.decode(signed["payload"], type=PingReceipt) == found.receipt
    assert http.get("/v1/account").json()["ping"]["day"] == day.isoformat()


@pytest.mark.parametrize(
    ("level", "said"), [(Level.OFF, "not_permitted"), (Level.CRITICAL, None), (Level.EVENTS, None)], ids=str
)
def test_a_ping_may_come_at_critical_and_above_and_nothing_at_off(
    tmp_path: Path, level: Level, said: str | None
) -> None:
    vendor = Vendor(tmp_path)
    with vendor.registry() as registry:
        registry.set_override(INSTANCE, level, reason="the customer asked")
    with vendor.running(), vendor.http() as http:
        response = tell(http, ping_fields())
        if said is None:
            assert receipt(response).agreement == (vendor.agreement if level is Level.EVENTS else None)
        else:
            assert problem(response) == said
            assert "the customer asked" in response.json()["detail"]
            assert problem(tell(http, b"not even JSON")) == said
    assert len(stored(vendor)) == (said is None)


def test_the_level_is_that_of_the_moment(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http, vendor.registry() as registry:
        receipt(tell(http, ping_fields(DAY)))
        registry.set_override(INSTANCE, Level.OFF, reason="the customer asked")
        end = datetime.now(UTC) + timedelta(seconds=10)
        taken = 1
        response = tell(http, ping_fields(DAY + timedelta(days=taken)))
        while response.status_code == 200 and datetime.now(UTC) < end:
            taken += 1
            response = tell(http, ping_fields(DAY - timedelta(days=1)))
        assert problem(response) == "not_permitted"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a field that it does not have": ({CANARY: 1}, "the ping: a field that it does not have"),
    "a nested one": ({"active_users": {"day": 9, "week": 9, "month": 9, CANARY: 1}}, "active_users: a field"),
    "a missing one": ({"active_users": {"day": 9, "week": 9}}, "active_users.month: missing"),
    "a string for a number": ({"active_users": {"day": CANARY, "week": 9, "month": 9}}, "active_users.day: not of"),
    "a fraction": ({"active_users": {"day": 9.5, "week": 9, "month": 9}}, "active_users.day: not of"),
    "a negative number": ({"features": {"search": {"users": -9, "events": 9}}}, "features.*.users: not of"),
    "a list": ({"facts": [CANARY]}, "facts: not of"),
    "a fact of a fact": ({"facts": {CANARY: {CANARY: CANARY}}}, "facts.*.*: not of"),
    "another format": ({"format": 2}, "format: not of"),
    "a moment for a day": ({"day": "2026-10-01T00:00:00Z"}, "day: not of"),
    "a field that looks like a place": ({"x` - at `$.facts": 1}, "a field that it does not have"),
    "a long plan": ({"plan": CANARY * 100}, "plan: not of"),
    "an undeclared fact": ({"facts": {CANARY: 1}}, "facts that the plan does not declare: 1"),
    "an undeclared feature": (
        {"features": {CANARY: {"users": 9, "events": 9}}},
        "features that the plan does not declare: 1",
    ),
    "free text as a plan": ({"plan": CANARY}, "plan: small and a version is expected"),
    "free text as an agent": ({"agent": CANARY}, "agent: a version of numbers"),
    "a small group": (
        {"features": {"search": {"users": 3, "events": 9}}},
        "features.search.users is about",
    ),
    "fewer events than users": (
        {"features": {"search": {"users": 9, "events": 8}}},
        "features.search: there are",
    ),
    "a plan's version in words": ({"plan": f"small@{CANARY}"}, "plan: small and a version is expected"),
    "a plan's version with a line": ({"plan": "small@1\n"}, "plan: small and a version is expected"),
    "an agent with a name": ({"agent": "1.0+jane"}, "agent: a version of numbers"),
    "before there was anything": ({"day": "2019-12-31"}, "day: 2020-01-01 or later"),
}


@pytest.mark.parametrize(("fields", "said"), BAD.values(), ids=BAD)
def test_a_ping_that_is_none_is_refused_with_the_field_and_without_its_value(
    shared: Vendor, http: httpx.Client, fields: dict[str, Any], said: str
) -> None:
    response = tell(http, ping_fields(next(_days)) | fields)
    assert (response.status_code, problem(response)) == (422, "bad_ping")
    assert said in response.json()["detail"]
    assert CANARY not in response.text


def test_all_that_is_wrong_by_the_plan_is_told_at_once(http: httpx.Client, day: date) -> None:
    response = tell(http, ping_fields(day, plan="", agent="", active_users={"day": 3, "week": 9, "month": 9}))
    assert [re.split("[: ]", each)[0] for each in response.json()["detail"].split("; ")] == [
        "plan",
        "agent",
        "active_users.day",
    ]


@pytest.mark.parametrize(
    ("body", "options", "status", "said"),
    [
        (b"", {}, 400, "damaged_body"),
        (b"{", {}, 400, "damaged_body"),
        (b'{"plan":"\xff"}', {}, 400, "damaged_body"),
        (b"[" * 100_000, {}, 422, "bad_ping"),
        (b"{}", {"encoding": "gzip"}, 400, "damaged_body"),
        (b"{}", {"encoding": "br"}, 415, "unknown_encoding"),
        (b"{}", {"content_type": NDJSON}, 415, "unknown_format"),
        (b" " * (MOST_PING_BYTES + 1), {}, 413, "body_too_large"),
        (zstd(b" " * (MOST_PING_BYTES + 1)), {"encoding": "zstd"}, 413, "inflated_too_large"),
        (gzip.compress(b" " * (MOST_PING_BYTES + 1)), {"encoding": "gzip"}, 413, "inflated_too_large"),
    ],
    ids=range(10),
)
def test_a_body_that_cannot_be_a_ping_is_refused(
    http: httpx.Client, body: bytes, options: dict[str, str], status: int, said: str
) -> None:
    response = tell(http, body, **options)
    assert (response.status_code, problem(response)) == (status, said)


def test_a_ping_needs_a_token_and_the_method(http: httpx.Client) -> None:
    assert problem(http.post("/v1/pings", headers={"authorization": ""}, json=ping_fields())) == "invalid_token"
    assert problem(http.get("/v1/pings")) == "method_not_allowed"


def test_a_day_that_is_not_over_waits_until_it_is(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    clock = datetime.now(UTC)
    midnight = datetime.combine(clock.date(), datetime.min.time(), UTC) + timedelta(days=1)
    body = ping_fields(clock.date())
    with vendor.running(now=lambda: clock), vendor.http() as http:
        response = tell(http, body)
        assert (response.status_code, problem(response)) == (425, "day_not_over")
        assert response.json()["now"] == int(clock.timestamp())
    with vendor.running(now=lambda: midnight), vendor.http() as http:
        assert receipt(tell(http, body)).day == clock.date()


def test_a_repetition_gets_the_first_receipt_an_earlier_day_none_and_another_ping_of_the_day_is_refused(
    tmp_path: Path,
) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        earlier, first = ping_fields(DAY), ping_fields(DAY + timedelta(days=1))
        receipt(tell(http, earlier))
        given = receipt(tell(http, first))
        again = answer(tell(http, first))
        assert (again.receipt, again.duplicate) == (given, True)
        assert again.signature is not None
        for body in (earlier, ping_fields(DAY, agent="9.9"), ping_fields(DAY - timedelta(days=9))):
            assert answer(tell(http, body)) == PingAnswer(receipt=None, duplicate=True)
        response = tell(http, first | {"agent": "0.1.1"})
        assert (response.status_code, problem(response)) == (409, "other_ping")
    assert [entry.receipt.day for entry, _ in stored(vendor)] == [DAY, DAY + timedelta(days=1)]


def test_a_repetition_is_known_under_a_plan_that_would_not_take_it_any_more(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        given = receipt(tell(http, ping_fields()))
    vendor.plan = msgspec.structs.replace(SMALL_PLAN, features={"navigation": "Following."}, events={})
    with vendor.running(), vendor.http() as http:
        assert answer(tell(http, ping_fields())).receipt == given
        assert problem(tell(http, ping_fields(DAY + timedelta(days=1)))) == "bad_ping"


def test_the_same_ping_many_times_at_once_is_stored_once(shared: Vendor, http: httpx.Client, day: date) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: answer(tell(http, ping_fields(day))), range(24)))
    assert sum(not each.duplicate for each in answers) == 1
    assert len({each.receipt for each in answers}) == 1
    assert len(stored(shared, day)) == 1


def test_of_many_pings_of_one_day_at_once_one_is_stored(shared: Vendor, http: httpx.Client, day: date) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: tell(http, ping_fields(day, agent=f"1.{n}")).status_code, range(16)))
    assert sorted(found) == [200] + [409] * 15
    assert len(stored(shared, day)) == 1


def test_a_restarted_gateway_knows_the_latest_ping_over_any_number_of_segments(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path, segment_bytes=4_096)
    latest = receipt_of = None
    for start in (0, 10):
        with vendor.running(), vendor.http() as http:
            if latest is not None:
                assert answer(tell(http, latest)).receipt == receipt_of
            for number in range(start, start + 10):
                latest = ping_fields(DAY + timedelta(days=number))
                receipt_of = receipt(tell(http, latest))
            for number in range(start * 10 + 1, start * 10 + 40):
                body = as_lines([event(number)])
                deliver(http, body, epoch=start + 1, numbers=(number, number), content_type=NDJSON, encoding="")
    assert len(segments(tmp_path / "log")) > 4
    with vendor.running(), vendor.http() as http:  # its newest segment has a checkpoint and no ping
        assert answer(tell(http, latest)).receipt == receipt_of
        assert problem(tell(http, {**ping_fields(DAY + timedelta(days=19)), "agent": "7"})) == "other_ping"
    assert read_accounts(tmp_path / "log")[INSTANCE].ping == receipt_of
    assert len(stored(vendor)) == 20


def test_what_did_not_reach_the_disk_is_not_acknowledged_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no")

    vendor = Vendor(tmp_path)
    with vendor.running(), vendor.http() as http:
        with monkeypatch.context() as patch:
            patch.setattr("heliograph.gateway.log.os.fdatasync", fail)
            assert problem(tell(http, ping_fields())) == "unavailable"
            assert http.get("/v1/account").json()["ping"] is None
        assert not answer(tell(http, ping_fields())).duplicate
        assert http.get("/v1/account").json()["ping"]["day"] == DAY.isoformat()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 4, 5, 6, 12, -1, 2**53 - 1, 2**53, 2**64, 10**40, 5.0, 5.5, 1e300])
    | st.sampled_from([CANARY, "", "small@1", "small@2", "0.2.0", f"1.0+{CANARY}", "2019-12-31", "2999-01-01"]),
    lambda values: (
        st.lists(values, max_size=2)
        | st.dictionaries(st.sampled_from(["day", "week", "month", "users", "events", "search", CANARY]), values)
    ),
    max_leaves=6,
)
counts = st.sampled_from([None, 0, 3, 5, 7, 9])
RISING = (0, None, 5, 9)  # in the order of what they stand for
few_or_many = st.sampled_from(RISING)
plausible = st.fixed_dictionaries(
    {},
    optional={
        "active_users": st.tuples(few_or_many, few_or_many, few_or_many).map(
            lambda users: dict(zip(("day", "week", "month"), sorted(users, key=RISING.index), strict=True))
        ),
        "features": st.dictionaries(
            st.sampled_from(["search", "navigation", "pages"]),
            few_or_many.map(lambda users: {"users": users, "events": None if users is None else users * 3}),
        ),
        "plan": st.sampled_from(["small@1", "small@2"]),
        "agent": st.sampled_from(["0.2.0", "1.0rc1"]),
    },
)
wild = st.fixed_dictionaries(
    {
        "active_users": st.fixed_dictionaries({"day": counts, "week": counts, "month": counts}) | json_values,
        "features": st.dictionaries(
            st.sampled_from(["search", "navigation", "pages", CANARY]),
            st.fixed_dictionaries({"users": counts, "events": counts}) | json_values,
            max_size=3,
        )
        | json_values,
    },
    optional={
        "facts": json_values,
        "plan": json_values,
        "agent": json_values,
        "format": json_values,
        CANARY: json_values,
    },
)
known = st.sampled_from(["facts", "plan", "agent", "features", "active_users", "format", "day"])
second_values = st.lists(st.tuples(known, json_values), max_size=2)
spaces = st.sampled_from(["", " ", "\n\t", " " * 50])
encodings: dict[str, Callable[[bytes], bytes]] = {"": bytes, "zstd": zstd, "gzip": gzip.compress}


def obeys_every_rule(ping: dict[str, Any]) -> bool:
    """The rules again, in other words than the gateway's."""

    def possible(users: int | None) -> range:
        return range(1, SMALLEST_GROUP) if users is None else range(users, users + 1)

    def told(users: int | None) -> bool:
        return users is None or users == 0 or users >= SMALLEST_GROUP

    day, week, month = (ping["active_users"][name] for name in ("day", "week", "month"))
    return (
        set(ping) == {"format", "day", "plan", "agent", "facts", "active_users", "features"}
        and ping["format"] == 1
        and date(2020, 1, 1) <= date.fromisoformat(ping["day"]) < datetime.now(UTC).date()
        and re.fullmatch("small@[0-9]+", ping["plan"], re.ASCII) is not None
        and re.fullmatch(r"[0-9a-z.]+", ping["agent"]) is not None
        and ping["facts"] == {}
        and set(ping["features"]) <= set(SMALL_PLAN.features)
        and all(map(told, (day, week, month)))
        and possible(day)[0] <= possible(week)[-1]
        and possible(week)[0] <= possible(month)[-1]
        and all(
            told(use["users"])
            and (use["users"] is None) == (use["events"] is None)
            and (use["users"] or 0) <= (use["events"] or 0)
            for use in ping["features"].values()
        )
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=plausible | wild,
    seconds=second_values,
    before=st.booleans(),
    space=spaces,
    encoding=st.sampled_from(list(encodings)),
)
def test_whatever_comes_is_refused_with_a_problem_or_is_a_ping_that_obeys_every_rule(
    shared: Vendor,
    http: httpx.Client,
    changes: dict[str, Any],
    seconds: list[tuple[str, Any]],
    before: bool,
    space: str,
    encoding: str,
) -> None:
    day = next(_days)
    pairs = list({**ping_fields(day), **changes}.items())
    pairs = [*seconds, *pairs] if before else [*pairs, *seconds]
    text = ",".join(f"{space}{json.dumps(key)}{space}:{json.dumps(value)}{space}" for key, value in pairs)
    response = tell(http, encodings[encoding](f"{{{text}}}".encode()), encoding=encoding)
    assert CANARY not in response.text
    hypothesis.event(f"status {response.status_code}")
    if response.status_code != 200:
        assert problem(response) in {"bad_ping", "day_not_over"}
        return
    assert not answer(response).duplicate
    [(entry, kept)] = stored(shared, day)
    assert obeys_every_rule(json.loads(kept))
    assert kept == msgspec.json.encode(json.loads(kept))
    assert CANARY.encode() not in kept + msgspec.json.encode(entry)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_make_the_gateway_fail(http: httpx.Client, body: bytes) -> None:
    assert problem(tell(http, body)) in {"bad_ping", "damaged_body"}


def _gzip_with_comment(content: bytes) -> bytes:
    sink = io.BytesIO()
    with gzip.GzipFile(filename=CANARY, fileobj=sink, mode="wb") as file:
        file.write(content)
    return sink.getvalue()


def test_nothing_of_a_ping_reaches_the_vendors_disk_but_its_declared_numbers(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    fields = ping_fields()
    valid = json.dumps(fields).encode()
    with vendor.running(), vendor.http() as http:
        for changes, _ in BAD.values():
            tell(http, fields | changes)
        tell(http, valid + CANARY.encode())
        tell(http, zstd(valid) + zstd(CANARY.encode()), encoding="zstd")
        tell(http, gzip.compress(valid) + CANARY.encode(), encoding="gzip")
        tell(http, json.dumps(fields | {"agent": CANARY}).encode())
        assert stored(vendor) == []
        twice = valid[:-1] + b',"agent":"' + CANARY.encode() + b'","agent":"0.1.0"}'
        taken = tell(http, _gzip_with_comment(b"\n" + twice), encoding="gzip")
        assert receipt(taken).day == DAY
    [(_, kept)] = stored(vendor)
    assert kept == msgspec.json.encode(fields | {"features": dict(sorted(fields["features"].items()))})
    assert CANARY.encode() not in vendor.stored_bytes()
