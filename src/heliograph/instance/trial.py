"""A trial: what an event becomes, by the code that handles real ones, in a folder that is thrown away.

It is recorded by a real `Recorder` into an outbox of its own, read from there, and built into a batch as the exporter
builds it. No settings of the instance, no outbox and no state of it are touched, and no socket is opened.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import zstandard

from heliograph.event import UNDECLARED, Verdict
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.ping import count_use
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.recorder import Recorder
from heliograph.instance.state import State
from heliograph.instance.usage import Tally, Usage
from heliograph.ping import MONTH_DAYS
from heliograph.plan.coarsen import coarsen_all
from heliograph.plan.lines import LineChecker
from heliograph.settings import RecorderSettings
from heliograph.wire import Skeleton

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heliograph.plan.model import EventDefinition, Plan

RAW_IDS: Final = {"user": "user_id"}
"""What the product's own ids are called on the instance, and the random ones on the way."""
_STAYS: Final = "session"
_TOLERANCE: Final = timedelta(minutes=5)
_FIRST_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).date()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What one recorded event becomes at each level."""

    name: str
    plan: str
    """The plan's name and version."""
    verdict: Verdict
    """`Verdict.ACCEPTED` if it leaves at level `events`; else why it does not."""
    recorded: dict[str, Any] | None
    """As it is in the outbox, with the product's own ids; None if the recorder did not take it."""
    sent: dict[str, Any] | None
    """As it leaves at level `events`; None if it does not."""
    left_out: dict[str, str]
    """What was recorded and does not leave with the event, and why, by field."""
    changed: dict[str, str]
    """What leaves as another value than was recorded, and why, by field."""
    skeleton: Skeleton | None
    """All that is told of it if it does not leave."""
    ping: dict[str, int]
    """What it adds to the numbers of the day's ping, before small groups are suppressed, by path."""


def try_event(
    plan: Plan,
    name: str,
    values: Mapping[str, Any],
    *,
    version: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Trial:
    """Record an event as a product would, and return what becomes of it under `plan`.

    Args:
        plan: The tracking plan.
        name: The event's name.
        values: Its properties, and what else `heliograph.record` takes: ``user``, ``session``, ``outcome``, ``source``.
        version: The product's version.
        now: The clock.
    """
    with tempfile.TemporaryDirectory(prefix="heliograph-trial-") as folder:
        line, dropped = _record(Path(folder) / "outbox", name, values, version, now)
        if line is None:
            return _refused(plan, name, dropped or Verdict.UNRECORDABLE)
        latest = now() + _TOLERANCE
        body, absent = _build(Path(folder) / "state", plan, line, latest)
    recorded = msgspec.json.decode(line, type=dict[str, Any])
    sent = _first_row(body)
    verdict = Verdict.ACCEPTED if sent else next(iter(absent.values()), Verdict.LOST)
    definition = plan.events.get(name)
    return Trial(
        name=name,
        plan=plan.label,
        verdict=verdict,
        recorded=recorded,
        sent=sent,
        left_out={} if sent is None else _left_out(recorded, sent, definition),
        changed={} if sent is None else _changed(recorded, sent),
        skeleton=None if sent else _skeleton(plan, recorded, verdict, latest),
        ping=_moved(plan, line, latest),
    )


def _record(
    outbox: Path, name: str, values: Mapping[str, Any], version: str | None, now: Callable[[], datetime]
) -> tuple[bytes | None, Verdict | None]:
    """Return the line that the outbox holds, or the recorder's verdict."""
    recorder = Recorder(RecorderSettings(outbox=str(outbox)), version=version, now=now, environment={})
    try:
        taken = recorder.record(name, **values)
        dropped = next((Verdict(verdict) for each in recorder.dropped.values() for verdict in each), None)
    finally:
        recorder.close()
    lines = [line for reader in read_epochs(outbox) for line in reader.read(START, 1).lines] if taken else []
    return (lines[0] if lines else None), dropped


def _build(state_folder: Path, plan: Plan, line: bytes, latest: datetime) -> tuple[bytes, dict[str, Verdict]]:
    """Return the batch of this one event, and why it is empty if it is."""
    state = State(state_folder)
    try:
        batch = BatchBuilder(plan, Pseudonyms(state)).build([line], numbers=1, latest=latest)
    finally:
        state.close()
    return batch.body, {name: Verdict(verdict) for name, each in batch.absent.items() for verdict in each}


def _first_row(body: bytes) -> dict[str, Any] | None:
    with pa.ipc.open_stream(zstandard.ZstdDecompressor().decompress(body)) as stream:
        rows = stream.read_all().to_pylist()
    return {key: value for key, value in rows[0].items() if value is not None} if rows else None


def _refused(plan: Plan, name: str, verdict: Verdict) -> Trial:
    known = name if name in plan.events else UNDECLARED
    return Trial(
        name=name,
        plan=plan.label,
        verdict=verdict,
        recorded=None,
        sent=None,
        left_out={},
        changed={},
        skeleton=Skeleton(verdict, known),
        ping={},
    )


def _left_out(recorded: Mapping[str, Any], sent: Mapping[str, Any], event: EventDefinition | None) -> dict[str, str]:
    declared = set() if event is None else {*event.properties}
    missing = [key for key in recorded if key not in RAW_IDS and key not in sent]
    reasons = dict.fromkeys(declared, "no value") | {_STAYS: "stays on the instance"}
    return {key: reasons.get(key, "not declared, left out") for key in missing}


def _changed(recorded: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, str]:
    ids = {key: "random id" for key in RAW_IDS if key in recorded}
    values = {
        key: "rounded"
        for key, value in recorded.items()
        if key not in ("time", *RAW_IDS) and key in sent and sent[key] != value
    }
    return ids | values


def _skeleton(plan: Plan, recorded: Mapping[str, Any], verdict: Verdict, latest: datetime) -> Skeleton:
    """Return what is told of the event, with the field at fault where the checker of lines finds it."""
    event = {key: value for key, value in recorded.items() if key not in (*RAW_IDS, _STAYS)}
    definition = plan.events.get(str(event["name"]))
    if definition is not None:
        event = coarsen_all(event, definition.properties)
    found = LineChecker(plan).decode_one(msgspec.json.encode(event), latest=latest)
    if isinstance(found, Skeleton) and found.verdict == verdict:
        return found
    return Skeleton(verdict, str(event["name"]) if definition is not None else UNDECLARED)


def _moved(plan: Plan, line: bytes, latest: datetime) -> dict[str, int]:
    """Return what the event adds to the ping of its day."""
    tallied = Tally(plan, days=MONTH_DAYS).count([line], latest=latest)
    usage = [Usage(_FIRST_DAY + timedelta(days=day), name, user, events) for day, name, user, events in tallied]
    if not usage:
        return {}
    use = count_use(usage, plan, usage[0].day)
    numbers = {f"active_users.{period}": getattr(use, period) for period in ("day", "week", "month")}
    for feature, count in use.features.items():
        numbers |= {f"features.{feature}.users": count.users, f"features.{feature}.events": count.events}
    return {path: number for path, number in numbers.items() if number}
