"""For a product's own tests: a recorder that keeps events in memory.

recorder = MemoryRecorder(plan=load_plan("plans/code-intelligence.yaml"))
heliograph.configure(recorder)
...
assert recorder.names() == ["SearchSubmitted"]
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from heliograph.event import NAME_PATTERN, RESERVED
from heliograph.plan.facts import fact_problems

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


class MemoryRecorder:
    """Stands in for `heliograph.Recorder`. Unlike it, it raises when the product records what cannot be recorded.

    Args:
        plan: When given, an event, a property or a fact that it does not declare raises `AssertionError`.
        now: The clock.
    """

    def __init__(self, *, plan: Plan | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.events: list[RecordedEvent] = []
        self.facts: dict[str, Any] = {}
        self.opted_out: set[str] = set()
        """Whose events are not kept."""
        self._plan = plan
        self._now = now
        self._lock = threading.Lock()

    def record(
        self,
        name: str,
        /,
        *,
        user: str | int | None = None,
        session: str | int | None = None,
        outcome: str | None = "ok",
        time: datetime | None = None,
        source: str | None = None,
        **properties: Any,
    ) -> bool:
        """Keep the event; see `heliograph.Recorder.record`."""
        if not NAME_PATTERN.fullmatch(name):
            raise AssertionError(f"{name!r} is no event name: letters and digits, a letter first")
        if reserved := RESERVED.intersection(properties):
            raise AssertionError(f"{name}: reserved and not for properties: {', '.join(sorted(reserved))}")
        if self._plan is not None:
            self._check(self._plan, name, properties)
        if user is not None and str(user) in self.opted_out:
            return False
        with self._lock:
            self.events.append(
                RecordedEvent(name, user, session, outcome, time or self._now(), source, dict(properties))
            )
        return True

    def report_facts(self, **facts: Any) -> bool:
        """Keep the facts; see `heliograph.Recorder.report_facts`."""
        given = {name: value for name, value in facts.items() if value is not None}
        if self._plan is not None and (problems := fact_problems(given, self._plan)):
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

    @staticmethod
    def _check(plan: Plan, name: str, properties: dict[str, Any]) -> None:
        event = plan.events.get(name)
        if event is None:
            raise AssertionError(f"the plan {plan.label} declares no event {name}: add it, or mend the name")
        if undeclared := sorted(set(properties) - set(event.properties)):
            raise AssertionError(f"the plan {plan.label} does not declare for {name}: {', '.join(undeclared)}")

    def names(self) -> list[str]:
        """Return the names of what was recorded, in order."""
        return [event.name for event in self.events]

    def clear(self) -> None:
        """Forget all events and facts."""
        with self._lock:
            self.events.clear()
            self.facts.clear()
