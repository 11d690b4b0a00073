"""What the vendor told the instance: verified against pinned keys, and believed for its time.

Whatever is wrong with a policy is one `Doubt`, and means `Level.OFF` until a good one is heard.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.level import ON_THE_INSTANCE, Decision, Level, Party, resolve
from heliograph.consent.trust import read_header, verified
from heliograph.wire import POLICY_TYPE, PolicyStatement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

AHEAD_SECONDS: Final = 300
"""How far ahead of the instance's clock a policy may have been issued."""


class Doubt(enum.Enum):
    """Why the vendor's word cannot be relied on: a code, a sentence, and what to do."""

    NO_PIN = (
        "no_pin",
        "No key of the vendor's is pinned",
        "Put the line that `heliograph gateway key` prints at the vendor into the file that agent.vendor_keys names.",
    )
    MALFORMED = (
        "malformed",
        "The vendor's policy does not have the form of one",
        "Compare the versions of the agent and the gateway, and agent.gateway with the vendor's address.",
    )
    UNKNOWN_KEY = (
        "unknown_key",
        "The vendor's policy was signed by a key that does not follow from a pinned one",
        "Ask the vendor whether its key was replaced, and pin what `heliograph gateway key` prints there now.",
    )
    WRONG_SIGNATURE = (
        "wrong_signature",
        "The signature of the vendor's policy is wrong: somebody has changed it",
        "Find out who stands between the agent and the gateway, and tell the vendor.",
    )
    OTHER_INSTANCE = (
        "other_instance",
        "The vendor's policy is for another instance",
        "Compare agent.instance with the name that the vendor registered; if they agree, tell the vendor.",
    )
    FROM_THE_FUTURE = (
        "from_the_future",
        "The vendor's policy was issued more than five minutes from now",
        "Set the clocks of the instance and the gateway by network time.",
    )
    REPLAYED = (
        "replayed",
        "The vendor's policy is older than one that was heard before",
        "If the gateway's clock was set back, this passes by itself; else an old answer was repeated: tell the vendor.",
    )
    EXPIRED = (
        "expired",
        "The vendor's policy has expired",
        "The agent asks again by itself; see that it reaches the gateway.",
    )
    CLOCK_SET_BACK = (
        "clock_set_back",
        "The clock was set back, so the age of the vendor's policy is not known",
        "The agent asks again by itself; see that it reaches the gateway.",
    )
    UNKNOWN_LEVEL = (
        "unknown_level",
        "The vendor's policy names a level that is not known here",
        "Bring the agent to the vendor's version.",
    )
    NO_AGREEMENT = (
        "no_agreement",
        "The vendor's policy allows events and names no agreement",
        "Tell the vendor: `heliograph registry explain` shows there what is missing.",
    )
    UNREADABLE_PLAN = (
        "unreadable_plan",
        "The plan that the vendor's policy names cannot be read here",
        "The log of the agent says why. Bring the agent to the vendor's version; if it is, tell the vendor.",
    )

    def __init__(self, code: str, sentence: str, remedy: str) -> None:
        self.code = code
        self.sentence = sentence
        self.remedy = remedy

    def decision(self) -> Decision:
        """Return what a doubt decides: nothing may leave."""
        return Decision(Level.OFF, (f"{self.sentence}: nothing may leave. {self.remedy}",))


class PolicyDoubtError(Exception):
    """What was told is not the vendor's word, or not one to rely on.

    Attributes:
        doubt: Why.
        issued: When the vendor said it, where it is the vendor's word; nothing older counts from then on either.
    """

    def __init__(self, doubt: Doubt, issued: int = 0) -> None:
        super().__init__(f"{doubt.sentence}. {doubt.remedy}")
        self.doubt = doubt
        self.issued = issued


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's verified word, with the moment of its receipt by the instance's clock."""

    level: Level
    agreement: str | None
    reasons: tuple[str, ...]
    plan: str
    plan_digest: str
    issued: int
    valid_seconds: int
    received: datetime
    evidence: str | None = None

    def age(self, now: datetime, elapsed: float = 0.0) -> float:
        """Return for how many seconds it is known; negative when the clock was set back since.

        Args:
            now: The instance's clock.
            elapsed: Seconds since its receipt by a clock that nobody sets, where there is one: the longer one counts.
        """
        age = (now - self.received).total_seconds()
        return age if age < 0 else max(age, elapsed)

    def doubt(self, now: datetime, elapsed: float = 0.0) -> Doubt | None:
        """Return why it cannot be relied on at `now`; None when it can."""
        age = self.age(now, elapsed)
        if age < 0:
            return Doubt.CLOCK_SET_BACK
        return Doubt.EXPIRED if age >= self.valid_seconds else None

    def word(self, now: datetime, elapsed: float = 0.0) -> Decision:
        """Return what it decides at `now`."""
        doubt = self.doubt(now, elapsed)
        return Decision(self.level, self.reasons, self.agreement) if doubt is None else doubt.decision()


def read_policy(
    text: str,
    keys: Mapping[str, Ed25519PublicKey],
    *,
    instance: str,
    received: datetime,
    latest: float | None,
    held: int = 0,
) -> Policy:
    """Return the policy that `text` states, once it is known to be the vendor's word to this instance.

    Args:
        text: A compact JWS of a `heliograph.wire.PolicyStatement`.
        keys: The vendor's keys by fingerprint; see `heliograph.consent.trust.follow`.
        instance: This instance's name.
        received: When it was heard, by the instance's clock.
        latest: The latest moment at which it may have been issued, in seconds since 1970; None: any.
        held: When the latest policy held so far was issued: an older one is a repetition.

    Raises:
        PolicyDoubtError: It is not, or is not one to rely on.
    """
    statement = _statement(text, keys)
    if statement.instance != instance:
        raise PolicyDoubtError(Doubt.OTHER_INSTANCE)
    if latest is not None and statement.issued > latest:
        raise PolicyDoubtError(Doubt.FROM_THE_FUTURE)
    if statement.issued < held:
        raise PolicyDoubtError(Doubt.REPLAYED)
    level = Level.parse(statement.level)
    if level is None:
        raise PolicyDoubtError(Doubt.UNKNOWN_LEVEL, statement.issued)
    if level is Level.EVENTS and not statement.agreement:
        raise PolicyDoubtError(Doubt.NO_AGREEMENT, statement.issued)
    return Policy(
        level=level,
        agreement=statement.agreement,
        reasons=tuple(statement.reasons),
        plan=statement.plan,
        plan_digest=statement.plan_digest,
        issued=statement.issued,
        valid_seconds=statement.valid_seconds,
        received=received,
        evidence=statement.evidence,
    )


def _statement(text: str, keys: Mapping[str, Ed25519PublicKey]) -> PolicyStatement:
    header = read_header(text)
    if header is None or header.get("typ") != POLICY_TYPE:
        raise PolicyDoubtError(Doubt.MALFORMED)
    key = keys.get(header["kid"])
    if key is None:
        raise PolicyDoubtError(Doubt.UNKNOWN_KEY)
    content = verified(text, key)
    if content is None:
        raise PolicyDoubtError(Doubt.WRONG_SIGNATURE)
    try:
        return msgspec.json.decode(content, type=PolicyStatement)
    except (ValueError, RecursionError):
        raise PolicyDoubtError(Doubt.MALFORMED) from None


def instance_level(vendor: Decision | None, admin: Decision | None) -> Decision:
    """Return what the instance may send: the narrowest of the vendor's word and the admin's.

    Args:
        vendor: What the policy decides (`Policy.word`), or a doubt of it; None when none was heard yet.
        admin: What the admin chose; None when it is not known.
    """
    return resolve(ON_THE_INSTANCE, {Party.POLICY: vendor, Party.ADMIN: admin})
