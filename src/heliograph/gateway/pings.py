"""The intake of a ping: the visible list of its steps.

A ping is taken whole or refused whole, and one ping of a day is all that an instance has. Days only rise, so that the
receipt of the latest one is all that has to be kept in mind.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.level import Level
from heliograph.gateway.bodies import inflate
from heliograph.gateway.log import Log, LogFullError
from heliograph.gateway.log_entries import PingEntry
from heliograph.gateway.plans import PlanInForce
from heliograph.gateway.problems import Refusal, RefusalError
from heliograph.gateway.writer import OutOfOrderError, Writer, writer_of
from heliograph.ping import ActiveUsers, FeatureUse, Ping
from heliograph.plan.pings import ping_problems
from heliograph.wire import JSON, PingAnswer, PingReceipt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from heliograph.gateway.intake import Permissions
    from heliograph.gateway.receipts import ReceiptSigner
    from heliograph.plan.model import Plan
    from heliograph.registry.snapshot import Permission

MOST_PING_BYTES: Final = 256 << 10
"""Of a ping, as sent and decompressed: some hundred features and facts are a tenth of it."""
FIRST_DAY: Final = date(2020, 1, 1)
"""No instance has anything to tell from before: a clock that says so is wrong."""
_LOCKS: Final = 256
_FIELDS: Final = frozenset(field for kind in (Ping, ActiveUsers, FeatureUse) for field in kind.__struct_fields__)
_PLAN_VERSION: Final = re.compile("[0-9]{1,10}")
_AGENT: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}((a|b|rc)[0-9]{1,5})?((\.post|\.dev)[0-9]{1,5})?")
"""A version of Heliograph: numbers, and whether it comes before or after a release; no room for words."""
_AT: Final = re.compile(r"at `\$\.([a-z_.\[\]]+)`$")
_decode: Final = msgspec.json.Decoder(Ping).decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


@dataclass(slots=True)
class Telling:
    """One ping on its way through the steps."""

    instance: str
    headers: Mapping[str, str]
    body: bytes
    digest: str
    permission: Permission | None = None
    ping: Ping | None = None
    answer: PingAnswer | None = None
    """Set by the step that settles it; the steps after it are passed over."""


class PingIntake:
    """Takes pings in, one after the other for each instance."""

    def __init__(
        self,
        *,
        plan: Plan | PlanInForce,
        log: Log | Writer,
        permissions: Permissions,
        signer: ReceiptSigner,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plans = PlanInForce.of(plan)
        self._writer = writer_of(log)
        self._permissions = permissions
        self._signer = signer
        self._now = now
        # Pings of one instance go one after the other; a few instances may share a lock, which only costs a wait.
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]

    async def take(self, instance: str, headers: Mapping[str, str], body: bytes) -> PingAnswer:
        """Take one ping of an authenticated instance through all steps, and answer it.

        Raises:
            RefusalError: Nothing of it was stored.
        """
        telling = Telling(instance=instance, headers=headers, body=body, digest=hashlib.sha256(body).hexdigest())
        # Shielded: a client that goes away must not let another ping of the day pass one that is being stored.
        return await asyncio.shield(self._take_in_order(telling))

    async def _take_in_order(self, telling: Telling) -> PingAnswer:
        async with self._locks[hash(telling.instance) % _LOCKS]:
            for step in (
                self.check_level,
                self.read_ping,
                self.check_day,
                self.recognise_repeat,
                self.check_plan,
            ):
                asks: Awaitable[None] | None = step(telling)
                if asks is not None:
                    await asks
                if telling.answer is not None:
                    return telling.answer
            return await self.store(telling)

    def check_level(self, telling: Telling) -> None:
        """Refuse what the effective level does not allow at this moment."""
        telling.permission = self._permissions(telling.instance)
        decision = telling.permission.decision
        if decision.level < Level.CRITICAL:
            raise RefusalError(Refusal.NOT_PERMITTED, f"the level is {decision.level}: {' '.join(decision.reasons)}")

    @staticmethod
    def read_ping(telling: Telling) -> None:
        """Decompress the body, and decode it: what a ping does not have fails here."""
        if telling.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise RefusalError(Refusal.UNKNOWN_FORMAT, f"a ping is {JSON}")
        content = inflate(telling.body, telling.headers.get("content-encoding", ""), MOST_PING_BYTES)
        try:
            telling.ping = _decode(content)
        except msgspec.ValidationError as error:
            raise RefusalError(Refusal.BAD_PING, describe(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RefusalError(Refusal.DAMAGED_BODY, "it is not JSON") from None

    def check_day(self, telling: Telling) -> None:
        """Refuse a day of which nothing can be told, or not yet all."""
        now = self._now().astimezone(UTC)
        day = _ping(telling).day
        if day < FIRST_DAY:
            raise RefusalError(Refusal.BAD_PING, f"day: {FIRST_DAY} or later is expected")
        if day >= now.date():
            raise RefusalError(Refusal.DAY_NOT_OVER, now=int(now.timestamp()))

    async def recognise_repeat(self, telling: Telling) -> None:
        """Answer a ping of a day that was told before; refuse it if it is another one."""
        try:
            latest = await self._writer.latest_ping(telling.instance)
        except OSError as error:
            raise RefusalError(Refusal.UNAVAILABLE, "the log does not answer") from error
        day = _ping(telling).day
        if latest is None or day > latest.day:
            return
        if day < latest.day:
            telling.answer = PingAnswer(receipt=None, duplicate=True)
        elif telling.digest == latest.digest:
            telling.answer = PingAnswer(receipt=latest, signature=self._signer.sign(latest), duplicate=True)
        else:
            raise RefusalError(Refusal.OTHER_PING)

    def check_plan(self, telling: Telling) -> None:
        """Refuse what the plan does not declare, and numbers that cannot be or are about too few."""
        ping, plan = _ping(telling), self._plans.checks().plan
        if problems := [*label_problems(ping, plan), *ping_problems(ping, plan)]:
            raise RefusalError(Refusal.BAD_PING, "; ".join(problems))

    async def store(self, telling: Telling) -> PingAnswer:
        """Append the ping to the log, as the gateway writes it; when it is on disk, answer with the signed receipt."""
        ping, permission = _ping(telling), telling.permission
        assert permission is not None  # noqa: S101 - the first step has set it
        receipt = PingReceipt(
            instance=telling.instance,
            day=ping.day,
            digest=telling.digest,
            agreement=permission.decision.agreement,
            received=int(self._now().timestamp() * 1_000_000),
        )
        try:
            await self._writer.append(PingEntry(receipt=receipt, account=permission.account), _encode(ping))
        except OutOfOrderError:
            # Another worker has stored it meanwhile, or another ping of the day or of a later one.
            await self.recognise_repeat(telling)
            if telling.answer is None:
                raise RefusalError(Refusal.UNAVAILABLE, "the order of the days has changed meanwhile") from None
            return telling.answer
        except LogFullError as error:
            raise RefusalError(Refusal.LOG_FULL) from error
        except OSError as error:
            raise RefusalError(Refusal.UNAVAILABLE, "the log could not be written") from error
        return PingAnswer(receipt=receipt, signature=self._signer.sign(receipt))


def describe(error: msgspec.ValidationError) -> str:
    """Return which field is at fault, and nothing of what it holds: an unknown field's name may be private."""
    text = str(error)
    found = _AT.search(text)
    path = found[1].replace("[...]", ".*") if found else ""
    if not set(path.split(".")) <= {*_FIELDS, "*"}:
        path = ""
    if text.startswith("Object contains unknown field"):
        return f"{path or 'the ping'}: a field that it does not have"
    missing = re.match(r"Object missing required field `([a-z_]+)`", text)
    if missing is not None and missing[1] in _FIELDS:
        return f"{path + '.' if path else ''}{missing[1]}: missing"
    return f"{path or 'the ping'}: not of the type, or not within the bounds, that it has"


def label_problems(ping: Ping, plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the two fields whose form leaves room for words."""
    name, _, version = ping.plan.rpartition("@")
    if name != plan.name or _PLAN_VERSION.fullmatch(version) is None:
        yield f"plan: {plan.name} and a version is expected, such as {plan.label}"
    if _AGENT.fullmatch(ping.agent) is None:
        yield "agent: a version of numbers is expected, such as 1.2.0"


def _ping(telling: Telling) -> Ping:
    assert telling.ping is not None  # noqa: S101 - an earlier step has set it
    return telling.ping
