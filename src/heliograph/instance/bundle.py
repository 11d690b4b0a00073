"""Writing bundles on an instance that has no way to the gateway, and taking in the vendor's receipts for them.

The level is decided as the agent decides it, by a policy that was handed over as a file. What is written is told to the
ledger, as what is sent is; and the boundaries of each range are remembered before the file is there, so that the same
numbers go in the same ranges, should the agent reach the gateway after all.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from heliograph.bundle import (
    MOST_PARTS,
    BundleError,
    Manifest,
    Part,
    PolicyFile,
    pack,
    read_bundle_key,
    read_file,
)
from heliograph.consent.level import Level
from heliograph.consent.policy import AHEAD_SECONDS, Policy, PolicyDoubtError, instance_level, read_policy
from heliograph.consent.trust import follow
from heliograph.event import UNDECLARED
from heliograph.instance.actors import Marks, MarkTable
from heliograph.instance.batch import BatchBuilder
from heliograph.instance.exporter import FUTURE
from heliograph.instance.outbox_reading import START, read_epochs
from heliograph.instance.present_names import PresentNames
from heliograph.instance.progress import Leaving, Progress
from heliograph.instance.pseudonyms import Pseudonyms
from heliograph.instance.refusals import Objections
from heliograph.instance.withheld import heard
from heliograph.plan.canonical import CanonicalPlanError, read_canonical
from heliograph.plan.narrow import narrowed
from heliograph.wire import VerdictCounts, merge_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.consent.trust import Keys
    from heliograph.instance.choice import Chosen
    from heliograph.instance.outbox_reading import Chunk, EpochReader
    from heliograph.instance.state import State
    from heliograph.plan.model import Plan
    from heliograph.settings import Settings

DEFAULT_BYTES: Final = 64 << 20


class Allowed(NamedTuple):
    """What a policy file allows, once it is known to be the vendor's word."""

    policy: Policy
    plan: Plan
    recipient: str
    """To whom bundles are encrypted."""


class Bundle(NamedTuple):
    """A bundle in the clear."""

    manifest: Manifest
    clear: bytes
    is_whole: bool
    """Whether everything that waited is in it."""


def read_policy_file(
    content: bytes, pins: Keys, *, instance: str, held: int, now: datetime, limit: Plan | None
) -> Allowed:
    """Return what a policy file allows.

    Args:
        content: The file.
        pins: The vendor's keys that are pinned.
        instance: This instance's name.
        held: When the latest policy heard before was issued; an older one does not count.
        now: The clock.
        limit: The instance's own plan, where it is a limit to the vendor's.

    Raises:
        BundleError: It is none, is not the vendor's word, or holds no longer.
    """
    file = read_file(content, PolicyFile, "policy file")
    keys = follow(pins, file.endorsements)
    latest = (now + timedelta(seconds=AHEAD_SECONDS)).timestamp()
    try:
        policy = read_policy(file.policy, keys, instance=instance, received=now, latest=latest, held=held)
        plan = read_canonical(file.plan.encode(), policy.plan_digest)
    except PolicyDoubtError as error:
        raise BundleError(f"{error} Ask the vendor for `heliograph gateway policy {instance} --days DAYS`.") from None
    except CanonicalPlanError as error:
        raise BundleError(f"the plan in the policy file is not the one that the policy names: {error}") from None
    # A file may be copied at any time: it holds from when it was issued.
    policy = msgspec.structs.replace(policy, received=min(datetime.fromtimestamp(policy.issued, UTC), now))
    return Allowed(policy, plan if limit is None else narrowed(plan, limit), read_bundle_key(file.bundle_key, keys))


class BundleWriter:
    """Puts what waits in the outbox into bundles.

    Args:
        settings: Of the instance.
        state: The agent's memory, held alone.
        allowed: What the policy file allows.
        now: The clock.
    """

    def __init__(self, settings: Settings, state: State, allowed: Allowed, *, now: datetime) -> None:
        self._agent = settings.agent
        self._outbox = Path(settings.recorder.outbox)
        self._state = state
        self._allowed = allowed
        self._now = now
        self._objections = Objections(state, self._outbox)
        self._pseudonyms = Pseudonyms(state)
        self._builder = BatchBuilder(allowed.plan, self._pseudonyms)
        self._present = PresentNames(allowed.plan)
        state.kept.bound(days=settings.agent.ledger_days, maximum_bytes=settings.agent.ledger_bytes)

    def write(self, admin: Chosen, key: Ed25519PrivateKey, *, most_bytes: int = DEFAULT_BYTES) -> Bundle:
        """Return a bundle of what waits, whose ranges are remembered.

        Args:
            admin: What the admin chose: `off` and `critical` win over any policy.
            key: The instance's own.
            most_bytes: Of its deliveries; the rest waits for another one.

        Raises:
            BundleError: The level does not allow it.
            OSError: The outbox, or who has opted out, cannot be read.
            sqlite3.Error: The state cannot be written.
        """
        decision = instance_level(self._allowed.policy.word(self._now), admin.decision)
        word = heard(decision.level, self._allowed.policy, admin.spoken, self._now)
        self._objections.tell(word, self._now)
        if decision.level is not Level.EVENTS:
            raise BundleError(
                f"the level is {decision.level}, so that no event may leave: {' '.join(decision.reasons)}"
            )
        parts: list[Part] = []
        bodies: list[bytes] = []
        size = 0
        is_whole = True
        for part, body in self._parts():
            parts.append(part)
            bodies.append(body)
            size += len(body)
            if size >= most_bytes or len(parts) >= MOST_PARTS:
                is_whole = False
                break
        manifest = Manifest(
            bundle=secrets.token_hex(16), instance=self._agent.instance, made=int(self._now.timestamp()), parts=parts
        )
        return Bundle(manifest, pack(manifest, bodies, key), is_whole)

    def _parts(self) -> Iterator[tuple[Part, bytes]]:
        for reader in read_epochs(self._outbox):
            if reader.held_name is not None:  # set aside, as no plan had declared it
                continue
            real = self._state.progress(reader.epoch) or Progress(reader.series, START)
            progress = real
            while (chunk := self._read(reader, progress)).numbers:
                yield self._part(reader, real, progress, chunk)
                progress = replace(
                    progress,
                    position=chunk.end,
                    acknowledged=chunk.last,
                    owed=[owed for owed in progress.owed if owed.last > chunk.last],
                    sending=None,
                )

    def _read(self, reader: EpochReader, progress: Progress) -> Chunk:
        last = progress.begun
        if last is None:
            first = progress.acknowledged + 1
            last = self._state.bundled.end_of(reader.epoch, first, after=progress.position.sequence)
        return reader.read(progress.position, self._agent.batch_events, last=last)

    def _part(self, reader: EpochReader, real: Progress, progress: Progress, chunk: Chunk) -> tuple[Part, bytes]:
        refusals = self._objections.look()
        self._pseudonyms.clear()  # somebody may have been forgotten since
        batch = self._builder.build(
            chunk.lines,
            numbers=chunk.numbers,
            latest=self._now + FUTURE,
            refusals=refusals,
            marks=Marks(dict(MarkTable(self._state.connection).read()), self._agent),
        )
        absent: VerdictCounts = {}
        for counts in (*(self._as_declared(owed.counts) for owed in progress.owed), batch.absent):
            merge_counts(absent, counts)
        first = progress.acknowledged + 1
        self._state.bundled.add(reader.epoch, first, chunk.last)
        head = self._state.begin(
            reader.epoch,
            real,
            self._pseudonyms.fresh(),
            self._objections.sessions.fresh(),
            generation=self._objections.generation,
            leaving=Leaving(first, chunk.last, batch.counts, absent, batch.body, self._allowed.policy.plan_digest),
        )
        self._pseudonyms.forget_fresh()
        self._objections.sessions.forget_fresh()
        part = Part(
            epoch=reader.epoch,
            first=first,
            last=chunk.last,
            events=batch.counts,
            absent=absent,
            digest=hashlib.sha256(batch.body).hexdigest(),
            size=len(batch.body),
            ledger=head,
        )
        return part, batch.body

    def _as_declared(self, counts: VerdictCounts) -> VerdictCounts:
        found: VerdictCounts = {}
        for recorded, verdicts in counts.items():
            name = self._present.name(recorded)
            merge_counts(found, {name if name in self._allowed.plan.events else UNDECLARED: verdicts})
        return found
