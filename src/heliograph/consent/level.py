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
EVIDENT: Final = frozenset({Party.CONTRACT, Party.POLICY})
"""Whose word on events counts only with the agreement that it rests on."""


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

    Events need evidence: a contract, or the policy that stands for it, which allows events but names no agreement
    cannot be verified, and says `Level.OFF`. That holds whatever the others say, so that nobody widens by narrowing.
    """
    heard = [_verified(party, words.get(party)) for party in parties]
    if not EVIDENT.intersection(parties):
        return Decision(Level.OFF, ("Nobody was asked for evidence, so nothing may leave.",))
    level = min(word.level for word in heard)
    reasons = tuple(reason for word in heard for reason in word.reasons)
    if level is not Level.EVENTS:
        return Decision(level, reasons)
    evidence = (word.agreement for party, word in zip(parties, heard, strict=True) if party in EVIDENT)
    return Decision(level, reasons, next(evidence))


def _verified(party: Party, word: Decision | None) -> Decision:
    if word is None:
        return _silence(party)
    if party in EVIDENT and word.level is Level.EVENTS and not word.agreement:
        return Decision(Level.OFF, (*word.reasons, "No agreement is named that allows events: nothing may leave."))
    return word


def _silence(party: Party) -> Decision:
    return Decision(Level.OFF, (f"What the {party} says is not known: nothing may leave.",))
