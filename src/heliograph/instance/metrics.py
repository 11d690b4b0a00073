"""The agent's metrics: read from its state and its outbox as they stand, and written to a file. It listens nowhere."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.level import Level
from heliograph.event import Verdict
from heliograph.instance.account import read_passed
from heliograph.instance.ledger_faults import known_faults
from heliograph.instance.ledger_watch import LedgerStanding
from heliograph.instance.outbox import outbox_bytes
from heliograph.instance.outbox_reading import START, Position, read_epochs
from heliograph.metrics import Kind, MetricTable, Snapshot

if TYPE_CHECKING:
    from heliograph.instance.outbox_reading import EpochReader
    from heliograph.instance.state import State
    from heliograph.settings import Settings

FILE: Final = "metrics.prom"
"""In the agent's state, if the settings name no other."""
_READ_EVENTS: Final = 5_000
"""That are held in memory at once."""


class AgentMetric(MetricTable):
    """Every metric of the agent."""

    EVENTS = (
        "heliograph_agent_events_total",
        Kind.COUNTER,
        ("event", "outcome"),
        "Events that have an outcome, by declared name and verdict: accepted ones have a receipt.",
    )
    RECORDED = (
        "heliograph_agent_recorded_events_total",
        Kind.COUNTER,
        ("event",),
        "Events recorded, by declared name, as far as the agent has passed them, and those dropped before a number.",
    )
    PENDING = ("heliograph_agent_pending_events", Kind.GAUGE, (), "Events in the outbox that have no outcome yet.")
    OLDEST = (
        "heliograph_agent_oldest_pending_seconds",
        Kind.GAUGE,
        (),
        "Age of the oldest pending event, in seconds by its own time; 0 if none is pending.",
    )
    UNDECIDED = (
        "heliograph_agent_undecided_events",
        Kind.GAUGE,
        (),
        "Events that the gateway holds, and whose receipts never came here.",
    )
    DIFFERENCES = (
        "heliograph_agent_account_differences_total",
        Kind.COUNTER,
        (),
        "Ranges of numbers that did not add up, since the state was begun.",
    )
    UNEXPLAINED = (
        "heliograph_agent_account_unexplained_events",
        Kind.GAUGE,
        ("event",),
        "By how many events the account differs: above zero have vanished, below zero are too many.",
    )
    OPEN_DIFFERENCES = (
        "heliograph_agent_account_open_differences",
        Kind.GAUGE,
        (),
        "Ranges that did not add up and that nobody has explained; at least 1 if the account does not close.",
    )
    LEDGER_ENTRIES = ("heliograph_agent_ledger_entries", Kind.GAUGE, (), "Entries of the ledger of what left.")
    LEDGER_PROBLEMS = (
        "heliograph_agent_ledger_problems",
        Kind.GAUGE,
        (),
        "What the agent has found wrong with its ledger and nobody has acknowledged; it verifies it again and again.",
    )
    LEDGER_ACKNOWLEDGED = (
        "heliograph_agent_ledger_acknowledged_problems",
        Kind.GAUGE,
        (),
        "What is or was wrong with the ledger, and the admin has acknowledged.",
    )
    LEDGER_VERIFIED = (
        "heliograph_agent_ledger_verified_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When the agent had last verified its ledger to the end, in seconds since 1970.",
    )
    OUTBOX_BYTES = ("heliograph_agent_outbox_bytes", Kind.GAUGE, (), "Bytes that the outbox takes on disk.")
    OUTBOX_BOUND = (
        "heliograph_agent_outbox_bound_bytes",
        Kind.GAUGE,
        (),
        "Bytes past which the recorder drops new events, and counts them.",
    )
    OUTBOX_EPOCHS = (
        "heliograph_agent_outbox_epochs",
        Kind.GAUGE,
        (),
        "Epochs (writing processes) that the outbox holds.",
    )
    LEVEL = (
        "heliograph_agent_level",
        Kind.GAUGE,
        (),
        "What may leave: 0 off, 1 critical, 2 events.",
    )
    POLICY_AGE = (
        "heliograph_agent_policy_age_seconds",
        Kind.GAUGE,
        (),
        "Seconds since the vendor's last verified policy was received.",
    )
    CHECKED = (
        "heliograph_agent_checked_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When the agent last looked at its account and wrote this, in seconds since 1970.",
    )
    DELIVERED = (
        "heliograph_agent_delivered_timestamp_seconds",
        Kind.GAUGE,
        (),
        "When the gateway stored the latest delivery that has a receipt here, in seconds since 1970.",
    )
    FAILURES = (
        "heliograph_agent_failures",
        Kind.GAUGE,
        ("reason",),
        "Rounds that have failed one after the other, by why the last one did; 0 after one that went well.",
    )
    DOUBT = (
        "heliograph_agent_doubt",
        Kind.GAUGE,
        ("doubt",),
        "1 for the doubt by which the vendor's word is not relied on, as docs/policy.md lists them.",
    )
    CLOCK_OFFSET = (
        "heliograph_agent_clock_offset_seconds",
        Kind.GAUGE,
        (),
        "The gateway's clock minus this one, once the gateway has told that they differ.",
    )


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What only the running agent knows, kept beside its state for whoever asks how it does."""

    at: datetime
    """When it was said."""
    level: str
    """What may leave."""
    failures: int = 0
    """Rounds that have failed one after the other."""
    why: str = ""
    """Why the last one did."""
    reason: str = "none"
    """The same as one word: a problem's type, or the kind of error."""
    doubts: list[str] = []
    """Why the vendor's word is not relied on."""
    clock_offset: float = 0.0
    """The gateway's clock minus this one, in seconds."""
    ledger: LedgerStanding = LedgerStanding()
    """What verifying the ledger has come to."""


def read_metrics(settings: Settings, state: State, standing: Standing | None, now: datetime) -> Snapshot:
    """Read all metrics.

    Args:
        settings: Where the outbox is, and its bound.
        state: The agent's memory.
        standing: What the agent said last of itself; None if it never did.
        now: The clock.
    """
    found = Snapshot()
    _put_account(found, state)
    _put_outbox(found, settings, state, now)
    policy = state.policy()
    if policy is not None:
        found.put(AgentMetric.POLICY_AGE, (now - policy.received).total_seconds())
    if standing is not None:
        level = Level.parse(standing.level)
        found.put(AgentMetric.LEVEL, 0 if level is None else list(Level).index(level))
        found.put(AgentMetric.CHECKED, standing.at.timestamp())
        found.put(AgentMetric.FAILURES, standing.failures, reason=standing.reason)
        found.put(AgentMetric.CLOCK_OFFSET, standing.clock_offset)
        _put_ledger(found, standing.ledger)
        for doubt in standing.doubts:
            found.put(AgentMetric.DOUBT, 1, doubt=doubt)
    return found


def _put_account(found: Snapshot, state: State) -> None:
    account = read_passed(state)
    found.put_each(AgentMetric.RECORDED, account.recorded_names, "event")
    outcomes: Counter[tuple[str, Verdict]] = Counter()
    outcomes.update({(name, Verdict.ACCEPTED): count for name, count in account.delivered.items()})
    for counts in (account.rejected, account.dropped):
        for name, verdicts in counts.items():
            outcomes.update({(name, verdict): count for verdict, count in verdicts.items()})
    for (name, verdict), count in sorted(outcomes.items()):
        found.put(AgentMetric.EVENTS, count, event=name, outcome=str(verdict))
    found.put(AgentMetric.UNDECIDED, account.undecided)
    if account.received:
        found.put(AgentMetric.DELIVERED, account.received / 1_000_000)
    found.put(AgentMetric.DIFFERENCES, account.difference_count)
    found.put(AgentMetric.OPEN_DIFFERENCES, account.open_differences())
    found.put_each(AgentMetric.UNEXPLAINED, account.unexplained(), "event")
    found.put(AgentMetric.LEDGER_ACKNOWLEDGED, len(known_faults(state.ledger)))


def _put_ledger(found: Snapshot, ledger: LedgerStanding) -> None:
    found.put(AgentMetric.LEDGER_ENTRIES, ledger.entries)
    found.put(AgentMetric.LEDGER_PROBLEMS, ledger.fault_count)
    if ledger.verified is not None:
        found.put(AgentMetric.LEDGER_VERIFIED, ledger.verified.timestamp())


def _put_outbox(found: Snapshot, settings: Settings, state: State, now: datetime) -> None:
    outbox = Path(settings.recorder.outbox)
    progresses = state.all_progress()
    pending = 0
    oldest: datetime | None = None
    readers = read_epochs(outbox)
    for reader in readers:
        known = progresses.get(reader.epoch)
        position = START if known is None else known.position
        waiting = max(_last_number(reader, position) - position.sequence, 0)
        pending += waiting
        if waiting:
            first = _first_time(reader.read(position, 1).lines)
            oldest = first if oldest is None else min(oldest, first or oldest)
    found.put(AgentMetric.PENDING, pending)
    found.put(AgentMetric.OLDEST, 0 if oldest is None else (now - oldest).total_seconds())
    found.put(AgentMetric.OUTBOX_BYTES, outbox_bytes(outbox))
    found.put(AgentMetric.OUTBOX_BOUND, settings.recorder.maximum_bytes)
    found.put(AgentMetric.OUTBOX_EPOCHS, len(readers))


def _last_number(reader: EpochReader, position: Position) -> int:
    """Return the last number that an epoch's newest segment holds: those before it need not be read for that."""
    segments = reader.segments()
    if not segments:
        return 0
    if position.segment != segments[-1]:
        position = Position(segments[-1], 0, segments[-1] - 1)
    while (chunk := reader.read(position, _READ_EVENTS)).end != position:
        position = chunk.end
    return position.sequence


class _Timed(msgspec.Struct):
    time: datetime


def _first_time(lines: list[bytes]) -> datetime | None:
    try:
        time = msgspec.json.decode(lines[0], type=_Timed).time
    except (IndexError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
