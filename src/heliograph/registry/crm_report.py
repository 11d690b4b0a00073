"""The report for legal and sales operations: every account at Yes, on which evidence, and its instances."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from heliograph.consent.agreement import Route
from heliograph.event import format_time
from heliograph.registry.crm import evidence

if TYPE_CHECKING:
    from heliograph.registry.snapshot import Snapshot

_FORMULA: Final = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - spreadsheets take the full-width signs too
"""What makes a spreadsheet read a cell as a formula, if it begins so."""


class AtYes(msgspec.Struct, frozen=True, kw_only=True):
    """An account that may be collected from at event level."""

    account: str
    since: datetime
    agreement: str
    route: Route
    document: str
    terms_version: str
    instances: dict[str, str]
    """What the vendor's side lets each of its instances send: the level by the instance's name."""


def accounts_at_yes(snapshot: Snapshot, at: datetime) -> list[AtYes]:
    """Return every account whose contract allows events at the moment `at`, by name."""
    levels: dict[str, dict[str, str]] = {}
    for name, instance in snapshot.instances.items():
        levels.setdefault(instance.account, {})[name] = str(snapshot.level(name, at).level)
    return [
        AtYes(
            account=name,
            since=known.since,
            agreement=known.agreement.id,
            route=known.agreement.route,
            document=known.agreement.document,
            terms_version=known.agreement.terms_version,
            instances=levels.get(name, {}),
        )
        for name, known in sorted(evidence(snapshot, at).items())
        if known.allowed and known.agreement is not None
    ]


def instances_in_words(row: AtYes) -> str:
    """Return the instances with their levels in one cell."""
    return "; ".join(f"{name}: {level}" for name, level in row.instances.items()) or "none"


def as_csv(rows: list[AtYes]) -> str:
    """Return the report as CSV (RFC 4180) with a header line, which no spreadsheet takes for formulas."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(AtYes.__struct_fields__)
    for row in rows:
        cells = (
            row.account,
            format_time(row.since),
            row.agreement,
            row.route,
            row.document,
            row.terms_version,
            instances_in_words(row),
        )
        writer.writerow(plain_cell(cell) for cell in cells)
    return text.getvalue()


def plain_cell(text: str) -> str:
    """Return `text` as a cell that a spreadsheet shows and does not run: with an apostrophe where it would."""
    return f"'{text}" if text[:1] in _FORMULA or text.lstrip()[:1] in _FORMULA else text
