"""Asking the gateway for the vendor's half of the account, from the command line, where the level allows to ask."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from heliograph.consent.level import Level
from heliograph.instance.level_report import read_report
from heliograph.instance.transport import GatewayClient
from heliograph.keys import load_or_create_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from heliograph.instance.choice import Word
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayAccount
    from heliograph.settings import AgentSettings


class NotAskedError(Exception):
    """The level is off, so that nobody is asked; the message says why, and what to do."""


def ask_account(
    settings: AgentSettings,
    state: State,
    *,
    file: Word,
    environment: Mapping[str, str],
    now: datetime,
    client: GatewayClient | None = None,
) -> GatewayAccount:
    """Return what the gateway tells of this instance's deliveries.

    Args:
        settings: The gateway and who this instance is.
        state: The agent's memory.
        file: What the settings file says of the level.
        environment: This program's environment, in which the admin may have chosen a level too.
        now: The clock.
        client: Replaces the way to the gateway, in tests.

    Raises:
        NotAskedError: At level off no connection is opened.
        TransportError: The gateway did not answer.
    """
    report = read_report(settings, state, file, environment, now)
    if report.level == str(Level.OFF):
        raise NotAskedError(
            f"the level is off, so that nobody is asked: {' '.join(report.reasons)} Have the vendor export its half "
            "(`heliograph ledger export FILE --instance NAME` there), and give both files."
        )
    with closing(client or GatewayClient(settings, load_or_create_key(Path(settings.key)))) as asked:
        return asked.account()
