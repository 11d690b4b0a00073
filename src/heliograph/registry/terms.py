"""The Terms: a file with a label, published once and kept, so that what was accepted can always be shown."""

from __future__ import annotations

import enum
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import insert, select

from heliograph.consent.agreement import text_problems
from heliograph.event import format_time
from heliograph.registry.errors import RegistryError
from heliograph.registry.trial_tables import terms as published_terms

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from heliograph.registry.store import Registry
    from heliograph.registry.transaction import Transaction
    from heliograph.settings import TrialsSettings

MOST_BYTES: Final = 1 << 20

_HEADING: Final = re.compile(r"#{1,6}\s+(?P<text>.*)")
_ITEM: Final = re.compile(
    r"(?:[-*+•|>]|\(?[0-9]{1,3}[.)]|\(?[a-zA-Z][.)]|\([0-9a-zA-Z]{1,5}\)|[0-9]+(?:\.[0-9]+)+\.?)\s.*"
)
"""How a line begins that stands for itself: the item of a list, a numbered clause, a row, a quotation."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The Terms as they are in force now."""

    version: str
    digest: str
    """SHA-256 of the file's bytes, in lower-case hexadecimal."""
    content: bytes

    @property
    def text(self) -> str:
        """What the file says."""
        return self.content.decode("utf-8-sig")


class Kind(enum.StrEnum):
    """How a paragraph is shown."""

    HEADING = "heading"
    ITEM = "item"
    PROSE = "prose"


class Paragraph(msgspec.Struct, frozen=True):
    """Words that are shown as one."""

    kind: Kind
    text: str


def read_terms(settings: TrialsSettings) -> Terms:
    """Return the Terms that the settings name.

    Raises:
        RegistryError: The file cannot be used, or has no label.
    """
    problems = text_problems("trials.terms_version", settings.terms_version)
    try:
        with Path(settings.terms).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RegistryError(
            [*problems, f"trials.terms: {settings.terms}: {error.strerror}; name the file with the Terms"]
        ) from error
    problems += [f"trials.terms: {settings.terms}: {problem}" for problem in _content_problems(content)]
    if problems:
        raise RegistryError(problems)
    return Terms(version=settings.terms_version, digest=hashlib.sha256(content).hexdigest(), content=content)


def _content_problems(content: bytes) -> list[str]:
    if len(content) > MOST_BYTES:
        return [f"is larger than {MOST_BYTES:,} bytes; Terms are shown on one page"]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ["is not UTF-8; save it as UTF-8 text"]
    return [] if text.strip() else ["is empty; nothing would be agreed to"]


def publish(registry: Registry, terms: Terms) -> None:
    """Keep `terms` for good, so that agreements to them can be recorded; nothing happens if that was done before.

    Raises:
        RegistryError: Its label stands for another text already.
    """
    with registry.read_transaction() as connection:
        if _published_digest(connection, terms.version) == terms.digest:
            return
    with registry.transaction() as transaction:
        held = _published_digest(transaction.connection, terms.version)
        if held is None:
            _insert(transaction, terms)
        elif held != terms.digest:
            what = f"trials.terms_version {terms.version!r} was published with another text (SHA-256 {held})"
            raise RegistryError([f"{what}: give the changed Terms a label of their own"])


def _published_digest(connection: Connection, version: str) -> str | None:
    query = select(published_terms.c.digest).where(published_terms.c.version == version)
    return connection.execute(query).scalar_one_or_none()


def _insert(transaction: Transaction, terms: Terms) -> None:
    transaction.connection.execute(
        insert(published_terms).values(
            version=terms.version,
            digest=terms.digest,
            content=terms.content,
            published=format_time(transaction.now),
        )
    )


def was_published(transaction: Transaction, *, version: str, digest: str) -> bool:
    """Tell whether the vendor has published Terms with this label and this SHA-256."""
    return _published_digest(transaction.connection, version) == digest


def published_content(registry: Registry, digest: str) -> bytes | None:
    """Return the Terms with this SHA-256 byte for byte, or None if none were published."""
    with registry.read_transaction() as connection:
        query = select(published_terms.c.content).where(published_terms.c.digest == digest).limit(1)
        return connection.execute(query).scalar_one_or_none()


def paragraphs(text: str) -> list[Paragraph]:
    """Return all words of `text` in their order, as they are best shown at any width.

    An empty line ends a paragraph; so does a line that stands for itself, such as an item of a list. All other line
    breaks are where somebody's editor put them. Nothing is taken for markup but the marks of a heading.
    """
    found: list[Paragraph] = []
    goes_on = False
    for line in text.splitlines():
        words = " ".join(line.split())
        if not words:
            goes_on = False
        elif heading := _HEADING.fullmatch(words):
            found.append(Paragraph(Kind.HEADING, heading["text"]))
            goes_on = False
        elif _ITEM.fullmatch(words):
            found.append(Paragraph(Kind.ITEM, words))
            goes_on = True
        elif goes_on:
            found[-1] = Paragraph(found[-1].kind, f"{found[-1].text} {words}")
        else:
            found.append(Paragraph(Kind.PROSE, words))
            goes_on = True
    return found
