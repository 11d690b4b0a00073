"""From rows to events: only what the plan declares, and an event for every row, whatever it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.event import UNDECLARED, format_time
from heliograph.instance.event_logs import Cursor
from heliograph.instance.event_rows import MAXIMUM_ARGUMENT_BYTES, EventRows, rfc3339
from product_database import PLAN, insert

if TYPE_CHECKING:
    from product_database import ProductDatabase

ROWS = EventRows(PLAN)


def read_row(product: ProductDatabase, **columns: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """Insert one row, read it, and return its event and what was stripped."""
    insert(product.connect(), **columns)
    found = product.source().read(Cursor())
    [event] = found.events
    return event, found.stripped


def test_a_row_becomes_a_flat_event(product: ProductDatabase) -> None:
    event, stripped = read_row(product, public_argument='{"number": 3, "language": "go", "first": true}')
    assert event == {
        "name": "Opened",
        "time": "2026-10-01T10:00:00.000000Z",
        "user": "u:7",
        "outcome": "ok",
        "version": "5.3.1",
        "source": "BACKEND",
        "number": 3,
        "language": "go",
        "first": True,
    }
    assert stripped == {}


def test_an_event_without_the_outcome_ok_has_none(product: ProductDatabase) -> None:
    assert read_row(product, name="Failed")[0]["outcome"] is None


@pytest.mark.parametrize("user_id", [0, None])
def test_a_user_without_a_number_is_the_anonymous_one(product: ProductDatabase, user_id: int | None) -> None:
    assert read_row(product, user_id=user_id, anonymous_user_id="some-uuid")[0]["user"] == "a:some-uuid"


def test_a_row_without_any_user_has_none(product: ProductDatabase) -> None:
    assert read_row(product, user_id=None, anonymous_user_id="")[0]["user"] is None


@pytest.mark.parametrize("version", [None, "", "5.3.1-private-build", "v5", "1.2.3.4.5"])
def test_a_version_of_another_form_is_not_taken(product: ProductDatabase, version: str | None) -> None:
    assert read_row(product, version=version)[0]["version"] is None


def test_of_an_undeclared_event_nothing_but_its_time_is_taken(product: ProductDatabase) -> None:
    event, stripped = read_row(product, name="SecretProject", public_argument='{"number": 1, "secret": "canary"}')
    assert event == {"name": UNDECLARED, "time": "2026-10-01T10:00:00.000000Z"}
    assert stripped == {}


def test_a_name_that_is_cut_does_not_become_a_declared_one(product: ProductDatabase) -> None:
    longest = "A" * 64
    plan = msgspec.structs.replace(PLAN, events={longest: PLAN.events["Opened"]})
    writer = product.connect()
    insert(writer, name=longest)
    insert(writer, name=f"{longest}B")
    found = product.source(plan).read(Cursor())
    assert [event["name"] for event in found.events] == [longest, UNDECLARED]


def test_undeclared_properties_are_left_out_and_counted(product: ProductDatabase) -> None:
    event, stripped = read_row(product, public_argument='{"number": 1, "query": "canary", "path": {"a": "canary"}}')
    assert "canary" not in str(event)
    assert event["number"] == 1
    assert stripped == {"Opened": 2}


def test_bad_values_of_declared_properties_are_passed_on_to_be_judged(product: ProductDatabase) -> None:
    event, stripped = read_row(product, public_argument='{"number": "many", "language": 1.5, "first": null}')
    assert (event["number"], event["language"]) == ("many", 1.5)
    assert "first" not in event
    assert stripped == {}


@pytest.mark.parametrize("value", ['{"a": "canary"}', '["canary"]', "[[1]]", "99999999999999999999999999"])
def test_values_that_no_property_can_have_are_passed_on_without_their_content(
    product: ProductDatabase, value: str
) -> None:
    event, _ = read_row(product, public_argument=f'{{"number": {value}}}')
    assert event["number"] == []


@pytest.mark.parametrize("argument", [None, "null", "{}"])
def test_a_row_may_have_no_properties(product: ProductDatabase, argument: str | None) -> None:
    event, stripped = read_row(product, public_argument=argument)
    assert event.keys() == {"name", "time", "user", "outcome", "version", "source"}
    assert stripped == {}


@pytest.mark.parametrize(
    "argument",
    [
        "[1, 2]",
        '"canary"',
        "7",
        # As it is stored; and as a text of zeros, which are stored small and read large.
        msgspec.json.encode({f"key {number}": number * 7919 for number in range(4_000)}).decode(),
        msgspec.json.encode({"number": "0" * MAXIMUM_ARGUMENT_BYTES}).decode(),
    ],
    ids=["list", "text", "number", "long", "long once inflated"],
)
def test_an_argument_that_is_long_or_no_object_counts_as_one_property_left_out(
    product: ProductDatabase, argument: str
) -> None:
    event, stripped = read_row(product, public_argument=argument)
    assert event.keys() == {"name", "time", "user", "outcome", "version", "source"}
    assert stripped == {"Opened": 1}


@pytest.mark.parametrize("argument", ["{", "", "[" * 10_000, '{"number": 1e999}', '{"number": "\\ud800"}', "\x01"])
def test_a_text_column_may_hold_what_is_not_json(product: ProductDatabase, argument: str) -> None:
    product.connect().execute(
        "ALTER TABLE event_logs ALTER public_argument DROP DEFAULT, ALTER public_argument TYPE text"
    )
    event, _ = read_row(product, public_argument=argument)
    msgspec.json.encode(event)
    assert event["name"] == "Opened"


@pytest.mark.parametrize(
    "moment", ["infinity", "-infinity", "0044-03-15 12:00:00 BC", "1969-12-31 23:59:59Z", "12026-10-01 00:00:00Z"]
)
def test_a_time_out_of_this_world_is_left_to_be_judged(product: ProductDatabase, moment: str) -> None:
    assert read_row(product, timestamp=moment)[0]["time"] is None


def test_old_rows_are_history(product: ProductDatabase) -> None:
    assert read_row(product, timestamp="1999-12-31T23:59:59.5+02:00")[0]["time"] == "1999-12-31T21:59:59.500000Z"


def test_a_column_without_time_zone_is_in_utc(product: ProductDatabase) -> None:
    product.connect().execute(
        "ALTER TABLE event_logs ALTER timestamp TYPE timestamp USING timestamp AT TIME ZONE 'UTC'"
    )
    assert read_row(product, timestamp="2026-10-01 10:00:00")[0]["time"] == "2026-10-01T10:00:00.000000Z"


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - `timezones` gives it
def test_times_are_written_as_everywhere_else(moment: datetime) -> None:
    # As PostgreSQL writes it: without the zeros at the end of a fraction.
    text = (
        moment.strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
        if moment.microsecond
        else f"{moment:%Y-%m-%d %H:%M:%S}"
    )
    assert rfc3339(f"{text}+00") == format_time(moment)


def test_long_texts_are_cut(product: ProductDatabase) -> None:
    event, _ = read_row(
        product, source="S" * 100_000, user_id=0, anonymous_user_id="a" * 100_000, version="1" * 100_000
    )
    assert len(msgspec.json.encode(event)) < 1_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    name=st.none() | st.sampled_from(["Opened", "Failed"]) | st.text(max_size=5),
    user=st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
    texts=st.tuples(*[st.none() | st.text(max_size=5)] * 4),
    argument=st.none()
    | st.text(max_size=20)
    | st.dictionaries(st.sampled_from(["number", "language", "first", "canary"]), JSON).map(
        lambda value: (
            msgspec.json.encode(value, enc_hook=str).decode()
            if all(type(each) is not int or abs(each) < 1 << 63 for each in value.values())
            else "{}"
        )
    ),
)
def test_no_row_raises_and_every_event_can_be_stored(
    name: str | None, user: int | None, texts: tuple[str | None, ...], argument: str | None
) -> None:
    event = ROWS.event((1, name, user, texts[0], texts[1], argument, texts[2], texts[3]), {})
    assert msgspec.json.decode(msgspec.json.encode(event))["name"] == (name if name in PLAN.events else UNDECLARED)
    assert "canary" not in event
