"""The vendor's operators and services: marked before anything leaves, and counted nowhere on the instance."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import SMALL_PLAN
from heliograph.event import Actor, Verdict
from heliograph.instance.actors import Marks, MarkTable
from heliograph.instance.ping import count_use
from heliograph.instance.stitching import Stitching
from heliograph.settings import AgentSettings
from quick_site import DAY, Site
from test_once import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS: dict[str, Any] = {"operators": ("7", "operator-*"), "service_accounts": ("bot-*", "9")}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path, **LISTS)) as site:
        yield site


def actors(site: Site) -> dict[int, str | None]:
    return {value: row.get("actor") for value, row in sorted(site.rows().items())}


@pytest.mark.parametrize(
    ("key", "actor"),
    [
        ("7", "operator"),
        ("u:7", "operator"),
        ("77", None),
        ("operator-", "operator"),
        ("operator-ann", "operator"),
        ("u:9", "service"),
        ("bot-1", "service"),
        ("a:7", None),
        ("8", "service"),
        ("u:8", "service"),
        ("operator-bob", None),
        ("42", None),
    ],
)
def test_a_mark_goes_before_the_settings_and_both_hold_for_every_key_of_a_user(key: str, actor: str | None) -> None:
    marks = Marks({"8": "service", "operator-bob": "person"}, AgentSettings(**LISTS))
    assert marks.actor_of(key) == actor
    assert marks.marks(key) is (actor is not None)


def test_what_leaves_says_who_is_none_of_the_customers_people_and_nothing_here_counts_them(site: Site) -> None:
    expected = {
        site.record(user=42): None,
        site.record(user=7): "operator",
        site.record(user="operator-ann"): "operator",
        site.record(user="bot-1"): "service",
        site.record(user=42, actor="service"): "service",
        site.record(user=7, actor="service"): "service",
        site.record(actor="operator"): "operator",
        site.record(): None,
    }
    site.drain()
    assert actors(site) == expected
    assert site.used_by() == ["42"]


def test_a_mark_counts_from_then_on_and_can_be_taken_back(site: Site) -> None:
    table = MarkTable(site.state.connection)
    first = site.record(user=5)
    site.drain()
    table.put("5", "operator")
    second = site.record(user=5)
    site.drain()
    table.put("5", "person")
    third = site.record(user=5)
    site.drain()
    assert actors(site) == {first: None, second: "operator", third: None}
    assert site.used_by() == ["5", "5"]


def test_a_visitor_who_turns_out_to_be_an_operator_is_one(site: Site) -> None:
    site.recorder.identify(7, anonymous="v")
    value = site.record(anonymous="v")
    site.drain()
    assert actors(site) == {value: "operator"}
    assert site.used_by() == []


def test_who_acts_is_of_a_closed_list(site: Site) -> None:
    for wrong in ("person", "root", "", 7, ["operator"]):
        assert not site.recorder.record("SearchSubmitted", user=1, actor=wrong)  # type: ignore[arg-type] # on purpose
    assert site.recorder.dropped == {"SearchSubmitted": {Verdict.UNRECORDABLE: 5}}


class Use(NamedTuple):
    user: str | None
    name: str
    actor: str | None = None


uses = st.lists(
    st.builds(
        Use,
        user=st.sampled_from([*map(str, range(40, 46)), None]),
        name=st.sampled_from([*SMALL_PLAN.events]),
        actor=st.none(),
    ),
    max_size=15,
)
others = st.lists(
    st.one_of(
        st.builds(
            Use,
            st.sampled_from(["40", "41", "50", None]),
            st.sampled_from([*SMALL_PLAN.events]),
            st.sampled_from(Actor),
        ),
        st.builds(
            Use, st.sampled_from(["7", "operator-1", "bot-2", "marked", "a:visitor"]), st.just("PageViewed"), st.none()
        ),
    ),
    max_size=15,
)


@settings(max_examples=15, deadline=None)
@given(people=uses, others=others, purged=st.booleans(), data=st.data())
def test_nothing_that_operators_and_services_do_changes_what_a_ping_counts(
    people: list[Use], others: list[Use], purged: bool, data: st.DataObject
) -> None:
    mixed = data.draw(st.permutations([*people, *others]))
    assert counted(people, purged=purged) == counted(mixed, purged=purged)


def counted(history: list[Use], *, purged: bool) -> Any:
    """What is counted of a history that was delivered, or that stayed here at level `critical`."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    with closing(Site(folder, **LISTS)) as site:
        MarkTable(site.state.connection).put("marked", "service")
        Stitching(site.state, site.outbox).look()
        site.recorder.identify("7", anonymous="visitor")
        for use in history:
            assert site.recorder.record(use.name, user=use.user, actor=use.actor)
        if purged:
            site.exporter.purge(tally=True, sendable=True)
        else:
            site.drain()
        found = count_use(site.state.usage.read(DAY, days=28, sendable_only=True), SMALL_PLAN, DAY)
    shutil.rmtree(folder)
    return found
