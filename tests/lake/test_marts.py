"""The marts: after whatever has happened they are what their definitions say of the events.

Batches that come late, out of order and twice, loaders that die between any two commits, and changes of the plan.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import msgspec
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from pyiceberg.table import Transaction
from typer.testing import CliRunner

from harness import SMALL_PLAN, definition, random_id
from heliograph.cli import app
from heliograph.gateway.log import Log
from heliograph.gateway.log_entries import Entry
from heliograph.insights.scope import Scope
from heliograph.insights.sessions import multi_feature_sessions
from heliograph.insights.tables import defined_tables
from heliograph.lake import expiring
from heliograph.lake.loader import Loader
from heliograph.lake.maintenance.upkeep import Keeper
from heliograph.lake.marts import folding, tending
from heliograph.lake.marts.batches import Batch
from heliograph.lake.marts.changing import sorted_rows
from heliograph.lake.marts.report import ask_anew, take_stock
from heliograph.lake.marts.tables import INSTANCE_DAYS, MARTS, USER_DAYS, find_mart
from heliograph.lake.report import count_repeated
from heliograph.lake.tables import NAMESPACE, event_schema, open_catalog
from heliograph.lake.writers import EmbeddedWriter
from heliograph.plan.model import Comparison, Plan
from heliograph.settings import GatewaySettings, LakeSettings
from heliograph.wire import NDJSON, Receipt
from marting import assert_kept_is_defined, opened
from updating import write_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEMORY = Path("/dev/shm")
INSTANCES = {"acme-1": "acme", "acme-2": "acme", "other-1": "other"}
USERS = [random_id(number) for number in range(3)]
NAMES = ["SearchSubmitted", "goToDefinition", "PageViewed"]
BEGINNING = datetime(2026, 9, 29, 22, 0, tzinfo=UTC)
SEARCHED = msgspec.structs.replace(SMALL_PLAN, searches=Comparison(event="SearchSubmitted", by="pattern_type"))
PLANS = [
    SMALL_PLAN,
    SEARCHED,
    msgspec.structs.replace(
        SMALL_PLAN,
        events={
            "SearchSubmitted": SMALL_PLAN.events["SearchSubmitted"],
            "jumpToDefinition": definition("search", core=True, renamed_from=("goToDefinition",)),
            "PageViewed": definition("pages", active=False),
        },
    ),
]


class KilledError(BaseException):
    """Stands for the end of the process."""


@contextmanager
def dying(commits: int, *, after: bool) -> Iterator[Callable[[], int]]:
    """Die before or after so many commits, of whatever tables; gives how many there were."""
    done = 0
    really = Transaction.commit_transaction

    def die(transaction: Transaction) -> Any:
        nonlocal done
        done += 1
        if done == commits and not after:
            raise KilledError
        found = really(transaction)
        if done == commits:
            raise KilledError
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "commit_transaction", die)
        yield lambda: done


class Site:
    """A log and a lake in a folder, and what it takes to fill them."""

    def __init__(self, folder: Path) -> None:
        self.gateway = GatewaySettings(log=str(folder / "log"), segment_bytes=16 << 10)
        self.lake = LakeSettings(warehouse=str(folder / "lake"), catalog=f"sqlite:///{folder / 'lake' / 'catalog.db'}")
        self.plan = SMALL_PLAN
        self._last = dict.fromkeys(INSTANCES, 0)
        self._log: Log | None = None

    def deliver(self, instance: str, events: Sequence[dict[str, Any]], *, twice: bool = False) -> None:
        """Put a delivery into the log; twice as after a disk error."""
        if self._log is None:
            section = self.gateway
            self._log = Log(
                Path(section.log), segment_bytes=section.segment_bytes, maximum_bytes=section.maximum_log_bytes
            )
        first = self._last[instance] + 1
        numbered = [{"sequence": number, **each} for number, each in enumerate(events, first)]
        self._last[instance] += len(events)
        receipt = Receipt(
            instance=instance,
            epoch=1,
            first=first,
            last=self._last[instance],
            accepted=dict(Counter(each["name"] for each in events)),
            rejected={},
            absent={},
            digest="",
            agreement="agreement-1",
            received=1_790_000_000_000_000,
        )
        entry = Entry(
            receipt=receipt, account=INSTANCES[instance], plan="small@1", content_type=NDJSON, content_encoding=""
        )
        body = b"\n".join(msgspec.json.encode(each) for each in numbered)
        for _ in range(2 if twice else 1):
            asyncio.run(self._log.append(entry, body))

    def stop_gateway(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def loader(self, **lake: Any) -> Loader:
        return Loader(self.gateway, msgspec.structs.replace(self.lake, **lake), self.plan)

    def load(self, **lake: Any) -> None:
        loader = self.loader(**lake)
        try:
            while loader.load_round():
                pass
            while loader.make_on():
                pass
        finally:
            loader.close()


def happened(minutes: float, name: str, user: str | None, **fields: Any) -> dict[str, Any]:
    moment = BEGINNING + timedelta(minutes=minutes)
    values = {"user_id": user, **fields}
    return {
        "name": name,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        **{key: value for key, value in values.items() if value is not None},
    }


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event: minutes apart, over two months whose border is near."""
    name = draw(st.sampled_from(NAMES))
    fields: dict[str, Any] = {
        "version": draw(st.sampled_from(["5.3.1", "5.4.0"])),
        "actor": draw(st.sampled_from([None, None, None, "operator"])),
    }
    if name == "SearchSubmitted":
        fields["outcome"] = draw(st.sampled_from(["ok", "error"]))
        fields["pattern_type"] = draw(st.sampled_from([None, "literal", "regexp"]))
    minutes = draw(st.sampled_from([0, 1, 20, 29, 30, 31, 45, 60, 110, 119, 121, 130, 150, 1_500, 2_900]))
    return happened(minutes, name, draw(st.sampled_from([*USERS, None])), **fields)


BATCHES = st.lists(
    st.tuples(st.sampled_from(list(INSTANCES)), st.lists(events(), min_size=1, max_size=8), st.booleans()),
    min_size=1,
    max_size=3,
)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.site = Site(self.folder)
        self.delivered = False
        self.patch = pytest.MonkeyPatch()
        # Few files and snapshots are many here.
        self.patch.setattr(folding, "MOST_FILES", 2)
        self.patch.setattr(tending, "MOST_FILES", 2)
        self.patch.setattr(tending, "_MORE_FILES", 1)
        self.patch.setattr(expiring, "_MOST_SNAPSHOTS", 4)

    def teardown(self) -> None:
        if self.delivered:
            self.site.load()
            assert count_repeated(self.site.lake) == 0
            assert_kept_is_defined(self.site.lake, self.site.plan)
        self.site.stop_gateway()
        self.patch.undo()
        shutil.rmtree(self.folder)

    @rule(batches=BATCHES, commit_rows=st.sampled_from([1, 5, 1_000]))
    def load(self, batches: Any, commit_rows: int) -> None:
        self._deliver(batches)
        self.site.load(commit_rows=commit_rows)

    def _deliver(self, batches: list[tuple[str, list[dict[str, Any]], bool]]) -> None:
        for instance, batch, twice in batches:
            self.site.deliver(instance, batch, twice=twice)
        self.delivered = True

    @rule()
    def rebuild(self) -> None:
        ask_anew(self.site.lake)

    @rule(plan=st.sampled_from(PLANS))
    def change_the_plan(self, plan: Plan) -> None:
        self.site.plan = plan

    @rule(
        batches=BATCHES, commits=st.integers(1, 16), after=st.booleans(), commit_rows=st.sampled_from([1, 1_000, 1_000])
    )
    def load_and_die(self, batches: Any, commits: int, after: bool, commit_rows: int) -> None:
        """Die before or after some commit, of whatever table."""
        self._deliver(batches)
        with suppress(KilledError), dying(commits, after=after):
            self.site.load(commit_rows=commit_rows)


# Each history takes seconds: what fails is told as it is found, and not made small.
Histories.TestCase.settings = settings(
    max_examples=6, stateful_step_count=7, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
TestHistories = Histories.TestCase


def test_a_loader_killed_behind_any_of_its_commits_adds_nothing_twice_and_leaves_nothing_out(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.deliver("acme-1", [happened(0, "PageViewed", USERS[0]), happened(4, "SearchSubmitted", USERS[1])])
    site.load()
    commits = 0
    while True:
        commits += 1
        site.deliver("acme-1", [happened(commits * 20, "SearchSubmitted", USERS[0], outcome="ok")])
        try:
            with dying(commits, after=True) as count:
                site.load()
        except KilledError:
            site.load()
            assert_kept_is_defined(site.lake, site.plan)
        else:
            break
    site.stop_gateway()
    assert count() == 8, "deliveries, six marts, events"


@settings(max_examples=25, deadline=None)
@example(
    batch=[happened(minutes, "goToDefinition", USERS[0]) for minutes in (119, 121)], plan=SMALL_PLAN, as_words=True
)
@given(batch=st.lists(events(), min_size=1, max_size=25), plan=st.sampled_from(PLANS), as_words=st.booleans())
def test_what_a_commit_adds_is_what_the_definitions_say_of_its_events(
    batch: list[dict[str, Any]], plan: Plan, as_words: bool
) -> None:
    moments = [datetime.fromisoformat(each["time"]).replace(tzinfo=None) for each in batch]
    given_rows = [
        {**each, "time": at, "account": "a", "instance": "i"} for each, at in zip(batch, moments, strict=True)
    ]
    rows = pa.Table.from_pylist(given_rows, event_schema(plan))
    defined = defined_tables(ibis.memtable(rows), plan)
    if as_words:
        words = [name for name in rows.schema.names if rows.schema.field(name).type == pa.string()]
        for name in words:
            column = pa.chunked_array([*rows.column(name).slice(0, 3).chunks, *rows.column(name).slice(3).chunks])
            rows = rows.set_column(rows.schema.get_field_index(name), name, column.dictionary_encode())
    added = Batch(rows, plan)
    for mart, ours in {**added.marts(), INSTANCE_DAYS: added.instance_days()}.items():
        theirs = getattr(defined, mart.name).to_pyarrow().cast(mart.schema)
        assert sorted(map(str, ours.to_pylist())) == sorted(map(str, theirs.to_pylist())), mart.name
        assert sorted_rows(mart, ours) is ours, f"{mart.name} is not in order"


def test_folding_leaves_one_row_a_key_and_one_file_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST_FILES", 1)
    monkeypatch.setattr(tending, "MOST_FILES", 1)
    monkeypatch.setattr(tending, "_MORE_FILES", 0)
    site = Site(tmp_path)
    for minutes in (120, 145, 165, 300):  # two parts of one session, and one that joins them; and another session
        site.deliver("acme-1", [happened(minutes, "PageViewed", USERS[0]), happened(minutes, "PageViewed", USERS[0])])
        site.load()
    for _ in MARTS:  # one is folded in each round
        site.load()
    site.stop_gateway()
    standing = take_stock(site.lake, site.plan)
    assert [(each.table.rpartition(".")[2], each.rows, each.files) for each in standing] == [
        ("user_days", 1, 1),
        ("user_feature_days", 1, 1),
        ("active_days", 1, 1),
        ("session_parts", 2, 1),
        ("session_spans", 2, 1),
        ("instance_days", 1, 1),
    ]
    assert_kept_is_defined(site.lake, site.plan)


def test_sessions_go_on_from_file_to_file_and_over_midnight_also_where_files_were_compacted(tmp_path: Path) -> None:
    site = Site(tmp_path)

    def use(*minutes: int) -> None:
        events = [happened(each, "SearchSubmitted", USERS[0], outcome="ok") for each in minutes]
        site.deliver("acme-1", events)
        site.load()

    def assert_sessions(count: int) -> None:
        assert_kept_is_defined(site.lake, site.plan)
        tables = opened(site.lake, site.plan, kept=True)
        scope = Scope(since=BEGINNING.date(), until=BEGINNING.date() + timedelta(days=2), now=BEGINNING)
        [row] = multi_feature_sessions(tables, site.plan, scope).to_pyarrow().to_pylist()
        assert row["sessions"] == count

    use(10, 95, 300)  # two hours before midnight
    assert_sessions(3)
    use(125)  # after midnight: half an hour behind the second
    assert_sessions(3)
    use(40, 70)  # between the first and the second
    assert_sessions(2)
    Keeper(site.lake, now=lambda: BEGINNING, wait=lambda _: None).compact(everything=True)
    assert_sessions(2)
    use(155, 180, 210, 240, 270)
    assert_sessions(1)
    site.stop_gateway()


def test_marts_of_a_lake_from_before_there_were_any_are_made_some_days_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedWriter, "slice_rows", 1)
    site = Site(tmp_path)
    site.deliver("acme-1", [happened(minutes, "PageViewed", USERS[0]) for minutes in (0, 3_000, 6_000)])
    site.load()
    catalog = open_catalog(site.lake)
    for mart in MARTS:
        catalog.drop_table(f"{NAMESPACE}.{mart.name}")
    site.load()
    assert_kept_is_defined(site.lake, site.plan)


def test_the_command_line_tells_how_marts_stand_finds_a_difference_and_makes_them_anew(tmp_path: Path) -> None:
    site = Site(tmp_path)
    config = tmp_path / "vendor.toml"
    write_plan(tmp_path / "plan.yaml", site.plan)
    config.write_text(
        f'[gateway]\nlog = "{site.gateway.log}"\n[plan]\nfile = "{tmp_path / "plan.yaml"}"\n'
        f'[lake]\nwarehouse = "{site.lake.warehouse}"\ncatalog = "{site.lake.catalog}"\n'
    )

    def marts(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--config", str(config), "lake", "marts", "--json", *arguments])

    site.deliver("acme-1", [happened(minutes, "PageViewed", USERS[0]) for minutes in (0, 3_000)])
    site.load()
    site.stop_gateway()
    found = msgspec.json.decode(marts().stdout)
    assert [each["state"] for each in found] == ["whole"] * 6
    assert (found[0]["first_day"], found[0]["last_day"]) == ("2026-09-29", "2026-10-02")
    assert marts("--check").exit_code == 0
    table = find_mart(open_catalog(site.lake), USER_DAYS)
    assert table is not None
    table.delete("day = '2026-09-29'")
    told = marts("--check")
    assert told.exit_code == 1
    assert "heliograph.user_days: 1 rows differ in the days from 2026-09-29 on" in told.stderr
    assert marts("--rebuild", "--check").exit_code == 0
    assert_kept_is_defined(site.lake, site.plan)


WORDS = {pa.string(): "text", pa.int64(): "number", pa.date32(): "date", pa.timestamp("us"): "time, UTC"}


def test_the_documentation_has_each_column_and_the_definitions_have_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "marts.md").read_text()
    columns = ibis.table(ibis.Schema.from_pyarrow(event_schema(SEARCHED)), name="events")
    defined = defined_tables(columns, SEARCHED)
    for mart in MARTS:
        [section] = re.findall(rf"^## {mart.name}\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
        told = re.findall(r"^\| `(\w+)` \| ([^|]+) \|(.*)\|$", section, re.MULTILINE)
        assert [(name, kind) for name, kind, _ in told] == [(each.name, WORDS[each.type]) for each in mart.schema]
        assert [name for name, _, text in told if "**Sum it.**" in text] == list(mart.sums)
        assert [name for name, _, text in told if "**Unite it**" in text] == list(mart.unions)
        assert getattr(defined, mart.name).schema().to_pyarrow().equals(mart.schema)
