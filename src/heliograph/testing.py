"""For a product's own tests: a recorder that keeps events in memory.

recorder = MemoryRecorder(plan=load_plan("plans/code-intelligence.yaml"))
heliograph.configure(recorder)
...
assert recorder.names() == ["SearchSubmitted"]
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from heliograph.event import NAME_PATTERN, RESERVED, Actor, whole_milliseconds
from heliograph.instance.sign_ins import visitor_key
from heliograph.plan.coarsen import coarsen_all
from heliograph.plan.facts import fact_problems
from heliograph.plan.values import event_problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.plan.model import Plan


class RecordedEvent(NamedTuple):
    """One call of `record`."""

    name: str
    user: str | int | None
    session: str | int | None
    outcome: str | None
    time: datetime
    source: str | None
    properties: dict[str, Any]
    """As they were passed, but for spans of time, which are whole milliseconds; the agent rounds them later."""
    anonymous: str | int | None = None
    actor: str | None = None


class MemoryRecorder:
    """Stands in for `heliograph.Recorder`. Unlike it, it raises when the product records what cannot be recorded.

    Args:
        plan: When given, whatever would not leave an instance under it raises `AssertionError`: an event, a property
            or a fact that it does not declare, a value of another type or out of range, another outcome or source.
        now: The clock.
    """

    def __init__(self, *, plan: Plan | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.events: list[RecordedEvent] = []
        self.facts: dict[str, Any] = {}
        self.opted_out: set[str] = set()
        """Whose events are not kept."""
        self.signed_in: dict[str, str] = {}
        """As which user each visitor has signed in last, by the product's own ids as texts."""
        self._plan = plan
        self._now = now
        self._lock = threading.Lock()

    def record(
        self,
        name: str,
        /,
        *,
        user: str | int | None = None,
        anonymous: str | int | None = None,
        session: str | int | None = None,
        outcome: str | None = "ok",
        time: datetime | None = None,
        source: str | None = None,
        actor: str | None = None,
        **properties: Any,
    ) -> bool:
        """Keep the event; see `heliograph.Recorder.record`."""
        if not NAME_PATTERN.fullmatch(name):
            raise AssertionError(f"{name!r} is no event name: letters and digits, a letter first")
        if reserved := RESERVED.intersection(properties):
            raise AssertionError(f"{name}: reserved and not for properties: {', '.join(sorted(reserved))}")
        if actor is not None and actor not in set(Actor):
            raise AssertionError(f"{name}: {actor!r} is no actor: leave it out, or say {' or '.join(Actor)}")
        kept = {key: _as_recorded(name, key, value) for key, value in properties.items()}
        if self._plan is not None and (
            problems := event_problems(self._plan, name, kept, outcome=outcome, source=source)
        ):
            raise AssertionError(f"{name} does not keep to the plan {self._plan.label}: {'; '.join(problems)}")
        if user is not None and anonymous is not None:
            self.identify(user, anonymous=anonymous)
        if self.opted_out.intersection(_keys(user, anonymous)):
            return False
        moment = time or self._now()
        with self._lock:
            self.events.append(RecordedEvent(name, user, session, outcome, moment, source, kept, anonymous, actor))
        return True

    def identify(self, user: str | int, *, anonymous: str | int) -> bool:
        """Keep in mind that a visitor has signed in; see `heliograph.Recorder.identify`."""
        with self._lock:
            self.signed_in[str(anonymous)] = str(user)
        return True

    def report_facts(self, **facts: Any) -> bool:
        """Keep the facts; see `heliograph.Recorder.report_facts`."""
        given = {name: value for name, value in facts.items() if value is not None}
        if self._plan is not None and (problems := fact_problems(coarsen_all(given, self._plan.facts), self._plan)):
            raise AssertionError(f"the plan {self._plan.label} does not take: {'; '.join(problems)}")
        with self._lock:
            self.facts = {name: value for name, value in (self.facts | facts).items() if value is not None}
        return True

    def opt_out(self, user: str | int) -> bool:
        """Keep nothing of `user` from now on; see `heliograph.Recorder.opt_out`."""
        self.opted_out.add(str(user))
        return True

    def opt_in(self, user: str | int) -> bool:
        """Keep events of `user` again; see `heliograph.Recorder.opt_in`."""
        self.opted_out.discard(str(user))
        return True

    def names(self) -> list[str]:
        """Return the names of what was recorded, in order."""
        return [event.name for event in self.events]

    def clear(self) -> None:
        """Forget all events, facts and sign-ins."""
        with self._lock:
            self.events.clear()
            self.facts.clear()
            self.signed_in.clear()


def _keys(user: str | int | None, anonymous: str | int | None) -> set[str]:
    if user is not None:
        return {str(user)}
    return set() if anonymous is None else {visitor_key(anonymous)}


def _as_recorded(name: str, key: str, value: object) -> object:
    """Return a value as `heliograph.Recorder` writes it down."""
    if isinstance(value, timedelta):
        return whole_milliseconds(value)
    if value is None or isinstance(value, str | int | float):
        return value
    message = f"{name}: {key} is of type {type(value).__name__}, which no property can have"
    raise AssertionError(f"{message}: pass a number, a boolean, a word, or a datetime.timedelta")
