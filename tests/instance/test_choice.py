"""The admin's choice: the narrowest of all the places where it is made, noticed without a restart."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness import SMALL_PLAN, Vendor
from heliograph import Recorder
from heliograph.cli import app
from heliograph.consent.level import Level
from heliograph.event import Verdict
from heliograph.instance.account import read_account
from heliograph.instance.agent import Agent, Left
from heliograph.instance.choice import (
    LEVEL_VARIABLE,
    Place,
    SettingsWatch,
    Word,
    chosen,
    environment_words,
    recorded_word,
)
from heliograph.instance.notice import DO_NOT_TRACK
from heliograph.instance.state import Choice, State
from heliograph.settings import Settings, commented_file

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
words = st.builds(Word, st.sampled_from(Place), st.none() | st.sampled_from(Level), st.text(min_size=1))


@given(st.lists(words), words)
def test_the_narrowest_decides_and_no_place_widens(heard: list[Word], another: Word) -> None:
    found = chosen(heard)
    assert all(found.decision.level <= (word.level or Level.OFF) for word in heard)
    assert found.decision.level in {Level.OFF, *(word.level or Level.OFF for word in heard)}
    assert found.decision.reasons
    if heard:
        assert chosen([*heard, another]).decision.level <= found.decision.level
    assert found.said_no is any(word.level in (Level.OFF, Level.CRITICAL) for word in heard)


def test_what_nobody_said_is_off_and_no_reason_to_purge() -> None:
    assert (chosen([]).decision.level, chosen([]).said_no) == (Level.OFF, False)


@pytest.mark.parametrize("value", ["", "0", "false", "False", " 0 "])
def test_a_wish_that_is_not_made_says_nothing(value: str) -> None:
    assert environment_words({DO_NOT_TRACK: value}) == []
    assert environment_words({}) == []


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes", "no", "please", "2"])
def test_a_wish_not_to_be_tracked_means_off_however_it_is_put(value: str) -> None:
    [word] = environment_words({DO_NOT_TRACK: value})
    assert (word.place, word.level) == (Place.WISH, Level.OFF)


def test_a_level_that_is_none_is_a_doubt() -> None:
    [from_environment] = environment_words({LEVEL_VARIABLE: "all"})
    [recorded] = recorded_word(Choice(NOON, "all", "", ""))
    for word in (from_environment, recorded):
        assert word.level is None
        found = chosen([word])
        assert (found.decision.level, found.said_no) == (Level.OFF, False)


class Instance:
    """An instance with a settings file and a real gateway, and one recorder."""

    def __init__(self, vendor: Vendor, folder: Path) -> None:
        folder.mkdir()
        self.settings: Settings = vendor.agent_settings(folder)
        self.folder = folder
        self.file = folder / "heliograph.toml"
        self.write("events")
        self.recorder = Recorder(self.settings.recorder)
        watch = SettingsWatch(self.settings, str(self.file))
        self.agent = Agent(self.settings, SMALL_PLAN, choice=watch, environment={})

    def write(self, level: str) -> None:
        text = commented_file(self.settings).replace('\nlevel = "events"', f'\nlevel = "{level}"')
        part = self.file.with_suffix(".part")
        part.write_text(text)
        part.replace(self.file)

    def account(self) -> Any:
        with closing(State(self.folder / "agent", exclusive=False)) as state:
            account = read_account(state, self.folder / "outbox", SMALL_PLAN)
        assert account.closes()
        return account

    def verb(self, *given: str, environment: dict[str, str] | None = None) -> tuple[str, str]:
        found = CliRunner().invoke(app, ["--config", str(self.file), "agent", "level", *given], env=environment)
        assert found.exit_code == 0, found.output
        return found.stdout, found.stderr


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    (tmp_path / "vendor").mkdir()
    with Vendor(tmp_path / "vendor").running() as vendor:
        instance = Instance(vendor, tmp_path / "instance")
        yield instance
        instance.recorder.close()
        instance.agent.close()


def test_a_running_agent_notices_a_recorded_choice_at_its_next_round(instance: Instance) -> None:
    instance.recorder.record("PageViewed", user=1)
    assert instance.agent.round() is Left.MORE
    instance.verb("off", "--by", "admin", "--reason", "an audit")
    instance.recorder.record("PageViewed", user=1)
    assert instance.agent.round() is Left.NOTHING
    assert instance.account().dropped == {"PageViewed": {Verdict.NOT_PERMITTED: 1}}
    instance.verb("events")
    assert instance.agent.round() is not Left.MORE
    while not instance.recorder.record("PageViewed", user=1):  # it may have seen the no, and looks once a second
        time.sleep(0.05)
    assert instance.agent.round() is Left.MORE  # what was recorded before the agent took notice stays
    assert instance.account().delivered == {"PageViewed": 2}


def test_a_running_agent_notices_a_changed_settings_file_and_doubts_one_that_no_longer_loads(
    instance: Instance,
) -> None:
    assert instance.agent.decide().level is Level.EVENTS
    instance.write("critical")
    assert instance.agent.decide().level is Level.CRITICAL
    instance.write("events")
    assert instance.agent.decide().level is Level.EVENTS
    instance.recorder.record("PageViewed", user=1)
    instance.file.write_text("[agent]\nlevel = 7\n")
    assert instance.agent.decide().level is Level.OFF
    assert "cannot be used" in " ".join(instance.agent.decide().reasons)
    assert instance.agent.round() is Left.SOME
    assert instance.account().pending == {"PageViewed": 1}  # a doubt purges nothing
    instance.file.unlink()
    assert instance.agent.decide().level is Level.OFF
    instance.write("events")
    assert instance.agent.round() is Left.MORE
    assert instance.account().delivered == {"PageViewed": 1}


def test_a_settings_file_is_read_again_only_when_it_has_changed(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = SettingsWatch(instance.settings, str(instance.file))
    reads: list[str] = []
    whole = SettingsWatch._read

    def counted(self: SettingsWatch, file: str) -> Word:
        reads.append(file)
        return whole(self, file)

    monkeypatch.setattr(SettingsWatch, "_read", counted)
    for _ in range(5):
        assert watch.word().level is Level.EVENTS
    assert len(reads) == 1
    instance.write("off")
    assert watch.word().level is Level.OFF
    assert len(reads) == 2


def test_the_verb_says_who_says_what_and_what_results(instance: Instance) -> None:
    first = json.loads(instance.verb("--json")[0])
    assert first["level"] == "off"
    assert [(said["who"], said["level"]) for said in first["said"]] == [("vendor", None), ("settings", "events")]
    instance.agent.round()
    instance.verb("critical", "--by", "security office")
    found = json.loads(instance.verb("--json", environment={DO_NOT_TRACK: "1"})[0])
    assert found["level"] == "off"
    assert {said["who"]: said["level"] for said in found["said"]} == {
        "vendor": "events",
        "settings": "events",
        "recorded": "critical",
        "do_not_track": "off",
    }
    assert found["heard"] is not None
    table, _ = instance.verb()
    assert "security office" in table
    assert "critical" in table


def test_the_verb_says_plainly_when_another_place_is_narrower(instance: Instance) -> None:
    instance.agent.round()
    instance.write("critical")
    _, said = instance.verb("events")
    assert "events is recorded, but what may leave is critical" in said
    assert f"The settings file ({instance.file}) says critical." in said
    _, nothing = instance.verb("off")
    assert nothing == ""


def test_the_history_keeps_every_choice_in_order_and_cannot_be_changed(instance: Instance) -> None:
    for level in ("off", "critical", "events"):
        instance.verb(level, "--by", "admin", "--reason", f"because {level}")
    history = json.loads(instance.verb("--history", "--json")[0])
    assert [(each["level"], each["by"], each["reason"]) for each in history] == [
        (level, "admin", f"because {level}") for level in ("off", "critical", "events")
    ]
    assert "because critical" in instance.verb("--history")[0]
    with closing(sqlite3.connect(instance.folder / "agent" / "agent.db")) as database:
        for statement in ("update choice set level = 'events'", "delete from choice"):
            with pytest.raises(sqlite3.IntegrityError, match="only added"):
                database.execute(statement)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["everything"], "no level"),
        (["off", "--by", "a\nb"], "--by holds line breaks"),
        (["off", "--reason", "x" * 501], "at most 500"),
        (["--by", "admin"], "name off, critical or events"),
    ],
)
def test_what_is_no_choice_is_told_and_not_recorded(instance: Instance, given: list[str], expected: str) -> None:
    found = CliRunner().invoke(app, ["--config", str(instance.file), "agent", "level", *given])
    assert found.exit_code == 2
    assert expected in found.stderr
    assert json.loads(instance.verb("--history", "--json")[0]) == []


def test_an_agent_without_the_vendors_key_does_not_start_and_says_all_there_is_to_do(instance: Instance) -> None:
    Path(instance.settings.agent.vendor_keys).unlink()
    found = CliRunner().invoke(app, ["--config", str(instance.file), "agent", "run", "--until-drained"])
    assert found.exit_code == 2
    for word in (instance.settings.agent.vendor_keys, "heliograph gateway key", "agent.vendor_keys", "by a way that"):
        assert word in found.stderr
    assert "Traceback" not in found.output
