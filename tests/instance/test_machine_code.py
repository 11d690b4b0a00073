"""The compiled loops of an agent: had once a backlog is long, and nobody's need."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from harness import SMALL_PLAN
from heliograph.instance import machine_code
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.machine_code import instance_code
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.state import State

if TYPE_CHECKING:
    from heliograph.instance.machine_code import Loops

LATEST = datetime(2027, 1, 1, tzinfo=UTC)
LINES = b"\n".join(
    b'["SearchSubmitted",%d,"2026-11-01T12:00:00Z","u1",null,"ok",null,null,null,{"duration_ms":4}]' % number
    for number in range(1, 21)
)
PROGRAM = """
import sys
from datetime import UTC, datetime
from pathlib import Path
if sys.argv[1] == "without":
    sys.modules["numba"] = None
from harness import SMALL_PLAN
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.machine_code import instance_code
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.state import State
folder, latest = Path(sys.argv[2]), datetime(2027, 1, 1, tzinfo=UTC)
code = instance_code(pays_after=0 if sys.argv[1] == "without" else 20)
builder = BatchBuilder(SMALL_PLAN, Pseudonyms(State(folder / "agent")), code)
batch = builder.build(builder.read((folder / "lines").read_bytes(), latest=latest), numbers=20, latest=latest)
print(batch.events, code.loops(), sys.modules.get("numba"))
"""


def test_they_are_had_beside_the_work_once_there_was_much_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Thread] = []
    monkeypatch.setattr(Thread, "start", lambda thread: started.append(thread))  # noqa: PLW0108 - so that it is a method
    state = State(tmp_path)
    code = instance_code(pays_after=30)
    builder = BatchBuilder(SMALL_PLAN, Pseudonyms(state), code)
    builder.read(LINES, latest=LATEST)
    assert not started
    before = builder.read(LINES, latest=LATEST)
    [thread] = started
    thread.run()
    assert code.loops() == machine_code.compiled_loops()
    after = builder.read(LINES, latest=LATEST)
    assert (before.in_order, after.in_order) == (False, True)
    assert before.table.to_pylist() == after.table.to_pylist()
    state.close()


def test_if_they_cannot_be_compiled_the_outbox_is_read_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> Loops:
        raise OSError("no room for what was compiled")

    monkeypatch.setattr(machine_code, "compiled_loops", fail)
    code = instance_code().ready()
    assert code.loops() is None
    state = State(tmp_path)
    recorded = BatchBuilder(SMALL_PLAN, Pseudonyms(state), code).read(LINES, latest=LATEST)
    assert recorded.table.num_rows == 20
    state.close()


@pytest.mark.parametrize("numba", ["without", "with"])
def test_an_agent_without_numba_or_with_a_short_backlog_reads_the_outbox_as_well(numba: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(LINES)
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, numba, tmp_path],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["20", "None", "None"]
    assert said.stderr == ""
