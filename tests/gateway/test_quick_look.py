"""The quick look at a body of Arrow: whatever it lets pass, the plan lets pass too, and the same comes of it."""

from __future__ import annotations

import struct
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import caching, types

from damage import count_passing_flips
from harness import SMALL_PLAN, USER, as_arrow, event, random_id
from heliograph.gateway import machine_code
from heliograph.gateway.bodies import BodyChecker, Checked
from heliograph.gateway.loops import PLAIN, Loops, hash_of
from heliograph.gateway.machine_code import compiled_loops, gateway_code
from heliograph.gateway.plan_tables import MOST_VERSIONS
from heliograph.gateway.problems import RefusalError
from heliograph.machine_code import compiled, memory, record
from heliograph.plan.buffers import write_arrow
from heliograph.wire import ARROW
from plan.test_second_wall import PLAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heliograph.plan.model import Plan

LATEST: Final = datetime(2027, 1, 1, tzinfo=UTC)
MICROSECONDS: Final = int(LATEST.timestamp() * 1_000_000)
SECRET: Final = b"jane.doe@example"
"""As long as a buffer's padding may be, and to be seen in whatever is stored."""


def outcome(checker: BodyChecker, body: bytes) -> Checked | str:
    try:
        return checker.check(body, "", ARROW, most=1 << 20, latest=LATEST)
    except RefusalError as error:
        return str(error.to_problem())


def body_of(rows: Sequence[dict[str, Any]], plan: Plan = SMALL_PLAN) -> bytes:
    return as_arrow([event(**{"user_id": None, **row, "sequence": number}) for number, row in enumerate(rows, 1)], plan)


class Both:
    """One plan with the quick look, which has seen a body of all columns already, and without it."""

    def __init__(self, plan: Plan, right: Sequence[dict[str, Any]], loops: Loops) -> None:
        code = gateway_code()
        code._loops = self.loops = loops
        self.quick, self.plain = BodyChecker(plan, code), BodyChecker(plan, gateway_code(pays_after=1 << 62))
        self.right = body_of(right, plan)
        assert outcome(self.quick, self.right) == outcome(self.plain, self.right)
        assert self.lets_pass(self.right)

    def lets_pass(self, body: bytes) -> bool:
        """Tell whether the quick look lets a body pass; then the plan must, and the same must come of it."""
        if self.quick._quick_look.faultless(body, latest=MICROSECONDS, loops=self.loops) is None:
            return False
        expected = outcome(self.plain, body)
        assert isinstance(expected, Checked)
        assert not expected.rejected
        assert outcome(self.quick, body) == expected
        return True


RIGHT: Final[list[dict[str, Any]]] = [
    {"name": "SearchSubmitted", "user_id": USER, "pattern_type": "literal", "duration_ms": 12, "version": "5.3.1"},
    {"name": "SearchSubmitted", "exact": True, "outcome": "error", "source": "web"},
    {
        "name": "SearchSubmitted",
        "user_id": random_id(1),
        "session_id": random_id(2),
        "share": 0.25,
        "actor": "operator",
    },
    {"name": "goToDefinition", "user_id": USER, "duration_ms": 1_000, "source": "api"},
    {"name": "PageViewed", "user_id": USER, "version": "5.3.2", "session_id": random_id(2)},
]
"""Rows of all columns, each of which has a value somewhere and none elsewhere."""


@pytest.fixture(scope="module")
def compiled_both() -> Both:
    return Both(SMALL_PLAN, RIGHT, compiled_loops())


@pytest.fixture(scope="module")
def plain_both() -> Both:
    return Both(SMALL_PLAN, RIGHT, PLAIN)


@pytest.fixture(scope="module", params=["compiled", "plain"])
def both(request: pytest.FixtureRequest) -> Both:
    found: Both = request.getfixturevalue(f"{request.param}_both")
    return found


fields: Final[dict[str, st.SearchStrategy[Any]]] = {
    "user_id": st.sampled_from([USER, random_id(3), USER.upper(), USER[1:], "0" * 32, "é" * 16]),
    "session_id": st.sampled_from([random_id(4), b"jane@example.com".hex()]),
    "outcome": st.sampled_from(["ok", "error", "else"]),
    "source": st.sampled_from(["web", "api", "else"]),
    "version": st.sampled_from(["5.3.1", "192.168.1.7", "v1"]),
    "pattern_type": st.sampled_from(["literal", "regexp", "else"]),
    "duration_ms": st.integers(-1, 2_000),
    "share": st.floats(-0.5, 1.5) | st.sampled_from([float("nan"), -0.0]),
    "exact": st.booleans(),
    "time": st.sampled_from(["2026-10-01T12:00:00.000001Z", "1969-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
}
rows: Final = st.fixed_dictionaries({"name": st.sampled_from([*SMALL_PLAN.events] * 3 + ["PRIVATE"])}, optional=fields)


@settings(deadline=None, max_examples=60)
@given(st.lists(rows, min_size=1, max_size=9))
def test_of_any_rows_the_same_comes_with_the_quick_look_and_without(both: Both, rows: list[dict[str, Any]]) -> None:
    body = body_of([*RIGHT, *rows])
    expected = outcome(both.plain, body)
    assert outcome(both.quick, body) == expected
    assert isinstance(expected, Checked)
    assert both.lets_pass(body) == (not expected.rejected), "it is in doubt of nothing that this plan allows"


# Of a plan with an event whose name is sensitive, each body is written anew.
CARELESS_PLAN: Final = msgspec.structs.replace(PLAN, events={name: PLAN.events[name] for name in ("Opened", "Closed")})
careless: Final = st.fixed_dictionaries(
    {"name": st.sampled_from([*CARELESS_PLAN.events])},
    optional={
        "outcome": st.sampled_from(["ok", "sk_live_abcdefghijklmnop"]),
        "source": st.sampled_from(["web", "db01.prod.acme.com"]),
        "host_kind": st.sampled_from(["other", "jane.doe", "cloud"]),
        "bytes_read": st.sampled_from([5, 10**9, 4915112345678, -(10**15), 10**15 + 1]),
        "rounded": st.sampled_from([0, 10**7, 10**15, 10**6]),
        "weight": st.sampled_from([0.5, 1e299, 4915112345678.0]),
        "size": st.sampled_from([0, 10, 11, 4915112345678]),
        "jane_doe": st.just(1),
    },
)


@settings(deadline=None)
@given(st.lists(careless, min_size=1, max_size=6))
def test_what_the_second_wall_stops_the_quick_look_does_not_let_pass(
    careless_both: Both, rows: list[dict[str, Any]]
) -> None:
    body = body_of([*CARELESS_RIGHT, *rows], CARELESS_PLAN)
    assert outcome(careless_both.quick, body) == outcome(careless_both.plain, body)
    careless_both.lets_pass(body)


CARELESS_RIGHT: Final[list[dict[str, Any]]] = [
    {"name": "Opened", "outcome": "ok", "source": "web", "host_kind": "other", "bytes_read": 5, "rounded": 10**7},
    {"name": "Opened", "weight": 0.5, "size": 10},
    {"name": "Closed", "host_kind": "cloud"},
]


@pytest.fixture(scope="module")
def careless_both() -> Both:
    return Both(CARELESS_PLAN, CARELESS_RIGHT, compiled_loops())


def test_a_body_of_which_any_bit_is_another_passes_only_if_the_plan_and_arrow_let_it_pass(
    compiled_both: Both,
) -> None:
    # Times, numbers, and ids that have another digit.
    assert count_passing_flips(compiled_both.right, compiled_both.lets_pass) > 500


@settings(deadline=None)
@given(st.data())
def test_a_body_of_which_pieces_are_others_passes_only_if_the_plan_and_arrow_let_it_pass(
    both: Both, data: st.DataObject
) -> None:
    content = bytearray(both.right)
    for _ in range(data.draw(st.integers(1, 3))):
        place = 8 * data.draw(st.integers(0, len(content) // 8 - 1))
        number = data.draw(st.sampled_from([0, 1, -1, 8, 1 << 31, (1 << 63) - 1, -(1 << 63)]) | st.integers(-99, 99))
        content[place : place + 8] = struct.pack("<q", number)
    end = data.draw(st.sampled_from([len(content)] * 3 + [0, 8, 16, len(content) - 8, len(content) - 1]))
    body = bytes(content[:end]) + data.draw(st.sampled_from([b""] * 3 + [SECRET]))
    both.lets_pass(body)
    assert outcome(both.quick, body) == outcome(both.plain, body)


def test_what_stands_where_arrow_looks_at_nothing_does_not_pass(both: Both) -> None:
    """In each buffer behind its last value, and in each row that has none."""
    batch = pa.ipc.open_stream(both.right).read_next_batch()
    for position, field in enumerate(batch.schema):
        column = batch.column(position)
        for change in (_with_tail, _with_value_of_null):
            if (changed := change(column)) is not None:
                body = write_arrow(batch.set_column(position, field, changed)).to_pybytes()
                assert not both.lets_pass(body), (field.name, change)


def _with_tail(column: pa.Array) -> pa.Array:
    return _rebuilt(column, lambda data: data + SECRET)


def _with_value_of_null(column: pa.Array) -> pa.Array | None:
    if column.null_count == 0 or pa.types.is_boolean(column.type):
        return None
    width = (column.type.index_type if pa.types.is_dictionary(column.type) else column.type).bit_width // 8
    row = next(row for row in range(len(column)) if not column[row].is_valid)
    return _rebuilt(column, lambda data: data[: row * width] + b"\1" + data[row * width + 1 :])


def _rebuilt(column: pa.Array, change: Callable[[bytes], bytes]) -> pa.Array:
    validity, values = column.buffers()[:2]
    kind = column.type.index_type if pa.types.is_dictionary(column.type) else column.type
    data = values.to_pybytes()[: (len(column) * kind.bit_width + 7) // 8]
    rebuilt = pa.Array.from_buffers(kind, len(column), [validity, pa.py_buffer(change(data))])
    is_words = pa.types.is_dictionary(column.type)
    return pa.DictionaryArray.from_arrays(rebuilt, column.dictionary, safe=False) if is_words else rebuilt


def test_compiled_and_plain_loops_let_the_same_pass(compiled_both: Both, plain_both: Both) -> None:
    for others in ([], RIGHT[:1], RIGHT[2:], RIGHT * 20, [{"name": "PageViewed"}]):
        body = body_of([*RIGHT, *others])
        assert compiled_both.lets_pass(body)
        assert plain_both.lets_pass(body)
    body = body_of([*RIGHT, {"name": "SearchSubmitted", "duration_ms": -1}])
    assert not compiled_both.lets_pass(body)
    assert not plain_both.lets_pass(body)


def test_a_version_that_was_never_seen_passes_if_it_may_stand_there_however_many_were_before(both: Both) -> None:
    numbers = range(3, 3 + MOST_VERSIONS + 10)
    some = [{"name": "PageViewed", "version": f"7.{number}.1"} for number in numbers]
    for start in range(0, len(some), 600):
        assert both.lets_pass(body_of([*RIGHT, *some[start : start + 600]]))
    for version in ("7.3.1", "8.1"):
        assert both.lets_pass(body_of([*RIGHT, {"name": "PageViewed", "version": version}]))
        body = body_of([*RIGHT, {"name": "PageViewed", "version": version}, {"name": "PageViewed", "version": "v1"}])
        assert not both.lets_pass(body)
    assert not both.lets_pass(body_of([*RIGHT, *some])), "more than are known at once"


@pytest.mark.parametrize("field", ["user_id", "session_id"])
@pytest.mark.parametrize("derived", ["0" * 32, "12" * 16, b"jane@example.com".hex(), random_id(1)[:16] * 2])
def test_an_id_that_looks_derived_does_not_pass_though_all_else_is_right(both: Both, field: str, derived: str) -> None:
    assert not both.lets_pass(body_of([*RIGHT, {"name": "PageViewed", field: derived}]))
    assert both.lets_pass(body_of([*RIGHT, {"name": "PageViewed", field: random_id(5)}]))


class TestMachineCode:
    def test_it_is_had_beside_the_work_once_there_was_much_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[Thread] = []
        monkeypatch.setattr(Thread, "start", lambda thread: started.append(thread))  # noqa: PLW0108 - so that it is a method
        code = gateway_code(pays_after=10)
        code.worked(10)
        assert not started
        for _ in range(3):
            code.worked(1)
        [thread] = started
        assert code.loops() is None
        thread.run()
        assert code.loops() == compiled_loops()

    def test_without_it_bodies_are_checked_as_before(
        self, compiled_both: Both, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> Loops:
            raise ImportError("no module named numba")

        monkeypatch.setattr(machine_code, "compiled_loops", fail)
        code = gateway_code().ready()
        assert code.loops() is None
        checker = BodyChecker(SMALL_PLAN, code)
        assert outcome(checker, compiled_both.right) == outcome(compiled_both.plain, compiled_both.right)

    def test_where_nothing_can_be_written_it_is_compiled_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
        assert compiled(hash_of, types.int64(memory(), types.int64))(np.frombuffer(b"word", np.uint8), 1) == hash_of(
            np.frombuffer(b"word", np.uint8), 1
        )

    def test_what_was_kept_of_a_version_whose_types_have_moved_is_compiled_anew(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "kept_loop.py").write_text("def total(pair):\n    return pair.a + pair.b\n")
        monkeypatch.syspath_prepend(tmp_path)
        total = import_module("kept_loop").total
        for name in ("Before", "Now"):
            file = tmp_path / f"kept_{name}.py"
            file.write_text(f"import typing\nclass {name}(typing.NamedTuple):\n    a: int\n    b: int\n")
            pair = getattr(import_module(file.stem), name)
            loop = compiled(total, types.int64(record(pair, types.int64, types.int64)))
            assert loop(pair(1, 2)) == 3
            assert [*tmp_path.glob("**/*.nbi")]
            file.unlink()
            del sys.modules[file.stem]

    def test_what_was_kept_before_one_of_its_parts_changed_is_compiled_anew(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "kept_whole.py").write_text("from kept_part import MORE\ndef total(one):\n    return one + MORE\n")
        monkeypatch.syspath_prepend(tmp_path)
        for more in (1, 20):
            (tmp_path / "kept_part.py").write_text(f"MORE = {more}\n")
            part, whole = import_module("kept_part"), import_module("kept_whole")
            assert compiled(whole.total, types.int64(types.int64), parts=[part])(1) == 1 + more
            del sys.modules["kept_part"], sys.modules["kept_whole"]

    def test_a_gateway_that_has_little_to_check_does_not_import_the_compiler(
        self, plain_both: Both, tmp_path: Path
    ) -> None:
        program = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from harness import SMALL_PLAN
from heliograph.gateway.bodies import BodyChecker
from heliograph.wire import ARROW
body = Path(sys.argv[1]).read_bytes()
BodyChecker(SMALL_PLAN).check(body, "", ARROW, most=1 << 20, latest=datetime(2027, 1, 1, tzinfo=UTC))
print("numba" in sys.modules)
"""
        (tmp_path / "body").write_bytes(plain_both.right)
        said = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "body"],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.split() == ["False"]
