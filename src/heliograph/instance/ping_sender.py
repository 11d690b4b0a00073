"""Sending pings: one for each UTC day that is over, in the order of the days.

A ping is in the agent's database before it is sent, and repeated byte for byte until it is answered.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from heliograph.instance.facts import read_facts
from heliograph.instance.ping import count_use, make_ping
from heliograph.instance.transport import GatewayRefusalError, TransportError, UnreachableError
from heliograph.instance.usage import MERGED_AT_ONCE
from heliograph.ping import MONTH_DAYS, Ping, encode_ping
from heliograph.plan.facts import passing_facts
from heliograph.plan.pings import ping_problems

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heliograph.instance.ping_table import PingTable
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayClient
    from heliograph.plan.model import Plan

GRACE: Final = timedelta(hours=1)
"""How long after the end of a UTC day its ping is made: the last events are on their way."""
MOST_DAYS: Final = 28
"""Days that are told after an absence; older ones are not."""
_NOT_ABOUT_THE_PING: Final = frozenset({401, 403, 404, 405})
"""Refusals for another reason than the ping itself: it may pass later."""
_BAD_PING: Final = "bad_ping"
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 300.0
_log: Final = structlog.get_logger("heliograph.pings")


def _plan_of(body: bytes) -> str:
    return msgspec.json.decode(body, type=Ping).plan


def last_day_over(now: datetime) -> date:
    """Return the latest UTC day that is over, by the grace."""
    return (now.astimezone(UTC) - GRACE).date() - timedelta(days=1)


def due_day(table: PingTable, now: datetime) -> date | None:
    """Return the day whose ping is to be made next; None if none is due."""
    last = last_day_over(now)
    first = table.next_day(last)
    if first is None or first > last:
        return None
    return max(first, last - timedelta(days=MOST_DAYS - 1))


def ping_of(day: date, state: State, outbox: Path, plan: Plan) -> Ping:
    """Return the ping of a day by what is known now."""
    usage = state.usage.read(day, days=MONTH_DAYS, sendable_only=True)
    facts = {name: fact.value for name, fact in read_facts(outbox).items()}
    return make_ping(count_use(usage, plan, day), facts, plan, day)


class PingSender:
    """Makes the pings that are due, and sends them in the order of their days.

    Args:
        state: The agent's memory.
        client: The way to the gateway.
        plan: By which it is counted.
        outbox: Where the product's facts are.
        usage_days: How long the tally is kept.
        may_send: Whether a ping may leave this very moment.
        failed: Is told when the gateway did not take one.
        now: The clock.
    """

    def __init__(
        self,
        *,
        state: State,
        client: GatewayClient,
        plan: Plan,
        outbox: Path,
        usage_days: int,
        may_send: Callable[[], bool],
        failed: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._client = client
        self._plan = plan
        self._outbox = outbox
        self._usage_days = timedelta(days=usage_days)
        self._may_send = may_send
        self._tell_failed = failed
        self._now = now
        self._tidied: date | None = None
        self._failed: datetime | None = None
        self._look_again = datetime.min.replace(tzinfo=UTC)
        self._failures = 0

    def use_plan(self, plan: Plan) -> None:
        """Count by this plan from now on."""
        self._plan = plan

    def send_due(self, *, caught_up: bool) -> bool:
        """Send what is due, and tell whether something still waits to be sent.

        Nothing is raised when the gateway does not take a ping: it is sent again later, and keeps nothing else back.

        Args:
            caught_up: Whether every event known so far is in the tally; no ping is made before.
        """
        now = self._now()
        self._state.pings.begin(now.astimezone(UTC).date())
        self._tidy(now)
        if self._failed is not None and self._failed <= now < self._look_again:  # unless the clock was set back
            return True
        while (waiting := self._next(now, caught_up=caught_up)) is not None:
            try:
                if not self._may_send():
                    return True
                self._send(*waiting)
            except TransportError as error:
                self._tell_failed()
                self._wait(now, waiting[0], error)
                return True
            self._failed, self._failures = None, 0
        return False

    def withdraw(self) -> None:
        """Drop what was not told yet: somebody has said no."""
        self._state.pings.withdraw()

    def _tidy(self, now: datetime) -> None:
        today = now.astimezone(UTC).date()
        if today != self._tidied:
            self._state.usage.forget_before(today - self._usage_days)
            self._tidied = today
        self._state.usage.merge(at_least=MERGED_AT_ONCE)

    def _next(self, now: datetime, *, caught_up: bool) -> tuple[date, bytes] | None:
        """Return the day and the bytes to send next, which are on disk."""
        unsettled = self._state.pings.unsettled()
        if unsettled is not None or not caught_up or (day := due_day(self._state.pings, now)) is None:
            return unsettled
        ping = ping_of(day, self._state, self._outbox, self._plan)
        self._tell_of_facts()
        body = encode_ping(ping)
        self._state.pings.put(day, body, now)
        if problems := ping_problems(ping, self._plan):
            _log.error("a ping of ours is not as it must be", day=str(day), problems=problems)
            self._state.pings.settle(day, refused=f"not sent: {'; '.join(problems)}")
            return self._next(now, caught_up=caught_up)
        return day, body

    def _tell_of_facts(self) -> None:
        said = {name: fact.value for name, fact in read_facts(self._outbox).items()}
        left_out = said.keys() - passing_facts(said, self._plan).keys()
        if left_out:
            invalid = sorted(left_out & self._plan.facts.keys())
            _log.warning("facts left out", invalid=invalid, undeclared=len(left_out) - len(invalid))

    def _send(self, day: date, body: bytes) -> None:
        try:
            answer = self._client.send_ping(body)
        except GatewayRefusalError as error:
            if error.problem.status in _NOT_ABOUT_THE_PING:
                raise
            if error.problem.type == _BAD_PING and _plan_of(body) != self._plan.label:
                # Not stored, so that it may be made anew: what it tells of may have been withdrawn since.
                ping = ping_of(day, self._state, self._outbox, self._plan)
                self._state.pings.put(day, encode_ping(ping), self._now())
                return
            _log.error("a ping is refused for good", day=str(day), reason=error.problem.type)
            self._state.pings.settle(day, refused=error.problem.type)
            return
        self._state.pings.settle(day, receipt=answer.receipt, signature=answer.signature)
        _log.info("ping sent", day=str(day))

    def _wait(self, now: datetime, day: date, error: TransportError) -> None:
        asked = error.retry_after if isinstance(error, UnreachableError) else None
        seconds = max(min(_FIRST_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE), asked or 0.0)
        self._failures += 1
        self._failed, self._look_again = now, now + timedelta(seconds=seconds)
        _log.warning("a ping waits", day=str(day), why=str(error), seconds=seconds)
