"""The vendor's word on the instance: asked for, verified, kept, and asked for again before anything leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from heliograph.consent.level import Decision, Level
from heliograph.consent.policy import AHEAD_SECONDS, Doubt, Policy, PolicyDoubtError, read_policy
from heliograph.consent.trust import PinError, follow, read_pins
from heliograph.instance.state import HeldPolicy
from heliograph.plan.canonical import CanonicalPlanError, read_canonical

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from heliograph.consent.trust import Keys
    from heliograph.instance.plan_updates import PlanUpdates
    from heliograph.instance.state import State
    from heliograph.instance.transport import GatewayClient
    from heliograph.settings import AgentSettings

FRESH_SECONDS: Final = 10.0
"""Before anything is delivered the vendor is asked, unless it was heard within this time and nothing failed since."""
IDLE_PART: Final = 10
"""Without anything to deliver, it is asked after this part of the time for which its word holds."""
_FIRST_DOUBT: Final = 0.5
_LONGEST_DOUBT: Final = 60.0
_log: Final = structlog.get_logger("heliograph.plan")


class VendorWord:
    """What the vendor's side says about this instance.

    Args:
        settings: The instance's name, and where the vendor's keys are pinned.
        state: Keeps the last word.
        client: The way to the gateway; None to look only at what was kept.
        now: The clock.
        ticks: Seconds by a clock that nobody sets.
        plans: The plan in force, which follows the policy; None to look only.
    """

    def __init__(
        self,
        settings: AgentSettings,
        state: State,
        client: GatewayClient | None,
        *,
        now: Callable[[], datetime],
        ticks: Callable[[], float],
        plans: PlanUpdates | None = None,
    ) -> None:
        self._instance = settings.instance
        self._pins = settings.vendor_keys
        self._state = state
        self._client = client
        self._now = now
        self._ticks = ticks
        self._plans = plans
        self._heard: float | None = None
        """Ticks when it was heard last; None: never yet, or something failed since."""
        self._received: float | None = None
        """Ticks when the policy that is held was received; None when that was in another process."""
        self._doubts = 0
        self._held = state.policy()
        self.policy: Policy | None = None
        """The last policy that was verified."""
        self.doubt: Doubt | None = None
        """Why what was heard last cannot be relied on; None when it can."""
        self._load()

    @property
    def in_doubt(self) -> bool:
        """Whether what was heard cannot be relied on."""
        return self._doubt_now() is not None

    @property
    def said_no(self) -> bool:
        """Whether the vendor narrowed the level: its word, and no doubt of it."""
        return self._doubt_now() is None and self.policy is not None and self.policy.level < Level.EVENTS

    def word(self) -> Decision | None:
        """Return what it decides now; None when nothing was heard yet."""
        doubt = self._doubt_now()
        if doubt is not None:
            return doubt.decision()
        return None if self.policy is None else self.policy.word(self._now(), self._elapsed())

    def forget_when_heard(self) -> None:
        """Have it asked before anything else: a request failed, and what it said may have changed meanwhile."""
        self._heard = None

    def refresh(self, *, sending: bool) -> None:
        """Ask, unless it was heard recently enough.

        Args:
            sending: Whether something is about to be delivered.

        Raises:
            TransportError: It does not answer.
        """
        if self._must_ask(sending=sending):
            self._ask()

    def _must_ask(self, *, sending: bool) -> bool:
        if self._heard is None:
            return True
        since = self._ticks() - self._heard
        if self._doubts:
            return since >= min(_FIRST_DOUBT * 2.0 ** min(self._doubts - 1, 10), _LONGEST_DOUBT)
        if self.policy is None or self._doubt_now() is not None:
            return True
        age = self.policy.age(self._now(), self._elapsed())
        return age >= (FRESH_SECONDS if sending else self.policy.valid_seconds / IDLE_PART)

    def _ask(self) -> None:
        self._heard = None
        try:
            self._hear(read_pins(self._pins))
        except PinError:
            self._doubt_it(Doubt.NO_PIN)
        except PolicyDoubtError as error:
            self._doubt_it(error.doubt)
            self._raise_issued(error.issued)
        else:
            self.doubt, self._doubts = None, 0
        self._heard = self._ticks()

    def _hear(self, pins: Keys) -> None:
        assert self._client is not None  # noqa: S101 - a programming error
        asked, ticks = self._now(), self._ticks()  # before the request: its word holds from here on
        text = self._client.policy().policy
        endorsements = [] if self._held is None else self._held.endorsements
        try:
            policy = self._read(text, follow(pins, endorsements), asked)
        except PolicyDoubtError as error:
            if error.doubt is not Doubt.UNKNOWN_KEY:
                raise
            endorsements = self._client.keys().endorsements
            policy = self._read(text, follow(pins, endorsements), asked)
        self._follow_plan(policy)  # before the policy is kept: what is believed is believed with its plan
        self._held = HeldPolicy(text, endorsements, asked, policy.issued)
        self._state.keep_policy(self._held)
        self.policy, self._received = policy, ticks

    def _follow_plan(self, policy: Policy) -> None:
        """Let the plan that the policy names come into force; where nothing may leave, none is needed."""
        assert self._client is not None  # noqa: S101 - a programming error
        plans = self._plans
        if plans is None or policy.level is Level.OFF or plans.has(policy.plan_digest):
            return
        try:
            plans.take(read_canonical(self._client.plan(), policy.plan_digest))
        except CanonicalPlanError as error:
            _log.error("the vendor's plan cannot be read", plan=policy.plan, why=str(error))
            raise PolicyDoubtError(Doubt.UNREADABLE_PLAN, policy.issued) from None

    def _read(self, text: str, keys: Keys, received: datetime) -> Policy:
        assert self._client is not None  # noqa: S101 - a programming error
        # The gateway may have told that our clock is wrong; and then ours may have been set right.
        clock = max(received, received + self._client.clock_offset)
        latest = (clock + timedelta(seconds=AHEAD_SECONDS)).timestamp()
        held = 0 if self._held is None else self._held.issued
        return read_policy(text, keys, instance=self._instance, received=received, latest=latest, held=held)

    def _load(self) -> None:
        """Take what was kept, verified again from its bytes: it holds until the vendor is asked, and nothing leaves."""
        if self._held is None or not self._held.policy:
            return
        try:
            keys = follow(read_pins(self._pins), self._held.endorsements)
            self.policy = read_policy(
                self._held.policy,
                keys,
                instance=self._instance,
                received=self._held.received,
                latest=None,
                held=self._held.issued,
            )
        except PinError:
            self.doubt = Doubt.NO_PIN
        except PolicyDoubtError as error:
            self.doubt = error.doubt

    def _doubt_it(self, doubt: Doubt) -> None:
        self.doubt = doubt
        self._doubts += 1

    def _raise_issued(self, issued: int) -> None:
        held = self._held or HeldPolicy("", [], self._now(), 0)
        if issued > held.issued:
            self._held = held._replace(issued=issued)
            self._state.keep_policy(self._held)

    def _doubt_now(self) -> Doubt | None:
        if self.doubt is not None or self.policy is None:
            return self.doubt
        return self.policy.doubt(self._now(), self._elapsed())

    def _elapsed(self) -> float:
        return 0.0 if self._received is None else self._ticks() - self._received
