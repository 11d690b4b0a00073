"""The admin's choice: the narrowest of all the places where it can be made, each of them read anew.

These are the settings file (`agent.level`), the environment (``HELIOGRAPH_AGENT_LEVEL``), what was recorded last with
`heliograph agent level`, and ``DO_NOT_TRACK``. None of them can widen what another narrows.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from heliograph.consent.agreement import text_problems
from heliograph.consent.level import Decision, Level
from heliograph.instance.notice import DO_NOT_TRACK, forbids_tracking
from heliograph.settings import DEFAULT_FILE, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from heliograph.instance.state import Choice
    from heliograph.settings import Settings

LEVEL_VARIABLE: Final = "HELIOGRAPH_AGENT_LEVEL"
_log: Final = structlog.get_logger("heliograph.agent")


class Place(enum.StrEnum):
    """Where the admin can make a choice."""

    SETTINGS = "settings"
    ENVIRONMENT = "environment"
    RECORDED = "recorded"
    WISH = "do_not_track"


class Word(NamedTuple):
    """What one place says."""

    place: Place
    level: Level | None
    """None when it cannot be read, which decides for `Level.OFF`, as a doubt."""
    sentence: str
    """A plain sentence for the admin."""


class Chosen(NamedTuple):
    """What results of all places."""

    decision: Decision
    spoken: Level | None
    """The narrowest that a place says, doubts apart; None where every one of them is in doubt."""

    @property
    def said_no(self) -> bool:
        """Whether somebody has narrowed the level, and not only a doubt."""
        return self.spoken is not None and self.spoken < Level.EVENTS


def chosen(words: Iterable[Word]) -> Chosen:
    """Return the narrowest of `words`, with the sentences of those who make it so; without any, `Level.OFF`."""
    heard = list(words)
    level = min((word.level or Level.OFF for word in heard), default=Level.OFF)
    reasons = tuple(word.sentence for word in heard if (word.level or Level.OFF) is level)
    spoken = min((word.level for word in heard if word.level is not None), default=None)
    return Chosen(Decision(level, reasons or ("Nobody was asked what the admin chose: nothing may leave.",)), spoken)


def settings_word(level: str, file: str = "") -> Word:
    """Return what `agent.level` says."""
    where = f"The settings file ({file})" if file else "The settings"
    return Word(Place.SETTINGS, Level.parse(level), f"{where} says {level}." if file else f"{where} say {level}.")


def environment_words(environment: Mapping[str, str]) -> list[Word]:
    """Return what the environment says: nothing, or its own level, or the wish not to be tracked."""
    words = []
    text = environment.get(LEVEL_VARIABLE)
    if text is not None:
        level = Level.parse(text)
        known = f"The environment ({LEVEL_VARIABLE}) says {text}."
        doubt = f"The environment ({LEVEL_VARIABLE}) names no level: give off, critical or events."
        words.append(Word(Place.ENVIRONMENT, level, doubt if level is None else known))
    if forbids_tracking(environment):
        words.append(Word(Place.WISH, Level.OFF, f"The environment ({DO_NOT_TRACK}) asks not to be tracked."))
    return words


def recorded_word(choice: Choice | None) -> list[Word]:
    """Return what was recorded last: nothing, if nothing ever was."""
    if choice is None:
        return []
    level = Level.parse(choice.level)
    if level is None:
        doubt = "The choice that was recorded last names no level that is known here: record it again."
        return [Word(Place.RECORDED, None, doubt)]
    by = f" by {choice.by}" if choice.by else ""
    why = f": {choice.reason}" if choice.reason else ""
    sentence = f"The choice recorded on {choice.time:%Y-%m-%d %H:%M} UTC{by} says {level}{why}."
    return [Word(Place.RECORDED, level, sentence)]


def choice_problems(level: str | None, *, by: str = "", reason: str = "") -> list[str]:
    """Return everything that keeps a choice from being recorded; empty: nothing.

    Args:
        level: What to choose; None to choose nothing.
        by: The role that chooses.
        reason: Why.
    """
    given = {"--by": by, "--reason": reason}
    problems = [problem for option, text in given.items() if text for problem in text_problems(option, text)]
    if level is None and any(given.values()):
        problems.append("--by and --reason are recorded with a choice: name off, critical or events")
    if level is not None and Level.parse(level) is None:
        problems.append(f"{level!r} is no level: name off, critical or events")
    return problems


class SettingsWatch:
    """The level in the settings file, read again whenever the file has changed.

    Args:
        file: The settings file; None when the settings did not come from one.
        settings: What holds without a file.
    """

    def __init__(self, settings: Settings, file: str | None = None) -> None:
        self._file = file
        self._word = settings_word(settings.agent.level)
        self._seen: tuple[int, ...] | None = None
        self._looked = False

    @classmethod
    def of_command(cls, settings: Settings, named: str | None) -> SettingsWatch:
        """Return the watch of a program that was started with ``--config named``, or without."""
        return cls(settings, named or (DEFAULT_FILE if Path(DEFAULT_FILE).exists() else None))

    def word(self) -> Word:
        """Return what the file says now."""
        if self._file is None:
            return self._word
        seen = _signature(self._file)
        if not self._looked or seen != self._seen:
            # Looked at before it is read: a change in between is found the next time.
            self._looked, self._seen = True, seen
            self._word = self._read(self._file)
        return self._word

    def _read(self, file: str) -> Word:
        try:
            return settings_word(load_settings(file, environment={}).agent.level, file)
        except SettingsError as error:
            _log.error("the settings file cannot be used", why=error.problems)
            doubt = f"The settings file ({file}) cannot be used: nothing may leave. {error.problems[0]}"
            return Word(Place.SETTINGS, None, doubt)


def _signature(file: str) -> tuple[int, ...] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
