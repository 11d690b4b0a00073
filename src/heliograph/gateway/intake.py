"""The intake of a delivery: the visible list of its steps.

Each step leaves the delivery better known, or refuses it as a whole. A single event that does not pass is no refusal,
but gets its verdict, and the rest of the delivery is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog

from heliograph import spans
from heliograph.consent.level import Level
from heliograph.event import ABSENT, UNDECLARED, Verdict
from heliograph.gateway.bodies import STORED_ENCODING, Checked
from heliograph.gateway.exporters import MOST_SUPERSEDED, is_exporter
from heliograph.gateway.fairness import Turns
from heliograph.gateway.log import Log, LogFullError
from heliograph.gateway.log_entries import Entry
from heliograph.gateway.metrics import METERS, GatewayMetric
from heliograph.gateway.plans import Checks, PlanInForce
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.gateway.writer import OutOfOrderError, SupersededError, Writer, writer_of
from heliograph.wire import (
    ABSENT_HEADER,
    AFTER_HEADER,
    EPOCH_HEADER,
    EXPORTER_HEADER,
    LEDGER_HEADER,
    PLAN_HEADER,
    RANGE_HEADER,
    Answer,
    Receipt,
    VerdictCounts,
    delivery_id,
    total_counts,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from heliograph.gateway.receipts import ReceiptSigner
    from heliograph.plan.model import Plan
    from heliograph.registry.snapshot import Permission
    from heliograph.settings import GatewaySettings

_MOST_ABSENT_BYTES: Final = 16 << 10
_LARGEST: Final = 2**63 - 1
MOST_NUMBERS: Final = 2**32
"""Of one delivery: far more than an outbox holds, and so few that no account ever passes what JSON's readers take."""
MOST_EPOCHS: Final = 100_000
"""Of one instance: each is kept in mind for ever."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_LOCKS: Final = 1024
_log: Final = structlog.get_logger("heliograph.gateway")


class Permissions(Protocol):
    """Looks up what an instance may send; cheap, as it is asked for every delivery."""

    def __call__(self, instance: str, /) -> Permission:
        """Return the instance's permission; `Level.OFF` for an unknown one."""


@dataclass(slots=True)
class Delivery:
    """One delivery on its way through the steps."""

    instance: str
    headers: Mapping[str, str]
    body: bytes
    checks: Checks
    """The plan in force when its turn came: all steps see this one."""
    permission: Permission | None = None
    epoch: int = 0
    first: int = 0
    last: int = 0
    exporter: str = ""
    """The id of the process that sends; empty if it does not say."""
    after: list[str] = field(default_factory=list)
    """The ids of those that ran before it, as far as it says."""
    absent: VerdictCounts = field(default_factory=dict)
    ledger: str | None = None
    checked: Checked | None = None
    answer: Answer | None = None
    """Set by the step that settles the delivery; the steps after it are passed over."""

    @property
    def id(self) -> str:
        """By what name the logs know it."""
        return delivery_id(self.instance, self.epoch, self.first, self.last)


class Intake:
    """Takes deliveries in, one after the other for each epoch, and any number of epochs at once."""

    def __init__(
        self,
        *,
        plan: Plan | PlanInForce,
        log: Log | Writer,
        permissions: Permissions,
        signer: ReceiptSigner,
        settings: GatewaySettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plans = PlanInForce.of(plan)
        self._writer = writer_of(log)
        self._permissions = permissions
        self._signer = signer
        self._settings = settings
        self._now = now
        self._turns = Turns()
        # Deliveries of one epoch go one after the other; a few epochs may share a lock, which only costs a wait.
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]

    async def take(self, instance: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take one delivery of an authenticated instance through all steps, and answer it.

        Raises:
            RefusalError: Nothing of it was stored.
        """
        delivery = Delivery(instance=instance, headers=headers, body=body, checks=self._plans.checks())
        read_range(delivery)
        read_exporter(delivery)
        # Shielded: a client that goes away must not let the next delivery pass one that is being stored.
        return await asyncio.shield(self._take_in_order(delivery))

    async def _take_in_order(self, delivery: Delivery) -> Answer:
        async with self._locks[hash((delivery.instance, delivery.epoch)) % _LOCKS]:
            answer = await self._take_steps(delivery)
        _log.info(
            "stored",
            delivery=delivery.id,
            epoch=delivery.epoch,
            first=delivery.first,
            last=delivery.last,
            repeated=answer.duplicate,
        )
        return answer

    async def _take_steps(self, delivery: Delivery) -> Answer:
        delivery.checks = self._plans.checks()
        span = spans.spanner()
        started = perf_counter()
        for step in (
            self.check_level,
            self.recognise_repeat,
            self.check_plan,
            self.read_ledger,
            self.read_absent,
            self.check_events,
            self.check_closure,
        ):
            with span(step.__name__):
                asks: Awaitable[None] | None = step(delivery)
                if asks is not None:
                    await asks
            if delivery.answer is not None:
                return delivery.answer
        began = perf_counter()
        METERS.observe(GatewayMetric.STEP_SECONDS, began - started, step="checks")
        with span("store"):
            answer = await self.store(delivery)
        METERS.observe(GatewayMetric.STEP_SECONDS, perf_counter() - began, step="store")
        return answer

    def check_level(self, delivery: Delivery) -> None:
        """Refuse what the effective level does not allow at this moment."""
        delivery.permission = self._permissions(delivery.instance)
        decision = delivery.permission.decision
        if decision.level < Level.EVENTS or decision.agreement is None:
            raise RefusalError(Refusal.NOT_PERMITTED, f"the level is {decision.level}: {' '.join(decision.reasons)}")

    async def recognise_repeat(self, delivery: Delivery) -> None:
        """Answer a delivery that was stored before with its receipt; refuse one that leaves a gap or overlaps."""
        try:
            standing = await self._writer.standing(delivery.instance, delivery.epoch, delivery.exporter)
        except SupersededError:
            raise RefusalError(Refusal.SUPERSEDED_EXPORTER) from None
        except OSError as error:
            raise RefusalError(Refusal.UNAVAILABLE, "the log does not answer") from error
        latest, expected = standing.latest, standing.expected
        if delivery.first == expected:
            if latest is None and standing.epochs >= MOST_EPOCHS:
                raise RefusalError(Refusal.TOO_MANY_EPOCHS, f"the limit is {MOST_EPOCHS:,}")
            return
        if delivery.last >= expected or delivery.first > expected:
            raise RefusalError(
                Refusal.SEQUENCE_GAP,
                f"the range neither begins at {expected}, which is expected next, nor was it stored before",
                expected=expected,
            )
        assert latest is not None  # noqa: S101 - something before what is expected was stored
        if (latest.first, latest.last) == (delivery.first, delivery.last):
            delivery.answer = Answer(receipt=latest, signature=self._signer.sign(latest), duplicate=True)
        else:
            delivery.answer = Answer(receipt=None, duplicate=True)

    @staticmethod
    def check_plan(delivery: Delivery) -> None:
        """Refuse what says that it was built by another plan: built anew, more of it may pass, or less."""
        built_by = delivery.headers.get(PLAN_HEADER)
        if built_by is not None and built_by != delivery.checks.digest:
            raise RefusalError(Refusal.PLAN_CHANGED, f"the plan in force is {delivery.checks.label}")

    @staticmethod
    def read_ledger(delivery: Delivery) -> None:
        """Read where the instance's ledger stood, which its receipt then says."""
        ledger = delivery.headers.get(LEDGER_HEADER)
        if ledger is not None and not _DIGEST.fullmatch(ledger):
            raise RefusalError(Refusal.BAD_HEADER, f"{LEDGER_HEADER}: 64 hexadecimal digits in lower case")
        delivery.ledger = ledger

    @staticmethod
    def read_absent(delivery: Delivery) -> None:
        """Read which numbers of the range have no event, and why."""
        text = delivery.headers.get(ABSENT_HEADER, "{}")
        if len(text) > _MOST_ABSENT_BYTES:
            raise RefusalError(Refusal.BAD_HEADER, f"{ABSENT_HEADER}: at most {_MOST_ABSENT_BYTES:,} bytes")
        try:
            absent = msgspec.json.decode(text, type=dict[str, dict[Verdict, int]])
        except msgspec.DecodeError:  # its message repeats what is no verdict
            raise RefusalError(
                Refusal.BAD_HEADER, f"{ABSENT_HEADER}: {{name: {{verdict: count}}}} is expected"
            ) from None
        for name, verdicts in absent.items():
            if name not in delivery.checks.names:
                raise RefusalError(Refusal.BAD_HEADER, f"{ABSENT_HEADER}: undeclared names go under {UNDECLARED}")
            if not verdicts.keys() <= ABSENT or any(not 0 < count <= _LARGEST for count in verdicts.values()):
                raise RefusalError(Refusal.BAD_HEADER, f"{ABSENT_HEADER}: a verdict or a count that cannot be")
        delivery.absent = absent

    async def check_events(self, delivery: Delivery) -> None:
        """Decompress the body, decode it, and give a verdict on each event, once it is the instance's turn."""
        await self._turns.turn(delivery.instance)
        content_type = delivery.headers.get("content-type", "").partition(";")[0].strip().lower()
        delivery.checked = delivery.checks.bodies.check(
            delivery.body,
            delivery.headers.get("content-encoding", ""),
            content_type,
            most=self._settings.maximum_inflated_bytes,
            latest=self._now() + timedelta(seconds=self._settings.future_seconds),
        )

    @staticmethod
    def check_closure(delivery: Delivery) -> None:
        """See that every number of the range is either an event of the body or accounted for as absent."""
        checked = delivery.checked
        assert checked is not None  # noqa: S101 - the step before has set it
        numbers = delivery.last - delivery.first + 1
        absent = total_counts(delivery.absent)
        if checked.rows + absent != numbers:
            raise RefusalError(
                Refusal.BAD_SEQUENCE,
                f"the range has {numbers:,} numbers, the body {checked.rows:,} events, and {absent:,} are absent",
            )
        if checked.last and not delivery.first <= checked.first <= checked.last <= delivery.last:
            raise RefusalError(Refusal.BAD_SEQUENCE, "an event's sequence number lies outside the range")

    async def store(self, delivery: Delivery) -> Answer:
        """Append the delivery to the log; when it is on disk, answer with the signed receipt."""
        checked, permission = delivery.checked, delivery.permission
        assert checked is not None  # noqa: S101 - the steps before have set them
        assert permission is not None  # noqa: S101
        assert permission.decision.agreement is not None  # noqa: S101
        receipt = Receipt(
            instance=delivery.instance,
            epoch=delivery.epoch,
            first=delivery.first,
            last=delivery.last,
            accepted=checked.accepted,
            rejected=checked.rejected,
            absent=delivery.absent,
            digest=hashlib.sha256(delivery.body).hexdigest(),
            agreement=permission.decision.agreement,
            received=int(self._now().timestamp() * 1_000_000),
            ledger=delivery.ledger,
        )
        entry = Entry(
            receipt=receipt,
            account=permission.account,
            plan=delivery.checks.label,
            content_type=delivery.headers["content-type"].partition(";")[0].strip().lower(),
            content_encoding=STORED_ENCODING,
            rejections=checked.rejections,
            exporter=delivery.exporter,
            after=delivery.after,
        )
        try:
            await self._writer.append(entry, checked.body)
        except OutOfOrderError:
            # Another worker has stored it meanwhile, or something else in its place.
            await self.recognise_repeat(delivery)
            if delivery.answer is None:
                raise RefusalError(Refusal.UNAVAILABLE, "the order of the epoch has changed meanwhile") from None
            return delivery.answer
        except SupersededError:
            raise RefusalError(Refusal.SUPERSEDED_EXPORTER) from None
        except LogFullError as error:
            raise RefusalError(Refusal.LOG_FULL) from error
        except OSError as error:
            raise RefusalError(Refusal.UNAVAILABLE, "the log could not be written") from error
        return Answer(receipt=receipt, signature=self._signer.sign(receipt), rejections=checked.rejections)


def read_range(delivery: Delivery) -> None:
    """Read which epoch and which sequence numbers the delivery accounts for."""
    delivery.epoch, delivery.first, delivery.last = _range(delivery.headers)


def id_of(instance: str, headers: Mapping[str, str]) -> str | None:
    """Return by what name the logs know a delivery, whatever becomes of it; None if its headers do not say."""
    try:
        return delivery_id(instance, *_range(headers))
    except RefusalError:
        return None


def _range(headers: Mapping[str, str]) -> tuple[int, int, int]:
    """Return epoch, first and last number."""
    epoch_text = _header(headers, EPOCH_HEADER)
    first_text, _, last_text = _header(headers, RANGE_HEADER).partition("-")
    if not (_is_number(epoch_text) and _is_number(first_text) and _is_number(last_text)):
        raise RefusalError(Refusal.BAD_HEADER, f"{EPOCH_HEADER}: a number; {RANGE_HEADER}: first-last")
    epoch, first, last = int(epoch_text), int(first_text), int(last_text)
    if last - first >= MOST_NUMBERS:
        raise RefusalError(Refusal.BAD_HEADER, f"{RANGE_HEADER}: at most {MOST_NUMBERS:,} numbers")
    if not (1 <= first <= last <= _LARGEST and 1 <= epoch <= _LARGEST):
        raise RefusalError(Refusal.BAD_HEADER, f"{RANGE_HEADER}: 1 or above, and the last not below the first")
    return epoch, first, last


def read_exporter(delivery: Delivery) -> None:
    """Read which process sends, and which ran before it, if it says so."""
    delivery.exporter = delivery.headers.get(EXPORTER_HEADER, "")
    if delivery.exporter and not is_exporter(delivery.exporter):
        raise RefusalError(Refusal.BAD_HEADER, f"{EXPORTER_HEADER}: 32 hexadecimal digits in lower case")
    after = delivery.headers.get(AFTER_HEADER)
    if after:
        delivery.after = after.split(",", MOST_SUPERSEDED)
        if len(delivery.after) > MOST_SUPERSEDED or not all(is_exporter(each) for each in delivery.after):
            raise RefusalError(Refusal.BAD_HEADER, f"{AFTER_HEADER}: at most {MOST_SUPERSEDED} such ids, by commas")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:
        raise RefusalError(Refusal.MISSING_HEADER, name)
    return value


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 - digits of a 63-bit number
