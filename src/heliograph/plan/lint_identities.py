"""A lint rule on lists of members: words that name hosts, repositories, people or things one by one are identities.

A list is reviewed before it is collected, so that a list of identities is a decision to tell them. Each signal below is
a heuristic with the share of a list from which on it counts, and shows the members that it rests on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from heliograph.plan.finding import Finding
from heliograph.plan.lint_names import declared
from heliograph.plan.model import CountsFact, MemberProperty
from heliograph.plan.problem import shown
from heliograph.plan.sensitive import find_sensitive
from heliograph.plan.word_lists import FIRST_NAMES, REPOSITORY_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from heliograph.plan.model import Plan
    from heliograph.plan.shape import Path

_EVIDENCE: Final = 4
"""Members that a message shows."""

_HOST: Final = re.compile(
    r"([a-z0-9][a-z0-9-]*\.)+(com|net|org|io|dev|edu|gov|info|biz|co|uk|de|fr|nl|eu|us|ch|at|se|jp|cn|in|local|internal|lan"
    r"|corp|intranet|example)",
    re.IGNORECASE,
)
_MACHINE: Final = re.compile(
    r"(ip|ec2|vm|srv|node|host|db|web|prod|stage|staging|desktop|laptop)-?[a-z]*-?[0-9]+[a-z0-9-]*"
    r"|[a-z]+-(prod|stage|staging|dev)-[0-9]+",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_HEXADECIMAL: Final = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{7,}(-[0-9a-f]{4,}){0,4}", re.IGNORECASE)
_DIGITS: Final = re.compile(r"[A-Za-z]{0,4}[-_]?[0-9]{4,}")
_LOGIN: Final = re.compile(r"[a-z]+[._][a-z]+")
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


class Signal(NamedTuple):
    """One way in which a list smells of identities."""

    what: str
    """What the members would be."""
    found: Callable[[str], bool]
    """Tells whether a member looks like it."""
    least: int
    """How many such members it takes."""
    share: float
    """Which share of the list they are, at least."""


def _is_name(member: str) -> bool:
    """Tell whether a member is a first name, or begins or ends with one as in `maria.lopez` and `anna_s`."""
    return any(part in FIRST_NAMES for part in re.split(r"[._+-]|[0-9]+$", member.lower()))


def _is_login(member: str) -> bool:
    return _LOGIN.fullmatch(member) is not None and _is_name(member)


def _is_repository(member: str) -> bool:
    if _MACHINE.fullmatch(member):
        return False
    return _SLUG.fullmatch(member) is not None and not REPOSITORY_WORDS.isdisjoint(member.split("-"))


SIGNALS: Final = (
    Signal("hosts", lambda member: _HOST.fullmatch(member) is not None, 1, 0.0),
    Signal("hosts", lambda member: _MACHINE.fullmatch(member) is not None, 2, 0.25),
    Signal("addresses of machines", lambda member: _ADDRESS.fullmatch(member) is not None, 1, 0.0),
    Signal("hashes or random ids", lambda member: _HEXADECIMAL.fullmatch(member) is not None, 1, 0.0),
    Signal("numbers of customers or documents", lambda member: _DIGITS.fullmatch(member) is not None, 2, 0.25),
    Signal("people", _is_login, 1, 0.0),
    Signal("people", _is_name, 2, 0.25),
    Signal("repositories", _is_repository, 2, 0.5),
)


def sensitive_word(plan: Plan, _today: date) -> Iterator[Finding]:
    """Scan every word that the plan holds, as declared values are scanned at both ends."""
    for path, text in _texts(plan):
        if (kind := find_sensitive(text)) is not None:
            message = f"{shown(text)} looks like {kind.value.replace('_', ' ')}"
            yield Finding(path, message, "Leave it out: a plan is read by many, and what it declares leaves.")


def _texts(plan: Plan) -> Iterator[tuple[Path, str]]:
    """Yield names, members and sentences of a plan with their paths."""

    def below(path: Path, part: object) -> Iterator[tuple[Path, str]]:
        if isinstance(part, dict):
            for key, value in part.items():
                yield (*path, key), key
                yield from below((*path, key), value)
        elif isinstance(part, list):
            for position, value in enumerate(part):
                yield from below((*path, str(position)), value)
        elif isinstance(part, str):
            yield path, part

    yield from below((), msgspec.to_builtins(plan))


def identity_list(plan: Plan, _today: date) -> Iterator[Finding]:
    """Hold every list of members against the signals; a list is told once for each kind of identity."""
    for path, kind in declared(plan):
        if not isinstance(kind, MemberProperty | CountsFact):
            continue
        told: set[str] = set()
        for signal in SIGNALS:
            evidence = [member for member in kind.members if signal.found(member)]
            if signal.what in told or len(evidence) < max(signal.least, signal.share * len(kind.members)):
                continue
            told.add(signal.what)
            listing = ", ".join(map(shown, evidence[:_EVIDENCE])) + (", …" if len(evidence) > _EVIDENCE else "")
            yield Finding(
                (*path, "members"),
                f"{len(evidence)} of {len(kind.members)} members look like {signal.what}: {listing}",
                "Declare kinds in place of single ones: what sort of thing it was, never which.",
            )
