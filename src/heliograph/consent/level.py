"""The three levels, and the one function that decides between those who have a say."""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@functools.total_ordering
class Level(enum.Enum):
    """What may leave an instance; ordered, ``OFF < CRITICAL < EVENTS``, so that `min` is the narrowest.

    Deliberately not a `str`: strings would compare by the alphabet.
    """

    OFF = "off"
    """Nothing."""
    CRITICAL = "critical"
    """Critical telemetry alone: aggregated and anonymised on the instance."""
    EVENTS = "events"
    """User-level events, and critical telemetry."""

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Level):
            return NotImplemented
        return _WIDTH[self] < _WIDTH[other]

    def __str__(self) -> str:
        return self.value

    @classmethod
    def parse(cls, text: str) -> Level | None:
        """Return the level that `text` names, or None when it names none, which decides for `OFF`."""
        return next((level for level in cls if level.value == text), None)


_WIDTH: Final = {level: width for width, level in enumerate(Level)}


class Party(enum.StrEnum):
    """Those who have a say. The narrowest of them decides, and none can widen what another narrows."""

    CONTRACT = "contract"
    """What the account's agreements allow."""
    OVERRIDE = "override"
    """The vendor's own narrowing of an account or an instance."""
    DEPLOYMENT = "deployment"
    """The vendor's policy for this kind of deployment."""
    POLICY = "policy"
    """The vendor's answer to the instance, which stands there for the three above."""
    ADMIN = "admin"
    """The choice of the customer's admin, made on the instance."""


AT_THE_VENDOR: Final = (Party.CONTRACT, Party.OVERRIDE, Party.DEPLOYMENT)
"""Whose word the gateway needs. The admin's choice acts before this, on the instance."""
ON_THE_INSTANCE: Final = (Party.POLICY, Party.ADMIN)
"""Whose word the instance needs."""


class Decision(msgspec.Struct, frozen=True):
    """A level, and why."""

    level: Level
    reasons: tuple[str, ...]
    """Plain sentences, shown to the customer's admin as they are."""
    agreement: str | None = None
    """The agreement that allows events; None at every narrower level."""


def resolve(parties: Sequence[Party], words: Mapping[Party, Decision | None]) -> Decision:
    """Return the narrowest of what `parties` say; a party whose word is missing says `Level.OFF`.

    Args:
        parties: Everyone who has a say at this end; if there is nobody, the answer is `Level.OFF`.
        words: What each says; None where it is unknown. The word of anyone else is not heard.

    Events need evidence: where all parties allow them but none names an agreement, the answer is `Level.OFF`.
    """
    heard = [words.get(party) or _silence(party) for party in parties]
    level = min((word.level for word in heard), default=Level.OFF)
    reasons = tuple(reason for word in heard for reason in word.reasons)
    if not heard:
        return Decision(Level.OFF, ("Nobody was asked, so nothing may leave.",))
    if level is not Level.EVENTS:
        return Decision(level, reasons)
    agreement = next((word.agreement for word in heard if word.agreement), None)
    if agreement is None:
        return Decision(Level.OFF, (*reasons, "No agreement is named that allows events: nothing may leave."))
    return Decision(level, reasons, agreement)


def _silence(party: Party) -> Decision:
    return Decision(Level.OFF, (f"What the {party} says is not known: nothing may leave.",))
