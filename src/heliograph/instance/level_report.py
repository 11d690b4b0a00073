"""Who says what of the level on an instance, and what results: for the admin, without asking anybody."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table
from rich.text import Text

from heliograph.consent.level import Level
from heliograph.consent.policy import instance_level
from heliograph.instance.choice import Word, chosen, environment_words, recorded_word
from heliograph.instance.vendor_word import VendorWord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heliograph.instance.state import Choice, State
    from heliograph.settings import AgentSettings

VENDOR = "vendor"


class Said(msgspec.Struct, frozen=True):
    """What one of those who have a say says."""

    who: str
    """A `heliograph.instance.choice.Place`, or ``vendor``."""
    level: str | None
    """None when it is not known, or not to be relied on."""
    why: str


class LevelReport(msgspec.Struct, frozen=True, kw_only=True):
    """Who says what, and what results."""

    said: list[Said]
    level: str
    """What may leave now."""
    reasons: list[str]
    heard: datetime | None
    """When the vendor's last verified word was received; None when there is none."""


def read_report(
    settings: AgentSettings, state: State, file: Word, environment: Mapping[str, str], now: datetime
) -> LevelReport:
    """Put the report together from what is known on the instance.

    Args:
        settings: The instance's name and the vendor's pinned keys.
        state: The agent's memory.
        file: What the settings file says.
        environment: This program's environment, which may not be the running agent's.
        now: The clock.
    """
    vendor = VendorWord(settings, state, None, now=lambda: now, ticks=time.monotonic)
    words = [file, *environment_words(environment), *recorded_word(state.last_choice())]
    heard = vendor.word()
    decision = instance_level(heard, chosen(words).decision)
    if heard is None:
        told = Said(VENDOR, None, "Nothing was heard of the vendor yet: the agent asks when it runs.")
    else:
        told = Said(VENDOR, None if vendor.in_doubt else str(heard.level), " ".join(heard.reasons))
    return LevelReport(
        said=[told, *(Said(word.place, word.level and str(word.level), word.sentence) for word in words)],
        level=str(decision.level),
        reasons=list(decision.reasons),
        heard=None if vendor.policy is None else vendor.policy.received,
    )


def level_table(report: LevelReport) -> Table:
    """Return who says what, and what results, as a table."""
    table = Table(title="What may leave this instance", caption=_heard(report), caption_justify="left")
    for heading in ("who", "says", "why"):
        table.add_column(heading)
    for said in report.said:
        table.add_row(said.who, said.level or "(not known)", Text(said.why))
    table.add_section()
    table.add_row("[bold]result[/bold]", f"[bold]{report.level}[/bold]", "the narrowest; what is not known means off")
    return table


def _heard(report: LevelReport) -> str:
    if report.heard is None:
        return ""
    return f"The vendor was heard last on {report.heard:%Y-%m-%d %H:%M:%S} UTC; the agent asks before it sends."


def history_table(choices: Sequence[Choice]) -> Table:
    """Return every recorded choice as a table, from the oldest on."""
    table = Table(title="What was chosen on this instance")
    for heading in ("when (UTC)", "level", "by", "reason"):
        table.add_column(heading)
    for choice in choices:
        table.add_row(f"{choice.time:%Y-%m-%d %H:%M:%S}", choice.level, Text(choice.by), Text(choice.reason))
    return table


def narrower_than(choice: str | None, report: LevelReport) -> list[str]:
    """Return who keeps a `choice` that was just recorded from taking effect as it is; nobody: empty."""
    level = None if choice is None else Level.parse(choice)
    if level is None or report.level == choice:
        return []
    narrower = [said.why for said in report.said if (Level.parse(said.level or "") or Level.OFF) < level]
    return [f"{choice} is recorded, but what may leave is {report.level}, as the narrowest decides:", *narrower]
