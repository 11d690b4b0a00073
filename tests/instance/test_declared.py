"""What a recorder does by the plan: it drops what is withdrawn, leaves out what is not declared, and sets aside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from heliograph.instance.declared import DECLARED_FILE, Declaration, DeclaredWriter
from heliograph.instance.held import MOST_NAMES, PART
from heliograph.instance.outbox import HELD_FOLDER
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.recorder import Recorder
from heliograph.settings import RecorderSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DECLARATION = Declaration(
    plan="small@1",
    events={"Opened": ["how", "lines"], "Viewed": []},
    renamed={"Looked": "Viewed"},
    withdrawn=["Closed"],
)


def declare(outbox: Path, declaration: Declaration = DECLARATION) -> None:
    DeclaredWriter(outbox).tell(declaration)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    declare(tmp_path)
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path)), look_seconds=3600.0)
    yield recorder
    recorder.close()


def recorded(outbox: Path) -> dict[str, list[dict[str, Any]]]:
    """Events by the series that they are in."""
    found: dict[str, list[dict[str, Any]]] = {}
    for reader in read_epochs(outbox):
        lines = reader.read(START, 1_000_000).lines
        found.setdefault(reader.series, []).extend(msgspec.json.decode(line) for line in lines)
    return found


def look(recorder: Recorder) -> None:
    recorder._watch.look()
    recorder._measure()


def test_only_what_is_declared_is_in_the_queue(recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.record("Opened", how="fast", lines=3, query="secret", path=None)
    assert recorder.record("Looked")
    assert recorder.record("Unheard", anything=1)
    assert not recorder.record("Closed")
    assert recorder.dropped == {"Closed": {"undeclared_event": 1}}
    found = recorded(tmp_path)
    assert [(event["name"], event.get("how"), event.get("query")) for event in found["recorder"]] == [
        ("Opened", "fast", None),
        ("Viewed", None, None),
    ]
    assert [event["anything"] for event in found["held:Unheard"]] == [1]
    look(recorder)
    [main] = [reader for reader in read_epochs(tmp_path) if reader.series == "recorder"]
    chunk = main.read(START, 10)
    assert (chunk.dropped, chunk.left_out) == ({"Closed": {"undeclared_event": 1}}, {"Opened": 1})


def test_what_is_declared_meanwhile_goes_to_the_queue_and_its_epoch_ends(recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.record("Unheard")
    declare(tmp_path, msgspec.structs.replace(DECLARATION, events=DECLARATION.events | {"Unheard": []}))
    assert recorder.record("Unheard"), "it looks about once a second"
    look(recorder)
    assert recorder.record("Unheard")
    found = recorded(tmp_path)
    assert (len(found["held:Unheard"]), len(found["recorder"])) == (2, 1)
    [held] = [reader for reader in read_epochs(tmp_path) if reader.held_name == "Unheard"]
    assert held.is_closed()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"plan": "p@1"}', b"\xff\xfe"])
def test_without_a_file_that_can_be_read_everything_is_recorded(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / DECLARED_FILE).write_bytes(content)
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path)))
    assert recorder.record("Closed", anything=1)
    recorder.close()
    assert [event["name"] for event in recorded(tmp_path)["recorder"]] == ["Closed"]


def test_a_product_that_makes_names_up_fills_nothing(recorder: Recorder, tmp_path: Path) -> None:
    results = [recorder.record(f"Made{n}") for n in range(MOST_NAMES + 5)]
    assert results == [True] * MOST_NAMES + [False] * 5
    assert recorder.dropped[f"Made{MOST_NAMES}"] == {"undeclared_event": 1}
    assert len(list((tmp_path / HELD_FOLDER).iterdir())) == MOST_NAMES


def test_what_is_set_aside_takes_a_part_of_the_room_and_never_that_of_the_declared(tmp_path: Path) -> None:
    declare(tmp_path)
    settings = RecorderSettings(outbox=str(tmp_path), maximum_bytes=PART * 10_000)
    recorder = Recorder(settings, look_seconds=3600.0)
    while recorder.record("Unheard", how="x" * 100):
        pass
    assert recorder.dropped == {"Unheard": {"undeclared_event": 1}}
    assert recorder.record("Opened")
    size = sum(path.stat().st_size for path in (tmp_path / HELD_FOLDER).rglob("*.segment"))
    assert 8_000 < size <= 10_000
    recorder.close()


def test_what_is_set_aside_is_forced_to_disk_and_its_epochs_end_with_the_process(tmp_path: Path) -> None:
    declare(tmp_path)
    recorder = Recorder(RecorderSettings(outbox=str(tmp_path)), look_seconds=3600.0)
    assert recorder.record("Unheard")
    assert recorder.flush()
    recorder.close()
    assert all(reader.is_closed() for reader in read_epochs(tmp_path))
    assert recorder.record("Unheard")
    recorder.close()
    assert len(recorded(tmp_path)["held:Unheard"]) == 2


def test_a_forked_child_sets_aside_in_epochs_of_its_own(recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.record("Unheard")
    child = os.fork()
    if child == 0:
        ok = recorder.record("Unheard")
        recorder.flush()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert recorder.record("Unheard")
    by_epoch = [len(reader.read(START, 10).lines) for reader in read_epochs(tmp_path) if reader.held_name]
    assert sorted(by_epoch) == [1, 2]


def test_bad_names_and_properties_are_unrecordable_as_ever(recorder: Recorder) -> None:
    bad: Any = ["Opened"]
    assert not recorder.record("no name")
    assert not recorder.record(bad)
    assert not recorder.record("Opened", how=["a", "list"])  # type: ignore[arg-type] # on purpose
    assert recorder.dropped == {"(undeclared)": {"unrecordable": 2}, "Opened": {"unrecordable": 1}}


def test_the_file_is_written_again_when_it_is_gone(tmp_path: Path) -> None:
    writer = DeclaredWriter(tmp_path)
    writer.tell(DECLARATION)
    (tmp_path / DECLARED_FILE).unlink()
    writer.tell(DECLARATION)
    assert msgspec.json.decode((tmp_path / DECLARED_FILE).read_bytes(), type=Declaration) == DECLARATION
